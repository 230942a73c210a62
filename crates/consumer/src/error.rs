use std::time::Duration;

use statefun_kinesis_client::{ConsumerStatus, Error as ClientError, ErrorKind, StreamStatus};
use statefun_kinesis_types::{ConsumerName, ShardId, StreamArn, StreamRef, Timestamp};

use crate::{CheckpointError, InvalidRecord};

/// Why streams cannot be read, and what a person can do about it.
///
/// What passes by itself (throttling, expired iterators, a service that is away for a while) is never an error here.
/// `Display` does not repeat the [`source`](std::error::Error::source): whoever shows the error prints the chain.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// The builder was given no stream.
    #[error("no stream to read was named: name one with `ConsumerBuilder::stream`")]
    NoStreams,

    /// A stream does not exist.
    #[error("stream {stream} does not exist: check its name, the account and the region, or create it")]
    StreamNotFound {
        /// The stream as it was named.
        stream: StreamRef,
        /// The service's answer.
        source: ClientError,
    },

    /// The service answered for another stream than it was asked for, as some emulators do that look at the name only.
    #[error("stream {asked} was asked for, and the service answered for {answered}: check the account and the region")]
    OtherStream {
        /// The stream as it was named.
        asked: StreamArn,
        /// The stream that the service described.
        answered: StreamArn,
    },

    /// A stream could not be read in time after the start.
    #[error("stream {stream} is still {status} after {} s: wait until it is ACTIVE and start again", waited.as_secs())]
    StreamNotReady {
        /// The stream.
        stream: StreamRef,
        /// What it is instead of ACTIVE.
        status: StreamStatus,
        /// How long it was waited for.
        waited: Duration,
    },

    /// The service could not be reached at the start.
    #[error("stream {stream} could not be reached for {} s: check the network, the endpoint and the region", waited.as_secs())]
    Unavailable {
        /// The stream.
        stream: StreamRef,
        /// How long it was tried.
        waited: Duration,
        /// The last failure.
        source: ClientError,
    },

    /// A stream was deleted while it was read.
    #[error("stream {stream} was deleted while it was read: create it again, or do not read it any more")]
    StreamDeleted {
        /// The stream.
        stream: StreamArn,
        /// The failure that showed it.
        source: ClientError,
    },

    /// A stream was deleted and created again while it was read. Its shards look the same and hold other records.
    #[error(
        "stream {stream} was deleted and created again at {created} while it was read: \
         start again to read the new stream from its oldest record"
    )]
    StreamReplaced {
        /// The stream.
        stream: StreamArn,
        /// When the new stream was made.
        created: Timestamp,
        /// The failure that showed it.
        source: ClientError,
    },

    /// The credentials do not permit reading.
    #[error(
        "reading {} is not permitted: check the credentials, and that they allow kinesis:DescribeStreamSummary, \
         ListShards, GetShardIterator and GetRecords on it",
        Place(stream, shard)
    )]
    AccessDenied {
        /// The stream.
        stream: StreamRef,
        /// The shard, if one was asked.
        shard: Option<ShardId>,
        /// The service's answer.
        source: ClientError,
    },

    /// The stream's records cannot be decrypted.
    #[error("{} cannot be decrypted: enable its KMS key and allow kms:Decrypt on it", Place(stream, shard))]
    Encryption {
        /// The stream.
        stream: StreamRef,
        /// The shard, if one was asked.
        shard: Option<ShardId>,
        /// The service's answer.
        source: ClientError,
    },

    /// The service refused a request that no repetition will mend.
    #[error(
        "reading {} was refused: check this machine's clock, and that the endpoint serves this operation",
        Place(stream, shard)
    )]
    Refused {
        /// The stream.
        stream: StreamRef,
        /// The shard, if one was asked.
        shard: Option<ShardId>,
        /// The service's answer.
        source: ClientError,
    },

    /// A record that cannot be used, where that is to end reading. Its position does not move.
    #[error("an invalid record ended reading: mend what reads it, or have invalid records skipped or dead-lettered")]
    InvalidRecord(#[source] Box<InvalidRecord>),

    /// A dead-letter stream takes nothing. The records that belong there are read again by the next start.
    #[error(
        "dead letters cannot be stored in stream {stream}: check that it exists, and allow \
         kinesis:DescribeStreamSummary and PutRecords on it"
    )]
    DeadLetter {
        /// The dead-letter stream.
        stream: StreamRef,
        /// The service's answer.
        source: ClientError,
    },

    /// The dead letters of a stream would go to one that is read by the same consumer, and might do so for ever.
    #[error("dead letters must not go to stream {stream}, which is read here too: name another one")]
    DeadLetterLoop {
        /// The stream.
        stream: StreamArn,
    },

    /// Enhanced fan-out is not possible.
    #[error(
        "stream {stream} cannot be read by enhanced fan-out as consumer {name}: allow kinesis:RegisterStreamConsumer, \
         DescribeStreamConsumer and SubscribeToShard, or read it by polling"
    )]
    FanOut {
        /// The stream.
        stream: StreamArn,
        /// The consumer's name.
        name: ConsumerName,
        /// The service's answer.
        source: ClientError,
    },

    /// The consumer of enhanced fan-out that was given does not exist.
    #[error("stream {stream} has no consumer {name}: register it, or let it be managed")]
    NoFanOutConsumer {
        /// The stream.
        stream: StreamArn,
        /// The consumer's name.
        name: ConsumerName,
        /// The service's answer.
        source: ClientError,
    },

    /// The consumer of enhanced fan-out was not ACTIVE in time.
    #[error("consumer {name} of stream {stream} is still {status} after {} s: start again later", waited.as_secs())]
    FanOutNotReady {
        /// The stream.
        stream: StreamArn,
        /// The consumer's name.
        name: ConsumerName,
        /// What it is instead of ACTIVE.
        status: ConsumerStatus,
        /// How long it was waited for.
        waited: Duration,
    },

    /// Positions could not be read or saved.
    #[error("the positions of stream {stream} could not be kept: check the checkpoint store")]
    Checkpoint {
        /// The stream.
        stream: StreamArn,
        /// What the store said.
        source: CheckpointError,
    },

    /// The shutdown token was cancelled before reading had begun.
    #[error("shut down before reading began")]
    ShutDown,

    /// A task of the consumer panicked: a bug here, or in the client or the checkpoint store.
    #[error("a task that reads {what} panicked, which is a bug: please report it with the panic's message")]
    Panicked {
        /// What the task was busy with.
        what: String,
    },
}

