use std::time::{Duration, Instant};

use statefun_kinesis_client::InstantExt as _;
use statefun_kinesis_types::{PUT_RECORDS_MAX_BYTES, PUT_RECORDS_MAX_RECORDS, SHARD_WRITE_RECORDS_PER_SECOND};

use super::Machine;
use crate::{
    queue::{ANY_SHARD, Waiting},
    record_meta::Token,
};

/// What decides how long records wait for others that share their request.
///
/// When no request is in flight, they are sent at once. Otherwise they wait for an answer to come back, so that the slower
/// the service is, the more records a request has; and no longer than [`Settings::linger`](crate::Settings::linger).
#[derive(Debug, Default)]
pub(super) struct Linger {
    /// A sender waits for room.
    pub(super) sender_waits: bool,
    /// When the last request was sent that took records of those that wait; before the first one, when the first record
    /// arrived.
    pub(super) last_sent: Option<Instant>,
    /// Those that wait are sent at once: the last of these requests was full and they did not fit into it, or a flush waits
    /// for them.
    pub(super) is_over: bool,
}

/// When records of shards with a pace are sent: together, one *release* after the other.
///
/// Were each record sent as soon as its shard takes it, each would have a request of its own.
#[derive(Debug, Default)]
pub(super) struct Releases {
    /// When the next one begins.
    next: Option<Instant>,
    /// The last request of the present one was full: the next request goes on with it.
    is_running: bool,
    /// About how many shards have records in each release. It falls slowly: were the next release late only because few
    /// records have come back for this one, the records of all shards would wait for it, and no others find room.
    shards: usize,
}

/// When a request that is built now takes records, by what they wait for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// Those that wait for others.
    pub(super) for_others: bool,
    /// Those of shards with a pace.
    pub(super) for_release: bool,
}

/// The longest time between two releases. A shard takes 100 records in it, so that at its limit it costs ten calls per
/// second at most.
const RELEASE_EVERY: Duration = Duration::from_millis(100);

/// The shortest time between two releases.
const RELEASE_EVERY_AT_LEAST: Duration = Duration::from_millis(5);

/// When records are sent.
impl<T: Token, W> Machine<T, W> {
    /// When [`next_request`](Self::next_request) or [`wants_shards`](Self::wants_shards) will have something to do, unless
    /// something else happens before. A time in the past means now.
    pub(crate) fn wake_at(&self) -> Option<Instant> {
        let listing = self.listing.due();
        if self.in_flight.requests >= self.max_in_flight() {
            return listing;
        }
        let probes = self.probes.front().and_then(|ids| self.queue.get(*ids.first()?).first_sent);
        let shard_queues = &self.queue.shard_queues;
        let is_waiting = |waiting| !shard_queues.waiting(waiting).is_empty();
        let is_full = is_waiting(Waiting::Full) || self.is_any_shard_full();
        let for_others = is_full || is_waiting(Waiting::ForOthers) || self.has_records_for_any_shard();
        let for_others = for_others.then(|| self.linger_ends_at(is_full)).flatten();
        let for_release = is_waiting(Waiting::ForRelease).then(|| self.next_release_at()).flatten();
        let times = [for_others, for_release, self.queue.next_due(), probes, listing];
        times.into_iter().flatten().min()
    }

    /// When the next request with records of a shard queue is to be sent, unless it has to wait for an answer first.
    pub(crate) fn send_next_at(&self, shard_queue: usize) -> Option<Instant> {
        if self.in_flight.requests >= self.max_in_flight() {
            return None;
        }
        let shard_queues = &self.queue.shard_queues;
        if shard_queues.is_paced(shard_queue) {
            return self.next_release_at();
        }
        let is_full = shard_queues.waiting(Waiting::Full).contains(&shard_queue)
            || (shard_queue == ANY_SHARD && self.is_any_shard_full());
        self.linger_ends_at(is_full)
    }

    /// What a request that is built now takes.
    pub(super) fn due(&mut self, now: Instant) -> Due {
        let for_others = self.linger_ends_at(false).is_some_and(|at| at <= now);
        Due { for_others, for_release: self.begin_release(now) }
    }

