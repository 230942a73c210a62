use std::collections::BTreeMap;

use async_trait::async_trait;
use statefun_kinesis_client::{CheckpointError, CheckpointStore, PositionStore};
use statefun_kinesis_types::{CheckpointChanges, Position, SequenceNumber, ShardId, StreamArn, StreamCheckpoint};
use tokio::sync::watch;

/// Keeps positions in memory: they outlive a consumer, but not the process.
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

    /// Waits until the saved position of the shard covers all of the record at `at`.
    pub async fn reached(&self, stream: &StreamArn, shard: &ShardId, at: SequenceNumber) {
        let at = Position::behind(at);
        let reached = |streams: &BTreeMap<StreamArn, StreamCheckpoint>| {
            let position = streams.get(stream).and_then(|checkpoint| checkpoint.shards.get(shard));
            position.is_some_and(|position| position.covers(at))
        };
        let mut streams = self.streams.subscribe();
        // Fails only when the sender is dropped, and `self` owns the sender.
        let _ = streams.wait_for(reached).await;
    }
}

#[async_trait]
impl PositionStore for MemoryCheckpoints {
    async fn load(&self, stream: &StreamArn) -> Result<Option<StreamCheckpoint>, CheckpointError> {
        Ok(self.get(stream))
    }

    async fn begin(&self, stream: &StreamArn, checkpoint: StreamCheckpoint) -> Result<(), CheckpointError> {
        self.streams.send_modify(|streams| {
            streams.insert(stream.clone(), checkpoint);
        });
        Ok(())
    }
}

#[async_trait]
impl CheckpointStore for MemoryCheckpoints {
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
}

#[cfg(test)]
mod tests {
    use statefun_kinesis_types::{ShardPosition, StartPosition, Timestamp};

    use super::*;

    fn changes(shard: &ShardId, position: ShardPosition) -> CheckpointChanges {
        let mut changes = CheckpointChanges::default();
        changes.moved.insert(shard.clone(), position);
        changes
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
