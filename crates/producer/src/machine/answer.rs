use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use statefun_kinesis_client::{
    self as client, Error, ErrorKind, Fault, InstantExt as _, Operation, Placement, PutFailure, PutOutcome,
};
use statefun_kinesis_types::PutRecord;

use super::{Machine, Outcome, in_flight::UntrackedInFlight};
use crate::{
    Failure, Reason, Stored,
    queue::{EntryId, Removed},
    record_meta::{RecordMeta, Token},
    request::{AggregateInFlight, Content, Request},
};

/// The longest wait before the first retry of a record that failed for another reason than load (`InternalFailure`). The
/// retry is to be immediate; the random part keeps many producers from coming back together.
pub(super) const FIRST_RETRY_WITHIN: Duration = Duration::from_millis(20);

/// What an answer means.
impl<T: Token, W> Machine<T, W> {
    /// Takes a request back with its answer.
    pub(crate) fn answered(&mut self, now: Instant, request: Request, answer: Result<Vec<PutOutcome>, Error>) {
        self.in_flight.requests -= 1;
        self.queue.shard_queues.remove_old_paces(now);
        let (count, mut retries) = (request.len(), Retries::new(request.sent));
        let answer = match answer {
            Ok(outcomes) if outcomes.len() != count => Err(wrong_count(count, outcomes.len())),
            answer => answer,
        };
        let Request { content, untracked, ids, map_version, sent } = request;
        let untracked = untracked.and_then(|untracked| self.in_flight.untracked.try_remove(untracked));
        // With another map, the shard queue of a record means another shard: then it says nothing that its shard differs.
        let is_same_map = map_version == self.queue.shard_queues.map_version();
        match (content, answer) {
            (Content::Plain(records), Ok(outcomes)) => {
                let answered = Answered { untracked, ids, records, outcomes };
                self.plain_answered(now, answered, is_same_map, &mut retries);
            }
            (Content::Aggregates(aggregates), Ok(outcomes)) => {
                self.aggregates_answered(now, &ids, aggregates, outcomes, is_same_map, &mut retries);
            }
            (Content::Plain(records), Err(error)) => {
                // Each record gets an entry: from now on each has its own attempts and its own retry.
                let mut records = records.into_iter();
                let mut all = Vec::with_capacity(count);
                if let Some(UntrackedInFlight { metas, .. }) = untracked {
                    for (meta, record) in metas.into_records().zip(&mut records) {
                        all.push(self.track_in_flight(sent, record, meta));
                    }
                }
                for (id, record) in ids.iter().zip(records) {
                    self.queue.get_mut(*id).record = Some(record);
                }
                all.extend(ids);
                self.call_failed(now, all, count == 1, error, &mut retries);
            }
            (Content::Aggregates(_), Err(error)) => {
                for id in &ids {
                    self.queue.get_mut(*id).may_be_stored |= error.kind().may_be_carried_out();
                }
                // With others in its aggregate, it is not known yet which record is rejected.
                let is_single = ids.len() == 1;
                let firsts = self.queue.put_back_waiting(&ids);
                self.call_failed(now, firsts, is_single, error, &mut retries);
            }
        }
        for retry in retries.groups {
            self.queue.delay(retry.due, retry.ids);
        }
        if self.is_abandoned {
            // What has become ready just now must not be sent any more.
            self.abandon();
        }
    }

