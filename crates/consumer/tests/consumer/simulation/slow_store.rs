//! A store of positions that is slow and fails.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use statefun_kinesis_consumer::{
    CheckpointChanges, CheckpointError, CheckpointStore, MemoryCheckpoints, PositionStore, StreamCheckpoint,
};
use statefun_kinesis_types::StreamArn;
use tokio::time::sleep;

/// A store as durable as a disk, and as slow: a save that is dropped may have happened.
#[derive(Debug)]
pub(super) struct SlowStore {
    pub(super) kept: MemoryCheckpoints,
    pub(super) before: Duration,
    pub(super) after: Duration,
    pub(super) fails: AtomicBool,
}

#[async_trait]
impl PositionStore for SlowStore {
    async fn load(&self, stream: &StreamArn) -> Result<Option<StreamCheckpoint>, CheckpointError> {
        self.kept.load(stream).await
    }

    async fn begin(&self, stream: &StreamArn, checkpoint: StreamCheckpoint) -> Result<(), CheckpointError> {
        sleep(self.before).await;
        self.kept.begin(stream, checkpoint).await?;
        sleep(self.after).await;
        Ok(())
    }
}

#[async_trait]
impl CheckpointStore for SlowStore {
    async fn save(&self, stream: &StreamArn, changes: &CheckpointChanges) -> Result<(), CheckpointError> {
        sleep(self.before).await;
        if self.fails.swap(false, Ordering::Relaxed) {
            return Err(CheckpointError::new("the disk is full"));
        }
        self.kept.save(stream, changes).await?;
        sleep(self.after).await;
        Ok(())
    }
}
