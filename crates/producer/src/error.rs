use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use statefun_kinesis_client::{Error, ErrorKind, Fault, PutFailure, StreamStatus};
use statefun_kinesis_types::{HashKey, PartitionKey, PutRecord, ShardId, StreamRef};

use crate::TaskFailure;

/// A record that was not stored, and why.
///
/// It names the stream, the partition key and the size in bytes. `Display` does not repeat the
/// [`source`](StdError::source), which has the message of the service. It is as large as a pointer.
#[derive(Clone, Debug)]
pub struct SendError(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    stream: StreamRef,
    key: PartitionKey,
    explicit_hash_key: Option<HashKey>,
    size: usize,
    attempts: u32,
    may_be_stored: bool,
    reason: Reason,
    handling: Handling,
}

/// Why a record was not stored.
#[derive(Clone, Debug)]
pub enum Reason {
    /// The record is larger than the stream takes. It was not sent.
    TooLarge {
        /// The stream's limit in bytes, data and key together.
        limit: usize,
    },

    /// All attempts within [`Settings::give_up_after`](crate::Settings::give_up_after) or
    /// [`Settings::max_attempts`](crate::Settings::max_attempts) failed.
    GaveUp {
        /// Time from the first attempt to the last answer.
        elapsed: Duration,
        /// The result of the last attempt.
        last: Failure,
    },

    /// The service rejected the record or the request in a way that no retry changes.
    Rejected {
        /// The result of the last attempt.
        last: Failure,
    },

    /// An earlier record of the same key failed while this one waited behind it. It was not sent any more: it would have been
    /// stored before the earlier one, should that be sent again.
    PredecessorFailed,

    /// The producer was closed before the record was queued, or was dropped before the record was stored.
    Closed,

    /// A task of the producer panicked. The producer sends nothing any more.
    TaskFailed(TaskFailure),

    /// The stream is not one of the [allowed](crate::ProducersBuilder::allow) ones.
    NotAllowed,

    /// No producer for the stream could be built. The record was not sent.
    NoProducer(Arc<ProducerError>),
}

/// What was done about a record that was not stored; see [`OnFailure`](crate::OnFailure).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Handling {
    /// Nothing but this error: it is up to the sender of the record.
    #[default]
    Failed,
    /// It was logged and skipped; the records behind it went on.
    Skipped,
    /// It was stored in the dead-letter stream; the records behind it went on.
    DeadLettered,
}

impl SendError {
    pub(crate) fn new(stream: &StreamRef, record: &PutRecord, reason: Reason) -> Self {
        Self::about(stream, &record.partition_key, record.explicit_hash_key, record.size(), reason)
    }

    /// The error of a record of which only these properties are known any more.
    pub(crate) fn about(
        stream: &StreamRef,
        key: &PartitionKey,
        explicit_hash_key: Option<HashKey>,
        size: usize,
        reason: Reason,
    ) -> Self {
        Self(Box::new(Inner {
            stream: stream.clone(),
            key: key.clone(),
            explicit_hash_key,
            size,
            attempts: 0,
            may_be_stored: false,
            reason,
            handling: Handling::Failed,
        }))
    }

    /// The same error, with the number of attempts and whether one of them may have stored the record.
    pub(crate) fn tried(mut self, attempts: u32, may_be_stored: bool) -> Self {
        (self.0.attempts, self.0.may_be_stored) = (attempts, may_be_stored);
        self
    }

    pub(crate) fn handled(mut self, handling: Handling) -> Self {
        self.0.handling = handling;
        self
    }

    /// Why.
    pub fn reason(&self) -> &Reason {
        &self.0.reason
    }

    /// The stream that the record was meant for.
    pub fn stream(&self) -> &StreamRef {
        &self.0.stream
    }

    /// The record's partition key.
    pub fn key(&self) -> &PartitionKey {
        &self.0.key
    }

    /// The record's explicit hash key.
    pub fn explicit_hash_key(&self) -> Option<HashKey> {
        self.0.explicit_hash_key
    }

    /// Bytes of the record, data and partition key together.
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// How many requests carried the record, without those that were rejected because of another record in them.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Whether the record may be in the stream nevertheless: a request ended without an answer, or the aggregate with the
    /// record was stored on a shard where some readers drop it.
    pub fn may_be_stored(&self) -> bool {
        self.0.may_be_stored
    }