    /// Completes the records of a request that were stored, and retries the others. They were sent as they are.
    fn plain_answered(&mut self, now: Instant, answered: Answered<T>, is_same_map: bool, retries: &mut Retries) {
        let Answered { mut untracked, ids, records, mut outcomes } = answered;
        if ids.is_empty()
            && let Some(untracked) = untracked.take_if(|_| outcomes.iter().all(Result::is_ok))
        {
            self.output.stored_records.push(records);
            return self.all_untracked_stored(untracked, outcomes);
        }
        let mut records = records.into_iter();
        if let Some(untracked) = untracked {
            // Untracked records come first in a request.
            let rest = outcomes.split_off(untracked.metas.len());
            if outcomes.iter().all(Result::is_ok) {
                // Drops their records, so that the rest belongs to the entries.
                records.nth(untracked.metas.len() - 1);
                self.all_untracked_stored(untracked, outcomes);
            } else {
                self.untracked_answered(now, untracked, &mut records, outcomes, retries);
            }
            outcomes = rest;
        }
        for ((id, record), outcome) in ids.into_iter().zip(records).zip(outcomes) {
            match outcome {
                Ok(placement) => {
                    if is_same_map {
                        self.check_shard(id, &placement);
                    }
                    self.stored(id, placement);
                }
                Err(failure) => {
                    // Back in its entry, where the next request takes it from.
                    self.queue.get_mut(id).record = Some(record);
                    self.not_stored(now, id, &Cause::Record(failure), retries);
                }
            }
        }
    }

    /// The usual case: it takes one pass over the keys, and the outcomes are handed on as they are.
    fn all_untracked_stored(&mut self, untracked: UntrackedInFlight<T>, outcomes: Vec<PutOutcome>) {
        let UntrackedInFlight { metas, bytes, .. } = untracked;
        self.queue.finish_untracked(&metas, bytes);
        self.metrics.stored_records += metas.len() as u64;
        self.metrics.stored_bytes += bytes as u64;
        for span in metas.spans() {
            self.flushes.completed(span.generation, span.records as usize, &mut self.output.flushed);
        }
        self.output.outcomes.push(Outcome::Untracked(metas, outcomes));
    }

    /// Untracked records of which some were not stored: all of them get entries.
    fn untracked_answered(
        &mut self,
        now: Instant,
        untracked: UntrackedInFlight<T>,
        records: &mut impl Iterator<Item = PutRecord>,
        outcomes: Vec<PutOutcome>,
        retries: &mut Retries,
    ) {
        let UntrackedInFlight { metas, .. } = untracked;
        for ((meta, outcome), record) in metas.into_records().zip(outcomes).zip(records) {
            let id = self.track_in_flight(retries.sent, record, meta);
            match outcome {
                Ok(placement) => self.stored(id, placement),
                Err(failure) => self.not_stored(now, id, &Cause::Record(failure), retries),
            }
        }
    }

    /// Makes an entry for an untracked record that was sent. It is still in flight.
    fn track_in_flight(&mut self, sent: Instant, record: PutRecord, meta: RecordMeta<T>) -> EntryId {
        let id = self.queue.track(record, meta);
        let entry = self.queue.get_mut(id);
        entry.in_flight = true;
        entry.sent(sent);
        id
    }

    #[inline]
    fn stored(&mut self, id: EntryId, placement: Placement) {
        let Some(removed) = self.queue.finish(id) else { return };
        self.metrics.stored_records += 1;
        self.metrics.stored_bytes += removed.size as u64;
        let Placement { shard, sequence_number } = placement;
        self.complete(removed, Ok(Stored { shard, sequence_number, sub_sequence_number: 0 }));
    }

    /// Has the shards listed again when a record was stored on another shard than expected.
    #[inline]
    fn check_shard(&mut self, id: EntryId, placement: &Placement) {
        let expected = self.queue.shard_queues.shard(self.queue.get(id).shard_queue as usize);
        if expected.is_some_and(|shard| *shard != placement.shard) {
            self.listing.is_wanted = true;
        }
    }

