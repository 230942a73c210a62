//! A client that lists the records that it stored.

use std::sync::Arc;

use statefun_kinesis_client::{KinesisClient, PutOutcome, Result, forward_client};
use statefun_kinesis_types::{PutRecord, StreamRef};

use crate::{output::Output, records::write_line};

/// Forwards all calls, and writes a line for each record that the service stored.
#[derive(Debug)]
pub(crate) struct OutputClient {
    client: Arc<dyn KinesisClient>,
    output: Output,
}

impl OutputClient {
    pub(crate) fn new(client: Arc<dyn KinesisClient>, output: Output) -> Self {
        Self { client, output }
    }
}

forward_client! {
    impl KinesisClient for OutputClient {
        |this| this.client => describe_stream_summary, list_shards, get_shard_iterator, get_records;

        async fn put_records(&self, stream: &StreamRef, records: &[PutRecord]) -> Result<Vec<PutOutcome>> {
            let outcomes = self.client.put_records(stream, records).await?;
            let mut lines = String::new();
            for (record, outcome) in records.iter().zip(&outcomes) {
                if let Ok(placement) = outcome {
                    write_line(&mut lines, stream, record, placement);
                }
            }
            // The records are stored even if the lines cannot be written; `Output` stops the run when it fails.
            let _ = self.output.write(&lines).await;
            Ok(outcomes)
        }
    }
}
