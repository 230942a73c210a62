use std::{fmt, num::NonZeroU16, time::Duration};

use statefun_kinesis_types::{
    HashKeyRange, RECORD_MAX_BYTES, RETENTION_DEFAULT, Record, SequenceNumber, Shard, ShardId, StreamArn, StreamName,
    Timestamp,
};

use crate::ErrorKind;

/// What DescribeStreamSummary says of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamSummary {
    /// The stream's ARN.
    pub arn: StreamArn,
    /// The stream's short name.
    pub name: StreamName,
    /// Whether the stream can be used.
    pub status: StreamStatus,
    /// When the stream was made. Tells a stream from an earlier one of the same name.
    pub created: Timestamp,
    /// How long records are kept.
    pub retention: Duration,
    /// Shards that take records.
    pub open_shards: usize,
    /// Who decides on the number of shards.
    pub mode: StreamMode,
    /// Most bytes of one record, data and partition key together (`MaxRecordSizeInKiB`).
    pub max_record_bytes: usize,
    /// What decides on a record's shard.
    pub distribution: RecordDistribution,
    /// Registered consumers with enhanced fan-out.
    pub consumers: usize,
    /// The KMS key with which the service encrypts the records, by id, ARN or alias; `None` when it does not.
    pub kms_key: Option<String>,
}

impl StreamSummary {
    /// An active provisioned stream with the service's defaults. The fields are public: set what differs.
    pub fn new(arn: StreamArn, created: Timestamp, open_shards: usize) -> Self {
        Self {
            name: arn.name(),
            arn,
            status: StreamStatus::Active,
            created,
            retention: RETENTION_DEFAULT,
            open_shards,
            mode: StreamMode::Provisioned,
            max_record_bytes: RECORD_MAX_BYTES,
            distribution: RecordDistribution::UserPartitionKey,
            consumers: 0,
            kms_key: None,
        }
    }
}

/// Whether a stream can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamStatus {
    /// Being made: neither reads nor writes yet.
    Creating,
    /// Usable.
    Active,
    /// Usable, while its shards are being split or merged.
    Updating,
    /// Being removed.
    Deleting,
}

impl StreamStatus {
    /// Whether records can be read and written.
    pub const fn is_usable(self) -> bool {
        matches!(self, Self::Active | Self::Updating)
    }
}

impl fmt::Display for StreamStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Creating => "CREATING",
            Self::Active => "ACTIVE",
            Self::Updating => "UPDATING",
            Self::Deleting => "DELETING",
        })
    }
}

/// Who decides on the number of a stream's shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamMode {
    /// The owner.
    Provisioned,
    /// The service.
    OnDemand,
}

/// What decides on a record's shard (`RecordDistributionStrategy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordDistribution {
    /// The hash of the partition key, or the explicit hash key.
    UserPartitionKey,
    /// The service, whatever the keys say. Order per key does not exist, and aggregates are not supported.
    Auto,
}

/// Which shards ListShards shall name (API reference, `ShardFilter`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ShardFilter {
    /// All shards that still hold records or take them.
    #[default]
    FromTrimHorizon,
    /// The shards that were open at the trim horizon.
    AtTrimHorizon,
    /// The shards that are open now.
    AtLatest,
    /// The shards that were open at this time.
    AtTimestamp(Timestamp),
    /// The shards that were open at this time or came later.
    FromTimestamp(Timestamp),
    /// The shards whose ids come after this one.
    AfterShardId(ShardId),
}

/// Which page of a stream's shards is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardPageRequest {
    /// The first page of a new listing.
    First {
        /// Which shards.
        filter: ShardFilter,
        /// Most shards of the page; the service's own default is 1 000, and its most 10 000.
        max_results: Option<NonZeroU16>,
    },
    /// The page behind an earlier one.
    Next {
        /// What the earlier page gave.
        token: PageToken,
        /// Most shards of the page.
        max_results: Option<NonZeroU16>,
    },
}

/// A page of ListShards.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardPage {
    /// The shards, by id.
    pub shards: Vec<Shard>,
    /// The way to the next page; `None` on the last one.
    pub next: Option<PageToken>,
}

impl ShardPage {
    /// A page.
    pub fn new(shards: Vec<Shard>, next: Option<PageToken>) -> Self {
        Self { shards, next }
    }
}

macro_rules! opaque {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// Wraps what a service gave.
            pub fn new(token: impl Into<Box<str>>) -> Self {
                Self(token.into())
            }

            /// The service's text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "(…)"))
            }
        }
    };
}

opaque! {
    /// Where a ListShards or ListStreamConsumers listing goes on. Lives five minutes. Opaque.
    PageToken
}

opaque! {
    /// Where GetRecords goes on. Lives five minutes. Opaque.
    ShardIterator
}

/// What GetRecords gives.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordPage {
    /// The records, by sequence number. May be empty although more follow.
    pub records: Vec<Record>,
    /// Where to go on; `None` at the end of a closed shard.
    pub next_iterator: Option<ShardIterator>,
    /// How far the page lies behind the newest record of the shard (`MillisBehindLatest`).
    pub behind_latest: Duration,
    /// The shards that go on where this one ended. Only at its end, and not from every backend.
    pub child_shards: Vec<ChildShard>,
}

impl RecordPage {
    /// A page that is not the last one.
    pub fn new(records: Vec<Record>, next_iterator: Option<ShardIterator>, behind_latest: Duration) -> Self {
        Self { records, next_iterator, behind_latest, child_shards: Vec::new() }
    }
}

/// A shard that goes on where another one ended, as GetRecords and SubscribeToShard tell of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChildShard {
    /// The shard's name.
    pub id: ShardId,
    /// The shards that it goes on from.
    pub parents: Vec<ShardId>,
    /// The part of the hash key space that it owns.
    pub hash_range: HashKeyRange,
}

impl ChildShard {
    /// A child shard.
    pub fn new(id: ShardId, parents: Vec<ShardId>, hash_range: HashKeyRange) -> Self {
        Self { id, parents, hash_range }
    }
}

/// The outcome of one record of a PutRecords request.
pub type PutOutcome = std::result::Result<Placement, PutFailure>;

/// Where a record was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The shard.
    pub shard: ShardId,
    /// The place in the shard.
    pub sequence_number: SequenceNumber,
}

/// Why one record of a PutRecords request was not stored, while the request itself succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PutFailure {
    /// What a caller can do: [`Throttled`](ErrorKind::Throttled) or [`Unavailable`](ErrorKind::Unavailable).
    pub kind: ErrorKind,
    /// The service's own name for the failure, such as `InternalFailure`.
    pub code: String,
    /// The service's words.
    pub message: String,
}

impl PutFailure {
    /// A failure, with the service's name and words for it.
    pub fn new(kind: ErrorKind, code: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, code: code.into(), message: message.into() }
    }
}

impl fmt::Display for PutFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} ({})", self.kind, self.message, self.code)
    }
}

impl std::error::Error for PutFailure {}
