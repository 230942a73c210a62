//! A client behind a pointer is a client. A method that is missing here would fall back on nothing, and does not
//! compile.

use std::sync::Arc;

use async_trait::async_trait;
use statefun_kinesis_types::{
    ConsumerArn, ConsumerName, HashKey, PutRecord, ShardId, StartPosition, StreamArn, StreamName, StreamRef,
};

use crate::{
    ConsumerPage, ConsumerPageRequest, FanOutClient, KinesisAdmin, KinesisClient, PutOutcome, RecordPage, Result,
    ShardIterator, ShardPage, ShardPageRequest, StreamConsumer, StreamSummary, Subscription,
};

macro_rules! forward {
    ($pointer:ident) => {
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<T: KinesisClient + ?Sized> KinesisClient for $pointer<T> {
            async fn describe_stream_summary(&self, stream: &StreamRef) -> Result<StreamSummary> {
                (**self).describe_stream_summary(stream).await
            }

            async fn list_shards(&self, stream: &StreamRef, page: ShardPageRequest) -> Result<ShardPage> {
                (**self).list_shards(stream, page).await
            }

            async fn get_shard_iterator(
                &self,
                stream: &StreamRef,
                shard: &ShardId,
                from: StartPosition,
            ) -> Result<ShardIterator> {
                (**self).get_shard_iterator(stream, shard, from).await
            }

            async fn get_records(&self, iterator: &ShardIterator, limit: usize) -> Result<RecordPage> {
                (**self).get_records(iterator, limit).await
            }

            async fn put_records(&self, stream: &StreamRef, records: &[PutRecord]) -> Result<Vec<PutOutcome>> {
                (**self).put_records(stream, records).await
            }
        }

        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<T: KinesisAdmin + ?Sized> KinesisAdmin for $pointer<T> {
            async fn create_stream(&self, name: &StreamName, shards: usize) -> Result<()> {
                (**self).create_stream(name, shards).await
            }

            async fn delete_stream(&self, stream: &StreamRef) -> Result<()> {
                (**self).delete_stream(stream).await
            }

            async fn list_streams(&self) -> Result<Vec<StreamName>> {
                (**self).list_streams().await
            }

            async fn split_shard(&self, stream: &StreamRef, shard: &ShardId, at: HashKey) -> Result<()> {
                (**self).split_shard(stream, shard, at).await
            }

            async fn merge_shards(&self, stream: &StreamRef, shard: &ShardId, adjacent: &ShardId) -> Result<()> {
                (**self).merge_shards(stream, shard, adjacent).await
            }
        }

        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<T: FanOutClient + ?Sized> FanOutClient for $pointer<T> {
            async fn register_stream_consumer(
                &self,
                stream: &StreamArn,
                name: &ConsumerName,
            ) -> Result<StreamConsumer> {
                (**self).register_stream_consumer(stream, name).await
            }

            async fn describe_stream_consumer(
                &self,
                stream: &StreamArn,
                name: &ConsumerName,
            ) -> Result<StreamConsumer> {
                (**self).describe_stream_consumer(stream, name).await
            }

            async fn list_stream_consumers(
                &self,
                stream: &StreamArn,
                page: ConsumerPageRequest,
            ) -> Result<ConsumerPage> {
                (**self).list_stream_consumers(stream, page).await
            }

            async fn deregister_stream_consumer(&self, consumer: &ConsumerArn) -> Result<()> {
                (**self).deregister_stream_consumer(consumer).await
            }

            async fn subscribe_to_shard(
                &self,
                consumer: &ConsumerArn,
                shard: &ShardId,
                from: StartPosition,
            ) -> Result<Subscription> {
                (**self).subscribe_to_shard(consumer, shard, from).await
            }
        }
    };
}

forward!(Arc);
forward!(Box);
