use std::{ops::Range, time::Instant};

use statefun_kinesis_aggregation::Aggregator;
use statefun_kinesis_types::{PUT_RECORDS_MAX_BYTES, PUT_RECORDS_MAX_RECORDS, PutRecord};

use super::{Machine, in_flight::UntrackedInFlight, timing::Due};
use crate::{
    Reason,
    queue::{ANY_SHARD, EntryId, Waiting},
    record_meta::Token,
    request::{AggregateInFlight, Content, Request},
    untracked::Chunk,
};

/// A request under construction.
struct RequestBuilder<T> {
    untracked: Chunk<T>,
    /// Tracked records that are sent as they are, one per id.
    records: Vec<PutRecord>,
    aggregates: Vec<AggregateInFlight>,
    ids: Vec<EntryId>,
    /// Bytes of the aggregates, or of the tracked records.
    bytes: usize,
}

impl<T: Token> RequestBuilder<T> {
    fn new() -> Self {
        let (records, aggregates, ids) = (Vec::new(), Vec::new(), Vec::new());
        Self { untracked: Chunk::empty(), records, aggregates, ids, bytes: 0 }
    }

    /// Records that are sent as they are.
    fn plain_records(&self) -> usize {
        self.untracked.records.len() + self.records.len()
    }
}

/// The order in which shard queues are looked at: each once, from where the last full request ended, so that no shard is
/// left out for long.
struct Turn {
    range: Range<usize>,
    /// What comes after it.
    rest: Range<usize>,
}

impl Turn {
    fn new(start: usize, shard_queues: usize) -> Self {
        // There may be fewer than when the last request was built.
        let start = if start < shard_queues { start } else { 0 };
        Self { range: start..shard_queues, rest: 0..start }
    }

    /// The next shard queue; `find` finds the first one in a range.
    fn next(&mut self, find: impl Fn(Range<usize>) -> Option<usize>) -> Option<usize> {
        let mut found = find(self.range.clone());
        if found.is_none() {
            self.range = std::mem::take(&mut self.rest);
            found = find(self.range.clone());
        }
        self.range.start = found? + 1;
        found
    }
}

/// How requests are built.
impl<T: Token, W> Machine<T, W> {
    /// A request with exactly these records, which are set aside.
    pub(super) fn build_probe(&mut self, now: Instant, ids: Vec<EntryId>) -> Request {
        let mut records = Vec::with_capacity(ids.len());
        for id in &ids {
            let entry = self.queue.get_mut(*id);
            entry.in_flight = true;
            entry.shard_queue = ANY_SHARD as u32;
            entry.sent(now);
            records.extend(entry.record.take());
        }
        let map_version = self.queue.shard_queues.map_version();
        Request { content: Content::Plain(records), untracked: None, ids, map_version, sent: now }
    }

    /// A request with what is due: aggregates, or records as they are, never both.
    pub(super) fn build_request(&mut self, now: Instant) -> Option<Request> {
        let mut builder = RequestBuilder::new();
        let mut due = self.due(now);
        let (mut is_full, mut leaves_others, mut takes_waiting) = (false, false, due.for_others);
        let mut turn = Turn::new(self.next_shard_queue, self.queue.shard_queues.len());
        while !is_full && let Some(shard_queue) = turn.next(|range| self.next_due(range, due)) {
            let aggregates = self.aggregates(shard_queue);
            let is_other_kind = if aggregates { builder.plain_records() > 0 } else { !builder.aggregates.is_empty() };
            if is_other_kind {
                leaves_others = true;
                continue;
            }
            is_full = if aggregates {
                self.add_aggregates(now, shard_queue, &mut builder)
            } else {
                self.add_records(now, shard_queue, &mut builder)
            };
            if is_full {
                self.next_shard_queue = shard_queue;
            }
            if shard_queue == ANY_SHARD {
                takes_waiting = true;
                // Some of its records may have gone to shards with a pace.
                due.for_release |= self.begin_release(now);
            }
        }
        self.end_turn(due, is_full || leaves_others);
        let RequestBuilder { untracked, records, aggregates, ids, .. } = builder;
        if untracked.metas.len() == 0 && ids.is_empty() {
            return None;
        }
        let Chunk { records: mut plain, metas, bytes } = untracked;
        plain.extend(records);
        let content = if aggregates.is_empty() { Content::Plain(plain) } else { Content::Aggregates(aggregates) };
        let untracked = UntrackedInFlight { metas, bytes };
        let untracked = (untracked.metas.len() > 0).then(|| self.in_flight.untracked.insert(untracked));
        if takes_waiting {
            self.linger.last_sent = Some(now);
        }
        Some(Request { content, untracked, ids, map_version: self.queue.shard_queues.map_version(), sent: now })
    }

    /// The first shard queue in a range whose records are due.
    fn next_due(&self, range: Range<usize>, due: Due) -> Option<usize> {
        if range.is_empty() {
            return None;
        }
        let shard_queues = &self.queue.shard_queues;
        if range.contains(&ANY_SHARD) && self.is_any_shard_due(due) {
            return Some(ANY_SHARD);
        }
        let first = |waiting| shard_queues.waiting(waiting).range(range.clone()).next().copied();
        let for_others = if due.for_others { first(Waiting::ForOthers) } else { None };
        let for_release = if due.for_release { first(Waiting::ForRelease) } else { None };
        [for_others, first(Waiting::Full), for_release].into_iter().flatten().min()
    }