    fn aggregates_answered(
        &mut self,
        now: Instant,
        ids: &[EntryId],
        aggregates: Vec<AggregateInFlight>,
        outcomes: Vec<PutOutcome>,
        is_same_map: bool,
        retries: &mut Retries,
    ) {
        let mut rest = ids;
        for (aggregate, outcome) in aggregates.into_iter().zip(outcomes) {
            let (ids, others) = rest.split_at(aggregate.records);
            rest = others;
            match outcome {
                Ok(placement) => {
                    let expected = self.queue.shard_queues.shard(aggregate.shard_queue).filter(|_| is_same_map);
                    let is_as_expected = expected == Some(&placement.shard);
                    // A single record travels as it is, and belongs wherever it is stored.
                    if is_as_expected || ids.len() == 1 {
                        self.listing.is_wanted |= is_same_map && !is_as_expected;
                        self.aggregate_stored(ids, placement);
                    } else {
                        self.stored_elsewhere(now, ids.to_vec(), placement, false);
                    }
                }
                Err(failure) => {
                    let cause = Cause::Record(failure);
                    for first in self.queue.put_back_waiting(ids) {
                        self.not_stored(now, first, &cause, retries);
                    }
                }
            }
        }
    }

    pub(super) fn aggregate_stored(&mut self, ids: &[EntryId], placement: Placement) {
        let mut tokens = Vec::with_capacity(ids.len());
        // In the order of the aggregate, in which each record is the first of its key when it is removed.
        for id in ids {
            let Some(Removed { token, generation, size }) = self.queue.finish(*id) else { continue };
            self.metrics.stored_bytes += size as u64;
            self.flushes.completed(generation, 1, &mut self.output.flushed);
            tokens.push(token);
        }
        debug_assert_eq!(tokens.len(), ids.len(), "the records of an aggregate in flight are in the queue");
        self.metrics.stored_records += tokens.len() as u64;
        self.output.outcomes.push(Outcome::Aggregate(tokens, placement));
    }

    /// Deals with a request that failed as a whole. The records are back in their entries; of aggregates, `ids` are the
    /// first ones of their keys.
    fn call_failed(&mut self, now: Instant, ids: Vec<EntryId>, is_single: bool, error: Error, retries: &mut Retries) {
        self.metrics.failed_requests += 1;
        if error.kind() == ErrorKind::InvalidArgument && !is_single && !self.is_abandoned {
            return self.probe_halves(ids);
        }
        // `Retry-After` is about the call, and so about all of its records.
        retries.at_least = error.retry_after().unwrap_or_default();
        let cause = Cause::Call(Arc::new(error));
        for id in ids {
            self.not_stored(now, id, &cause, retries);
        }
    }

    /// Sends both halves of a rejected request by themselves. One record that the service rejects makes it reject the whole
    /// request, and the others must not fail because of it. The attempt does not count: their senders have bounded how
    /// often a record is tried, and these had no chance.
    fn probe_halves(&mut self, mut ids: Vec<EntryId>) {
        for id in &ids {
            let entry = self.queue.get_mut(*id);
            entry.in_flight = false;
            entry.attempts -= 1;
        }
        let second = ids.split_off(ids.len().div_ceil(2));
        self.probes.push_back(ids);
        if !second.is_empty() {
            self.probes.push_back(second);
        }
    }

    /// Retries a record that was not stored, or gives up on it. It is the first of its key, and ends ready, delayed or
    /// completed.
    pub(super) fn not_stored(&mut self, now: Instant, id: EntryId, cause: &Cause, retries: &mut Retries) {
        let timing = cause.retry_timing();
        self.metrics.throttled_records += u64::from(cause.is_throttled_record());
        let entry = self.queue.get_mut(id);
        entry.in_flight = false;
        entry.may_be_stored |= cause.may_be_stored();
        entry.failed_calls += u32::from(!cause.is_about_record());
        let own_attempts = entry.attempts - entry.failed_calls;
        // From the first request on: the time in the queue depends on others and does not count.
        let first_sent = entry.first_sent.unwrap_or(now);
        if self.is_abandoned {
            // It is completed together with all others that are not in flight.
            return;
        }
        let elapsed = now.saturating_duration_since(first_sent);
        let Some(timing) = timing else {
            return self.give_up(id, Reason::Rejected { last: cause.failure() }, cause.is_about_record());
        };
        // A limit of attempts is about the record. What fails its calls is only bounded by time.
        let may_retry =
            !cause.is_about_record() || self.settings.max_attempts.is_none_or(|most| own_attempts < most.get());
        let wait = match cause.is_throttled_record() && may_retry {
            true => self.wait_for_shard(now, id, elapsed, retries.sent),
            false => ShardWait::NoPace,
        };
        let is_retried = match wait {
            ShardWait::Queued => true,
            ShardWait::TooLong => false,
            ShardWait::NoPace => may_retry && self.delay_retry(now, id, timing, retries),
        };
        if is_retried {
            self.metrics.retried_records += 1;
        } else {
            self.give_up(id, Reason::GaveUp { elapsed, last: cause.failure() }, cause.is_about_record());
        }
    }

