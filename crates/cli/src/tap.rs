//! A client that writes down what was stored through it.

use std::sync::Arc;

use async_trait::async_trait;
use statefun_kinesis_client::{
    KinesisClient, PutOutcome, RecordPage, Result, ShardIterator, ShardPage, ShardPageRequest, StreamSummary,
};
use statefun_kinesis_types::{PutRecord, ShardId, StartPosition, StreamRef};

use crate::{output::Output, records::write_line};

/// Passes all calls on, and writes a line for each record that the service acknowledged.
#[derive(Debug)]
pub(crate) struct Tapped {
    client: Arc<dyn KinesisClient>,
    output: Output,
}

impl Tapped {
    pub(crate) fn new(client: Arc<dyn KinesisClient>, output: Output) -> Self {
        Self { client, output }
    }
}

#[deny(clippy::missing_trait_methods)]
#[async_trait]
impl KinesisClient for Tapped {
    async fn describe_stream_summary(&self, stream: &StreamRef) -> Result<StreamSummary> {
        self.client.describe_stream_summary(stream).await
    }

    async fn list_shards(&self, stream: &StreamRef, page: ShardPageRequest) -> Result<ShardPage> {
        self.client.list_shards(stream, page).await
    }

    async fn get_shard_iterator(
        &self,
        stream: &StreamRef,
        shard: &ShardId,
        from: StartPosition,
    ) -> Result<ShardIterator> {
        self.client.get_shard_iterator(stream, shard, from).await
    }

    async fn get_records(&self, iterator: &ShardIterator, limit: usize) -> Result<RecordPage> {
        self.client.get_records(iterator, limit).await
    }

    async fn put_records(&self, stream: &StreamRef, records: &[PutRecord]) -> Result<Vec<PutOutcome>> {
        let outcomes = self.client.put_records(stream, records).await?;
        let mut lines = String::new();
        for (record, outcome) in records.iter().zip(&outcomes) {
            if let Ok(placement) = outcome {
                write_line(&mut lines, stream, record, placement);
            }
        }
        // The records are stored whatever becomes of the lines; the output itself stops the run when it fails.
        let _ = self.output.write(&lines).await;
        Ok(outcomes)
    }
}