    /// What was done about it.
    pub fn handling(&self) -> Handling {
        self.0.handling
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { stream, key, size, attempts, reason, .. } = &*self.0;
        match reason {
            Reason::TooLarge { limit } => write!(
                f,
                "the record of key {key:?} has {size} bytes with its key; stream {stream} takes {limit} bytes at most"
            ),
            Reason::GaveUp { elapsed, .. } => write!(
                f,
                "gave up on the record of key {key:?} ({size} bytes) for stream {stream} after {attempts} attempts in \
                 {elapsed:?}"
            ),
            Reason::Rejected { .. } => {
                write!(f, "stream {stream} rejected the record of key {key:?} ({size} bytes)")
            }
            Reason::PredecessorFailed => write!(
                f,
                "the record of key {key:?} ({size} bytes) was not sent to stream {stream}: an earlier one of its key \
                 failed"
            ),
            Reason::Closed => write!(
                f,
                "the record of key {key:?} ({size} bytes) was not stored: the producer of stream {stream} is closed"
            ),
            Reason::TaskFailed(failure) => write!(
                f,
                "the record of key {key:?} ({size} bytes) may not be stored: the task `{}` of the producer of stream \
                 {stream} failed",
                failure.task()
            ),
            Reason::NotAllowed => {
                write!(f, "the record of key {key:?} ({size} bytes) may not go to stream {stream}: it is not allowed")
            }
            Reason::NoProducer(_) => {
                write!(f, "the record of key {key:?} ({size} bytes) cannot go to stream {stream}")
            }
        }
    }
}

impl StdError for SendError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.0.reason {
            Reason::GaveUp { last, .. } | Reason::Rejected { last } => Some(last),
            Reason::NoProducer(error) => Some(&**error),
            Reason::TaskFailed(failure) => Some(failure),
            Reason::TooLarge { .. } | Reason::PredecessorFailed | Reason::Closed | Reason::NotAllowed => None,
        }
    }
}

/// The result of the last attempt to store a record.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The request failed as a whole.
    #[error(transparent)]
    Call(Arc<Error>),
    /// The request was answered, and this record was not stored.
    #[error(transparent)]
    Record(Arc<PutFailure>),
    /// The aggregate with the record was stored on a shard to which not all of its records belong, so that some readers drop
    /// it.
    #[error("the aggregate was stored on {shard}, to which not all of its records belong")]
    WrongShard {
        /// The shard on which it was stored.
        shard: ShardId,
    },
}

impl Failure {
    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Call(error) => error.kind(),
            Self::Record(failure) => failure.kind,
            Self::WrongShard { .. } => ErrorKind::Unexpected,
        }
    }
}

/// Why a producer could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ProducerError {
    /// There is no such stream.
    #[error("stream {stream} does not exist in the account and region of the client")]
    NotFound {
        /// The stream.
        stream: StreamRef,
        /// The error of the service.
        source: Error,
    },

    /// The stream is being deleted, or was not ready in time.
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
    #[error("cannot describe stream {stream}")]
    Describe {
        /// The stream.
        stream: StreamRef,
        /// The error of the service.
        source: Error,
    },

    /// The shards of the stream could not be listed. Aggregation needs them.
    #[error("cannot list the shards of stream {stream}")]
    ListShards {
        /// The stream.
        stream: StreamRef,
        /// The error of the service.
        source: Error,
    },

    /// Aggregation was requested for a stream whose record distribution is AUTO. There aggregates are stored on any shard, and
    /// readers drop the records that do not belong to it.
    #[error(
        "stream {stream} distributes records by itself (AUTO), where aggregated records get lost; switch aggregation \
         off, or set the stream's record distribution to USER_PARTITION_KEY"
    )]
    AggregationUnderAuto {
        /// The stream.
        stream: StreamRef,
    },

    /// There is no client for the stream's region and account.
    #[error("there is no client for stream {stream}")]
    NoClient {
        /// The stream.
        stream: StreamRef,
        /// What is wrong.
        source: Error,
    },
}

impl ProducerError {
    /// Whether a record that names the stream is at fault: no such stream exists, or no call can be made for it. Otherwise
    /// the credentials, the network or the service may be at fault, which say nothing about the record.
    pub(crate) fn is_about_record(&self) -> bool {
        match self {
            Self::NotFound { .. } => true,
            Self::Describe { source, .. } | Self::ListShards { source, .. } | Self::NoClient { source, .. } => {
                source.kind().treatment_of_single_record().fault == Fault::Record
            }
            Self::NotReady { .. } | Self::AggregationUnderAuto { .. } => false,
        }
    }
}
