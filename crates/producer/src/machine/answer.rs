use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use statefun_kinesis_client::{Error, ErrorKind, Placement, PutFailure, PutOutcome};
use statefun_kinesis_types::PutRecord;

use super::{Failure, Loose, Machine, Reason, Settled, Stored, later, leaves_doubt, wrong_count};
use crate::{
    queue::Gone,
    request::{Item, Load, Request},
    slips::{Slip, Token},
};

/// The longest wait before the first retry of a record that failed for no fault of its load (`InternalFailure`). The
/// retry is meant to be at once; the random part keeps many producers from coming back in step.
pub(super) const FIRST_RETRY_WITHIN: Duration = Duration::from_millis(20);

impl<T: Token, W> Machine<T, W> {
    /// Takes a request back with its answer.
    pub(crate) fn answered(&mut self, now: Instant, request: Request, answer: Result<Vec<PutOutcome>, Error>) {
        self.in_flight -= 1;
        self.queue.relax(now);
        let (count, mut retries) = (request.len(), Retries::default());
        let answer = match answer {
            Ok(outcomes) if outcomes.len() != count => Err(wrong_count(count, outcomes.len())),
            answer => answer,
        };
        let Request { load, loose, places, map_version } = request;
        let loose = loose.and_then(|loose| self.loose.try_remove(loose as usize));
        let same_map = map_version == self.queue.map_version;
        match (load, answer) {
            (Load::Plain(records), Ok(outcomes)) => {
                self.stored_or_not(now, loose, places, records, outcomes, same_map, &mut retries);
            }
            (Load::Aggregates(items), Ok(outcomes)) => {
                self.aggregates_stored_or_not(now, &places, items, outcomes, same_map, &mut retries);
            }
            (Load::Plain(records), Err(error)) => {
                let mut records = records.into_iter();
                let mut heads = Vec::with_capacity(count);
                if let Some(Loose { slips, arrived, sent, .. }) = loose {
                    for (slip, record) in slips.into_slips().zip(&mut records) {
                        heads.push(self.came_back(arrived, sent, record, slip));
                    }
                }
                for (place, record) in places.iter().zip(records) {
                    self.queue.entry(*place).record = Some(record);
                }
                heads.extend(places);
                self.refused(now, heads, count == 1, error, &mut retries);
            }
            (Load::Aggregates(_), Err(error)) => {
                for place in &places {
                    self.queue.entry(*place).may_be_stored |= leaves_doubt(&error);
                }
                // A single head may still have had company: it is not known yet that it is the one that is refused.
                let alone = places.len() == 1;
                let heads = self.queue.heads(&places);
                self.refused(now, heads, alone, error, &mut retries);
            }
        }
        for retry in retries.groups {
            self.queue.delay(retry.due, retry.places);
        }
        if self.abandoned {
            // What has come back into a lane does not go again.
            self.abandon();
        }
    }

    #[expect(clippy::too_many_arguments, reason = "they are the parts of one answer")]
    fn stored_or_not(
        &mut self,
        now: Instant,
        mut loose: Option<Loose<T>>,
        places: Vec<u32>,
        records: Vec<PutRecord>,
        outcomes: Vec<PutOutcome>,
        same_map: bool,
        retries: &mut Retries,
    ) {
        let mut outcomes = outcomes;
        if places.is_empty()
            && let Some(loose) = loose.take_if(|_| outcomes.iter().all(Result::is_ok))
        {
            self.spent.push(records);
            return self.all_loose_stored(loose, outcomes);
        }
        let mut records = records.into_iter();
        if let Some(loose) = loose {
            let rest = outcomes.split_off(loose.slips.len());
            if outcomes.iter().all(Result::is_ok) {
                records.nth(loose.slips.len() - 1);
                self.all_loose_stored(loose, outcomes);
            } else {
                self.loose_stored_or_not(now, loose, &mut records, outcomes, retries);
            }
            outcomes = rest;
        }
        for ((place, record), outcome) in places.into_iter().zip(records).zip(outcomes) {
            match outcome {
                Ok(placement) => {
                    if same_map {
                        self.check_prediction(place, &placement);
                    }
                    self.stored(place, placement);
                }
                Err(failure) => {
                    self.queue.entry(place).record = Some(record);
                    self.failed(now, place, &Cause::Record(failure), retries);
                }
            }
        }
    }

    /// What is to be done for most records of most streams: little, and together.
    fn all_loose_stored(&mut self, loose: Loose<T>, outcomes: Vec<PutOutcome>) {
        let Loose { slips, bytes, .. } = loose;
        self.queue.finish_loose(&slips, bytes);
        self.metrics.stored_records += slips.len() as u64;
        self.metrics.stored_bytes += bytes as u64;
        for span in slips.spans() {
            self.flushes.settled(span.generation, span.records as usize, &mut self.flushed);
        }
        self.settled.push(Settled::Stored(slips, outcomes));
    }

