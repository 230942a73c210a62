use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, hash_map},
    hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState},
    time::Instant,
};

use statefun_kinesis_types::{HashKeyRange, PartitionKey, PutRecord, Shard, ShardId};

use crate::{Order, lane::Lane, pace::Pace, shard_map::ShardMap};

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
/// Keys are known by a hash of 64 bits under a secret of the process. Should two keys ever share one, they share a
/// line: they wait for each other, and nothing else happens.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    entries: Vec<Entry<T>>,
    /// Places of `entries` that are free.
    free: Vec<u32>,
    lines: HashMap<u64, Line, BuildHasherDefault<Hashed>>,
    secret: u64,
    ordered: bool,
    aggregating: bool,
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
    arrival: u64,
    key_hash: u64,
    /// The next in line of the same key.
    next: u32,
    /// The lane that it was in last.
    pub(crate) lane: u32,
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

/// The records of one key.
#[derive(Debug)]
struct Line {
    last: u32,
    /// The lane in which the head is; `NONE` while it is elsewhere.
    lane: u32,
    /// Bytes behind the head that are not carried.
    waiting: usize,
}

/// Records that are to be tried again together.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Delayed {
    due: Instant,
    places: Vec<u32>,
}

impl<T> Queue<T> {
    pub(crate) fn new(order: Order, aggregating: bool) -> Self {
        Self {
            entries: Vec::new(),
            free: Vec::new(),
            lines: HashMap::default(),
            secret: RandomState::new().hash_one("the keys of one queue"),
            ordered: order == Order::PerPartitionKey,
            aggregating,
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
        self.entries.len() - self.free.len()
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
    pub(crate) fn push(&mut self, now: Instant, record: PutRecord, token: T, generation: u64) -> Option<usize> {
        let size = record.size();
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.bytes += size;
        let key_hash = if self.ordered { self.hash(&record.partition_key) } else { 0 };
        let entry = Entry {
            record: Some(record),
            token: Some(token),
            generation,
            arrived: now,
            first_sent: None,
            size,
            attempts: 0,
            may_be_stored: false,
            carried: false,
            arrival,
            key_hash,
            next: NONE,
            lane: ANY as u32,
        };
        let place = match self.free.pop() {
            Some(place) => {
                self.entries[place as usize] = entry;
                place
            }
            None => {
                self.entries.push(entry);
                self.entries.len() as u32 - 1
            }
        };
        if self.ordered {
            match self.lines.entry(key_hash) {
                hash_map::Entry::Vacant(line) => _ = line.insert(Line { last: place, lane: NONE, waiting: 0 }),
                hash_map::Entry::Occupied(mut line) => {
                    let line = line.get_mut();
                    let last = std::mem::replace(&mut line.last, place);
                    line.waiting += size;
                    if line.lane != NONE {
                        self.lanes[line.lane as usize].following += size;
                    }
                    self.entries[last as usize].next = place;
                    return (line.lane != NONE).then_some(line.lane as usize);
                }
            }
        }
        Some(self.enter_lane(place, false))
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
        let (arrival, size, key_hash) = (entry.arrival, entry.size, entry.key_hash);
        if returned {
            self.lanes[lane].push_returned(arrival, place, size);
        } else {
            self.lanes[lane].push_fresh(arrival, place, size);
        }
        if self.aggregating
            && let Some(line) = self.lines.get_mut(&key_hash).filter(|_| self.ordered)
        {
            line.lane = lane as u32;
            self.lanes[lane].following += line.waiting;
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
        entry.carried = true;
        if self.aggregating
            && let Some(line) = self.lines.get_mut(&entry.key_hash).filter(|_| self.ordered)
        {
            line.lane = NONE;
            self.lanes[lane].following -= line.waiting;
        }
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
        let next = self.entries[place as usize].next;
        (next != NONE && self.lane_of(next) == lane).then_some(next)
    }

    /// Takes the next in line along with those before it.
    pub(crate) fn follow(&mut self, place: u32, lane: usize) -> &mut Entry<T> {
        let entry = &mut self.entries[place as usize];
        entry.carried = true;
        entry.lane = lane as u32;
        if let Some(line) = self.lines.get_mut(&entry.key_hash) {
            line.waiting -= entry.size;
        }
        entry
    }

    /// Puts those that followed their heads back in line, and gives the heads, which stay carried.
    pub(crate) fn heads(&mut self, places: &[u32]) -> Vec<u32> {
        let mut heads = Vec::new();
        let mut expected = NONE;
        for place in places {
            let entry = &mut self.entries[*place as usize];
            if *place == expected {
                entry.carried = false;
                if let Some(line) = self.lines.get_mut(&entry.key_hash) {
                    line.waiting += entry.size;
                }
            } else {
                heads.push(*place);
            }
            expected = entry.next;
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

    /// Removes a head, or one that follows it, and makes the next in line the head unless that is carried too.
    #[inline]
    pub(crate) fn finish(&mut self, place: u32) -> Option<Gone<T>> {
        let Entry { next, key_hash, .. } = self.entries[place as usize];
        let gone = self.remove(place);
        if self.ordered {
            if next == NONE {
                self.lines.remove(&key_hash);
            } else if !self.entries[next as usize].carried {
                let size = self.entries[next as usize].size;
                if let Some(line) = self.lines.get_mut(&key_hash) {
                    line.waiting -= size;
                }
                self.make_ready(next);
            }
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
        self.lanes.iter_mut().for_each(|lane| _ = lane.drain());
        self.delayed.clear();
        let is_idle = |place: &u32| {
            let entry = &self.entries[*place as usize];
            entry.token.is_some() && !entry.carried
        };
        let mut idle: Vec<u32> = (0..self.entries.len() as u32).filter(is_idle).collect();
        idle.sort_unstable_by_key(|place| self.entries[*place as usize].arrival);
        let removed = idle.into_iter().filter_map(|place| self.remove_all(place)).collect();
        for line in self.lines.values_mut() {
            (line.waiting, line.lane) = (0, NONE);
        }
        // What is left is carried; its links to what is gone end here.
        for place in 0..self.entries.len() {
            let next = self.entries[place].next;
            if next != NONE && self.entries[next as usize].token.is_none() {
                self.entries[place].next = NONE;
            }
        }
        removed
    }

    #[inline]
    fn remove(&mut self, place: u32) -> Option<Gone<T>> {
        let entry = &mut self.entries[place as usize];
        let token = entry.token.take()?;
        entry.record = None;
        entry.carried = false;
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

    /// Whether the shards of the stream are known.
    pub(crate) fn has_map(&self) -> bool {
        self.map.is_some()
    }

    /// Takes the shards of the stream as they are now. Paces of shards that are still there go on.
    pub(crate) fn set_map(&mut self, shards: Vec<Shard>) {
        let map = ShardMap::new(shards);
        let mut lanes = vec![std::mem::take(&mut self.lanes[ANY])];
        lanes.extend(map.ids().map(|id| Lane::of(id.clone())));
        let old = std::mem::replace(&mut self.lanes, lanes);
        self.map_version += 1;
        self.paced = 0;
        let mut ready = Vec::new();
        for mut lane in old.into_iter().skip(1) {
            ready.append(&mut lane.drain());
            let same = self.lanes.iter_mut().skip(1).find(|new| new.shard == lane.shard);
            if let Some((new, pace)) = same.zip(lane.pace) {
                new.pace = Some(pace);
                self.paced += 1;
            }
        }
        if self.aggregating {
            ready.append(&mut self.lanes[ANY].drain());
        }
        self.map = Some(map);
        for place in ready {
            self.make_ready(place);
        }
    }

    /// The lane of the shard that a record goes to; none when that is not known.
    pub(crate) fn shard_lane(&self, place: u32) -> Option<usize> {
        let record = self.entries[place as usize].record.as_ref()?;
        self.map.as_ref()?.find(record.hash_key()).map(|shard| shard + 1)
    }

    /// Notes that a shard throttles: from now on it has a pace.
    pub(crate) fn throttled(&mut self, lane: usize, now: Instant) -> &Pace {
        let pace = &mut self.lanes[lane].pace;
        if pace.is_none() {
            self.paced += 1;
        }
        let pace = pace.get_or_insert_with(|| Pace::new(now));
        pace.throttled(now);
        pace
    }

    /// Forgets the paces of shards that have not throttled for long and that nothing waits for.
    pub(crate) fn relax(&mut self, now: Instant) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.is_empty()) {
            if lane.pace.take_if(|pace| pace.is_over(now)).is_some() {
                self.paced -= 1;
            }
        }
    }

    /// The range of an open shard.
    pub(crate) fn range(&self, shard: &ShardId) -> Option<HashKeyRange> {
        self.map.as_ref()?.range(shard)
    }
}

/// A hash of some bytes: each word of eight is folded in with a product of 128 bits.
///
/// The standard library's hash is proof against those who choose keys to make a table slow, at 15 ns a key. Here the
/// worst that chosen keys can do is to wait for each other, which whoever may choose keys can have by choosing equal ones.
#[inline]
fn mix(bytes: &[u8], secret: u64) -> u64 {
    const ODD: u64 = 0x9E37_79B9_7F4A_7C15;
    let fold = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        product as u64 ^ (product >> 64) as u64
    };
    let mut hash = secret ^ (bytes.len() as u64).wrapping_mul(ODD);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = fold(hash ^ u64::from_le_bytes(*word), ODD);
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    fold(fold(hash ^ u64::from_le_bytes(last), ODD), secret | 1)
}

/// Hands a hash through that was made elsewhere.
#[derive(Debug, Default)]
struct Hashed(u64);

impl Hasher for Hashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _: &[u8]) {
        debug_assert!(false, "keys are hashed already");
    }
}
