use std::time::Instant;

use statefun_kinesis_aggregation::Aggregator;
use statefun_kinesis_types::{PUT_RECORDS_MAX_BYTES, PUT_RECORDS_MAX_RECORDS, PutRecord};

use super::{Loose, Machine, Reason};
use crate::{
    fresh::Bundle,
    queue::ANY,
    request::{Item, Load, Request},
    slips::Token,
};

/// A request that is being put together.
struct Draft<T> {
    loose: Bundle<T>,
    /// Other records, one per place.
    records: Vec<PutRecord>,
    items: Vec<Item>,
    places: Vec<u32>,
    /// Bytes of the items, or of the other records.
    bytes: usize,
}

impl<T: Token> Draft<T> {
    fn new(now: Instant) -> Self {
        let (records, items, places) = (Vec::new(), Vec::new(), Vec::new());
        Self { loose: Bundle::empty(now), records, items, places, bytes: 0 }
    }

    /// Records that are carried as they are.
    fn len(&self) -> usize {
        self.loose.records.len() + self.records.len()
    }
}

impl<T: Token, W> Machine<T, W> {
    /// Puts heads that are in no lane into a request.
    pub(super) fn carry(&mut self, now: Instant, places: Vec<u32>) -> Request {
        let mut records = Vec::with_capacity(places.len());
        for place in &places {
            let entry = self.queue.entry(*place);
            entry.carried = true;
            entry.lane = ANY as u32;
            entry.leaves(now);
            records.extend(entry.record.take());
        }
        Request { load: Load::Plain(records), loose: None, places, map_version: self.queue.map_version }
    }

    /// Collects what is due: aggregates, or records as they are, never both in one request.
    pub(super) fn collect(&mut self, now: Instant) -> Option<Request> {
        let lanes = self.queue.lanes().len();
        let mut draft = Draft::new(now);
        for step in 0..lanes {
            let lane = (self.next_lane + step) % lanes;
            if self.send_at(lane).is_none_or(|at| at > now) {
                continue;
            }
            let full = if self.aggregates(lane) {
                if draft.len() > 0 {
                    continue;
                }
                self.fill_with_aggregates(now, lane, &mut draft)
            } else {
                if !draft.items.is_empty() {
                    continue;
                }
                self.fill(now, lane, &mut draft)
            };
            if full {
                self.next_lane = lane;
                break;
            }
        }
        let Draft { loose, records, items, places, .. } = draft;
        if loose.slips.len() == 0 && places.is_empty() {
            return None;
        }
        let Bundle { records: mut plain, slips, bytes, arrived } = loose;
        plain.extend(records);
        let load = if items.is_empty() { Load::Plain(plain) } else { Load::Aggregates(items) };
        let loose = (slips.len() > 0).then(|| self.loose.insert(Loose { slips, bytes, arrived, sent: now }) as u32);
        Some(Request { load, loose, places, map_version: self.queue.map_version })
    }

    /// Takes records of a lane as they are: the oldest ones, as far as the limits go. Says whether the request is full.
    fn fill(&mut self, now: Instant, lane: usize, draft: &mut Draft<T>) -> bool {
        let sorts = lane == ANY && (self.queue.paced() > 0 || self.aggregator.is_some());
        loop {
            let first = self.queue.lanes()[lane].peek();
            let arrival = first.map_or(u64::MAX, |(place, _)| self.queue.get(place).arrival());
            if lane == ANY && self.queue.fresh.first().is_some_and(|fresh| fresh < arrival) {
                if sorts {
                    self.queue.enter_bundle();
                } else if self.queue.fresh.take(arrival, draft.records.len(), draft.bytes, &mut draft.loose) {
                    return true;
                }
                continue;
            }
            let Some((place, returned)) = first else { return false };
            if sorts && self.queue.divert(place, returned) {
                continue;
            }
            let size = self.queue.get(place).size;
            if size > self.limits.max_record_bytes {
                self.take_too_large(lane, place, returned);
                continue;
            }
            let bytes = draft.bytes + draft.loose.bytes + size;
            if draft.len() == PUT_RECORDS_MAX_RECORDS || (draft.len() > 0 && bytes > PUT_RECORDS_MAX_BYTES) {
                return true;
            }
            if let Some(pace) = &mut self.queue.lane(lane).pace
                && !pace.admit(now, size)
            {
                return false;
            }
            draft.bytes += size;
            let entry = self.queue.take(lane, place, returned);
            entry.leaves(now);
            draft.records.extend(entry.record.take());
            draft.places.push(place);
        }
    }