    /// When records are sent that wait for others. A time in the past means now.
    fn linger_ends_at(&self, is_full: bool) -> Option<Instant> {
        let last_sent = self.linger.last_sent?;
        // An answer that is on its way brings room for more records, and makes those ready that wait for records of their
        // keys.
        let is_over = is_full || self.linger.is_over || self.in_flight.requests == 0;
        Some(if is_over { last_sent } else { last_sent.saturating_add(self.settings.linger) })
    }

    /// When records of shards with a pace are sent. A time in the past means now.
    fn next_release_at(&self) -> Option<Instant> {
        if self.releases.is_running { self.linger.last_sent } else { self.releases.next.or(self.linger.last_sent) }
    }

    /// Begins the next release if it is time, and returns whether one is running.
    pub(super) fn begin_release(&mut self, now: Instant) -> bool {
        let waiting = self.queue.shard_queues.waiting(Waiting::ForRelease).len();
        if waiting > 0 && !self.releases.is_running && self.releases.next.is_none_or(|next| next <= now) {
            let before = self.releases.shards;
            let shards = waiting.max(before - before.div_ceil(4));
            let next = Some(now.saturating_add(self.release_interval(shards)));
            self.releases = Releases { next, is_running: true, shards };
        }
        waiting > 0 && self.releases.is_running
    }

    /// Takes note that a shard has throttled a record, and returns when the next release begins: the record is retried then.
    /// A shard that has just throttled takes nothing at once.
    pub(super) fn postpone_release(&mut self, now: Instant) -> Instant {
        match self.releases.next {
            Some(next) if next > now => next,
            _ => {
                let next = now.saturating_add(self.release_interval(self.releases.shards.max(1)));
                (self.releases.next, self.releases.is_running) = (Some(next), false);
                next
            }
        }
    }

    /// The time in which so many shards together take a full request, or half of what may be outstanding: the other half is
    /// on its way meanwhile.
    fn release_interval(&self, shards: usize) -> Duration {
        let records = self.half_of_outstanding().min(PUT_RECORDS_MAX_RECORDS);
        let seconds = records as f64 / (shards as f64 * f64::from(SHARD_WRITE_RECORDS_PER_SECOND));
        Duration::from_secs_f64(seconds).clamp(RELEASE_EVERY_AT_LEAST, RELEASE_EVERY)
    }

    /// Ends the linger and the release that a request belongs to, unless it was full or left records of another kind.
    pub(super) fn end_turn(&mut self, due: Due, goes_on: bool) {
        self.linger.is_over = due.for_others && goes_on;
        self.releases.is_running = due.for_release && goes_on;
    }

    fn has_records_for_any_shard(&self) -> bool {
        self.queue.untracked.len() > 0 || !self.queue.shard_queues[ANY_SHARD].is_empty()
    }

    /// Whether a request takes records whose shard does not matter.
    pub(super) fn is_any_shard_due(&self, due: Due) -> bool {
        self.has_records_for_any_shard() && (due.for_others || self.is_any_shard_full())
    }

    /// Whether the records whose shard does not matter fill a request.
    fn is_any_shard_full(&self) -> bool {
        let (ready, untracked) = (&self.queue.shard_queues[ANY_SHARD], &self.queue.untracked);
        let (records, bytes) = (ready.len() + untracked.len(), ready.bytes + untracked.bytes());
        // While a sender waits for room, so many never come together unless what is in flight is less than a request.
        let most = if self.linger.sender_waits { self.half_of_outstanding() } else { PUT_RECORDS_MAX_RECORDS };
        records >= most.min(PUT_RECORDS_MAX_RECORDS) || bytes >= PUT_RECORDS_MAX_BYTES
    }

    fn half_of_outstanding(&self) -> usize {
        self.settings.max_outstanding_records.get().div_ceil(2) as usize
    }

    /// About how many bytes a shard queue sends next as one record, when its oldest one has `size` bytes.
    pub(super) fn next_bytes(&self, shard_queue: usize, size: usize) -> usize {
        match self.settings.aggregation {
            Some(aggregation) if self.aggregates(shard_queue) => {
                let ready = &self.queue.shard_queues[shard_queue];
                (ready.bytes + ready.waiting_bytes).min(aggregation.max_bytes.get() as usize).max(size)
            }
            _ => size,
        }
    }
}