/// A stream, and a shard of it where one is concerned.
struct Place<'a>(&'a StreamRef, &'a Option<ShardId>);

impl std::fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.1 {
            Some(shard) => write!(f, "shard {shard} of stream {}", self.0),
            None => write!(f, "stream {}", self.0),
        }
    }
}

impl ConsumerError {
    /// What a failed call that is not worth repeating means for a reader.
    pub(crate) fn from_call(stream: &StreamRef, shard: Option<&ShardId>, source: ClientError) -> Self {
        let (stream, shard) = (stream.clone(), shard.cloned());
        match source.kind() {
            ErrorKind::AccessDenied => Self::AccessDenied { stream, shard, source },
            ErrorKind::Encryption => Self::Encryption { stream, shard, source },
            ErrorKind::NotFound if shard.is_none() => Self::StreamNotFound { stream, source },
            ErrorKind::NotFound
            | ErrorKind::InUse
            | ErrorKind::ExpiredIterator
            | ErrorKind::ExpiredToken
            | ErrorKind::Throttled
            | ErrorKind::LimitExceeded
            | ErrorKind::InvalidArgument
            | ErrorKind::Unavailable
            | ErrorKind::Timeout
            | ErrorKind::Unexpected => Self::Refused { stream, shard, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;

    use statefun_kinesis_client::Operation;

    use super::*;

    #[track_caller]
    fn check(kind: ErrorKind, shard: Option<&str>, says: &[&str]) {
        let stream: StreamRef = "orders".parse().unwrap();
        let shard: Option<ShardId> = shard.map(|shard| shard.parse().unwrap());
        let source = ClientError::new(Operation::GetRecords, kind, "the service's words");
        let error = ConsumerError::from_call(&stream, shard.as_ref(), source);
        let text = error.to_string();
        for says in says {
            assert!(text.contains(says), "{text}");
        }
        assert!(!text.contains("the service's words"), "{text}");
        assert!(error.source().unwrap().to_string().contains("the service's words"));
    }

    #[test]
    fn an_error_names_the_place_and_the_remedy_and_not_its_source() {
        check(
            ErrorKind::AccessDenied,
            Some("shardId-7"),
            &["shard shardId-7 of stream orders", "check the credentials", "allow kinesis:"],
        );
        check(ErrorKind::Encryption, Some("shardId-7"), &["shardId-7", "KMS key"]);
        check(ErrorKind::NotFound, None, &["stream orders does not exist", "region"]);
        check(ErrorKind::InvalidArgument, None, &["stream orders", "refused"]);
        check(ErrorKind::Unexpected, Some("shardId-7"), &["shardId-7", "refused"]);
    }
}