    /// Takes the records of one shard, and puts them together. Says whether the request is full.
    fn fill_with_aggregates(&mut self, now: Instant, lane: usize, draft: &mut Draft<T>) -> bool {
        let Some(mut aggregator) = self.aggregator.take() else { return false };
        let largest = self.settings.aggregation.map_or(0, |aggregation| aggregation.max_bytes.get() as usize);
        let mut full = false;
        while let Some((place, returned)) = self.queue.lanes()[lane].peek() {
            let size = self.queue.get(place).size;
            if size > self.limits.max_record_bytes {
                self.take_too_large(lane, place, returned);
                continue;
            }
            if draft.items.len() == PUT_RECORDS_MAX_RECORDS
                || (!draft.items.is_empty() && draft.bytes + largest.max(size) > PUT_RECORDS_MAX_BYTES)
            {
                full = true;
                break;
            }
            let bytes = self.next_bytes(lane, size);
            if let Some(pace) = &mut self.queue.lane(lane).pace
                && !pace.admit(now, bytes)
            {
                break;
            }
            let before = draft.places.len();
            self.put_together(now, lane, &mut aggregator, &mut draft.places);
            let records = draft.places.len() - before;
            if let Some(unsealed) = aggregator.take() {
                draft.bytes += unsealed.size();
                draft.items.push(Item { unsealed: Some(unsealed), records, lane });
            }
        }
        self.aggregator = Some(aggregator);
        full
    }

    /// About how many bytes leave a lane next, when its first record has so many.
    pub(super) fn next_bytes(&self, lane: usize, size: usize) -> usize {
        match self.settings.aggregation {
            Some(aggregation) if self.aggregates(lane) => {
                self.queue_bytes(lane).min(aggregation.max_bytes.get() as usize).max(size)
            }
            _ => size,
        }
    }

    pub(super) fn queue_bytes(&self, lane: usize) -> usize {
        let lane = &self.queue.lanes()[lane];
        lane.bytes + lane.following
    }

    /// Fills one aggregate with the records of a lane, each head with as much of its line as goes to the same shard.
    fn put_together(&mut self, now: Instant, lane: usize, aggregator: &mut Aggregator, places: &mut Vec<u32>) {
        while let Some((head, returned)) = self.queue.lanes()[lane].peek() {
            let entry = self.queue.get(head);
            let fits = entry.size <= self.limits.max_record_bytes
                && entry.record.as_ref().is_some_and(|record| aggregator.push(record).is_ok());
            if !fits {
                return;
            }
            self.queue.take(lane, head, returned).leaves(now);
            places.push(head);
            let mut last = head;
            while let Some(next) = self.queue.follower(last, lane) {
                let entry = self.queue.get(next);
                let fits = entry.size <= self.limits.max_record_bytes
                    && entry.record.as_ref().is_some_and(|record| aggregator.push(record).is_ok());
                if !fits {
                    return;
                }
                self.queue.follow(head, next, lane).leaves(now);
                places.push(next);
                last = next;
            }
        }
    }

    fn take_too_large(&mut self, lane: usize, place: u32, returned: bool) {
        self.queue.take(lane, place, returned).carried = false;
        self.give_up(place, Reason::TooLarge { limit: self.limits.max_record_bytes });
    }
}
