use std::time::Duration;

use statefun_kinesis_client::{ConsumerStatus, Error as ClientError, ErrorKind, StreamStatus};
use statefun_kinesis_types::{ConsumerName, ShardId, StreamArn, StreamRef, Timestamp};

use crate::{CheckpointError, InvalidRecord};

/// Why streams cannot be read, and what a person can do about it.
///
/// Failures that pass by themselves (throttling, expired iterators, an unavailable service) are retried and never an error
/// here. `Display` does not repeat the [`source`](std::error::Error::source): print the whole chain once.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerError {
    /// The builder was given no stream.
    #[error("no stream is named: name one with `ConsumerBuilder::stream`")]
    NoStreams,

    /// A stream does not exist.
    #[error("stream {stream} does not exist: check its name, the account and the region, or create it")]
    StreamNotFound {
        /// The stream as it was named.
        stream: StreamRef,
        /// The service's answer.
        source: ClientError,
    },

    /// The service described another stream than the requested one, as emulators do that compare only the name.
    #[error("stream {asked} was requested, and the service described {answered}: check the account and the region")]
    OtherStream {
        /// The stream as it was named.
        asked: StreamArn,
        /// The stream that the service described.
        answered: StreamArn,
    },

    /// A stream did not become ACTIVE in time after the start.
    #[error("stream {stream} is still {status} after {} s: wait until it is ACTIVE and start again", waited.as_secs())]
    StreamNotReady {
        /// The stream.
        stream: StreamRef,
        /// Its status.
        status: StreamStatus,
        /// How long the start waited.
        waited: Duration,
    },

    /// The service could not be reached at the start.
    #[error("stream {stream} could not be reached for {} s: check the network, the endpoint and the region", waited.as_secs())]
    Unavailable {
        /// The stream.
        stream: StreamRef,
        /// How long the start retried.
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
        /// When the new stream was created.
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
        /// The shard, where the call was about one.
        shard: Option<ShardId>,
        /// The service's answer.
        source: ClientError,
    },

    /// The stream's records cannot be decrypted.
    #[error("{} cannot be decrypted: enable its KMS key and allow kms:Decrypt on it", Place(stream, shard))]
    Encryption {
        /// The stream.
        stream: StreamRef,
        /// The shard, where the call was about one.
        shard: Option<ShardId>,
        /// The service's answer.
        source: ClientError,
    },

    /// The service rejected a request, and retries do not help.
    #[error(
        "{} cannot be read: {}",
        Place(stream, shard),
        remedy(source.kind())
    )]
    Refused {
        /// The stream.
        stream: StreamRef,
        /// The shard, where the call was about one.
        shard: Option<ShardId>,
        /// The service's answer.
        source: ClientError,
    },

    /// A record is invalid, and invalid records end reading. The position stays before it.
    #[error(
        "an invalid record ended reading: fix what wrote or decodes it, or set invalid records to be skipped or dead-lettered"
    )]
    InvalidRecord(#[source] Box<InvalidRecord>),

    /// Dead letters cannot be stored. The next start reads their records again.
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

    /// Dead letters would go to a stream that the same consumer reads, which could be a loop.
    #[error("dead letters must not go to stream {stream}, because the same consumer reads it: name another stream")]
    DeadLetterLoop {
        /// The stream.
        stream: StreamArn,
    },

    /// Enhanced fan-out failed.
    #[error(
        "stream {stream} cannot be read by enhanced fan-out as consumer {name}: check that the credentials allow kinesis:RegisterStreamConsumer, \
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

    /// The given consumer of enhanced fan-out does not exist.
    #[error("stream {stream} has no consumer {name}: register it, or use `FanOut::managed`")]
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
        /// Its status.
        status: ConsumerStatus,
        /// How long the start waited.
        waited: Duration,
    },

    /// Positions could not be read or saved.
    #[error("the positions of stream {stream} could not be read or saved: check the checkpoint store")]
    Checkpoint {
        /// The stream.
        stream: StreamArn,
        /// The store's error.
        source: CheckpointError,
    },

    /// Batches were dropped without [`Batch::done`](crate::Batch::done) while their shards were read. All other positions
    /// are saved.
    #[error(
        "batches were dropped without `done` in {}: the next start reads these shards again from the first dropped \
         batch; call `done` on each batch that was processed",
        Shards(shards)
    )]
    BatchesDropped {
        /// The shards, in the order of streams and ids.
        shards: Vec<(StreamArn, ShardId)>,
    },

    /// The shutdown token was cancelled before reading had begun.
    #[error("shut down before reading began")]
    ShutDown,

    /// A task of the consumer panicked: a bug here, or in the client or the checkpoint store.
    #[error("a task that {what} panicked, which is a bug: please report it with the panic's message")]
    Panicked {
        /// What the task did.
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

/// Shards that an error lists before it only counts the others.
const SHARDS_SHOWN: usize = 10;

/// Shards with their streams, as one phrase.
struct Shards<'a>(&'a [(StreamArn, ShardId)]);

impl std::fmt::Display for Shards<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, (stream, shard)) in self.0.iter().take(SHARDS_SHOWN).enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(f, "{separator}shard {shard} of stream {stream}")?;
        }
        match self.0.len().saturating_sub(SHARDS_SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more shards"),
        }
    }
}

/// What a person can do about a call that failed permanently.
fn remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "the service lists it and does not find it; start again later",
        ErrorKind::InvalidArgument | ErrorKind::ExpiredIterator | ErrorKind::ExpiredToken => {
            "the service rejected the request; check that the endpoint supports the operation"
        }
        ErrorKind::ClockSkew => "the service rejected the time of the signature; set this machine's clock",
        ErrorKind::Unexpected => {
            "something that is not Kinesis answers; check the endpoint, and proxies and load balancers before it"
        }
        ErrorKind::Incomplete => "answers of the service lack required fields; check the endpoint",
        ErrorKind::AccessDenied | ErrorKind::ExpiredCredentials => "check the credentials",
        ErrorKind::Encryption => "check the KMS key",
        ErrorKind::InUse
        | ErrorKind::Throttled
        | ErrorKind::LimitExceeded
        | ErrorKind::Unavailable
        | ErrorKind::Timeout => "check the network and the endpoint",
    }
}

impl ConsumerError {
    /// The error for a call that failed permanently.
    pub(crate) fn from_call(stream: &StreamRef, shard: Option<&ShardId>, source: ClientError) -> Self {
        let (stream, shard) = (stream.clone(), shard.cloned());
        match source.kind() {
            ErrorKind::AccessDenied | ErrorKind::ExpiredCredentials => Self::AccessDenied { stream, shard, source },
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
            | ErrorKind::ClockSkew
            | ErrorKind::Incomplete
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
        check(ErrorKind::InvalidArgument, None, &["stream orders", "rejected"]);
        check(ErrorKind::Unexpected, Some("shardId-7"), &["shardId-7", "not Kinesis", "check the endpoint"]);
        check(ErrorKind::ClockSkew, Some("shardId-7"), &["shardId-7", "clock"]);
        check(ErrorKind::ExpiredCredentials, None, &["stream orders", "check the credentials"]);
        check(ErrorKind::NotFound, Some("shardId-7"), &["shardId-7", "lists it and does not find it"]);
    }
}
