use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use statefun_kinesis_client::{Error, ErrorKind, Operation, Placement, PutFailure, PutOutcome};
use statefun_kinesis_types::{PUT_RECORDS_MAX_BYTES, PUT_RECORDS_MAX_RECORDS, PartitionKey, PutRecord, StreamRef};

use crate::{
    Failure, SendError, Settings,
    flush::Flushes,
    queue::{Entry, Queue},
    request::Request,
};

/// The longest wait before the first retry of a record that failed for no fault of its load (`InternalFailure`). The
/// retry is meant to be at once; the random part keeps many producers from coming back in step.
const FIRST_RETRY_WITHIN: Duration = Duration::from_millis(20);

/// Later than any instant that matters, and still an instant.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The producer without its I/O: records, answers and the time go in; requests and settled records come out.
///
/// `T` is what a record's sender is found by, `W` what a flush's waiter is found by.
#[derive(Debug)]
pub(crate) struct Machine<T, W> {
    stream: StreamRef,
    settings: Settings,
    random: fastrand::Rng,
    queue: Queue<T>,
    flushes: Flushes<W>,
    /// Records with a lower arrival number do not linger.
    flush_before: u64,
    /// A sender waits for room, so that lingering would be waiting for nobody.
    pressed: bool,
    abandoned: bool,
    in_flight: usize,
    settled: Vec<(T, Result<Placement, SendError>)>,
    flushed: Vec<W>,
}

impl<T, W> Machine<T, W> {
    pub(crate) fn new(stream: StreamRef, settings: Settings) -> Self {
        Self {
            stream,
            random: settings.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
            settings,
            queue: Queue::new(),
            flushes: Flushes::new(),
            flush_before: 0,
            pressed: false,
            abandoned: false,
            in_flight: 0,
            settled: Vec::new(),
            flushed: Vec::new(),
        }
    }

    /// Whether a record of this size may be queued now. A refusal is remembered: the queue then sends what it has.
    pub(crate) fn admits(&mut self, size: usize) -> bool {
        let records = self.settings.max_outstanding_records.get() as usize;
        let bytes = self.settings.max_outstanding_bytes.get() as usize;
        let empty = self.queue.len() == 0;
        let room = empty || (self.queue.len() < records && self.queue.bytes() + size <= bytes);
        self.pressed = !room;
        room
    }

    /// Queues a record that was admitted.
    pub(crate) fn submit(&mut self, now: Instant, record: PutRecord, token: T) {
        debug_assert!(!self.abandoned, "an abandoned machine takes no records");
        let generation = self.flushes.queued();
        self.queue.push(now, record, token, generation);
    }

    /// Sends everything that is queued now without lingering, and tells when all of it is settled.
    pub(crate) fn flush(&mut self, waiter: W) {
        self.flush_before = self.queue.next_arrival();
        self.flushed.extend(self.flushes.wait(waiter));
    }

    /// Fails everything that no request carries. What is in a request is settled by its answer, without a retry.
    pub(crate) fn abandon(&mut self) {
        self.abandoned = true;
        for entry in self.queue.clear() {
            if let Some(record) = &entry.record {
                let error = self.closed(&record.partition_key, &entry);
                self.settle(entry, Err(error));
            }
        }
    }

