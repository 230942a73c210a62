//! The producer without its I/O, as a state machine: records, answers and the time go in; requests and outcomes come out.
//!
//! The [`Queue`] knows the records. The machine decides when which of them are sent (`timing`, `request_builder`), and
//! what an answer means for them (`answer`, `failure`, `listing`).

use std::{collections::VecDeque, num::NonZeroU32, time::Instant};

use statefun_kinesis_aggregation::Aggregator;
use statefun_kinesis_client::{Placement, PutOutcome};
use statefun_kinesis_types::{PutRecord, StreamRef};

use crate::{
    Metrics, SendError, Settings, Stored,
    flush::Flushes,
    policy::Policy,
    queue::{ANY_SHARD, EntryId, Queue},
    record_meta::{RecordMetas, Token},
    request::Request,
};

mod answer;
mod failure;
mod in_flight;
#[cfg(any(test, debug_assertions))]
mod invariants;
mod listing;
mod request_builder;
mod timing;

use self::{
    in_flight::InFlight,
    listing::Listing,
    timing::{Linger, Releases},
};

/// See the module's documentation.
///
/// `T` is by what a record's sender is found, `W` by what the caller of a flush is found.
#[derive(Debug)]
pub(crate) struct Machine<T, W> {
    stream: StreamRef,
    settings: Settings,
    policy: Policy,
    limits: Limits,
    random: fastrand::Rng,
    queue: Queue<T>,
    flushes: Flushes<W>,
    linger: Linger,
    releases: Releases,
    in_flight: InFlight<T>,
    /// Parts of requests that were rejected as a whole. Each is sent by itself, to find the record that is the cause.
    probes: VecDeque<Vec<EntryId>>,
    listing: Listing,
    aggregator: Option<Aggregator>,
    /// The shard queue to begin the next request with.
    next_shard_queue: usize,
    /// Nothing is sent any more.
    is_abandoned: bool,
    output: Output<T, W>,
    metrics: Metrics,
}

/// What has come out since it was taken last.
#[derive(Debug)]
struct Output<T, W> {
    outcomes: Vec<Outcome<T>>,
    flushed: Vec<W>,
    dead_letters: Vec<PendingDeadLetter>,
    /// Records that were stored, for the caller to drop: that takes too long to do it under the lock.
    stored_records: Vec<Vec<PutRecord>>,
}

/// The outcome of records.
#[derive(Debug)]
pub(crate) enum Outcome<T> {
    /// Of one record.
    Record(T, Result<Stored, SendError>),
    /// Of the records of an aggregate, in their order: stored.
    Aggregate(Vec<T>, Placement),
    /// Of the untracked records of a request: all of them stored.
    Untracked(RecordMetas<T>, Vec<PutOutcome>),
}

/// A record that failed permanently and whose dead letter is to be written.
#[derive(Debug)]
pub(crate) struct PendingDeadLetter {
    pub(crate) id: EntryId,
    pub(crate) record: PutRecord,
    pub(crate) error: SendError,
}

/// The properties of the stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most bytes of one record, data and partition key together.
    pub(crate) max_record_bytes: usize,
    /// Whether the hash of a record's key decides on its shard.
    pub(crate) hash_decides: bool,
}

impl<T: Token, W> Machine<T, W> {
    pub(crate) fn new(stream: StreamRef, mut settings: Settings, policy: Policy, limits: Limits) -> Self {
        if let Some(aggregation) = &mut settings.aggregation {
            // A larger aggregate would be rejected, however small its records are.
            let most = u32::try_from(limits.max_record_bytes).ok().and_then(NonZeroU32::new);
            aggregation.max_bytes = aggregation.max_bytes.min(most.unwrap_or(NonZeroU32::MAX));
        }
        let aggregator = settings.aggregation.map(|aggregation| {
            Aggregator::new(aggregation.max_bytes.get() as usize, aggregation.max_records.get() as usize)
        });
        Self {
            stream,
            random: settings.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
            queue: Queue::new(settings.order, settings.aggregation, limits.max_record_bytes),
            settings,
            policy,
            limits,
            flushes: Flushes::new(),
            linger: Linger::default(),
            releases: Releases::default(),
            in_flight: InFlight::new(),
            probes: VecDeque::new(),
            listing: Listing::default(),
            aggregator,
            next_shard_queue: ANY_SHARD,
            is_abandoned: false,
            output: Output {
                outcomes: Vec::new(),
                flushed: Vec::new(),
                dead_letters: Vec::new(),
                stored_records: Vec::new(),
            },
            metrics: Metrics::default(),
        }
    }

    /// Whether a record of this size may be queued now. When it may not, a sender waits for room.
    #[inline]
    pub(crate) fn admits(&mut self, size: usize) -> bool {
        let records = self.settings.max_outstanding_records.get() as usize;
        let bytes = self.settings.max_outstanding_bytes.get() as usize;
        // A record that is larger than the bound passes alone: there will never be more room for it.
        let is_empty = self.queue.len() == 0;
        let has_room = is_empty || (self.queue.len() < records && self.queue.bytes() + size <= bytes);
        self.linger.sender_waits = !has_room;
        has_room
    }

