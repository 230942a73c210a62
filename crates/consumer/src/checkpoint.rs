use std::{collections::BTreeMap, error::Error, fmt::Debug};

use async_trait::async_trait;
use statefun_kinesis_types::{SequenceNumber, ShardId, StartPosition, StreamArn, Timestamp};
use tokio::sync::watch;

use crate::{Position, ShardPosition};

/// What is stored about a stream.
///
/// A shard that is not in it is one that appeared after the first start and of which nothing was processed yet; it is
/// read from trim horizon.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamCheckpoint {
    /// When the stream was made, which tells it from an earlier one of the same name: its positions mean nothing here.
    pub created: Timestamp,
    /// Where the shards of the first listing start. Never `Latest`: that was pinned to the instant of the first start.
    pub start: StartPosition,
    /// How far each shard was processed.
    pub shards: BTreeMap<ShardId, ShardPosition>,
}

impl StreamCheckpoint {
    /// A checkpoint of a stream that was made at `created`, without shards.
    pub fn new(created: Timestamp, start: StartPosition) -> Self {
        Self { created, start, shards: BTreeMap::new() }
    }
}

/// What a store is told about a stream since the last save.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CheckpointChanges {
    /// The new positions of shards that moved.
    pub moved: BTreeMap<ShardId, ShardPosition>,
    /// Finished shards that the service does not list any more: nothing asks for them again.
    pub forgotten: Vec<ShardId>,
}

impl CheckpointChanges {
    /// Whether there is nothing to save.
    pub fn is_empty(&self) -> bool {
        self.moved.is_empty() && self.forgotten.is_empty()
    }
}

/// A store that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CheckpointError {
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl CheckpointError {
    /// An error with a message that says what could not be done.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// The same error with the one below it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// Where positions are kept between two runs of a consumer.
///
/// One consumer at a time uses the entries of a stream. Futures may be dropped at any await; a save that was dropped
/// may or may not have happened, and is repeated.
#[async_trait]
pub trait CheckpointStore: Debug + Send + Sync + 'static {
    /// Gives what is stored about a stream; `None` if it was never read.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn load(&self, stream: &StreamArn) -> Result<Option<StreamCheckpoint>, CheckpointError>;

    /// Stores the beginning of reading, in place of all that was stored about the stream. Returns when it is stored:
    /// the first record is delivered afterwards.
    ///
    /// # Errors
    ///
    /// When the store cannot be written; nothing was changed then.
    async fn begin(&self, stream: &StreamArn, checkpoint: StreamCheckpoint) -> Result<(), CheckpointError>;

    /// Stores changes, all of them or none.
    ///
    /// # Errors
    ///
    /// When the store cannot be written; nothing was changed then. The same changes come again, and later ones with
    /// them.
    async fn save(&self, stream: &StreamArn, changes: &CheckpointChanges) -> Result<(), CheckpointError>;

    /// When positions are to be saved.
    fn saving(&self) -> Saving;
}

/// When the positions of a consumer are saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saving {
    /// As soon as they move: a save costs no more than memory does.
    AtOnce,
    /// At most once in each [`checkpoint_interval`](crate::Settings::checkpoint_interval), as suits a disk or a network.
    AtIntervals,
    /// By somebody else, who takes them by [`Consumer::positions`](crate::Consumer::positions) and makes them durable
    /// together with what came of the records. [`CheckpointStore::save`] is not called; the beginning of reading is
    /// stored by [`CheckpointStore::begin`] all the same.
    ByOthers,
}

/// Positions in memory: they outlive a consumer, and not the process.
#[derive(Debug, Default)]
pub struct MemoryCheckpoints {
    streams: watch::Sender<BTreeMap<StreamArn, StreamCheckpoint>>,
}

impl MemoryCheckpoints {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// What is stored about a stream.
    pub fn get(&self, stream: &StreamArn) -> Option<StreamCheckpoint> {
        self.streams.borrow().get(stream).cloned()
    }

    /// Waits until all of the record at `at` and what lies before it were processed, or the whole shard.
    pub async fn reached(&self, stream: &StreamArn, shard: &ShardId, at: SequenceNumber) {
        let at = Position::behind(at);
        let reached = |streams: &BTreeMap<StreamArn, StreamCheckpoint>| {
            let position = streams.get(stream).and_then(|checkpoint| checkpoint.shards.get(shard));
            position.is_some_and(|position| position.covers(at))
        };
        let mut streams = self.streams.subscribe();
        // The sender lives as long as `self` does, so that waiting cannot fail.
        let _ = streams.wait_for(reached).await;
    }
}

#[async_trait]
impl CheckpointStore for MemoryCheckpoints {
    async fn load(&self, stream: &StreamArn) -> Result<Option<StreamCheckpoint>, CheckpointError> {
        Ok(self.get(stream))
    }

    async fn begin(&self, stream: &StreamArn, checkpoint: StreamCheckpoint) -> Result<(), CheckpointError> {
        self.streams.send_modify(|streams| {
            streams.insert(stream.clone(), checkpoint);
        });
        Ok(())
    }

    async fn save(&self, stream: &StreamArn, changes: &CheckpointChanges) -> Result<(), CheckpointError> {
        let mut known = false;
        self.streams.send_modify(|streams| {
            if let Some(checkpoint) = streams.get_mut(stream) {
                known = true;
                checkpoint.shards.extend(changes.moved.iter().map(|(shard, position)| (shard.clone(), *position)));
                for shard in &changes.forgotten {
                    checkpoint.shards.remove(shard);
                }
            }
        });
        if known { Ok(()) } else { Err(CheckpointError::new(format!("reading of {stream} was never begun"))) }
    }

    fn saving(&self) -> Saving {
        Saving::AtOnce
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(shard: &ShardId, position: ShardPosition) -> CheckpointChanges {
        CheckpointChanges { moved: [(shard.clone(), position)].into(), forgotten: Vec::new() }
    }

    fn at(number: u64) -> ShardPosition {
        ShardPosition::At(Position::behind(number.into()))
    }

    #[tokio::test]
    async fn reached_waits_for_the_position_and_no_longer() {
        let stream: StreamArn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders".parse().unwrap();
        let shard: ShardId = "shardId-000000000000".parse().unwrap();
        let store = MemoryCheckpoints::new();
        store.begin(&stream, StreamCheckpoint::new(Timestamp::EPOCH, StartPosition::TrimHorizon)).await.unwrap();

        let mut reached = std::pin::pin!(store.reached(&stream, &shard, 5_u64.into()));
        for (position, expected) in [(at(4), false), (at(5), true)] {
            store.save(&stream, &changes(&shard, position)).await.unwrap();
            assert_eq!(futures::poll!(&mut reached).is_ready(), expected, "{position:?}");
        }
        store.save(&stream, &changes(&shard, ShardPosition::Finished)).await.unwrap();
        store.reached(&stream, &shard, 9_u64.into()).await;
    }

    #[tokio::test]
    async fn a_save_without_a_beginning_is_refused() {
        let stream: StreamArn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders".parse().unwrap();
        let changes = changes(&"shardId-000000000000".parse().unwrap(), at(1));
        let error = MemoryCheckpoints::new().save(&stream, &changes).await.unwrap_err();
        assert!(error.to_string().contains("stream/orders"), "{error}");
    }
}