    fn loose_stored_or_not(
        &mut self,
        now: Instant,
        loose: Loose<T>,
        records: &mut impl Iterator<Item = PutRecord>,
        outcomes: Vec<PutOutcome>,
        retries: &mut Retries,
    ) {
        let Loose { slips, arrived, sent, .. } = loose;
        for ((slip, outcome), record) in slips.into_slips().zip(outcomes).zip(records) {
            let place = self.came_back(arrived, sent, record, slip);
            match outcome {
                Ok(placement) => self.stored(place, placement),
                Err(failure) => self.failed(now, place, &Cause::Record(failure), retries),
            }
        }
    }

    /// Gives a loose record that was sent an entry, which is still carried.
    fn came_back(&mut self, arrived: Instant, sent: Instant, record: PutRecord, slip: Slip<T>) -> u32 {
        let place = self.queue.enter(arrived, record, slip);
        let entry = self.queue.entry(place);
        entry.carried = true;
        entry.leaves(sent);
        place
    }

    #[inline]
    fn stored(&mut self, place: u32, placement: Placement) {
        let Some(gone) = self.queue.finish(place) else { return };
        self.metrics.stored_records += 1;
        self.metrics.stored_bytes += gone.size as u64;
        let Placement { shard, sequence_number } = placement;
        self.settle(gone, Ok(Stored { shard, sequence_number, sub_sequence_number: 0 }));
    }

    /// Takes note when a record that was put into the lane of a shard went to another one.
    #[inline]
    fn check_prediction(&mut self, place: u32, placement: &Placement) {
        let lane = self.queue.get(place).lane as usize;
        let foretold = self.queue.lanes().get(lane).and_then(|lane| lane.shard.as_ref());
        if foretold.is_some_and(|shard| *shard != placement.shard) {
            self.shards.wanted = true;
        }
    }

    fn aggregates_stored_or_not(
        &mut self,
        now: Instant,
        places: &[u32],
        items: Vec<Item>,
        outcomes: Vec<PutOutcome>,
        same_map: bool,
        retries: &mut Retries,
    ) {
        let mut rest = places;
        for (item, outcome) in items.into_iter().zip(outcomes) {
            let (places, others) = rest.split_at(item.records);
            rest = others;
            match outcome {
                Ok(placement) => {
                    let lane = self.queue.lanes().get(item.lane).filter(|_| same_map);
                    let as_foretold = lane.is_some_and(|lane| lane.shard.as_ref() == Some(&placement.shard));
                    if as_foretold || places.len() == 1 {
                        self.shards.wanted |= same_map && !as_foretold;
                        self.all_stored(places, placement);
                    } else {
                        self.landed_elsewhere(now, places.to_vec(), placement, false);
                    }
                }
                Err(failure) => {
                    let cause = Cause::Record(failure);
                    for head in self.queue.heads(places) {
                        self.failed(now, head, &cause, retries);
                    }
                }
            }
        }
    }

    fn all_stored(&mut self, places: &[u32], placement: Placement) {
        let mut tokens = Vec::with_capacity(places.len());
        for place in places {
            let Some(Gone { token, generation, size }) = self.queue.finish(*place) else { continue };
            self.metrics.stored_bytes += size as u64;
            self.flushes.settled(generation, 1, &mut self.flushed);
            tokens.push(token);
        }
        debug_assert_eq!(tokens.len(), places.len(), "what an aggregate carries is in the queue");
        self.metrics.stored_records += tokens.len() as u64;
        self.settled.push(Settled::Together(tokens, placement));
    }

    /// Deals with an aggregate that is not on the shard that was foretold. When all of its records belong to where it
    /// is, after a merge, all is well. Otherwise all of them are sent again: a reader may take some of them, but those
    /// of the KCL family drop the whole aggregate.
    pub(super) fn landed_elsewhere(&mut self, now: Instant, places: Vec<u32>, placement: Placement, is_fresh: bool) {
        let range = self.queue.range(&placement.shard);
        let belongs = |place: &u32| {
            let record = self.queue.get(*place).record.as_ref();
            record.zip(range).is_some_and(|(record, range)| range.contains(record.hash_key()))
        };
        if places.iter().all(belongs) {
            return self.all_stored(&places, placement);
        }
        if !is_fresh && !self.abandoned {
            self.shards.wanted = true;
            return self.misplaced.push((places, placement));
        }
        self.metrics.misplaced_aggregates += 1;
        for place in &places {
            self.queue.entry(*place).may_be_stored = true;
        }
        let cause = Cause::Misplaced(placement);
        let mut retries = Retries::default();
        for head in self.queue.heads(&places) {
            self.failed(now, head, &cause, &mut retries);
        }
    }

