use std::fmt::Debug;

use async_trait::async_trait;
use statefun_kinesis_types::{PutRecord, ShardId, StartPosition, StreamRef};

use crate::{PutOutcome, RecordPage, Result, ShardIterator, ShardPage, ShardPageRequest, StreamSummary};

/// Kinesis Data Streams, as far as reading and writing records goes: what a backend implements.
///
/// A call is one request: nothing is retried, paced or cached. Futures may be dropped at any await; a dropped
/// [`put_records`](Self::put_records) may have stored its records all the same.
///
/// The items under *Behavior* are checked for every backend by the conformance suite, a function each.
#[async_trait]
pub trait KinesisClient: Debug + Send + Sync + 'static {
    /// Describes a stream (DescribeStreamSummary).
    ///
    /// # Behavior
    ///
    /// * A stream is the same by name and by ARN.
    /// * Its ARN, name, retention, shard count and record size limit are those of the stream.
    /// * A stream that does not exist is [`NotFound`](crate::ErrorKind::NotFound), by name and by ARN.
    async fn describe_stream_summary(&self, stream: &StreamRef) -> Result<StreamSummary>;

    /// Gives a page of a stream's shards (ListShards).
    ///
    /// # Behavior
    ///
    /// * The open shards of a stream cover the hash key space without gap or overlap.
    /// * Pages joined are the whole listing, each shard once, by id.
    /// * The filters say what they promise: closed parents are part of `FromTrimHorizon` and not of `AtLatest`;
    ///   `AfterShardId` starts behind that id; `FromTimestamp` leaves out what was closed before.
    /// * After a split the parent is closed and has an ending sequence number, and the children name it as parent.
    /// * After a merge the child names both parents.
    /// * A stream that does not exist is [`NotFound`](crate::ErrorKind::NotFound).
    /// * An invented token is [`InvalidArgument`](crate::ErrorKind::InvalidArgument); one older than five
    ///   minutes is [`ExpiredToken`](crate::ErrorKind::ExpiredToken).
    async fn list_shards(&self, stream: &StreamRef, page: ShardPageRequest) -> Result<ShardPage>;

    /// Gives a place in a shard from which to read (GetShardIterator).
    ///
    /// # Behavior
    ///
    /// * `TrimHorizon` starts at the oldest record, `Latest` behind the newest.
    /// * `AtTimestamp` starts at the first record that arrived at that time or later; a time before retention is trim
    ///   horizon.
    /// * A timestamp in the future, by the service's clock and not the caller's, is
    ///   [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    /// * `AtSequenceNumber` starts at that record, `AfterSequenceNumber` behind it.
    /// * A shard or stream that does not exist is [`NotFound`](crate::ErrorKind::NotFound).
    async fn get_shard_iterator(
        &self,
        stream: &StreamRef,
        shard: &ShardId,
        from: StartPosition,
    ) -> Result<ShardIterator>;

    /// Reads records from an iterator on (GetRecords). `limit` is the most records wanted, 1 to 10 000.
    ///
    /// # Behavior
    ///
    /// * Records come in the order of their sequence numbers, with the payload and the partition key that were put.
    /// * No more than `limit` records come; the next iterator goes on behind the last one.
    /// * An iterator can be used again and gives the same records.
    /// * An open shard always has a next iterator, also behind its newest record; a closed one has none behind its
    ///   last record, and names its child shards there.
    /// * The time behind the latest record is zero at the tip, and not zero while records wait.
    /// * An iterator older than five minutes is [`ExpiredIterator`](crate::ErrorKind::ExpiredIterator).
    /// * A limit of 0 or over 10 000, and an invented iterator, are
    ///   [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    async fn get_records(&self, iterator: &ShardIterator, limit: usize) -> Result<RecordPage>;

    /// Stores records (PutRecords), 1 to 500 of them and 10 MiB at most, keys included.
    ///
    /// # Behavior
    ///
    /// * The outcomes are in the order of the request, one each.
    /// * The MD5 of the partition key decides the shard; an explicit hash key decides in its place.
    /// * Sequence numbers of one shard grow with each request.
    /// * A record goes to an open shard: after a split or merge to a child.
    /// * Any byte string is a payload, the empty one too; a key has up to 256 characters of any kind.
    /// * No records, more than 500, a record over the stream's limit and a request over 10 MiB are
    ///   [`InvalidArgument`](crate::ErrorKind::InvalidArgument), and nothing is stored.
    /// * Single records may fail while others are stored; a failed one was not stored.
    /// * A stream that does not exist is [`NotFound`](crate::ErrorKind::NotFound).
    async fn put_records(&self, stream: &StreamRef, records: &[PutRecord]) -> Result<Vec<PutOutcome>>;
}