    /// Whether nothing is outstanding.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.len() == 0
    }

    /// The next request to send now, if there is one. Ask until there is none.
    pub(crate) fn next_request(&mut self, now: Instant) -> Option<Request> {
        self.queue.wake(now);
        if self.send_at().is_none_or(|at| at > now) {
            return None;
        }
        let (records, places) = self.queue.take(now, PUT_RECORDS_MAX_RECORDS, PUT_RECORDS_MAX_BYTES)?;
        self.in_flight += 1;
        Some(Request { records, places })
    }

    /// When [`next_request`](Self::next_request) will have something to say, unless something else happens before;
    /// a time that has passed means now.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let free = self.in_flight < self.settings.max_in_flight_requests.get() as usize;
        let due = self.queue.next_due().filter(|_| free);
        [self.send_at(), due].into_iter().flatten().min()
    }

    /// When the ready records are to be sent.
    fn send_at(&self) -> Option<Instant> {
        if self.in_flight >= self.settings.max_in_flight_requests.get() as usize {
            return None;
        }
        if let Some(arrived) = self.queue.returned() {
            return Some(arrived);
        }
        let (arrival, arrived) = self.queue.oldest_fresh()?;
        let full = self.queue.ready() >= PUT_RECORDS_MAX_RECORDS || self.queue.ready_bytes() >= PUT_RECORDS_MAX_BYTES;
        if full || self.pressed || arrival < self.flush_before {
            return Some(arrived);
        }
        Some(later(arrived, self.settings.linger))
    }

    /// Takes a request back with its answer.
    pub(crate) fn answered(&mut self, now: Instant, request: Request, answer: Result<Vec<PutOutcome>, Error>) {
        self.in_flight -= 1;
        let Request { records, places } = request;
        let entries = places.into_iter().zip(records);
        let mut retries = Retries::default();
        match answer {
            Ok(outcomes) if outcomes.len() == entries.len() => {
                for ((place, record), outcome) in entries.zip(outcomes) {
                    match outcome {
                        Ok(placement) => {
                            let entry = self.queue.finish(place, &record.partition_key);
                            self.settle(entry, Ok(placement));
                        }
                        Err(failure) => {
                            let pace = match failure.kind {
                                kind if !kind.is_retryable() => None,
                                ErrorKind::Unavailable | ErrorKind::Timeout => Some(Pace::AtOnce),
                                _ => Some(Pace::BackOff),
                            };
                            self.failed(now, place, record, pace, &Cause::Record(failure), &mut retries);
                        }
                    }
                }
            }
            answer => {
                let error = answer.map(|outcomes| wrong_count(entries.len(), outcomes.len())).unwrap_or_else(|e| e);
                let pace = error.kind().is_retryable().then_some(Pace::BackOff);
                retries.at_least = error.retry_after().unwrap_or_default();
                let cause = Cause::Call(Arc::new(error));
                for (place, record) in entries {
                    self.failed(now, place, record, pace, &cause, &mut retries);
                }
            }
        }
        for retry in retries.groups {
            self.queue.delay(retry.due, retry.places);
        }
    }

    /// Sets a record that was not stored aside for a retry, or gives it up with all that wait behind it.
    fn failed(
        &mut self,
        now: Instant,
        place: usize,
        record: PutRecord,
        pace: Option<Pace>,
        cause: &Cause,
        retries: &mut Retries,
    ) {
        let entry = self.queue.entry(place);
        entry.may_be_stored |= cause.leaves_doubt();
        let (attempts, may_be_stored) = (entry.attempts, entry.may_be_stored);
        let first_sent = entry.first_sent.unwrap_or(now);
        if self.abandoned {
            return self
                .give_up(place, &record.partition_key, |entry, machine| machine.closed(&record.partition_key, entry));
        }
        if let Some(pace) = pace {
            let backoff = self.settings.backoff;
            let group = retries.group(now, pace, attempts, |failures| match (pace, failures) {
                (Pace::AtOnce, 0) => FIRST_RETRY_WITHIN.mul_f64(self.random.f64()),
                (Pace::AtOnce, _) => backoff.delay(failures - 1, &mut self.random),
                (Pace::BackOff, _) => backoff.delay(failures, &mut self.random),
            });
            if group.due.saturating_duration_since(first_sent) <= self.settings.give_up_after {
                group.places.push(place);
                self.queue.entry(place).record = Some(record);
                return;
            }
        }
        let stream = self.stream.clone();
        let (key, size, last) = (record.partition_key.clone(), record.size(), cause.failure());
        self.give_up(place, &record.partition_key, |_, _| match pace {
            Some(_) => {
                let elapsed = now.saturating_duration_since(first_sent);
                SendError::GaveUp { stream, key, size, attempts, elapsed, may_be_stored, last }
            }
            None => SendError::Rejected { stream, key, size, attempts, may_be_stored, last },
        });
    }

    /// Settles an active record as failed, and those that stand in line behind it too.
    fn give_up(&mut self, place: usize, key: &PartitionKey, error: impl FnOnce(&Entry<T>, &Self) -> SendError) {
        let mut line = self.queue.finish_line(place, key).into_iter();
        if let Some(entry) = line.next() {
            let error = error(&entry, self);
            self.settle(entry, Err(error));
        }
        for entry in line {
            let (stream, key, size) = (self.stream.clone(), key.clone(), entry.size);
            self.settle(entry, Err(SendError::PredecessorFailed { stream, key, size }));
        }
    }

    fn closed(&self, key: &PartitionKey, entry: &Entry<T>) -> SendError {
        SendError::Closed {
            stream: self.stream.clone(),
            key: key.clone(),
            size: entry.size,
            may_be_stored: entry.may_be_stored,
        }
    }

    fn settle(&mut self, entry: Entry<T>, result: Result<Placement, SendError>) {
        self.flushes.settled(entry.generation, &mut self.flushed);
        self.settled.push((entry.token, result));
    }

    /// What was settled since the last call.
    pub(crate) fn take_settled(&mut self) -> Vec<(T, Result<Placement, SendError>)> {
        std::mem::take(&mut self.settled)
    }

    /// The flushes that were completed since the last call.
    pub(crate) fn take_flushed(&mut self) -> Vec<W> {
        std::mem::take(&mut self.flushed)
    }
}

fn later(instant: Instant, by: Duration) -> Instant {
    instant.checked_add(by).unwrap_or_else(|| instant + FAR)
}

fn wrong_count(records: usize, outcomes: usize) -> Error {
    let message = format!("{records} records were answered with {outcomes} outcomes");
    Error::new(Operation::PutRecords, ErrorKind::Unexpected, message)
}

/// Why records of a request were not stored: one for all, or one for each.
enum Cause {
    Call(Arc<Error>),
    Record(PutFailure),
}

impl Cause {
    /// Whether the record may have been stored all the same.
    fn leaves_doubt(&self) -> bool {
        match self {
            Self::Call(error) => {
                matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::Unexpected)
            }
            Self::Record(_) => false,
        }
    }

    fn failure(&self) -> Failure {
        match self {
            Self::Call(error) => Failure::Call(Arc::clone(error)),
            Self::Record(failure) => Failure::Record(Arc::new(failure.clone())),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Load had no part in the failure: at once for the first time, then with backoff.
    AtOnce,
    /// With backoff.
    BackOff,
}

/// The records of one answer that are to be tried again. Those that have failed alike as often share a delay, so that
/// they share a request again.
#[derive(Default)]
struct Retries {
    at_least: Duration,
    groups: Vec<Retry>,
}

struct Retry {
    pace: Pace,
    attempts: u32,
    due: Instant,
    places: Vec<usize>,
}

impl Retries {
    fn group(&mut self, now: Instant, pace: Pace, attempts: u32, delay: impl FnOnce(u32) -> Duration) -> &mut Retry {
        let known = self.groups.iter().position(|group| group.pace == pace && group.attempts == attempts);
        let index = known.unwrap_or_else(|| {
            let due = later(now, delay(attempts.saturating_sub(1)).max(self.at_least));
            self.groups.push(Retry { pace, attempts, due, places: Vec::new() });
            self.groups.len() - 1
        });
        &mut self.groups[index]
    }
}

#[cfg(test)]
mod tests;
