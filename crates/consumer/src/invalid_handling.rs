//! What is done with records that cannot be used.

use std::sync::Arc;

use statefun_kinesis_types::{InvalidRecordHandling, LogLevel, Record, ShardId, StreamArn};
use tokio::sync::mpsc;

use crate::{
    ConsumerError, InvalidKind, InvalidRecord,
    dead_letter::Letter,
    hold::Hold,
    metrics::StreamCounters,
    prefetch::{Amount, Prefetch},
};

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
