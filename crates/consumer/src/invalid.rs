//! Records that cannot be used.

use std::fmt;

use statefun_kinesis_dead_letter::reason;
use statefun_kinesis_types::{SequenceNumber, ShardId, StreamArn, Timestamp};

/// Why a record cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum InvalidKind {
    /// An aggregated record by its magic bytes and its MD5, whose content makes no sense. Found by the consumer.
    CorruptAggregate,
    /// The record has no partition key and its reader needs one. Told by who reads.
    MissingPartitionKey,
    /// The payload is not what its reader expects. Told by who reads.
    Undecodable,
}

impl InvalidKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::CorruptAggregate, Self::MissingPartitionKey, Self::Undecodable];

    /// The kind as logs, metrics and dead letters have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CorruptAggregate => reason::CORRUPT_AGGREGATE,
            Self::MissingPartitionKey => reason::MISSING_PARTITION_KEY,
            Self::Undecodable => reason::UNDECODABLE,
        }
    }
}

impl fmt::Display for InvalidKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A record that cannot be used: which one, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid record ({kind}) in stream {stream}, {shard}, sequence number {sequence_number}{}: {message}",
    Sub(*sub_sequence_number)
)]
#[non_exhaustive]
pub struct InvalidRecord {
    /// The record's stream.
    pub stream: StreamArn,
    /// The record's shard.
    pub shard: ShardId,
    /// The record's place in the shard.
    pub sequence_number: SequenceNumber,
    /// The place of a user record in its aggregate; 0 for any other record.
    pub sub_sequence_number: u64,
    /// When the service took the record.
    pub approximate_arrival: Timestamp,
    /// What is wrong, in general.
    pub kind: InvalidKind,
    /// What is wrong with this one.
    pub message: String,
}

struct Sub(u64);

impl fmt::Display for Sub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            number => write!(f, ", user record {number}"),
        }
    }
}
