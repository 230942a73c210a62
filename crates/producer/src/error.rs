use std::{error::Error as StdError, fmt, sync::Arc, time::Duration};

use statefun_kinesis_client::{Error, ErrorKind, PutFailure, StreamStatus};
use statefun_kinesis_types::{HashKey, PartitionKey, PutRecord, ShardId, StreamRef};

/// A record that was not stored, and why.
///
/// It names the stream, the partition key and the size in bytes. `Display` does not repeat the
/// [`source`](StdError::source), which holds the service's words. One word wide.
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
    /// The record is larger than the stream takes. It was never sent.
    TooLarge {
        /// The stream's limit in bytes, data and key together.
        limit: usize,
    },

    /// All tries within [`Settings::give_up_after`](crate::Settings::give_up_after) or
    /// [`Settings::max_attempts`](crate::Settings::max_attempts) failed.
    GaveUp {
        /// Time from the first of them to the last answer.
        elapsed: Duration,
        /// What the last attempt came to.
        last: Failure,
    },

    /// The service will not take the record or the request, however often it is tried.
    Rejected {
        /// What the last attempt came to.
        last: Failure,
    },

    /// An earlier record of the same key failed while this one waited behind it. It was not sent again: storing it
    /// would have put it before the earlier one, should that be sent again.
    PredecessorFailed,

    /// The producer was closed before the record was queued, or was dropped before the record was stored.
    Closed,

    /// Records may not go to the stream: it is not one of the [allowed](crate::ProducersBuilder::allow).
    NotAllowed,

    /// No producer of the stream could be built. The record was never sent.
    NoProducer(Arc<ProducerError>),
}

/// What was done about a record that was not stored; see [`OnFailure`](crate::OnFailure).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Handling {
    /// Its sender was told, and has to do something about it.
    #[default]
    Failed,
    /// It was logged and left out; those behind it went on.
    Skipped,
    /// It was stored in the dead-letter stream; those behind it went on.
    DeadLettered,
}

impl SendError {
    pub(crate) fn new(stream: &StreamRef, record: &PutRecord, reason: Reason) -> Self {
        Self::about(stream, &record.partition_key, record.explicit_hash_key, record.size(), reason)
    }

    /// The error of a record that is not at hand any more.
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

    /// The same error after so many attempts, one of which may have stored the record.
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

    /// Bytes of the record, data and key together.
    pub fn size(&self) -> usize {
        self.0.size
    }

    /// How many requests carried the record, without those that only served to find a refused one among others.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Whether the record may be in the stream all the same: a request ended without an answer, or the aggregate that
    /// carried the record landed on a shard where not every reader takes it.
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
                write!(f, "stream {stream} refuses the record of key {key:?} ({size} bytes)")
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
            // The failure is as transparent as its Display.
            Reason::GaveUp { last, .. } | Reason::Rejected { last } => Some(last),
            Reason::NoProducer(error) => Some(&**error),
            Reason::TooLarge { .. } | Reason::PredecessorFailed | Reason::Closed | Reason::NotAllowed => None,
        }
    }
}

/// What the last attempt to store a record came to.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Failure {
    /// The request failed as a whole.
    #[error(transparent)]
    Call(Arc<Error>),
    /// The request was answered, and this record was not stored.
    #[error(transparent)]
    Record(Arc<PutFailure>),
    /// The aggregate that carried the record landed on a shard to which not all of its records belong, so that some
    /// readers drop it.
    #[error("the aggregate landed on {shard}, to which not all of its records belong")]
    WrongShard {
        /// Where it landed.
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

    /// Aggregation was asked for, and the shards of the stream, which it takes, could not be listed.
    #[error("the shards of stream {stream} could not be listed")]
    ListShards {
        /// The stream.
        stream: StreamRef,
        /// The service's words.
        source: Error,
    },

    /// Aggregation was asked for on a stream whose record distribution is AUTO. There aggregates land on any shard, and
    /// readers drop what does not belong to theirs.
    #[error(
        "stream {stream} distributes records by itself (AUTO), where aggregated records get lost; switch aggregation \
         off, or set the stream's record distribution to USER_PARTITION_KEY"
    )]
    AggregationUnderAuto {
        /// The stream.
        stream: StreamRef,
    },

    /// No client for the stream's region and account could be had.
    #[error("there is no client for stream {stream}")]
    NoClient {
        /// The stream.
        stream: StreamRef,
        /// What is wrong.
        source: Error,
    },
}
