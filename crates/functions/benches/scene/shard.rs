use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use statefun_kinesis_client::{
    Error, ErrorKind, KinesisClient, Operation, PutOutcome, RecordPage, Result, ShardIterator, ShardPage,
    ShardPageRequest, StreamSummary,
};
use statefun_kinesis_types::{
    HashKeyRange, PartitionKey, PutRecord, Record, Shard, ShardId, StartPosition, StreamRef, Timestamp,
};

use super::run::STREAM;

type Next = Box<dyn FnMut() -> Option<Vec<Record>> + Send>;

/// Shards that give pages one after the other, as long as there are more; whichever is asked first gives the next one.
pub(crate) struct Pages {
    shards: usize,
    next: Mutex<Next>,
}

impl Pages {
    pub(crate) fn new(shards: usize, next: impl FnMut() -> Option<Vec<Record>> + Send + 'static) -> Self {
        Self { shards, next: Mutex::new(Box::new(next)) }
    }
}

/// Records with these partition keys, the first at this place of all shards.
pub(crate) fn page(first: u64, keys: impl IntoIterator<Item = PartitionKey>, data: &Bytes) -> Vec<Record> {
    let record = |(place, key): (u64, _)| Record::new(place.into(), Some(key), Timestamp::EPOCH, data.clone());
    (first..).zip(keys).map(record).collect()
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages")
    }
}

#[async_trait]
impl KinesisClient for Pages {
    async fn describe_stream_summary(&self, _: &StreamRef) -> Result<StreamSummary> {
        Ok(StreamSummary::new(STREAM.parse().expect("it is an ARN"), Timestamp::EPOCH, self.shards))
    }

    async fn list_shards(&self, _: &StreamRef, _: ShardPageRequest) -> Result<ShardPage> {
        let shard = |number| {
            let id: ShardId = format!("shardId-{number:012}").parse().expect("it is an id");
            // Nobody here asks which keys they have.
            Shard::new(id, HashKeyRange::FULL, 0_u64.into())
        };
        Ok(ShardPage::new((0..self.shards).map(shard).collect(), None))
    }

    async fn get_shard_iterator(&self, _: &StreamRef, _: &ShardId, _: StartPosition) -> Result<ShardIterator> {
        Ok(ShardIterator::new("next"))
    }

    async fn get_records(&self, _: &ShardIterator, _: usize) -> Result<RecordPage> {
        let page = (self.next.lock().unwrap_or_else(PoisonError::into_inner))();
        let behind = if page.is_some() { Duration::from_secs(1) } else { Duration::ZERO };
        Ok(RecordPage::new(page.unwrap_or_default(), Some(ShardIterator::new("next")), behind))
    }

    async fn put_records(&self, _: &StreamRef, _: &[PutRecord]) -> Result<Vec<PutOutcome>> {
        Err(Error::new(Operation::PutRecords, ErrorKind::InvalidArgument, "nothing is written here"))
    }
}
