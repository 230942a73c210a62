use std::{
    collections::VecDeque,
    num::NonZeroU32,
    time::{Duration, Instant},
};

use slab::Slab;
use statefun_kinesis_aggregation::Aggregator;
use statefun_kinesis_client::{Error, ErrorKind, Operation, Placement, PutOutcome};
use statefun_kinesis_types::{PUT_RECORDS_MAX_BYTES, PUT_RECORDS_MAX_RECORDS, PutRecord, Shard, StreamRef};

use crate::{
    Failure, Handling, Metrics, Reason, SendError, Settings, Stored,
    flush::Flushes,
    policy::Policy,
    queue::{ANY, Entry, Gone, Queue, Remains},
    request::Request,
    slips::{Slips, Token},
};

mod answer;
mod draft;

/// Later than any instant that matters, and still an instant.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The shortest time between two listings of the shards. A listing may be older than what made it necessary.
const MAP_REFRESH_EVERY: Duration = Duration::from_millis(200);

/// How soon the shards are listed again when that has failed.
const MAP_RETRY_AFTER: Duration = Duration::from_secs(1);

/// The producer without its I/O: records, answers and the time go in; requests and settled records come out.
///
/// `T` is what a record's sender is found by, `W` what a flush's waiter is found by.
#[derive(Debug)]
pub(crate) struct Machine<T, W> {
    stream: StreamRef,
    settings: Settings,
    policy: Policy,
    limits: Limits,
    random: fastrand::Rng,
    queue: Queue<T>,
    flushes: Flushes<W>,
    /// Records with a lower arrival number do not linger.
    flush_before: u64,
    /// A sender waits for room, so that lingering would be waiting for nobody.
    pressed: bool,
    abandoned: bool,
    /// When the last request left; before the first one, when the first record came.
    left: Option<Instant>,
    in_flight: usize,
    /// The loose records of requests that are on their way.
    loose: Slab<Loose<T>>,
    /// Parts of requests that were refused as a whole. Each is sent by itself, until the refused record is alone.
    probes: VecDeque<Vec<u32>>,
    /// Aggregates that landed elsewhere than foretold, until it is known what that means.
    misplaced: Vec<(Vec<u32>, Placement)>,
    shards: Shards,
    aggregator: Option<Aggregator>,
    /// The lane to begin the next request with.
    next_lane: usize,
    /// Records that were given up and wait for their dead letters.
    condemned: Vec<Condemned>,
    settled: Vec<Settled<T>>,
    /// Records that were stored, for somebody to drop who holds up nobody.
    spent: Vec<Vec<PutRecord>>,
    flushed: Vec<W>,
    metrics: Metrics,
}

/// Records whose outcome is known.
#[derive(Debug)]
pub(crate) enum Settled<T> {
    One(T, Result<Stored, SendError>),
    /// All records of an aggregate, in their order.
    Together(Vec<T>, Placement),
    /// The first records of a request, all of which were stored.
    Stored(Slips<T>, Vec<PutOutcome>),
}

/// Loose records in a request.
#[derive(Debug)]
struct Loose<T> {
    slips: Slips<T>,
    bytes: usize,
    arrived: Instant,
    sent: Instant,
}

/// What the stream says about itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most bytes of one record, data and partition key together.
    pub(crate) max_record_bytes: usize,
    /// Whether the hash of a record's key decides on its shard.
    pub(crate) hash_decides: bool,
}

/// A record that was given up and is to be stored in the dead-letter stream.
#[derive(Debug)]
pub(crate) struct Condemned {
    pub(crate) place: u32,
    pub(crate) record: PutRecord,
    pub(crate) error: SendError,
}

/// What is known about the listing of the stream's shards.
#[derive(Debug, Default)]
struct Shards {
    /// Results disagree with the last listing, or there was none and one is needed.
    wanted: bool,
    /// A listing is under way.
    asked: bool,
    /// The next listing comes no sooner.
    not_before: Option<Instant>,
}

