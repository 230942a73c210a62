use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque, hash_map},
    time::Instant,
};

use slab::Slab;
use statefun_kinesis_types::{PartitionKey, PutRecord};

/// All records that are outstanding, and which of them may be sent now.
///
/// Of each partition key, one record is *active*: ready, delayed or in a request. The others of that key stand in line
/// behind it, each linked to the next, so that a key costs one map entry and no queue of its own. When the active one
/// is settled, the next takes its place.
///
/// Ready records leave in the order of their arrival. Those that come back (retries and next in line) are older than
/// most of what is fresh; a heap keeps them in order among themselves, and fresh ones need none.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    entries: Slab<Entry<T>>,
    /// The last in line of every key that has an active record.
    lines: HashMap<PartitionKey, usize>,
    fresh: VecDeque<(u64, usize)>,
    returned: BinaryHeap<Reverse<(u64, usize)>>,
    ready_bytes: usize,
    delayed: BinaryHeap<Reverse<Delayed>>,
    arrivals: u64,
    bytes: usize,
}

/// One outstanding record.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    /// `None` while a request carries the record.
    pub(crate) record: Option<PutRecord>,
    /// Bytes of data and key.
    pub(crate) size: usize,
    /// Who wants to know what becomes of it.
    pub(crate) token: T,
    /// The flush generation that the record belongs to.
    pub(crate) generation: u64,
    /// When the record was queued.
    pub(crate) arrived: Instant,
    /// When the first request with the record left.
    pub(crate) first_sent: Option<Instant>,
    /// How many requests have carried it.
    pub(crate) attempts: u32,
    /// Whether one of them ended without an answer.
    pub(crate) may_be_stored: bool,
    arrival: u64,
    /// The next in line of the same key.
    next: Option<usize>,
}

/// Records that are to be tried again together.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Delayed {
    due: Instant,
    places: Vec<usize>,
}

impl<T> Queue<T> {
    pub(crate) fn new() -> Self {
        Self {
            entries: Slab::new(),
            lines: HashMap::new(),
            fresh: VecDeque::new(),
            returned: BinaryHeap::new(),
            ready_bytes: 0,
            delayed: BinaryHeap::new(),
            arrivals: 0,
            bytes: 0,
        }
    }

    /// Records outstanding.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Bytes outstanding.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Records that may be sent now.
    pub(crate) fn ready(&self) -> usize {
        self.fresh.len() + self.returned.len()
    }

    /// Bytes of the records that may be sent now.
    pub(crate) fn ready_bytes(&self) -> usize {
        self.ready_bytes
    }

    /// When one of the ready records arrived that has waited already, for its predecessor or for a retry.
    pub(crate) fn returned(&self) -> Option<Instant> {
        self.returned.peek().map(|Reverse((_, place))| self.entries[*place].arrived)
    }

    /// The oldest of the ready records that have waited for nothing yet: its arrival number and time.
    pub(crate) fn oldest_fresh(&self) -> Option<(u64, Instant)> {
        self.fresh.front().map(|(arrival, place)| (*arrival, self.entries[*place].arrived))
    }

    /// The arrival number that the next record will get.
    pub(crate) fn next_arrival(&self) -> u64 {
        self.arrivals
    }

    pub(crate) fn push(&mut self, now: Instant, record: PutRecord, token: T, generation: u64) {
        let size = record.size();
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.bytes += size;
        let vacant = self.entries.vacant_entry();
        let place = vacant.key();
        let line = self.lines.entry(record.partition_key.clone());
        vacant.insert(Entry {
            record: Some(record),
            size,
            token,
            generation,
            arrived: now,
            first_sent: None,
            attempts: 0,
            may_be_stored: false,
            arrival,
            next: None,
        });
        match line {
            hash_map::Entry::Vacant(line) => {
                line.insert(place);
                self.fresh.push_back((arrival, place));
                self.ready_bytes += size;
            }
            hash_map::Entry::Occupied(mut line) => {
                let last = line.insert(place);
                self.entries[last].next = Some(place);
            }
        }
    }

