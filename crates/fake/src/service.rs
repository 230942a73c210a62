//! The seam's traits, over the store.

use async_trait::async_trait;
use statefun_kinesis_client::{
    KinesisAdmin, KinesisClient, Operation, PutOutcome, RecordPage, Result, ShardIterator, ShardPage, ShardPageRequest,
    StreamSummary,
};
use statefun_kinesis_types::{HashKey, PutRecord, ShardId, StartPosition, StreamName, StreamRef};

use crate::{FakeKinesis, fake::State};

#[async_trait]
impl KinesisClient for FakeKinesis {
    async fn describe_stream_summary(&self, stream: &StreamRef) -> Result<StreamSummary> {
        self.call(Operation::DescribeStreamSummary, |state, now| state.store.describe(stream, now)).await
    }

    async fn list_shards(&self, stream: &StreamRef, page: ShardPageRequest) -> Result<ShardPage> {
        self.call(Operation::ListShards, |state, now| state.store.list_shards(stream, &page, now)).await
    }

    async fn get_shard_iterator(
        &self,
        stream: &StreamRef,
        shard: &ShardId,
        from: StartPosition,
    ) -> Result<ShardIterator> {
        self.call(Operation::GetShardIterator, |state, now| state.store.shard_iterator(stream, shard, from, now)).await
    }

    async fn get_records(&self, iterator: &ShardIterator, limit: usize) -> Result<RecordPage> {
        self.call(Operation::GetRecords, |state, now| state.store.get_records(iterator, limit, now)).await
    }

    async fn put_records(&self, stream: &StreamRef, records: &[PutRecord]) -> Result<Vec<PutOutcome>> {
        self.call(Operation::PutRecords, |State { store, faults, .. }, now| {
            let mut fails = faults.entries();
            store.put_records(stream, records, now, |index, record| fails(index, record).map(Err))
        })
        .await
    }
}

#[async_trait]
impl KinesisAdmin for FakeKinesis {
    async fn create_stream(&self, name: &StreamName, shards: usize) -> Result<()> {
        self.call(Operation::CreateStream, |state, now| state.store.create(name, shards, now)).await
    }

    async fn delete_stream(&self, stream: &StreamRef) -> Result<()> {
        self.call(Operation::DeleteStream, |state, now| state.store.delete(stream, now)).await
    }

    async fn list_streams(&self) -> Result<Vec<StreamName>> {
        self.call(Operation::ListStreams, |state, now| Ok(state.store.list(now))).await
    }

    async fn split_shard(&self, stream: &StreamRef, shard: &ShardId, new_starting_hash_key: HashKey) -> Result<()> {
        self.call(Operation::SplitShard, |state, now| state.store.split(stream, shard, new_starting_hash_key, now))
            .await
    }

    async fn merge_shards(&self, stream: &StreamRef, shard: &ShardId, adjacent: &ShardId) -> Result<()> {
        self.call(Operation::MergeShards, |state, now| state.store.merge(stream, shard, adjacent, now)).await
    }
}
