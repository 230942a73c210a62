//! The writing of dead letters: invalid records, in an envelope that says what they are.

use std::{mem, sync::Arc};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Serialize;
use statefun_kinesis_client::{Backoff, Error, ErrorKind, KinesisClient, Operation};
use statefun_kinesis_types::{
    ErrorChain, PUT_RECORDS_MAX_BYTES, PUT_RECORDS_MAX_RECORDS, PartitionKey, PutRecord, StreamRef,
};
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{ConsumerError, InvalidRecord, hold::Hold, metrics::StreamCounters, prefetch::Reservation};

/// Letters that are put together into requests at a time.
const LETTERS_AT_ONCE: usize = 100;

/// Characters of a reason's text that an envelope shows before it is cut.
const MESSAGE_MAX_CHARS: usize = 1_000;

/// Payload that a part carries at least. A limit of the stream that leaves less room is refused by the service.
const PART_BYTES_MIN: usize = 512;

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

/// The envelope: one line of JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    version: u32,
    reason: &'a str,
    message: &'a str,
    stream: &'a str,
    shard: &'a str,
    sequence_number: &'a str,
    sub_sequence_number: u64,
    arrival: &'a str,
    partition_key: Option<&'a str>,
    part: usize,
    parts: usize,
    data: &'a str,
}

impl Letter {
    /// The records that carry the letter: one, or as many as the stream's limit asks for.
    fn records(&self, max_record_bytes: usize) -> Vec<PutRecord> {
        let invalid = &self.invalid;
        let number = invalid.sequence_number.to_string();
        // Without a key of its own, any will do that spreads letters over the shards.
        let key = self.partition_key.clone().or_else(|| number.parse().ok());
        let Some(key) = key else { return Vec::new() };
        let message: String = invalid.message.chars().take(MESSAGE_MAX_CHARS).collect();
        let arrival = invalid.approximate_arrival.to_string();
        let envelope = |part: usize, parts: usize, data: &[u8]| {
            let envelope = Envelope {
                version: 1,
                reason: invalid.kind.as_str(),
                message: &message,
                stream: invalid.stream.as_str(),
                shard: invalid.shard.as_str(),
                sequence_number: &number,
                sub_sequence_number: invalid.sub_sequence_number,
                arrival: &arrival,
                partition_key: self.partition_key.as_ref().map(PartitionKey::as_str),
                part,
                parts,
                data: &STANDARD.encode(data),
            };
            serde_json::to_vec(&envelope).unwrap_or_default()
        };
        // The largest numbers of parts that there can be, so that the real ones are no longer.
        let around = envelope(self.data.len(), self.data.len(), &[]).len() + key.size();
        // Base64 makes four bytes of three.
        let room = max_record_bytes.saturating_sub(around) / 4 * 3;
        let room = room.max(PART_BYTES_MIN);
        let parts = self.data.len().div_ceil(room).max(1);
        let part = |index: usize| {
            let data = &self.data[index * room..((index + 1) * room).min(self.data.len())];
            PutRecord::new(key.clone(), envelope(index + 1, parts, data))
        };
        (0..parts).map(part).collect()
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
                parts.extend(letter.records(max_record_bytes).into_iter().map(|part| (index, part)));
            }
            let mut failures = 0;
            while !parts.is_empty() {
                let (stored, failed) = self.put(&stream, &mut parts).await;
                let Some(error) = failed else {
                    failures = 0;
                    continue;
                };
                if !error.kind().is_retryable() {
                    return Err(ConsumerError::DeadLetter { stream, source: error });
                }
                failures = if stored { 0 } else { failures + 1 };
                let delay = self.backoff.delay(failures, &mut self.random);
                let delay = delay.max(error.retry_after().unwrap_or_default());
                tracing::warn!(%stream, error = %ErrorChain(&error), ?delay, "a dead letter was not stored; trying again");
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
