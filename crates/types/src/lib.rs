//! Names and values of Kinesis Data Streams and of Stateful Functions.
//!
//! Every other crate of the project speaks in these types. They carry their preconditions: a [`StreamArn`] is well
//! formed, a [`PartitionKey`] has 1 to 256 characters, a [`SequenceNumber`] compares as the number that it is. Who
//! holds one need not check again.
//!
//! ```
//! use statefun_kinesis_types::{HashKey, PartitionKey, SequenceNumber, StreamArn};
//!
//! let arn: StreamArn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream".parse()?;
//! assert_eq!(arn.name().as_str(), "orders-stream");
//! assert_eq!(arn.region(), "us-east-1");
//!
//! let older: SequenceNumber = "9".parse()?;
//! let newer: SequenceNumber = "10".parse()?;
//! assert!(older < newer);
//!
//! let key: PartitionKey = "customer-17".parse()?;
//! assert_eq!(HashKey::of(&key), HashKey::of(&key));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! There is no I/O here, no async, and no opinion about how records are read or written.

mod aws;
mod chain;
mod consumer;
mod function;
mod handling;
mod hash;
mod invalid;
mod limits;
mod position;
mod record;
mod sequence;
mod shard;
mod stream;
mod timestamp;

pub use aws::{AwsCredentials, AwsRegion, Secret};
pub use chain::ErrorChain;
pub use consumer::{ConsumerArn, ConsumerName};
pub use function::{Address, FunctionType, TypeName, TypedValue};
pub use handling::{InvalidRecordHandling, LogLevel};
pub use hash::{HashKey, HashKeyRange};
pub use invalid::InvalidValue;
pub use limits::{
    GET_RECORDS_MAX_BYTES, GET_RECORDS_MAX_RECORDS, ITERATOR_LIFETIME, LIST_SHARDS_MAX_RESULTS,
    PARTITION_KEY_MAX_CHARS, PUT_RECORDS_MAX_BYTES, PUT_RECORDS_MAX_RECORDS, RECORD_MAX_BYTES, RETENTION_DEFAULT,
    SHARD_READ_BYTES_PER_SECOND, SHARD_READ_CALLS_PER_SECOND, SHARD_WRITE_BYTES_PER_SECOND,
    SHARD_WRITE_RECORDS_PER_SECOND,
};
pub use position::{CheckpointChanges, Extent, Position, ShardPosition, StreamCheckpoint};
pub use record::{PartitionKey, PutRecord, Record};
pub use sequence::SequenceNumber;
pub use shard::{Shard, ShardId, StartPosition, StartupPosition};
pub use stream::{StreamArn, StreamName, StreamRef};
pub use timestamp::Timestamp;