    /// Deals with a request that failed as a whole. The records are back in their entries.
    fn refused(&mut self, now: Instant, heads: Vec<u32>, alone: bool, error: Error, retries: &mut Retries) {
        self.metrics.failed_requests += 1;
        if error.kind() == ErrorKind::InvalidArgument && !alone && !self.abandoned {
            return self.divide(heads);
        }
        retries.at_least = error.retry_after().unwrap_or_default();
        let cause = Cause::Call(Arc::new(error));
        for place in heads {
            self.failed(now, place, &cause, retries);
        }
    }

    /// Sends both halves of a refused request by themselves. One record that the service refuses makes it refuse the
    /// whole request; the others are not to suffer for it.
    fn divide(&mut self, mut heads: Vec<u32>) {
        for place in &heads {
            let entry = self.queue.entry(*place);
            entry.carried = false;
            entry.attempts -= 1;
        }
        let second = heads.split_off(heads.len().div_ceil(2));
        self.probes.push_back(heads);
        if !second.is_empty() {
            self.probes.push_back(second);
        }
    }

    /// Sets a head that was not stored aside for a retry, or gives it up.
    fn failed(&mut self, now: Instant, place: u32, cause: &Cause, retries: &mut Retries) {
        let pace = cause.pace();
        self.metrics.throttled_records += u64::from(cause.is_throttled_record());
        let entry = self.queue.entry(place);
        entry.carried = false;
        entry.may_be_stored |= cause.leaves_doubt();
        let attempts = entry.attempts;
        let first_sent = entry.first_sent.unwrap_or(now);
        if self.abandoned {
            // It is settled with all else that is left.
            return;
        }
        let elapsed = now.saturating_duration_since(first_sent);
        let Some(pace) = pace else {
            return self.give_up(place, Reason::Rejected { last: cause.failure() });
        };
        if self.settings.max_attempts.is_none_or(|most| attempts < most.get()) {
            if cause.is_throttled_record() && self.wait_for_shard(now, place, elapsed) {
                self.metrics.retried_records += 1;
                return;
            }
            let (backoff, random) = (self.settings.backoff, &mut self.random);
            let group = retries.group(now, pace, attempts, |failures| match (pace, failures) {
                (Pace::Now, _) => Duration::ZERO,
                (Pace::AtOnce, 0) => FIRST_RETRY_WITHIN.mul_f64(random.f64()),
                (Pace::AtOnce, _) => backoff.delay(failures - 1, random),
                (Pace::BackOff, _) => backoff.delay(failures, random),
            });
            if group.due.saturating_duration_since(first_sent) <= self.settings.give_up_after {
                self.metrics.retried_records += 1;
                if pace == Pace::Now {
                    self.queue.make_ready(place);
                } else {
                    group.places.push(place);
                }
                return;
            }
        }
        self.give_up(place, Reason::GaveUp { elapsed, last: cause.failure() });
    }

    /// Puts a throttled record back into the lane of its shard, whose pace decides when it goes again. Says no when the
    /// shard is not known, or when that would be too late.
    fn wait_for_shard(&mut self, now: Instant, place: u32, elapsed: Duration) -> bool {
        let Some(lane) = self.queue.shard_lane(place) else {
            self.shards.wanted |= !self.queue.has_map() && self.limits.hash_decides;
            return false;
        };
        let size = self.queue.get(place).size;
        let wait = self.queue.throttled(lane, now).ready_at(size).saturating_duration_since(now);
        let in_time = elapsed + wait <= self.settings.give_up_after;
        if in_time {
            self.queue.make_ready(place);
        }
        in_time
    }
}

/// Why records were not stored: one reason for all, or one for each.
enum Cause {
    Call(Arc<Error>),
    Record(PutFailure),
    Misplaced(Placement),
}

impl Cause {
    /// Whether the record may have been stored all the same.
    fn leaves_doubt(&self) -> bool {
        match self {
            Self::Call(error) => leaves_doubt(error),
            Self::Record(_) => false,
            Self::Misplaced(_) => true,
        }
    }

    fn is_throttled_record(&self) -> bool {
        matches!(self, Self::Record(failure) if failure.kind == ErrorKind::Throttled)
    }

    /// When it can be tried again, if ever.
    fn pace(&self) -> Option<Pace> {
        match self {
            Self::Call(error) => error.kind().is_retryable().then_some(Pace::BackOff),
            Self::Record(failure) if !failure.kind.is_retryable() => None,
            Self::Record(failure) if matches!(failure.kind, ErrorKind::Unavailable | ErrorKind::Timeout) => {
                Some(Pace::AtOnce)
            }
            Self::Record(_) => Some(Pace::BackOff),
            Self::Misplaced(_) => Some(Pace::Now),
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
enum Pace {
    /// It was the shard map that was wrong, and there is a new one.
    Now,
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
    places: Vec<u32>,
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