    /// Queues a record that was admitted. Returns when there is something to send because of it.
    #[cfg(test)]
    pub(crate) fn submit(&mut self, now: Instant, record: PutRecord, token: T) -> Option<Instant> {
        let shard_queue = self.queue(now, record, token)?;
        self.send_next_at(shard_queue)
    }

    /// Queues a record that was admitted. Returns the shard queue that has more to send because of it;
    /// [`send_next_at`](Self::send_next_at) says when.
    #[inline]
    pub(crate) fn queue(&mut self, now: Instant, record: PutRecord, token: T) -> Option<usize> {
        debug_assert!(!self.is_abandoned, "an abandoned machine takes no records");
        // Only the first record of all counts from its arrival: nothing was sent before it.
        self.linger.last_sent.get_or_insert(now);
        let generation = self.flushes.queued(1);
        self.queue.push(record, token, generation)
    }

    /// Queues the next records of a batch, as far as there is room and they do not wait for others; `token` is that of the
    /// first. It is the same as [`queue`](Self::queue) for each of them. Returns their number and their shard queue.
    pub(crate) fn queue_run(
        &mut self,
        now: Instant,
        rest: &mut std::vec::IntoIter<PutRecord>,
        token: T,
    ) -> (usize, usize) {
        let records = self.settings.max_outstanding_records.get() as usize;
        let bytes = self.settings.max_outstanding_bytes.get() as usize;
        let room = (records.saturating_sub(self.queue.len()), bytes.saturating_sub(self.queue.bytes()));
        let count = self.queue.push_run(rest, room, token, self.flushes.current());
        if count > 0 {
            self.linger.last_sent.get_or_insert(now);
            self.linger.sender_waits = false;
            self.flushes.queued(count);
        }
        (count, ANY_SHARD)
    }

    /// Sends everything that is queued now without lingering, and reports when all of it is completed.
    pub(crate) fn flush(&mut self, waiter: W) {
        // What is ready now goes with the next request.
        self.linger.is_over = true;
        self.output.flushed.extend(self.flushes.wait(waiter));
    }

    /// Whether no record is outstanding.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.len() == 0
    }

    fn max_in_flight(&self) -> usize {
        self.settings.max_in_flight_requests.get() as usize
    }

    /// Whether the records of a shard queue are aggregated: their shard has to be known, and no result may have
    /// contradicted the last listing. A wrong shard makes readers drop the aggregate.
    fn aggregates(&self, shard_queue: usize) -> bool {
        shard_queue != ANY_SHARD && self.aggregator.is_some() && !self.listing.is_wanted
    }

    /// The next request to send now, if there is one. Call it until there is none.
    pub(crate) fn next_request(&mut self, now: Instant) -> Option<Request> {
        self.queue.release_delayed(now);
        if self.in_flight.requests >= self.max_in_flight() {
            return None;
        }
        let request = match self.probes.pop_front() {
            // First: their records are the oldest, and those of their keys wait for them.
            Some(ids) => self.build_probe(now, ids),
            None => self.build_request(now)?,
        };
        self.in_flight.requests += 1;
        self.metrics.requests += 1;
        self.metrics.request_records += request.len() as u64;
        Some(request)
    }

    /// The outcomes since the last call.
    pub(crate) fn take_outcomes(&mut self) -> impl Iterator<Item = Outcome<T>> {
        self.output.outcomes.drain(..)
    }

    /// The flushes that were completed since the last call.
    pub(crate) fn take_flushed(&mut self) -> Vec<W> {
        std::mem::take(&mut self.output.flushed)
    }

    /// The records that failed since the last call and whose dead letters are to be written. Each comes back by
    /// [`dead_letter_written`](Self::dead_letter_written).
    pub(crate) fn take_dead_letters(&mut self) -> Vec<PendingDeadLetter> {
        std::mem::take(&mut self.output.dead_letters)
    }

    /// The records that were stored since the last call, as far as they were kept.
    pub(crate) fn take_stored_records(&mut self) -> Vec<Vec<PutRecord>> {
        std::mem::take(&mut self.output.stored_records)
    }

    pub(crate) fn metrics(&self) -> Metrics {
        Metrics {
            outstanding_records: self.queue.len(),
            outstanding_bytes: self.queue.bytes(),
            in_flight_requests: self.in_flight.requests,
            paced_shards: self.queue.shard_queues.paced(),
            ..self.metrics
        }
    }

    /// Forgets all records, those in flight included: their tokens are dropped. No request that was given out before may
    /// come back. Only the counts go on.
    ///
    /// It does not rely on the state of the machine, which a panic may have left half changed.
    pub(crate) fn reset(&mut self) {
        let metrics = Metrics { failed_records: self.metrics.failed_records + self.queue.len() as u64, ..self.metrics };
        *self = Self::new(self.stream.clone(), self.settings.clone(), self.policy, self.limits);
        (self.metrics, self.is_abandoned) = (metrics, true);
    }
}

#[cfg(test)]
mod tests;
