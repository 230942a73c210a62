//! Records that cannot be used.

use std::{fmt, sync::Arc};

use statefun_kinesis_dead_letter::reason;
use statefun_kinesis_types::{InvalidRecordHandling, LogLevel, Record, SequenceNumber, ShardId, StreamArn, Timestamp};
use tokio::sync::mpsc;

use crate::{
    ConsumerError,
    dead_letter::Letter,
    hold::Hold,
    metrics::StreamCounters,
    prefetch::{Amount, Prefetch},
};

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

/// What is done with the invalid records of one stream.
#[derive(Debug)]
pub(crate) struct InvalidRecords {
    pub(crate) stream: StreamArn,
    pub(crate) counters: Arc<StreamCounters>,
    policy: Policy,
}

#[derive(Debug)]
enum Policy {
    Fail,
    Skip(LogLevel),
    DeadLetter(LogLevel, DeadLetters),
}

/// The way to the writer of dead letters.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetters {
    /// Which of the dead-letter streams.
    pub(crate) target: usize,
    pub(crate) letters: mpsc::UnboundedSender<Letter>,
    /// The bound on letters that are not stored yet. It is not that of the prefetch, which is freed by who reads: who
    /// rejects a record would wait for itself.
    pub(crate) room: Arc<Prefetch>,
}

impl InvalidRecords {
    pub(crate) fn new(
        stream: StreamArn,
        counters: Arc<StreamCounters>,
        handling: &InvalidRecordHandling,
        dead_letters: Option<DeadLetters>,
    ) -> Arc<Self> {
        let policy = match (handling, dead_letters) {
            (InvalidRecordHandling::Skip { log }, _) => Policy::Skip(*log),
            (InvalidRecordHandling::DeadLetter { log, .. }, Some(letters)) => Policy::DeadLetter(*log, letters),
            (InvalidRecordHandling::Fail, _) | (InvalidRecordHandling::DeadLetter { .. }, None) => Policy::Fail,
        };
        Arc::new(Self { stream, counters, policy })
    }

    /// Deals with an invalid record. `hold` keeps the position before it until its dead letter is stored.
    ///
    /// # Errors
    ///
    /// When the record is to end reading.
    pub(crate) async fn handle(
        &self,
        shard: &ShardId,
        record: &Record,
        kind: InvalidKind,
        message: String,
        hold: Hold,
    ) -> Result<(), ConsumerError> {
        self.counters.invalid(kind);
        let invalid = InvalidRecord {
            stream: self.stream.clone(),
            shard: shard.clone(),
            sequence_number: record.sequence_number,
            sub_sequence_number: record.sub_sequence_number,
            approximate_arrival: record.approximate_arrival,
            kind,
            message,
        };
        match &self.policy {
            Policy::Fail => return Err(ConsumerError::InvalidRecord(Box::new(invalid))),
            Policy::Skip(level) => {
                log(*level, &invalid, "an invalid record is left out");
                hold.done();
            }
            Policy::DeadLetter(level, DeadLetters { target, letters, room }) => {
                log(*level, &invalid, "an invalid record goes to the dead-letter stream");
                let room = room.reserve(Amount { records: 1, bytes: record.size() }).await;
                let letter = Letter {
                    target: *target,
                    invalid,
                    partition_key: record.partition_key.clone(),
                    data: record.data.clone(),
                    counters: Arc::clone(&self.counters),
                    hold,
                    _room: room,
                };
                // A writer that is gone has ended reading by its error; the position stays before the record.
                let _ = letters.send(letter);
            }
        }
        Ok(())
    }
}

fn log(level: LogLevel, invalid: &InvalidRecord, what: &'static str) {
    match level {
        LogLevel::Error => tracing::error!(%invalid, "{what}"),
        LogLevel::Warn => tracing::warn!(%invalid, "{what}"),
        LogLevel::Info => tracing::info!(%invalid, "{what}"),
        LogLevel::Debug => tracing::debug!(%invalid, "{what}"),
        LogLevel::Trace => tracing::trace!(%invalid, "{what}"),
    }
}
