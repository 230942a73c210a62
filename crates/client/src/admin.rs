use async_trait::async_trait;
use statefun_kinesis_types::{HashKey, ShardId, StreamName, StreamRef};

use crate::{KinesisClient, Result};

/// Making, reshaping and removing streams: for tests, local runs and tools. Reading and writing never need it.
///
/// Every call returns when the service has accepted it. The stream is then CREATING, UPDATING or DELETING for a
/// while; `describe_stream_summary` tells when that is over.
#[async_trait]
pub trait KinesisAdmin: KinesisClient {
    /// Makes a provisioned stream in the client's account and region (CreateStream).
    ///
    /// # Behavior
    ///
    /// * The stream is first CREATING and becomes ACTIVE, with as many shards as asked, of equal hash key ranges.
    /// * A name that is taken is [`InUse`](crate::ErrorKind::InUse).
    async fn create_stream(&self, name: &StreamName, shards: usize) -> Result<()>;

    /// Removes a stream and its records (DeleteStream).
    ///
    /// # Behavior
    ///
    /// * A removed stream becomes [`NotFound`](crate::ErrorKind::NotFound), also for a consumer's iterators.
    /// * A name can be used again once its stream is gone, and nothing of the old one is left.
    /// * A stream that has consumers with enhanced fan-out is [`InUse`](crate::ErrorKind::InUse).
    async fn delete_stream(&self, stream: &StreamRef) -> Result<()>;

    /// Names all streams of the client's account and region, in alphabetical order (ListStreams, all pages).
    ///
    /// # Behavior
    ///
    /// * A stream is listed from its creation to its end.
    async fn list_streams(&self) -> Result<Vec<StreamName>>;

    /// Splits a shard in two, the second of which starts at `new_starting_hash_key` (SplitShard).
    ///
    /// # Behavior
    ///
    /// * The children divide the parent's range at that key.
    /// * A key that is not inside the shard's range is [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    /// * A shard that is closed already is [`InvalidArgument`](crate::ErrorKind::InvalidArgument) or
    ///   [`InUse`](crate::ErrorKind::InUse).
    async fn split_shard(&self, stream: &StreamRef, shard: &ShardId, new_starting_hash_key: HashKey) -> Result<()>;

    /// Merges two shards whose ranges are adjacent (MergeShards).
    ///
    /// # Behavior
    ///
    /// * The child owns both ranges.
    /// * Shards that are not adjacent are [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    async fn merge_shards(&self, stream: &StreamRef, shard: &ShardId, adjacent: &ShardId) -> Result<()>;
}