impl<T: Token, W> Machine<T, W> {
    pub(crate) fn new(stream: StreamRef, mut settings: Settings, policy: Policy, limits: Limits) -> Self {
        if let Some(aggregation) = &mut settings.aggregation {
            let most = u32::try_from(limits.max_record_bytes).ok().and_then(NonZeroU32::new);
            aggregation.max_bytes = aggregation.max_bytes.min(most.unwrap_or(NonZeroU32::MAX));
        }
        let aggregator = settings.aggregation.map(|aggregation| {
            Aggregator::new(aggregation.max_bytes.get() as usize, aggregation.max_records.get() as usize)
        });
        Self {
            stream,
            random: settings.seed.map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
            queue: Queue::new(settings.order, aggregator.is_some(), limits.max_record_bytes),
            settings,
            policy,
            limits,
            flushes: Flushes::new(),
            flush_before: 0,
            pressed: false,
            abandoned: false,
            left: None,
            in_flight: 0,
            loose: Slab::new(),
            probes: VecDeque::new(),
            misplaced: Vec::new(),
            shards: Shards::default(),
            aggregator,
            next_lane: ANY,
            condemned: Vec::new(),
            settled: Vec::new(),
            spent: Vec::new(),
            flushed: Vec::new(),
            metrics: Metrics::default(),
        }
    }

    /// Whether a record of this size may be queued now. A refusal is remembered: the queue then sends what it has.
    #[inline]
    pub(crate) fn admits(&mut self, size: usize) -> bool {
        let records = self.settings.max_outstanding_records.get() as usize;
        let bytes = self.settings.max_outstanding_bytes.get() as usize;
        let empty = self.queue.len() == 0;
        let room = empty || (self.queue.len() < records && self.queue.bytes() + size <= bytes);
        self.pressed = !room;
        room
    }

    /// Queues a record that was admitted. Gives the time at which there is something to do because of it.
    #[cfg(test)]
    pub(crate) fn submit(&mut self, now: Instant, record: PutRecord, token: T) -> Option<Instant> {
        let lane = self.queue(now, record, token)?;
        self.due(lane)
    }

    /// Queues a record that was admitted. Gives the lane that has got more to do because of it; [`due`](Self::due) says
    /// when.
    #[inline]
    pub(crate) fn queue(&mut self, now: Instant, record: PutRecord, token: T) -> Option<usize> {
        debug_assert!(!self.abandoned, "an abandoned machine takes no records");
        self.left.get_or_insert(now);
        let generation = self.flushes.queued(1);
        self.queue.push(now, record, token, generation)
    }

    /// Queues the next records of a batch as far as there is room and they have nothing to wait for; the token is that of
    /// the first. It is the same as [`queue`](Self::queue) for each of them. Gives their number, and the lane.
    pub(crate) fn queue_run(
        &mut self,
        now: Instant,
        rest: &mut std::vec::IntoIter<PutRecord>,
        token: T,
    ) -> (usize, usize) {
        let records = self.settings.max_outstanding_records.get() as usize;
        let bytes = self.settings.max_outstanding_bytes.get() as usize;
        let room = (records.saturating_sub(self.queue.len()), bytes.saturating_sub(self.queue.bytes()));
        let count = self.queue.push_run(now, rest, room, token, self.flushes.now());
        if count > 0 {
            self.left.get_or_insert(now);
            self.pressed = false;
            self.flushes.queued(count);
        }
        (count, ANY)
    }

    /// When there is something to do for a lane.
    pub(crate) fn due(&self, lane: usize) -> Option<Instant> {
        if self.in_flight >= self.max_in_flight() { None } else { self.send_at(lane) }
    }

    /// Sends everything that is queued now without lingering, and tells when all of it is settled.
    pub(crate) fn flush(&mut self, waiter: W) {
        self.flush_before = self.queue.next_arrival();
        self.flushed.extend(self.flushes.wait(waiter));
    }

    /// Fails everything that nothing carries. What is in a request is settled by its answer, without a retry.
    pub(crate) fn abandon(&mut self) {
        self.abandoned = true;
        self.probes.clear();
        for (places, _) in std::mem::take(&mut self.misplaced) {
            for place in places {
                let entry = self.queue.entry(place);
                (entry.carried, entry.may_be_stored) = (false, true);
            }
        }
        for (gone, remains) in self.queue.clear() {
            self.fail(gone, remains, Reason::Closed);
        }
    }

    /// Whether nothing is outstanding.
    pub(crate) fn is_idle(&self) -> bool {
        self.queue.len() == 0
    }

    fn max_in_flight(&self) -> usize {
        self.settings.max_in_flight_requests.get() as usize
    }

    /// Whether records are to be put together: the shards have to be known, and no result may have contradicted them.
    fn aggregates(&self, lane: usize) -> bool {
        lane != ANY && self.aggregator.is_some() && !self.shards.wanted
    }

    /// What a machine has counted goes on in the one that takes its place.
    pub(crate) fn take_metrics_of(&mut self, other: &Self) {
        self.metrics = other.metrics;
    }

