use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, HashSet},
    hash::{BuildHasher, BuildHasherDefault, RandomState},
    time::Instant,
};

use statefun_kinesis_types::{PartitionKey, PutRecord};

use crate::{
    Order,
    fresh::Fresh,
    key_hash::{Hashed, mix},
    lane::Lane,
    shard_map::ShardMap,
    slips::{Slip, Slips, Token},
};

mod shards;

/// No entry.
const NONE: u32 = u32::MAX;

/// The lane of records whose shard does not matter or is not known.
pub(crate) const ANY: usize = 0;

/// All records that are outstanding, and which of them may be sent now.
///
/// Of each partition key, one record is the *head*: in a lane, delayed or in a request. The others of that key stand in
/// line behind it, each linked to the next, so that a key costs one map entry and no queue of its own. When the head is
/// settled, the next takes its place. An aggregate may take some of the line along with the head: those *follow* it.
///
/// A head for which nothing but the request matters is *loose*: it has no entry, and waits in [`Fresh`]. It gets one
/// when there is something to remember of it, above all when it was not stored.
///
/// Keys are known by a hash of 64 bits under a secret of the process. Should two keys ever share one, they share a
/// line: they wait for each other, and nothing else happens.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    entries: Vec<Entry<T>>,
    /// Places of `entries` that are free.
    free: Vec<u32>,
    /// Loose heads that no request carries yet. They belong to the first lane.
    pub(crate) fresh: Fresh<T>,
    /// Records outstanding, loose ones included.
    records: usize,
    /// The keys whose heads are loose. Most keys have nothing else, so that this is kept small.
    loose: HashSet<u64, BuildHasherDefault<Hashed>>,
    /// The keys of all entries.
    lines: HashMap<u64, Line, BuildHasherDefault<Hashed>>,
    secret: u64,
    ordered: bool,
    aggregating: bool,
    /// A record with more bytes is never sent.
    max_record_bytes: usize,
    lanes: Vec<Lane>,
    map: Option<ShardMap>,
    /// How many shard maps there have been: places of lanes mean nothing under another one.
    pub(crate) map_version: u32,
    /// Lanes with a pace.
    paced: usize,
    delayed: BinaryHeap<Reverse<Delayed>>,
    arrivals: u64,
    bytes: usize,
}

/// One outstanding record.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    /// `None` while a request carries the record as it is.
    pub(crate) record: Option<PutRecord>,
    /// Who wants to know what becomes of it. `None` in a place that is free.
    pub(crate) token: Option<T>,
    /// The flush generation that the record belongs to.
    pub(crate) generation: u64,
    /// When the record was queued.
    pub(crate) arrived: Instant,
    /// When the first request with the record left.
    pub(crate) first_sent: Option<Instant>,
    /// Bytes of data and key.
    pub(crate) size: usize,
    /// How many requests have carried it.
    pub(crate) attempts: u32,
    /// Whether one of them may have stored it although it was not said so.
    pub(crate) may_be_stored: bool,
    /// Whether it is in a request, or out in another way, and comes back.
    pub(crate) carried: bool,
    /// Whether it is a head in a lane; kept only for aggregation.
    in_lane: bool,
    arrival: u64,
    key_hash: u64,
    /// The next in line of the same key.
    next: u32,
    /// The lane that it was in last.
    pub(crate) lane: u32,
    /// Of a head: bytes of those behind it that are not carried; kept only for aggregation.
    waiting: usize,
}

/// What is left of a record that is no longer outstanding.
#[derive(Debug)]
pub(crate) struct Gone<T> {
    pub(crate) token: T,
    pub(crate) generation: u64,
    pub(crate) size: usize,
}

/// What an error says of a record.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) record: Option<PutRecord>,
    pub(crate) attempts: u32,
    pub(crate) may_be_stored: bool,
}

/// The entries of one key. The first is the head, unless that is loose.
#[derive(Debug)]
struct Line {
    first: u32,
    last: u32,
}

/// Records that are to be tried again together.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Delayed {
    due: Instant,
    places: Vec<u32>,
}

impl<T> Entry<T> {
    pub(crate) fn arrival(&self) -> u64 {
        self.arrival
    }
}

