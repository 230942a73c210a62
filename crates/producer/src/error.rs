use std::{sync::Arc, time::Duration};

use statefun_kinesis_client::{Error, ErrorKind, PutFailure, StreamStatus};
use statefun_kinesis_types::{PartitionKey, StreamRef};

/// Why a record was not stored.
///
/// Every variant names the stream, the partition key and the size in bytes (data and key). `Display` does not repeat
/// the [`source`](std::error::Error::source), which holds the service's words.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The record is larger than the stream takes. It was never queued.
    #[error("the record of key {key:?} has {size} bytes with its key; stream {stream} takes {limit} bytes at most")]
    TooLarge {
        /// The stream.
        stream: StreamRef,
        /// The record's partition key.
        key: PartitionKey,
        /// Bytes of the record, data and key together.
        size: usize,
        /// The stream's limit in bytes.
        limit: usize,
    },

    /// All tries within [`Settings::give_up_after`](crate::Settings::give_up_after) failed.
    #[error(
        "gave up on the record of key {key:?} ({size} bytes) for stream {stream} after {attempts} attempts in {elapsed:?}"
    )]
    GaveUp {
        /// The stream.
        stream: StreamRef,
        /// The record's partition key.
        key: PartitionKey,
        /// Bytes of the record, data and key together.
        size: usize,
        /// How many requests carried the record.
        attempts: u32,
        /// Time from the first of them to the last answer.
        elapsed: Duration,
        /// Whether one of the requests ended without an answer, so that the record may have been stored all the same.
        may_be_stored: bool,
        /// What the last attempt came to.
        #[source]
        last: Failure,
    },

    /// The service will not take the record or the request, however often it is tried.
    #[error("stream {stream} refuses the record of key {key:?} ({size} bytes)")]
    Rejected {
        /// The stream.
        stream: StreamRef,
        /// The record's partition key.
        key: PartitionKey,
        /// Bytes of the record, data and key together.
        size: usize,
        /// How many requests carried the record.
        attempts: u32,
        /// Whether one of the requests ended without a sensible answer, so that the record may have been stored all
        /// the same.
        may_be_stored: bool,
        /// What the last attempt came to.
        #[source]
        last: Failure,
    },

    /// An earlier record of the same key failed while this one waited behind it. It was never sent: storing it would
    /// have put it before the earlier one, should that be sent again.
    #[error(
        "the record of key {key:?} ({size} bytes) was not sent to stream {stream}: an earlier one of its key failed"
    )]
    PredecessorFailed {
        /// The stream.
        stream: StreamRef,
        /// The record's partition key.
        key: PartitionKey,
        /// Bytes of the record, data and key together.
        size: usize,
    },

    /// The producer was closed before the record was queued, or was dropped before the record was stored.
    #[error("the record of key {key:?} ({size} bytes) was not stored: the producer of stream {stream} is closed")]
    Closed {
        /// The stream.
        stream: StreamRef,
        /// The record's partition key.
        key: PartitionKey,
        /// Bytes of the record, data and key together.
        size: usize,
        /// Whether a request carried the record and ended without an answer, so that it may have been stored all the
        /// same.
        may_be_stored: bool,
    },
}

impl SendError {
    /// The stream that the record was meant for.
    pub fn stream(&self) -> &StreamRef {
        match self {
            Self::TooLarge { stream, .. }
            | Self::GaveUp { stream, .. }
            | Self::Rejected { stream, .. }
            | Self::PredecessorFailed { stream, .. }
            | Self::Closed { stream, .. } => stream,
        }
    }

    /// The record's partition key.
    pub fn key(&self) -> &PartitionKey {
        match self {
            Self::TooLarge { key, .. }
            | Self::GaveUp { key, .. }
            | Self::Rejected { key, .. }
            | Self::PredecessorFailed { key, .. }
            | Self::Closed { key, .. } => key,
        }
    }

    /// Whether the record may be in the stream all the same, because a request ended without an answer.
    pub fn may_be_stored(&self) -> bool {
        match self {
            Self::TooLarge { .. } | Self::PredecessorFailed { .. } => false,
            Self::GaveUp { may_be_stored, .. }
            | Self::Rejected { may_be_stored, .. }
            | Self::Closed { may_be_stored, .. } => *may_be_stored,
        }
    }
}

/// What the last attempt to store a record came to.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// The request failed as a whole.
    #[error(transparent)]
    Call(Arc<Error>),
    /// The request was answered, and this record was not stored.
    #[error(transparent)]
    Record(Arc<PutFailure>),
}

impl Failure {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Call(error) => error.kind(),
            Self::Record(failure) => failure.kind,
        }
    }
}

/// Why a producer could not be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProducerError {
    /// There is no such stream.
    #[error("stream {stream} does not exist in the account and region that were asked")]
    NotFound {
        /// The stream.
        stream: StreamRef,
        /// The service's words.
        source: Error,
    },

    /// The stream is being removed, or was not ready in time.
    #[error("stream {stream} is still {status} after {waited:?}")]
    NotReady {
        /// The stream.
        stream: StreamRef,
        /// What it is instead of ACTIVE.
        status: StreamStatus,
        /// How long the producer waited for it.
        waited: Duration,
    },

    /// The stream could not be described.
    #[error("stream {stream} could not be described")]
    Describe {
        /// The stream.
        stream: StreamRef,
        /// The service's words.
        source: Error,
    },
}
