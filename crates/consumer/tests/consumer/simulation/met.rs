//! What runs showed.

use statefun_kinesis_client::Operation;
use statefun_kinesis_consumer::{Consumer, ReadingMode};

/// What runs showed, to know that the simulation meets what it is meant to meet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Met {
    pub(super) records: usize,
    pub(super) shards: usize,
    pub(super) restarts: usize,
    pub(super) repeated: usize,
    pub(super) aggregates: u64,
    pub(super) out_of_range: u64,
    pub(super) invalid: u64,
    pub(super) dead_letters: u64,
    pub(super) subscriptions: u64,
    /// How often a stream that was pushed went over to being polled, and back.
    pub(super) lost: usize,
    pub(super) regained: usize,
}

impl Met {
    pub(super) fn add(&mut self, other: Self) {
        self.records += other.records;
        self.shards += other.shards;
        self.restarts += other.restarts;
        self.repeated += other.repeated;
        self.aggregates += other.aggregates;
        self.out_of_range += other.out_of_range;
        self.invalid += other.invalid;
        self.dead_letters += other.dead_letters;
        self.subscriptions += other.subscriptions;
        self.lost += other.lost;
        self.regained += other.regained;
    }

    /// Looks how streams are read now, and how they were at the last look of this run.
    pub(super) fn look(&mut self, consumer: &Consumer, modes: &mut Vec<ReadingMode>) {
        let now: Vec<ReadingMode> = consumer.metrics().snapshot().iter().map(|stream| stream.mode).collect();
        for change in modes.iter().zip(&now) {
            match change {
                (ReadingMode::FanOut, ReadingMode::Polling) => self.lost += 1,
                (ReadingMode::Polling, ReadingMode::FanOut) => self.regained += 1,
                _ => {}
            }
        }
        *modes = now;
    }

    pub(super) fn count(&mut self, consumer: &Consumer) {
        for stream in consumer.metrics().snapshot() {
            self.aggregates += stream.aggregates;
            self.out_of_range += stream.out_of_range;
            self.invalid += stream.invalid.iter().map(|(_, count)| count).sum::<u64>();
            self.dead_letters += stream.dead_letters;
            let subscribed = |(operation, _): &&(Operation, u64)| *operation == Operation::SubscribeToShard;
            self.subscriptions += stream.calls.iter().find(subscribed).map_or(0, |(_, count)| *count);
        }
    }
}