    /// Adds records of a shard queue as they are, the oldest first, as far as the limits go. Returns whether the request is
    /// full.
    fn add_records(&mut self, now: Instant, shard_queue: usize, builder: &mut RequestBuilder<T>) -> bool {
        // The shards of records that were queued for any shard may matter by now.
        let sorts_by_shard =
            shard_queue == ANY_SHARD && (self.queue.shard_queues.paced() > 0 || self.aggregator.is_some());
        loop {
            let tracked = self.queue.shard_queues[shard_queue].peek();
            let arrival = tracked.map_or(u64::MAX, |(id, _)| self.queue.get(id).arrival());
            if shard_queue == ANY_SHARD && self.queue.untracked.first_arrival().is_some_and(|first| first < arrival) {
                // The older of both goes first, so that no record is overtaken for ever.
                if sorts_by_shard {
                    self.queue.track_oldest_chunk();
                } else if self.queue.untracked.take(
                    arrival,
                    builder.records.len(),
                    builder.bytes,
                    &mut builder.untracked,
                ) {
                    return true;
                }
                continue;
            }
            let Some((id, is_returned)) = tracked else { return false };
            if sorts_by_shard && self.queue.move_to_shard_queue(id, is_returned) {
                continue;
            }
            let size = self.queue.get(id).size;
            if size > self.limits.max_record_bytes {
                self.give_up_too_large(shard_queue, id, is_returned);
                continue;
            }
            let bytes = builder.bytes + builder.untracked.bytes + size;
            let records = builder.plain_records();
            if records == PUT_RECORDS_MAX_RECORDS || (records > 0 && bytes > PUT_RECORDS_MAX_BYTES) {
                return true;
            }
            if !self.queue.shard_queues.admits(shard_queue, now, size) {
                return false;
            }
            builder.bytes += size;
            let entry = self.queue.take_ready(shard_queue, id, is_returned);
            entry.sent(now);
            builder.records.extend(entry.record.take());
            builder.ids.push(id);
        }
    }

    /// Adds the records of a shard as aggregates. Returns whether the request is full.
    fn add_aggregates(&mut self, now: Instant, shard_queue: usize, builder: &mut RequestBuilder<T>) -> bool {
        let Some(mut aggregator) = self.aggregator.take() else { return false };
        let largest = self.settings.aggregation.map_or(0, |aggregation| aggregation.max_bytes.get() as usize);
        let mut is_full = false;
        while let Some((id, is_returned)) = self.queue.shard_queues[shard_queue].peek() {
            let size = self.queue.get(id).size;
            if size > self.limits.max_record_bytes {
                self.give_up_too_large(shard_queue, id, is_returned);
                continue;
            }
            // How large an aggregate becomes is known only when it is complete.
            if builder.aggregates.len() == PUT_RECORDS_MAX_RECORDS
                || (!builder.aggregates.is_empty() && builder.bytes + largest.max(size) > PUT_RECORDS_MAX_BYTES)
            {
                is_full = true;
                break;
            }
            let bytes = self.next_bytes(shard_queue, size);
            if !self.queue.shard_queues.admits(shard_queue, now, bytes) {
                break;
            }
            let before = builder.ids.len();
            self.fill_aggregate(now, shard_queue, &mut aggregator, &mut builder.ids);
            let records = builder.ids.len() - before;
            if let Some(unsealed) = aggregator.take() {
                builder.bytes += unsealed.size();
                builder.aggregates.push(AggregateInFlight { unsealed: Some(unsealed), records, shard_queue });
            }
        }
        self.aggregator = Some(aggregator);
        is_full
    }

    /// Fills one aggregate with the records of a shard queue, each with as many as fit of those that wait behind it and go
    /// to the same shard. Inside an aggregate they keep their order, and it is stored as a whole or not at all.
    fn fill_aggregate(
        &mut self,
        now: Instant,
        shard_queue: usize,
        aggregator: &mut Aggregator,
        ids: &mut Vec<EntryId>,
    ) {
        while let Some((first, is_returned)) = self.queue.shard_queues[shard_queue].peek() {
            if !self.fits_into_aggregate(first, aggregator) {
                // It begins the next aggregate.
                return;
            }
            self.queue.take_ready(shard_queue, first, is_returned).sent(now);
            ids.push(first);
            let mut last = first;
            while let Some(next) = self.queue.next_of_same_shard(last, shard_queue) {
                if !self.fits_into_aggregate(next, aggregator) {
                    return;
                }
                self.queue.take_waiting(first, next, shard_queue).sent(now);
                ids.push(next);
                last = next;
            }
        }
    }

    /// Adds a record to the aggregate, unless it is too large for that or for any request.
    fn fits_into_aggregate(&self, id: EntryId, aggregator: &mut Aggregator) -> bool {
        let entry = self.queue.get(id);
        entry.size <= self.limits.max_record_bytes
            && entry.record.as_ref().is_some_and(|record| aggregator.push(record).is_ok())
    }

    fn give_up_too_large(&mut self, shard_queue: usize, id: EntryId, is_returned: bool) {
        self.queue.take_ready(shard_queue, id, is_returned).in_flight = false;
        self.give_up(id, Reason::TooLarge { limit: self.limits.max_record_bytes }, true);
    }
}