impl<T: Token> Queue<T> {
    pub(crate) fn new(order: Order, aggregating: bool, max_record_bytes: usize) -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            fresh: Fresh::new(),
            records: 0,
            loose: HashSet::default(),
            lines: HashMap::default(),
            secret: RandomState::new().hash_one("the keys of one queue"),
            ordered: order == Order::PerPartitionKey,
            aggregating,
            max_record_bytes,
            lanes: vec![Lane::default()],
            map: None,
            map_version: 0,
            paced: 0,
            delayed: BinaryHeap::new(),
            arrivals: 0,
            bytes: 0,
        }
    }

    /// Records outstanding.
    pub(crate) fn len(&self) -> usize {
        self.records
    }

    /// Bytes outstanding.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    pub(crate) fn lane(&mut self, lane: usize) -> &mut Lane {
        &mut self.lanes[lane]
    }

    /// Lanes that have a pace.
    pub(crate) fn paced(&self) -> usize {
        self.paced
    }

    /// The arrival number that the next record will get.
    pub(crate) fn next_arrival(&self) -> u64 {
        self.arrivals
    }

    /// Queues a record, and gives the lane it came into; none when it stands in line behind another one.
    #[inline]
    pub(crate) fn push(&mut self, now: Instant, record: PutRecord, token: T, generation: u64) -> Option<usize> {
        let size = record.size();
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.records += 1;
        self.bytes += size;
        let is_loose = !self.aggregating && self.paced == 0 && size <= self.max_record_bytes;
        let key_hash = if self.ordered { self.hash(&record.partition_key) } else { 0 };
        let slip = Slip { token, key_hash, arrival, generation };
        if self.ordered {
            if !self.lines.is_empty() && self.lines.contains_key(&key_hash) {
                return self.push_behind(now, record, slip);
            }
            let is_first = if is_loose { self.loose.insert(key_hash) } else { !self.loose.contains(&key_hash) };
            if !is_first {
                let place = self.insert(now, record, slip);
                self.lines.insert(key_hash, Line { first: place, last: place });
                return None;
            }
        }
        if is_loose {
            self.fresh.push(now, record, size, slip);
            return Some(ANY);
        }
        let place = self.insert(now, record, slip);
        if self.ordered {
            self.lines.insert(key_hash, Line { first: place, last: place });
        }
        Some(self.enter_lane(place, false))
    }

    /// Queues the next records of a batch together, as far as they have nothing to wait for and there is room for so many
    /// of so many bytes. `token` is that of the first. Gives how many that are; [`push`](Self::push) takes any others.
    pub(crate) fn push_run(
        &mut self,
        now: Instant,
        rest: &mut std::vec::IntoIter<PutRecord>,
        room: (usize, usize),
        token: T,
        generation: u64,
    ) -> usize {
        if self.aggregating || self.paced > 0 {
            return 0;
        }
        let Self { fresh, loose, lines, secret, ordered, max_record_bytes, .. } = self;
        let admit = |record: &PutRecord, size: usize| {
            if size > *max_record_bytes {
                return None;
            }
            if !*ordered {
                return Some(0);
            }
            let key_hash = mix(record.partition_key.as_str().as_bytes(), *secret);
            let waits = !lines.is_empty() && lines.contains_key(&key_hash);
            (!waits && loose.insert(key_hash)).then_some(key_hash)
        };
        let first = Slip { token, key_hash: 0, arrival: self.arrivals, generation };
        let (records, bytes) = fresh.push_run(now, rest, room, first, admit);
        self.arrivals += records as u64;
        self.records += records;
        self.bytes += bytes;
        records
    }

    /// Puts a record in line behind others of its key. Gives the lane that the head is in, if it matters.
    fn push_behind(&mut self, now: Instant, record: PutRecord, slip: Slip<T>) -> Option<usize> {
        let (size, key_hash) = (record.size(), slip.key_hash);
        let place = self.insert(now, record, slip);
        let line = self.lines.get_mut(&key_hash)?;
        let last = std::mem::replace(&mut line.last, place);
        let first = line.first;
        self.entries[last as usize].next = place;
        if !self.aggregating {
            return None;
        }
        let head = &mut self.entries[first as usize];
        head.waiting += size;
        let lane = head.in_lane.then_some(head.lane as usize)?;
        self.lanes[lane].following += size;
        Some(lane)
    }

    /// Makes an entry, which is in no lane and no line.
    fn insert(&mut self, arrived: Instant, record: PutRecord, slip: Slip<T>) -> u32 {
        let Slip { token, key_hash, arrival, generation } = slip;
        let entry = Entry {
            size: record.size(),
            record: Some(record),
            token: Some(token),
            generation,
            arrived,
            first_sent: None,
            attempts: 0,
            may_be_stored: false,
            carried: false,
            in_lane: false,
            arrival,
            key_hash,
            next: NONE,
            lane: ANY as u32,
            waiting: 0,
        };
        match self.free.pop() {
            Some(place) => {
                self.entries[place as usize] = entry;
                place
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        }
    }

    /// Gives a loose head an entry. It is in no lane.
    pub(crate) fn enter(&mut self, arrived: Instant, record: PutRecord, slip: Slip<T>) -> u32 {
        let key_hash = slip.key_hash;
        let place = self.insert(arrived, record, slip);
        if self.ordered {
            self.loose.remove(&key_hash);
            let line = self.lines.entry(key_hash).or_insert(Line { first: NONE, last: place });
            let next = std::mem::replace(&mut line.first, place);
            if next != NONE {
                self.entries[place as usize].next = next;
            }
        }
        place
    }

    /// Gives the oldest loose heads entries, because their shards matter now.
    pub(crate) fn enter_bundle(&mut self) {
        let Some(bundle) = self.fresh.pop() else { return };
        for (record, slip) in bundle.records.into_iter().zip(bundle.slips.into_slips()) {
            let (arrival, size) = (slip.arrival, record.size());
            let place = self.enter(bundle.arrived, record, slip);
            self.lanes[ANY].push_returned(arrival, place, size);
        }
    }

    /// Removes loose heads of so many bytes that were stored, and makes those heads that are next in line.
    #[inline]
    pub(crate) fn finish_loose(&mut self, slips: &Slips<T>, bytes: usize) {
        self.records -= slips.len();
        self.bytes -= bytes;
        if !self.ordered {
            return;
        }
        for key_hash in slips.key_hashes() {
            self.loose.remove(key_hash);
            if !self.lines.is_empty()
                && let Some(line) = self.lines.get(key_hash)
            {
                self.make_ready(line.first);
            }
        }
    }

    #[inline]
    fn hash(&self, key: &PartitionKey) -> u64 {
        mix(key.as_str().as_bytes(), self.secret)
    }

    /// The lane of a head, as shards and paces are now.
    fn lane_of(&self, place: u32) -> usize {
        if !self.aggregating && self.paced == 0 {
            return ANY;
        }
        let (Some(map), Some(record)) = (&self.map, &self.entries[place as usize].record) else { return ANY };
        match map.find(record.hash_key()) {
            Some(shard) if self.aggregating || self.lanes[shard + 1].pace.is_some() => shard + 1,
            _ => ANY,
        }
    }

    /// Puts a head into its lane.
    fn enter_lane(&mut self, place: u32, returned: bool) -> usize {
        let lane = self.lane_of(place);
        let entry = &mut self.entries[place as usize];
        entry.lane = lane as u32;
        entry.in_lane = true;
        let (arrival, size) = (entry.arrival, entry.size);
        self.lanes[lane].following += entry.waiting;
        if returned {
            self.lanes[lane].push_returned(arrival, place, size);
        } else {
            self.lanes[lane].push_fresh(arrival, place, size);
        }
        lane
    }

    /// Makes a head, which is in no lane, ready.
    pub(crate) fn make_ready(&mut self, place: u32) {
        self.enter_lane(place, true);
    }

    /// Takes the head of a lane out of it. It is carried from now on, and has to be brought back in one way or other.
    #[inline]
    pub(crate) fn take(&mut self, lane: usize, place: u32, returned: bool) -> &mut Entry<T> {
        let entry = &mut self.entries[place as usize];
        self.lanes[lane].pop(returned, entry.size);
        self.lanes[lane].following -= entry.waiting;
        entry.carried = true;
        entry.in_lane = false;
        entry
    }

    /// Moves the head of the first lane into the lane of its shard, if it has one by now.
    pub(crate) fn divert(&mut self, place: u32, returned: bool) -> bool {
        let lane = self.lane_of(place);
        if lane != ANY {
            self.take(ANY, place, returned).carried = false;
            self.make_ready(place);
        }
        lane != ANY
    }

    /// The next in line behind a record that is carried, if it goes to the same shard.
    pub(crate) fn follower(&self, place: u32, lane: usize) -> Option<u32> {
        let entry = &self.entries[place as usize];
        let next = entry.next;
        if next == NONE {
            return None;
        }
        // Most lines have one key, whose hash was taken for the first of them.
        let records = entry.record.as_ref().zip(self.entries[next as usize].record.as_ref());
        let is_same = records.is_some_and(|(one, next)| {
            one.partition_key == next.partition_key && one.explicit_hash_key == next.explicit_hash_key
        });
        (is_same || self.lane_of(next) == lane).then_some(next)
    }

    /// Takes the next in line along with its head and those between.
    pub(crate) fn follow(&mut self, head: u32, place: u32, lane: usize) -> &mut Entry<T> {
        let size = self.entries[place as usize].size;
        self.entries[head as usize].waiting -= size;
        let entry = &mut self.entries[place as usize];
        entry.carried = true;
        entry.lane = lane as u32;
        entry
    }

    /// Puts those that followed their heads back in line, and gives the heads, which stay carried.
    pub(crate) fn heads(&mut self, places: &[u32]) -> Vec<u32> {
        let mut heads: Vec<u32> = Vec::new();
        let mut expected = NONE;
        for place in places {
            let entry = &mut self.entries[*place as usize];
            let (size, next) = (entry.size, entry.next);
            match heads.last() {
                Some(head) if *place == expected => {
                    entry.carried = false;
                    self.entries[*head as usize].waiting += size;
                }
                _ => heads.push(*place),
            }
            expected = next;
        }
        heads
    }

    #[inline]
    pub(crate) fn entry(&mut self, place: u32) -> &mut Entry<T> {
        &mut self.entries[place as usize]
    }

    pub(crate) fn get(&self, place: u32) -> &Entry<T> {
        &self.entries[place as usize]
    }

    /// Sets heads aside until `due`.
    pub(crate) fn delay(&mut self, due: Instant, places: Vec<u32>) {
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

    /// Removes a head, or one that follows it, and makes the next in line the head. Unless that is carried too, it is
    /// ready then.
    #[inline]
    pub(crate) fn finish(&mut self, place: u32) -> Option<Gone<T>> {
        let Entry { next, key_hash, waiting, .. } = self.entries[place as usize];
        let gone = self.remove(place);
        if !self.ordered {
            return gone;
        }
        if next == NONE {
            self.lines.remove(&key_hash);
            return gone;
        }
        if let Some(line) = self.lines.get_mut(&key_hash) {
            line.first = next;
        }
        let head = &mut self.entries[next as usize];
        let is_ready = !head.carried;
        if self.aggregating {
            head.waiting = if is_ready { waiting - head.size } else { waiting };
        }
        if is_ready {
            self.make_ready(next);
        }
        gone
    }

    /// Removes a head with all that stand in line behind it: first itself, then the others in order. None of those is
    /// carried.
    pub(crate) fn finish_line(&mut self, place: u32) -> Vec<(Gone<T>, Remains)> {
        if self.ordered {
            self.lines.remove(&self.entries[place as usize].key_hash);
        }
        let (mut line, mut next) = (Vec::new(), place);
        while next != NONE {
            let place = next;
            next = self.entries[place as usize].next;
            line.extend(self.remove_all(place));
        }
        line
    }

    /// Removes everything that nothing carries, in order of arrival. Nothing may be pushed afterwards.
    pub(crate) fn clear(&mut self) -> Vec<(Gone<T>, Remains)> {
        while self.fresh.len() > 0 {
            self.enter_bundle();
        }
        self.lanes.iter_mut().for_each(|lane| _ = lane.drain());
        self.delayed.clear();
        let is_idle = |place: &u32| {
            let entry = &self.entries[*place as usize];
            entry.token.is_some() && !entry.carried
        };
        let mut idle: Vec<u32> = (0..self.entries.len() as u32).filter(is_idle).collect();
        idle.sort_unstable_by_key(|place| self.entries[*place as usize].arrival);
        let removed = idle.into_iter().filter_map(|place| self.remove_all(place)).collect();
        // What is left is carried; its links to what is gone end here.
        for place in 0..self.entries.len() {
            let next = self.entries[place].next;
            self.entries[place].waiting = 0;
            if next != NONE && self.entries[next as usize].token.is_none() {
                self.entries[place].next = NONE;
            }
        }
        self.lines.retain(|_, line| self.entries[line.first as usize].token.is_some());
        removed
    }

    #[inline]
    fn remove(&mut self, place: u32) -> Option<Gone<T>> {
        let entry = &mut self.entries[place as usize];
        let token = entry.token.take()?;
        entry.record = None;
        entry.carried = false;
        self.records -= 1;
        self.bytes -= entry.size;
        self.free.push(place);
        Some(Gone { token, generation: entry.generation, size: entry.size })
    }

    fn remove_all(&mut self, place: u32) -> Option<(Gone<T>, Remains)> {
        let entry = &mut self.entries[place as usize];
        let Entry { attempts, may_be_stored, .. } = *entry;
        let record = entry.record.take();
        Some((self.remove(place)?, Remains { record, attempts, may_be_stored }))
    }
}
