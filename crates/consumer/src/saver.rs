//! Saves the positions of acknowledged batches, or hands them to the program.

use std::{mem, sync::Arc, time::Duration};

use statefun_kinesis_client::{Backoff, InstantExt as _};
use statefun_kinesis_types::{ErrorChain, StreamArn};
use tokio::time::{Instant, sleep, sleep_until};

use crate::{CheckpointChanges, CheckpointStore, ConsumerError, hold::MovedPositions, stream::Stream};

/// Tries of one save, with growing delays between them, before the store counts as broken: half a minute with the default
/// backoff.
const SAVE_TRIES: u32 = 8;

/// The positions of a consumer's shards, for a program that makes them durable itself, in one commit with the results of
/// the records; see [`ConsumerBuilder::build_with_positions`](crate::ConsumerBuilder::build_with_positions).
///
/// Positions move whenever batches are acknowledged, also after the consumer was closed.
#[derive(Debug)]
pub struct Positions {
    streams: Vec<Arc<Stream>>,
    moved: Arc<MovedPositions>,
}

impl Positions {
    pub(crate) fn new(streams: Vec<Arc<Stream>>, moved: Arc<MovedPositions>) -> Self {
        Self { streams, moved }
    }

    /// Takes the positions that moved since the last call, by stream. They include each acknowledgement whose
    /// [`done`](crate::Acknowledgement::done) has returned.
    ///
    /// Commit all changes of one call together: a shard's position must not become durable without the end of its
    /// parents, which may be in the same call. Commit the changes of a later call with them or afterwards. Changes that
    /// were taken are not given again: a program whose commit fails keeps them for the next one.
    pub fn take(&self) -> Vec<(StreamArn, CheckpointChanges)> {
        let mut changes: Vec<_> = self.streams.iter().map(|_| CheckpointChanges::default()).collect();
        collect(&self.moved, &mut changes);
        let all = self.streams.iter().zip(changes).filter(|(_, changes)| !changes.is_empty());
        all.map(|(stream, changes)| (stream.arn.clone(), changes)).collect()
    }
}

/// Adds the positions that moved to the changes of each stream.
fn collect(moved: &MovedPositions, changes: &mut [CheckpointChanges]) {
    // A child's position must not be saved without the end of its parent. The parent's end is queued first, so that it is
    // in this take or was in an earlier one; the changes of a stream are saved as one.
    for (shard, position) in moved.take() {
        changes[shard.stream.index].moved.insert(shard.shard.clone(), position);
    }
    // After the positions: a shard is forgotten behind its end, which would otherwise be stored again.
    for (stream, shard) in moved.take_forgotten() {
        changes[stream].moved.remove(&shard);
        changes[stream].forgotten.push(shard);
    }
}

/// Saves positions that moved, at most once per interval.
///
/// A future of it may be dropped at any await: changes that were taken and not saved stay in `pending`, and go with the
/// next save.
#[derive(Debug)]
pub(crate) struct Saver {
    store: Arc<dyn CheckpointStore>,
    streams: Vec<Arc<Stream>>,
    moved: Arc<MovedPositions>,
    /// The changes that are taken and not saved, per stream.
    pending: Vec<CheckpointChanges>,
    interval: Duration,
    /// No periodic save starts before this.
    next: Instant,
    backoff: Backoff,
    random: fastrand::Rng,
}

impl Saver {
    pub(crate) fn new(
        store: Arc<dyn CheckpointStore>,
        streams: Vec<Arc<Stream>>,
        moved: Arc<MovedPositions>,
        interval: Duration,
        backoff: Backoff,
        random: fastrand::Rng,
    ) -> Self {
        let pending = streams.iter().map(|_| CheckpointChanges::default()).collect();
        Self { store, streams, moved, pending, interval, next: Instant::now(), backoff, random }
    }

    /// Saves positions as they move; returns when the store fails.
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

    /// Saves all positions that moved until now.
    ///
    /// # Errors
    ///
    /// When the store failed [`SAVE_TRIES`] times in a row.
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
                tracing::warn!(%stream, error = %ErrorChain(&source), ?delay, "positions could not be saved; retrying");
                sleep(delay).await;
            }
            // Only now: a future that is dropped during the save has to keep them.
            mem::take(pending);
        }
        Ok(())
    }
}
