use std::future::Future;

use statefun_kinesis_types::{PutRecord, Shard, StreamRef};

use crate::{Error, ErrorKind, KinesisClient, Operation, PutOutcome, Result, ShardFilter, ShardPageRequest};

/// What callers add to any [`KinesisClient`].
pub trait KinesisClientExt: KinesisClient {
    /// All shards that the filter names, from as many pages as there are.
    ///
    /// # Errors
    ///
    /// Those of [`KinesisClient::list_shards`].
    fn all_shards(&self, stream: &StreamRef, filter: ShardFilter) -> impl Future<Output = Result<Vec<Shard>>> + Send;

    /// Stores one record.
    ///
    /// # Errors
    ///
    /// Those of [`KinesisClient::put_records`], which do not include the record's own outcome.
    fn put_record(&self, stream: &StreamRef, record: PutRecord) -> impl Future<Output = Result<PutOutcome>> + Send;
}

impl<T: KinesisClient + ?Sized> KinesisClientExt for T {
    async fn all_shards(&self, stream: &StreamRef, filter: ShardFilter) -> Result<Vec<Shard>> {
        let mut page = self.list_shards(stream, ShardPageRequest::First { filter, max_results: None }).await?;
        let mut shards = page.shards;
        while let Some(token) = page.next {
            page = self.list_shards(stream, ShardPageRequest::Next { token, max_results: None }).await?;
            shards.append(&mut page.shards);
        }
        Ok(shards)
    }

    async fn put_record(&self, stream: &StreamRef, record: PutRecord) -> Result<PutOutcome> {
        let mut outcomes = self.put_records(stream, &[record]).await?;
        match (outcomes.pop(), outcomes.is_empty()) {
            (Some(outcome), true) => Ok(outcome),
            _ => Err(Error::new(
                Operation::PutRecords,
                ErrorKind::Unexpected,
                format!("{stream} did not answer one record with one outcome"),
            )),
        }
    }
}
