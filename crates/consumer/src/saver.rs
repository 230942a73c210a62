//! The saving of positions.

use std::{mem, sync::Arc, time::Duration};

use statefun_kinesis_client::{Backoff, InstantExt as _};
use statefun_kinesis_types::{ErrorChain, StreamArn};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{CheckpointChanges, CheckpointStore, ConsumerError, ack::Moved, service::Stream};

/// Tries of one save, with growing delays between them, before the store counts as broken: about half a minute.
const SAVE_TRIES: u32 = 8;

/// The positions of a consumer's shards, for a program that writes them itself, in one commit with what came of the
/// records; see [`ConsumerBuilder::build_with_positions`](crate::ConsumerBuilder::build_with_positions).
///
/// Positions move as long as batches are acknowledged, also after the consumer was closed.
#[derive(Debug)]
pub struct Positions {
    streams: Vec<Arc<Stream>>,
    moved: Arc<Moved>,
}

impl Positions {
    pub(crate) fn new(streams: Vec<Arc<Stream>>, moved: Arc<Moved>) -> Self {
        Self { streams, moved }
    }

    /// Takes everything that moved since the last time, by stream. An acknowledgement whose
    /// [`done`](crate::Acknowledgement::done) has returned is in it.
    ///
    /// The changes of a stream belong into one commit, and those of a later call into the same one or a later one.
    pub fn take(&self) -> Vec<(StreamArn, CheckpointChanges)> {
        let mut changes: Vec<_> = self.streams.iter().map(|_| CheckpointChanges::default()).collect();
        collect(&self.moved, &mut changes);
        let all = self.streams.iter().zip(changes).filter(|(_, changes)| !changes.is_empty());
        all.map(|(stream, changes)| (stream.arn.clone(), changes)).collect()
    }
}

/// Adds what moved to the changes of each stream.
fn collect(moved: &Moved, changes: &mut [CheckpointChanges]) {
    // A child's position must not be saved without the end of its parent, which was queued before it: taking the whole
    // queue, and saving it as one, keeps that so. The position is read after the queue was taken.
    for progress in moved.take() {
        if let Some(reached) = progress.take_reached() {
            changes[progress.stream].moved.insert(progress.shard.clone(), reached);
        }
    }
    for (stream, shard) in moved.take_forgotten() {
        changes[stream].moved.remove(&shard);
        changes[stream].forgotten.push(shard);
    }
}

/// Saves positions that moved, many together.
///
/// Nothing is lost when a future of it is dropped: what was taken and not saved is kept, and goes with the next save.
#[derive(Debug)]
pub(crate) struct Saver {
    store: Arc<dyn CheckpointStore>,
    streams: Vec<Arc<Stream>>,
    moved: Arc<Moved>,
    /// What is still to be saved, per stream.
    pending: Vec<CheckpointChanges>,
    interval: Duration,
    /// No save before this, but for the last one.
    next: Instant,
    backoff: Backoff,
    random: fastrand::Rng,
}

impl Saver {
    pub(crate) fn new(
        store: Arc<dyn CheckpointStore>,
        streams: Vec<Arc<Stream>>,
        moved: Arc<Moved>,
        interval: Duration,
        backoff: Backoff,
        random: fastrand::Rng,
    ) -> Self {
        let pending = streams.iter().map(|_| CheckpointChanges::default()).collect();
        Self { store, streams, moved, pending, interval, next: Instant::now(), backoff, random }
    }

    /// Saves what moves; returns when the store cannot.
    pub(crate) async fn run(&mut self) -> ConsumerError {
        loop {
            self.moved.wait().await;
            sleep_until(self.next).await;
            if let Err(error) = self.save().await {
                return error;
            }
            self.next = Instant::now().saturating_add(self.interval);
        }
    }

    /// Saves all that moved until now.
    pub(crate) async fn save(&mut self) -> Result<(), ConsumerError> {
        collect(&self.moved, &mut self.pending);
        for (stream, pending) in self.streams.iter().zip(&mut self.pending) {
            if pending.is_empty() {
                continue;
            }
            let mut failures = 0;
            while let Err(source) = self.store.save(&stream.arn, pending).await {
                failures += 1;
                let stream = stream.arn.clone();
                if failures >= SAVE_TRIES {
                    return Err(ConsumerError::Checkpoint { stream, source });
                }
                let delay = self.backoff.delay(failures - 1, &mut self.random);
                tracing::warn!(%stream, error = %ErrorChain(&source), ?delay, "positions were not saved; trying again");
                sleep(delay).await;
            }
            mem::take(pending);
        }
        Ok(())
    }
}
