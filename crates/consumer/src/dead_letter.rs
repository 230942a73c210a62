//! Writes invalid records to dead-letter streams, in the envelope of `statefun-kinesis-dead-letter`.

use std::{mem, sync::Arc};

use bytes::Bytes;
use statefun_kinesis_client::{Backoff, Error, ErrorKind, KinesisClient, Operation, Patience};
use statefun_kinesis_dead_letter::{DeadLetter, IngressOrigin};
use statefun_kinesis_types::{
    ErrorChain, PUT_RECORDS_MAX_BYTES, PUT_RECORDS_MAX_RECORDS, PartitionKey, PutRecord, StreamRef,
};
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{ConsumerError, InvalidRecord, hold::Hold, metrics::StreamCounters, prefetch::Reservation, time::now};

/// Letters that are put together into requests at a time.
const LETTERS_AT_ONCE: usize = 100;

/// An invalid record on its way to a dead-letter stream.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) target: usize,
    pub(crate) invalid: InvalidRecord,
    pub(crate) partition_key: Option<PartitionKey>,
    pub(crate) data: Bytes,
    pub(crate) counters: Arc<StreamCounters>,
    /// Keeps the position before the record.
    pub(crate) hold: Hold,
    pub(crate) _room: Reservation,
}

/// A stream that takes dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) stream: StreamRef,
    /// Most bytes of one record, key included.
    pub(crate) max_record_bytes: usize,
}

impl Letter {
    /// The records for the letter: one, or as many as are needed for a stream that takes so many bytes per record.
    ///
    /// # Errors
    ///
    /// When the stream takes records that are too small for any letter.
    fn records(&self, max_record_bytes: usize) -> Result<Vec<PutRecord>, Error> {
        let invalid = &self.invalid;
        let origin = IngressOrigin {
            stream: invalid.stream.clone(),
            shard: invalid.shard.clone(),
            sequence_number: invalid.sequence_number,
            sub_sequence_number: invalid.sub_sequence_number,
            arrival: invalid.approximate_arrival,
        };
        let (key, data, reason) = (self.partition_key.clone(), self.data.clone(), invalid.kind.as_str());
        let letter = DeadLetter::from_ingress(origin, key, data, reason, &invalid.message);
        letter
            .to_records(max_record_bytes)
            .map_err(|error| Error::new(Operation::PutRecords, ErrorKind::InvalidArgument, error.to_string()))
    }
}

/// A record of a letter, and which letter.
type Part = (usize, PutRecord);

/// Stores letters, and lets the positions of their records move.
#[derive(Debug)]
pub(crate) struct DeadLetterWriter {
    pub(crate) client: Arc<dyn KinesisClient>,
    pub(crate) targets: Vec<Target>,
    pub(crate) letters: mpsc::UnboundedReceiver<Letter>,
    pub(crate) backoff: Backoff,
    pub(crate) random: fastrand::Rng,
}

impl DeadLetterWriter {
    /// Stores letters until `closing`, and those that were sent by then.
    ///
    /// # Errors
    ///
    /// When a dead-letter stream takes nothing, and will not by itself.
    pub(crate) async fn run(mut self, closing: CancellationToken) -> Result<(), ConsumerError> {
        let mut letters = Vec::new();
        loop {
            let count = tokio::select! {
                biased;
                count = self.letters.recv_many(&mut letters, LETTERS_AT_ONCE) => count,
                () = closing.cancelled(), if !self.letters.is_closed() => {
                    self.letters.close();
                    continue;
                }
            };
            if count == 0 {
                return Ok(());
            }
            self.store(mem::take(&mut letters)).await?;
        }
    }

    async fn store(&mut self, letters: Vec<Letter>) -> Result<(), ConsumerError> {
        for target in 0..self.targets.len() {
            let Target { stream, max_record_bytes } = self.targets[target].clone();
            let mut parts: Vec<Part> = Vec::new();
            for (index, letter) in letters.iter().enumerate().filter(|(_, letter)| letter.target == target) {
                let records = letter.records(max_record_bytes);
                let records = records.map_err(|source| ConsumerError::DeadLetter { stream: stream.clone(), source })?;
                parts.extend(records.into_iter().map(|part| (index, part)));
            }
            let (mut failures, mut patience) = (0, Patience::default());
            while !parts.is_empty() {
                let (stored, failed) = self.put(&stream, &mut parts).await;
                let Some(error) = failed else {
                    failures = 0;
                    patience.reset();
                    continue;
                };
                if !patience.allows_retry(now(), error.kind()) {
                    return Err(ConsumerError::DeadLetter { stream, source: error });
                }
                if stored {
                    patience.reset();
                }
                failures = if stored { 0 } else { failures + 1 };
                let delay = self.backoff.delay_after(&error, failures, &mut self.random);
                tracing::warn!(%stream, error = %ErrorChain(&error), ?delay, "a dead letter was not stored; retrying");
                sleep(delay).await;
            }
        }
        for letter in letters {
            letter.counters.dead_lettered();
            letter.hold.done();
        }
        Ok(())
    }

    /// Puts as many parts as fit into one request, and leaves those that were not stored, in their order. Says whether
    /// any was stored, and what went wrong.
    async fn put(&self, stream: &StreamRef, parts: &mut Vec<Part>) -> (bool, Option<Error>) {
        let mut bytes = 0;
        let fits = |(_, record): &&Part| {
            bytes += record.size();
            bytes <= PUT_RECORDS_MAX_BYTES
        };
        let count = parts.iter().take(PUT_RECORDS_MAX_RECORDS).take_while(fits).count().max(1);
        let request: Vec<PutRecord> = parts[..count].iter().map(|(_, record)| record.clone()).collect();
        let outcomes = match self.client.put_records(stream, &request).await {
            Ok(outcomes) if outcomes.len() == count => outcomes,
            Ok(outcomes) => {
                let message = format!("{stream} answered {count} records with {} outcomes", outcomes.len());
                return (false, Some(Error::new(Operation::PutRecords, ErrorKind::Unexpected, message)));
            }
            Err(error) => return (false, Some(error)),
        };
        let mut failed = None;
        let mut outcome = outcomes.into_iter();
        parts.retain(|_| match outcome.next() {
            Some(Ok(_)) => false,
            Some(Err(failure)) => {
                let error = Error::new(Operation::PutRecords, failure.kind, failure.message).with_code(failure.code);
                failed.get_or_insert(error);
                true
            }
            None => true,
        });
        (parts.len() < count || failed.is_none(), failed)
    }
}