    /// Delays a retry, as long as the timing says. Returns false when it would be too late.
    fn delay_retry(&mut self, now: Instant, id: EntryId, timing: RetryTiming, retries: &mut Retries) -> bool {
        let entry = self.queue.get(id);
        let (attempts, first_sent) = (entry.attempts, entry.first_sent.unwrap_or(now));
        let (backoff, random) = (self.settings.backoff, &mut self.random);
        let group = retries.group(now, timing, attempts, |failures| match (timing, failures) {
            (RetryTiming::Now, _) => Duration::ZERO,
            (RetryTiming::FirstNow, 0) => FIRST_RETRY_WITHIN.mul_f64(random.f64()),
            (RetryTiming::FirstNow, _) => backoff.delay(failures - 1, random),
            (RetryTiming::Backoff, _) => backoff.delay(failures, random),
        });
        // Waiting for a retry that comes too late would only delay the error, and the records behind.
        let is_in_time = group.due.saturating_duration_since(first_sent) <= self.settings.give_up_after;
        match timing {
            _ if !is_in_time => {}
            RetryTiming::Now => self.queue.make_ready(id),
            RetryTiming::FirstNow | RetryTiming::Backoff => group.ids.push(id),
        }
        is_in_time
    }

    /// Puts a record that was throttled in a request of the time `sent` back into the queue of its shard, whose pace decides
    /// when it is retried.
    fn wait_for_shard(&mut self, now: Instant, id: EntryId, elapsed: Duration, sent: Instant) -> ShardWait {
        let Some(shard_queue) = self.queue.known_shard_queue_of(id) else {
            // There is no map, or it was listed in the middle of a split. On a stream with record distribution AUTO there never
            // is one.
            self.listing.is_wanted |= self.limits.hash_decides;
            return ShardWait::NoPace;
        };
        let size = self.queue.get(id).size;
        let ready_at = self.queue.shard_queues.throttled(shard_queue, now, sent, size);
        let wait = ready_at.max(self.postpone_release(now)).saturating_duration_since(now);
        if elapsed.saturating_add(wait) > self.settings.give_up_after {
            return ShardWait::TooLong;
        }
        self.queue.make_ready(id);
        ShardWait::Queued
    }
}

/// How a throttled record waits for its shard.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ShardWait {
    /// In the queue of its shard.
    Queued,
    /// Its shard is not known, and has no pace.
    NoPace,
    /// Not at all: by the pace of its shard, it would be retried too late.
    TooLong,
}

/// A request with records as they are, and the outcome of each.
struct Answered<T> {
    untracked: Option<UntrackedInFlight<T>>,
    ids: Vec<EntryId>,
    records: Vec<PutRecord>,
    outcomes: Vec<PutOutcome>,
}

/// Why records were not stored.
pub(super) enum Cause {
    /// Their request failed as a whole.
    Call(Arc<Error>),
    /// The service answered so about this record.
    Record(PutFailure),
    /// Their aggregate was stored on a shard to which not all of its records belong.
    Misplaced(Placement),
}