    /// Takes ready records for a request: the oldest ones, as far as the limits go, and at least one.
    pub(crate) fn take(
        &mut self,
        now: Instant,
        max_records: usize,
        max_bytes: usize,
    ) -> Option<(Vec<PutRecord>, Vec<usize>)> {
        let most = self.ready().min(max_records);
        let mut records = Vec::with_capacity(most);
        let mut places = Vec::with_capacity(most);
        let mut bytes = 0;
        while records.len() < max_records {
            let from_returned = match (self.returned.peek(), self.fresh.front()) {
                (Some(Reverse(returned)), Some(fresh)) => returned < fresh,
                (returned, _) => returned.is_some(),
            };
            let next = if from_returned { self.returned.peek().map(|Reverse(next)| next) } else { self.fresh.front() };
            let Some(&(_, place)) = next else { break };
            let entry = &mut self.entries[place];
            if !records.is_empty() && bytes + entry.size > max_bytes {
                break;
            }
            if from_returned {
                self.returned.pop();
            } else {
                self.fresh.pop_front();
            }
            bytes += entry.size;
            entry.attempts += 1;
            entry.first_sent.get_or_insert(now);
            records.extend(entry.record.take());
            places.push(place);
        }
        self.ready_bytes -= bytes;
        (!places.is_empty()).then_some((records, places))
    }

    pub(crate) fn entry(&mut self, place: usize) -> &mut Entry<T> {
        &mut self.entries[place]
    }

    /// Sets active records aside until `due`.
    pub(crate) fn delay(&mut self, due: Instant, places: Vec<usize>) {
        self.delayed.push(Reverse(Delayed { due, places }));
    }

    /// When the next delayed records become ready.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.delayed.peek().map(|Reverse(delayed)| delayed.due)
    }

    /// Makes those delayed records ready whose time has come.
    pub(crate) fn wake(&mut self, now: Instant) {
        while self.next_due().is_some_and(|due| due <= now) {
            let Some(Reverse(delayed)) = self.delayed.pop() else { break };
            for place in delayed.places {
                self.make_ready(place);
            }
        }
    }

    fn make_ready(&mut self, place: usize) {
        let entry = &self.entries[place];
        self.ready_bytes += entry.size;
        self.returned.push(Reverse((entry.arrival, place)));
    }

    /// Removes an active record, and makes the next in line the active one.
    pub(crate) fn finish(&mut self, place: usize, key: &PartitionKey) -> Entry<T> {
        let entry = self.remove(place);
        match entry.next {
            Some(next) => self.make_ready(next),
            None => _ = self.lines.remove(key),
        }
        entry
    }

    /// Removes an active record with all that stand in line behind it: first itself, then the others in order.
    pub(crate) fn finish_line(&mut self, place: usize, key: &PartitionKey) -> Vec<Entry<T>> {
        self.lines.remove(key);
        let mut line = Vec::new();
        let mut next = Some(place);
        while let Some(place) = next {
            let entry = self.remove(place);
            next = entry.next;
            line.push(entry);
        }
        line
    }

    /// Removes everything that no request carries, in order of arrival. Nothing may be pushed afterwards.
    pub(crate) fn clear(&mut self) -> Vec<Entry<T>> {
        self.fresh.clear();
        self.returned.clear();
        self.delayed.clear();
        self.lines.clear();
        self.ready_bytes = 0;
        let idle: Vec<usize> =
            self.entries.iter().filter(|(_, entry)| entry.record.is_some()).map(|(place, _)| place).collect();
        let mut removed: Vec<_> = idle.into_iter().map(|place| self.remove(place)).collect();
        removed.sort_unstable_by_key(|entry| entry.arrival);
        for (_, entry) in &mut self.entries {
            entry.next = None;
        }
        removed
    }

    fn remove(&mut self, place: usize) -> Entry<T> {
        let entry = self.entries.remove(place);
        self.bytes -= entry.size;
        entry
    }
}