    /// The next request to send now, if there is one. Ask until there is none.
    pub(crate) fn next_request(&mut self, now: Instant) -> Option<Request> {
        self.queue.wake(now);
        if self.in_flight >= self.max_in_flight() {
            return None;
        }
        let request = match self.probes.pop_front() {
            Some(places) => self.carry(now, places),
            None => self.collect(now)?,
        };
        self.left = Some(now);
        self.in_flight += 1;
        self.metrics.requests += 1;
        self.metrics.request_records += request.len() as u64;
        Some(request)
    }

    /// When [`next_request`](Self::next_request) will have something to say, unless something else happens before;
    /// a time that has passed means now.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let listing = self.shards.not_before.filter(|_| self.shards.wanted && !self.shards.asked);
        if self.in_flight >= self.max_in_flight() {
            return listing;
        }
        let probes = self.probes.front().and_then(|places| self.queue.get(*places.first()?).first_sent);
        let lanes = (0..self.queue.lanes().len()).filter_map(|lane| self.send_at(lane));
        lanes.chain(self.queue.next_due()).chain(probes).chain(listing).min()
    }

    /// When the records of a lane are to be sent.
    fn send_at(&self, lane: usize) -> Option<Instant> {
        let content = &self.queue.lanes()[lane];
        let first = content.peek().map(|(place, _)| self.queue.get(place));
        let fresh = if lane == ANY { self.queue.fresh.first().zip(self.queue.fresh.arrived()) } else { None };
        let (arrival, arrived, size) = match (first, fresh) {
            (Some(first), Some(fresh)) if fresh.0 > first.arrival() => (first.arrival(), first.arrived, first.size),
            (_, Some((arrival, arrived))) => (arrival, arrived, 0),
            (first, None) => first.map(|first| (first.arrival(), first.arrived, first.size))?,
        };
        let lingers = !content.has_returned()
            && content.pace.is_none()
            && !self.pressed
            && arrival >= self.flush_before
            && !self.is_full(lane);
        let at = if lingers {
            // Who comes after a quiet while has nobody to wait for.
            later(self.left.unwrap_or(arrived), self.settings.linger)
                .max(arrived)
                .min(later(arrived, self.settings.linger))
        } else {
            arrived
        };
        let Some(pace) = &content.pace else { return Some(at) };
        Some(at.max(pace.ready_at(self.next_bytes(lane, size))))
    }

    /// Whether a lane has enough for a full request, or a full aggregate.
    fn is_full(&self, lane: usize) -> bool {
        let content = &self.queue.lanes()[lane];
        match self.settings.aggregation {
            Some(aggregation) if self.aggregates(lane) => {
                self.queue_bytes(lane) >= aggregation.max_bytes.get() as usize
                    || content.len() >= aggregation.max_records.get() as usize
            }
            _ => {
                let fresh = &self.queue.fresh;
                let (records, bytes) = if lane == ANY { (fresh.len(), fresh.bytes()) } else { (0, 0) };
                content.len() + records >= PUT_RECORDS_MAX_RECORDS || content.bytes + bytes >= PUT_RECORDS_MAX_BYTES
            }
        }
    }

    /// Whether the shards of the stream are to be listed now. Once it says so, it waits for
    /// [`listed`](Self::listed).
    pub(crate) fn wants_shards(&mut self, now: Instant) -> bool {
        let due = self.shards.not_before.is_none_or(|at| at <= now);
        let wants = self.shards.wanted && !self.shards.asked && due && !self.abandoned;
        if wants {
            self.shards.asked = true;
            self.metrics.shard_listings += 1;
        }
        wants
    }

    /// Takes the open shards of the stream; none when they could not be listed.
    pub(crate) fn listed(&mut self, now: Instant, shards: Option<Vec<Shard>>) {
        self.shards.asked = false;
        let misplaced = std::mem::take(&mut self.misplaced);
        let Some(shards) = shards else {
            self.shards.not_before = Some(later(now, MAP_RETRY_AFTER));
            for (places, placement) in misplaced {
                let first_sent = places.first().and_then(|place| self.queue.get(*place).first_sent).unwrap_or(now);
                let waits = now.saturating_duration_since(first_sent) <= self.settings.give_up_after;
                if waits {
                    self.misplaced.push((places, placement));
                } else {
                    self.landed_elsewhere(now, places, placement, true);
                }
            }
            return;
        };
        self.shards.wanted = false;
        self.shards.not_before = Some(later(now, MAP_REFRESH_EVERY));
        self.queue.set_map(shards);
        for (places, placement) in misplaced {
            self.landed_elsewhere(now, places, placement, true);
        }
    }

    /// What was given up since the last call and waits for its dead letter.
    pub(crate) fn take_condemned(&mut self) -> Vec<Condemned> {
        std::mem::take(&mut self.condemned)
    }

    /// Takes a condemned record back: it is in the dead-letter stream, or failed for good.
    pub(crate) fn buried(&mut self, place: u32, record: PutRecord, error: SendError, is_stored: bool) {
        let entry = self.queue.entry(place);
        entry.record = Some(record);
        entry.carried = false;
        if is_stored {
            self.let_go(place, error, Handling::DeadLettered);
        } else {
            self.fail_line(place, error);
        }
    }

    /// Gives a record up that is in no lane and not carried, by the policy.
    fn give_up(&mut self, place: u32, reason: Reason) {
        let stream = &self.stream;
        let entry = self.queue.entry(place);
        let Some(record) = &entry.record else { return };
        let error = SendError::new(stream, record, reason).tried(entry.attempts, entry.may_be_stored);
        match self.policy {
            Policy::Fail => self.fail_line(place, error),
            Policy::Skip => self.let_go(place, error, Handling::Skipped),
            Policy::DeadLetter => {
                entry.carried = true;
                let record = entry.record.take();
                self.condemned.extend(record.map(|record| Condemned { place, record, error }));
            }
        }
    }

    /// Settles a record as failed, something having been done about it, and lets the next of its key go on.
    fn let_go(&mut self, place: u32, error: SendError, handling: Handling) {
        match handling {
            Handling::DeadLettered => self.metrics.dead_lettered_records += 1,
            Handling::Skipped | Handling::Failed => self.metrics.skipped_records += 1,
        }
        if let Some(gone) = self.queue.finish(place) {
            self.settle(gone, Err(error.handled(handling)));
        }
        if self.abandoned {
            // The next one may have come into a lane just now.
            self.abandon();
        }
    }

    /// Settles a record as failed, and those that stand in line behind it too.
    fn fail_line(&mut self, place: u32, error: SendError) {
        let mut line = self.queue.finish_line(place).into_iter();
        if let Some((gone, _)) = line.next() {
            self.metrics.failed_records += 1;
            self.settle(gone, Err(error));
        }
        for (gone, remains) in line {
            let reason = if self.abandoned { Reason::Closed } else { Reason::PredecessorFailed };
            self.fail(gone, remains, reason);
        }
    }

    fn fail(&mut self, gone: Gone<T>, remains: Remains, reason: Reason) {
        self.metrics.failed_records += 1;
        let Remains { record, attempts, may_be_stored } = remains;
        if let Some(record) = record {
            let error = SendError::new(&self.stream, &record, reason).tried(attempts, may_be_stored);
            self.settle(gone, Err(error));
        }
    }

    #[inline]
    fn settle(&mut self, gone: Gone<T>, result: Result<Stored, SendError>) {
        self.flushes.settled(gone.generation, 1, &mut self.flushed);
        self.settled.push(Settled::One(gone.token, result));
    }

    /// What was settled since the last call.
    pub(crate) fn take_settled(&mut self) -> impl Iterator<Item = Settled<T>> {
        self.settled.drain(..)
    }

    /// The records that were stored since the last call, as far as they were kept.
    pub(crate) fn take_spent(&mut self) -> Vec<Vec<PutRecord>> {
        std::mem::take(&mut self.spent)
    }

    /// The flushes that were completed since the last call.
    pub(crate) fn take_flushed(&mut self) -> Vec<W> {
        std::mem::take(&mut self.flushed)
    }

    pub(crate) fn metrics(&self) -> Metrics {
        Metrics {
            outstanding_records: self.queue.len(),
            outstanding_bytes: self.queue.bytes(),
            in_flight_requests: self.in_flight,
            paced_shards: self.queue.paced(),
            ..self.metrics
        }
    }
}

impl<T> Entry<T> {
    #[inline]
    fn leaves(&mut self, now: Instant) {
        self.attempts += 1;
        self.first_sent.get_or_insert(now);
    }
}

fn later(instant: Instant, by: Duration) -> Instant {
    instant.checked_add(by).unwrap_or_else(|| instant + FAR)
}

fn wrong_count(records: usize, outcomes: usize) -> Error {
    let message = format!("{records} records were answered with {outcomes} outcomes");
    Error::new(Operation::PutRecords, ErrorKind::Unexpected, message)
}

/// Whether a call that ended so may have been carried out.
fn leaves_doubt(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::Timeout | ErrorKind::Unavailable | ErrorKind::Unexpected)
}

#[cfg(test)]
mod tests;