impl Cause {
    /// Whether the record may be stored nevertheless.
    fn may_be_stored(&self) -> bool {
        match self {
            Self::Call(error) => error.kind().may_be_carried_out(),
            Self::Record(_) => false,
            Self::Misplaced(_) => true,
        }
    }

    /// Whether the policy for records decides when the record is given up. It is not for what is wrong with the
    /// credentials, a clock, the network or whatever else fails a whole call: that ends the run, and no good record is
    /// dropped because of it.
    fn is_about_record(&self) -> bool {
        match self {
            Self::Call(error) => error.kind().treatment_of_single_record().fault == Fault::Record,
            Self::Record(failure) => match failure.kind.treatment().fault {
                Fault::Record | Fault::Call | Fault::Network | Fault::Service => true,
                Fault::Stream | Fault::Credentials | Fault::Clock | Fault::NotKinesis => false,
            },
            Self::Misplaced(_) => true,
        }
    }

    fn is_throttled_record(&self) -> bool {
        matches!(self, Self::Record(failure) if failure.kind == ErrorKind::Throttled)
    }

    /// When the record is retried; none when it is not.
    fn retry_timing(&self) -> Option<RetryTiming> {
        match self {
            Self::Call(error) => is_retried(error.kind()).then_some(RetryTiming::Backoff),
            Self::Record(failure) if !is_retried(failure.kind) => None,
            Self::Record(failure) if matches!(failure.kind, ErrorKind::Unavailable | ErrorKind::Timeout) => {
                Some(RetryTiming::FirstNow)
            }
            Self::Record(_) => Some(RetryTiming::Backoff),
            Self::Misplaced(_) => Some(RetryTiming::Now),
        }
    }

    fn failure(&self) -> Failure {
        match self {
            Self::Call(error) => Failure::Call(Arc::clone(error)),
            Self::Record(failure) => Failure::Record(Arc::new(failure.clone())),
            Self::Misplaced(placement) => Failure::WrongShard { shard: placement.shard.clone() },
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum RetryTiming {
    /// Now: the shard map was wrong, and there is a new one.
    Now,
    /// Now for the first time, then with backoff: load was not the cause.
    FirstNow,
    /// With backoff.
    Backoff,
}

/// The records of one answer that are retried. Those that failed in the same way and equally often share a delay, so that
/// they share a request again.
pub(super) struct Retries {
    /// When they were sent.
    sent: Instant,
    at_least: Duration,
    groups: Vec<Retry>,
}

struct Retry {
    timing: RetryTiming,
    attempts: u32,
    due: Instant,
    ids: Vec<EntryId>,
}

impl Retries {
    pub(super) fn new(sent: Instant) -> Self {
        Self { sent, at_least: Duration::ZERO, groups: Vec::new() }
    }

    fn group(
        &mut self,
        now: Instant,
        timing: RetryTiming,
        attempts: u32,
        delay: impl FnOnce(u32) -> Duration,
    ) -> &mut Retry {
        let known = self.groups.iter().position(|group| group.timing == timing && group.attempts == attempts);
        let index = known.unwrap_or_else(|| {
            let due = now.saturating_add(delay(attempts.saturating_sub(1)).max(self.at_least));
            self.groups.push(Retry { timing, attempts, due, ids: Vec::new() });
            self.groups.len() - 1
        });
        &mut self.groups[index]
    }
}

fn wrong_count(records: usize, outcomes: usize) -> Error {
    let message = format!("{records} records were answered with {outcomes} outcomes");
    Error::new(Operation::PutRecords, ErrorKind::Unexpected, message)
}

/// Whether a call or a record that failed so is sent again.
fn is_retried(kind: ErrorKind) -> bool {
    match kind.treatment().retry {
        client::Retry::Renewed | client::Retry::Unlimited | client::Retry::For(_) => true,
        client::Retry::Never => false,
    }
}
