//! The outstanding records of a producer, and which of them may be sent now.
//!
//! Of each partition key, one record at a time may be sent: the *first* of its key. The others of that key wait behind
//! it, each linked to the next. When the first one is stored or has failed, the next one takes its place. An aggregate
//! may take some of those that wait along with the first one.
//!
//! A record is *untracked* as long as nothing has to be remembered of it but its key and its sender: it is the first of
//! its key, goes to any shard and was not sent before. Untracked records stand in [`Untracked`]. All others are *tracked*
//! and have an [`Entry`], above all those that wait and those that were sent and not stored.
//!
//! A tracked record that is the first of its key is in exactly one of these states: ready (in a shard queue), delayed
//! until its retry, in flight, or set aside by the [`Machine`](crate::machine::Machine) to be sent by itself.

use std::time::Instant;

use statefun_kinesis_types::PutRecord;

use crate::{
    Aggregation, Order,
    record_meta::{RecordMeta, RecordMetas, Token},
    shard_map::ShardMap,
    untracked::Untracked,
};

mod delayed;
mod entry;
#[cfg(any(test, debug_assertions))]
mod invariants;
mod key_order;
mod shard_queue;
mod shard_queues;

#[cfg(any(test, debug_assertions))]
pub(crate) use self::entry::EntrySet;
use self::{delayed::Delayed, entry::Entries, key_order::KeyOrder, shard_queues::Ready};
pub(crate) use self::{
    entry::{Entry, EntryId},
    shard_queue::Waiting,
    shard_queues::{ANY_SHARD, ShardQueues},
};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Queue<T> {
    entries: Entries<T>,
    keys: KeyOrder,
    /// Untracked records that are not in flight. All of them belong to [`ANY_SHARD`].
    pub(crate) untracked: Untracked<T>,
    /// Tracked records that are ready.
    pub(crate) shard_queues: ShardQueues,
    delayed: Delayed,
    is_aggregating: bool,
    /// A larger record is never sent.
    max_record_bytes: usize,
    /// The arrival number of the next record.
    arrivals: u64,
    /// Outstanding records, those in flight included.
    records: usize,
    /// Their bytes.
    bytes: usize,
}

/// A record that is no longer outstanding.
#[derive(Debug)]
pub(crate) struct Removed<T> {
    pub(crate) token: T,
    pub(crate) generation: u64,
    pub(crate) size: usize,
}

/// What the error of a record says that was not stored.
#[derive(Debug)]
pub(crate) struct Undelivered {
    pub(crate) record: Option<PutRecord>,
    pub(crate) attempts: u32,
    pub(crate) may_be_stored: bool,
}

impl<T: Token> Queue<T> {
    pub(crate) fn new(order: Order, aggregation: Option<Aggregation>, max_record_bytes: usize) -> Self {
        Self {
            entries: Entries::new(),
            keys: KeyOrder::new(order),
            untracked: Untracked::new(),
            shard_queues: ShardQueues::new(aggregation),
            delayed: Delayed::default(),
            is_aggregating: aggregation.is_some(),
            max_record_bytes,
            arrivals: 0,
            records: 0,
            bytes: 0,
        }
    }

    /// Outstanding records.
    pub(crate) fn len(&self) -> usize {
        self.records
    }

    /// Bytes of the outstanding records.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    #[inline]
    pub(crate) fn get(&self, id: EntryId) -> &Entry<T> {
        &self.entries[id]
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: EntryId) -> &mut Entry<T> {
        &mut self.entries[id]
    }

    /// Whether records go to whichever shard, as far as the producer is concerned. Then their shards are not looked up,
    /// which would take an MD5 each.
    #[inline]
    fn is_shard_irrelevant(&self) -> bool {
        !self.is_aggregating && self.shard_queues.paced() == 0
    }

    /// Queues a record. Returns the shard queue that has more to send because of it; none when the record has to wait for
    /// another one of its key.
    #[inline]
    pub(crate) fn push(&mut self, record: PutRecord, token: T, generation: u64) -> Option<usize> {
        let size = record.size();
        let arrival = self.arrivals;
        self.arrivals += 1;
        self.records += 1;
        self.bytes += size;
        // A record that is too large needs an entry, since something is done about it instead of sending it.
        let may_be_untracked = self.is_shard_irrelevant() && size <= self.max_record_bytes;
        let key_hash = self.keys.hash(&record.partition_key);
        let meta = RecordMeta { token, key_hash, arrival, generation };
        if self.keys.is_kept() {
            // Before all else: a record that went beside the entries of its key could be stored before them.
            if self.keys.has_queue(key_hash) {
                return self.push_behind(record, meta);
            }
            let is_first = if may_be_untracked {
                self.keys.insert_untracked(key_hash)
            } else {
                !self.keys.has_untracked(key_hash)
            };
            if !is_first {
                // It waits behind an untracked record, as the first one that does.
                let id = self.insert(record, meta);
                self.keys.start_queue(key_hash, id);
                return None;
            }
        }
        if may_be_untracked {
            self.untracked.push(record, size, meta);
            return Some(ANY_SHARD);
        }
        let id = self.insert(record, meta);
        if self.keys.is_kept() {
            self.keys.start_queue(key_hash, id);
        }
        Some(self.push_ready(id, false))
    }

    /// Queues the next records of a batch together, as far as they can be untracked and there is `room` for so many records
    /// and bytes. `token` is that of the first. Returns how many they are; [`push`](Self::push) takes any others.
    pub(crate) fn push_run(
        &mut self,
        rest: &mut std::vec::IntoIter<PutRecord>,
        room: (usize, usize),
        token: T,
        generation: u64,
    ) -> usize {
        if !self.is_shard_irrelevant() {
            return 0;
        }
        let Self { untracked, keys, max_record_bytes, .. } = self;
        let admit = |record: &PutRecord, size: usize| {
            if size > *max_record_bytes {
                return None;
            }
            if !keys.is_kept() {
                return Some(0);
            }
            // As in `push`: only the first record of a key may be untracked.
            let key_hash = keys.hash(&record.partition_key);
            (!keys.has_queue(key_hash) && keys.insert_untracked(key_hash)).then_some(key_hash)
        };
        let first = RecordMeta { token, key_hash: 0, arrival: self.arrivals, generation };
        let (records, bytes) = untracked.push_run(rest, room, first, admit);
        self.arrivals += records as u64;
        self.records += records;
        self.bytes += bytes;
        records
    }

    /// Queues a record behind the entries of its key. Returns the shard queue of the first of them, if it may now send a
    /// larger aggregate.
    fn push_behind(&mut self, record: PutRecord, meta: RecordMeta<T>) -> Option<usize> {
        let (size, key_hash) = (record.size(), meta.key_hash);
        let id = self.insert(record, meta);
        let queue = self.keys.push_back(key_hash, id)?;
        self.entries[queue.last].next = Some(id);
        // Only an aggregate can take it along. Otherwise it is sent when those before it are stored.
        if !self.is_aggregating {
            return None;
        }
        let first = &mut self.entries[queue.first];
        first.waiting_bytes += size;
        let shard_queue = first.is_ready.then_some(first.shard_queue as usize)?;
        self.shard_queues.add_waiting_bytes(shard_queue, size);
        Some(shard_queue)
    }

    /// Makes an entry, which is not ready and not linked to others of its key.
    fn insert(&mut self, record: PutRecord, meta: RecordMeta<T>) -> EntryId {
        let RecordMeta { token, key_hash, arrival, generation } = meta;
        self.entries.insert(Entry {
            size: record.size(),
            record: Some(record),
            token: Some(token),
            generation,
            first_sent: None,
            attempts: 0,
            failed_calls: 0,
            may_be_stored: false,
            in_flight: false,
            shard_queue: ANY_SHARD as u32,
            is_ready: false,
            arrival,
            key_hash,
            next: None,
            waiting_bytes: 0,
        })
    }

    /// Makes an entry for an untracked record, which is not ready. It stays the first of its key: those of its key that
    /// arrived meanwhile are linked behind it.
    pub(crate) fn track(&mut self, record: PutRecord, meta: RecordMeta<T>) -> EntryId {
        let key_hash = meta.key_hash;
        let id = self.insert(record, meta);
        if self.keys.is_kept() {
            // All entries of its key arrived after it, or the record would not have been untracked.
            self.keys.remove_untracked(key_hash);
            self.entries[id].next = self.keys.push_front(key_hash, id);
        }
        id
    }

    /// Makes the untracked records of the oldest chunk tracked ones, because their shards matter now.
    pub(crate) fn track_oldest_chunk(&mut self) {
        let Some(chunk) = self.untracked.pop() else { return };
        for (record, meta) in chunk.records.into_iter().zip(chunk.metas.into_records()) {
            let id = self.track(record, meta);
            // As a returned record, since older ones than those in the queue may come this way. Its shard is looked up when
            // it is sent.
            self.push_ready_to(ANY_SHARD, id, true);
        }
    }

    /// Removes untracked records that were in flight and are stored, and makes those ready that waited for them.
    #[inline]
    pub(crate) fn finish_untracked(&mut self, metas: &RecordMetas<T>, bytes: usize) {
        self.records -= metas.len();
        self.bytes -= bytes;
        if !self.keys.is_kept() {
            return;
        }
        for key_hash in metas.key_hashes() {
            self.keys.remove_untracked(*key_hash);
            // The first entry of the key waited for the untracked record, and for nothing else.
            if let Some(queue) = self.keys.queue(*key_hash) {
                self.make_ready(queue.first);
            }
        }
    }

    /// The shard queue for a record, as shards and paces are now.
    fn shard_queue_of(&self, id: EntryId) -> usize {
        if self.is_shard_irrelevant() {
            return ANY_SHARD;
        }
        match self.known_shard_queue_of(id) {
            Some(index) if self.is_aggregating || self.shard_queues.is_paced(index) => index,
            _ => ANY_SHARD,
        }
    }

    /// The queue of the shard to which a record goes; none when that is not known.
    pub(crate) fn known_shard_queue_of(&self, id: EntryId) -> Option<usize> {
        self.shard_queues.find(self.entries[id].record.as_ref()?.hash_key())
    }

    /// Puts a record into its shard queue, and returns which one that is.
    fn push_ready(&mut self, id: EntryId, is_returned: bool) -> usize {
        let index = self.shard_queue_of(id);
        self.push_ready_to(index, id, is_returned);
        index
    }

    fn push_ready_to(&mut self, index: usize, id: EntryId, is_returned: bool) {
        let entry = &mut self.entries[id];
        entry.shard_queue = index as u32;
        entry.is_ready = true;
        let Entry { arrival, size, waiting_bytes, .. } = *entry;
        self.shard_queues.push(index, Ready { arrival, id, size, waiting_bytes }, is_returned);
    }

    /// Makes a record ready that has waited for something. It must be the first of its key and not in flight.
    pub(crate) fn make_ready(&mut self, id: EntryId) {
        self.push_ready(id, true);
    }

    /// Removes the oldest record of a shard queue from it, because it is sent now. It is in flight until it is removed, or
    /// its `in_flight` is unset and something else is done with it.
    #[inline]
    pub(crate) fn take_ready(&mut self, index: usize, id: EntryId, is_returned: bool) -> &mut Entry<T> {
        let entry = &mut self.entries[id];
        // The bytes leave together with the record: they decide when the queue has enough for a full request.
        self.shard_queues.pop(index, is_returned, entry.size, entry.waiting_bytes);
        entry.in_flight = true;
        entry.is_ready = false;
        entry
    }

    /// Moves the oldest record of [`ANY_SHARD`] into the queue of its shard, if that is known and matters by now. Returns
    /// whether it was moved.
    pub(crate) fn move_to_shard_queue(&mut self, id: EntryId, is_returned: bool) -> bool {
        let index = self.shard_queue_of(id);
        if index != ANY_SHARD {
            self.take_ready(ANY_SHARD, id, is_returned).in_flight = false;
            self.make_ready(id);
        }
        index != ANY_SHARD
    }

    /// The record that waits behind one that is in flight, if it goes to the same shard, that of the shard queue `index`:
    /// it may travel in the same aggregate.
    pub(crate) fn next_of_same_shard(&self, id: EntryId, index: usize) -> Option<EntryId> {
        let entry = &self.entries[id];
        let next = entry.next?;
        // Most keys go to one shard, which was found for the first record: this saves an MD5 per record.
        let records = entry.record.as_ref().zip(self.entries[next].record.as_ref());
        let has_same_key = records.is_some_and(|(one, next)| {
            one.partition_key == next.partition_key && one.explicit_hash_key == next.explicit_hash_key
        });
        (has_same_key || self.shard_queue_of(next) == index).then_some(next)
    }

    /// Sends a waiting record in the same aggregate as the first one of its key and those between.
    pub(crate) fn take_waiting(&mut self, first: EntryId, id: EntryId, index: usize) -> &mut Entry<T> {
        let size = self.entries[id].size;
        self.entries[first].waiting_bytes -= size;
        let entry = &mut self.entries[id];
        entry.in_flight = true;
        entry.shard_queue = index as u32;
        entry
    }

    /// Of the records of an aggregate that was not stored, puts those back that waited behind others of their key. Returns
    /// the first ones of their keys, which stay in flight.
    pub(crate) fn put_back_waiting(&mut self, ids: &[EntryId]) -> Vec<EntryId> {
        let mut firsts: Vec<EntryId> = Vec::new();
        let mut expected = None;
        for id in ids {
            let entry = &mut self.entries[*id];
            let (size, next) = (entry.size, entry.next);
            match firsts.last() {
                // In an aggregate, the records of a key follow each other.
                Some(first) if Some(*id) == expected => {
                    entry.in_flight = false;
                    self.entries[*first].waiting_bytes += size;
                }
                _ => firsts.push(*id),
            }
            expected = next;
        }
        firsts
    }

    /// Makes records, which are first of their keys and not in flight, ready at `due`.
    pub(crate) fn delay(&mut self, due: Instant, ids: Vec<EntryId>) {
        self.delayed.push(due, ids);
    }

    /// When the next delayed records become ready.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.delayed.next_due()
    }

    /// Makes those delayed records ready that are due.
    pub(crate) fn release_delayed(&mut self, now: Instant) {
        while let Some(ids) = self.delayed.pop_due(now) {
            ids.into_iter().for_each(|id| self.make_ready(id));
        }
    }

    /// Removes a record, and makes the next one of its key the first. Unless that one is in flight in the same aggregate,
    /// it is ready then.
    ///
    /// The record must be the first of its key, and not ready or delayed: nothing may point to its entry any more.
    #[inline]
    pub(crate) fn finish(&mut self, id: EntryId) -> Option<Removed<T>> {
        let Entry { next, key_hash, waiting_bytes, .. } = self.entries[id];
        let removed = self.remove(id).map(|(removed, _)| removed);
        if !self.keys.is_kept() {
            return removed;
        }
        self.keys.set_first(key_hash, next);
        if let Some(next) = next {
            let first = &mut self.entries[next];
            let is_ready = !first.in_flight;
            if self.is_aggregating {
                // The sum is kept at the first record of a key, and does not count those in flight.
                first.waiting_bytes = if is_ready { waiting_bytes - first.size } else { waiting_bytes };
            }
            if is_ready {
                self.make_ready(next);
            }
        }
        removed
    }

    /// Removes a record with all that wait behind it: itself first, then the others in order. As with
    /// [`finish`](Self::finish), the record must be the first of its key and not ready or delayed; none may be in flight.
    pub(crate) fn finish_with_waiting(&mut self, id: EntryId) -> Vec<(Removed<T>, Undelivered)> {
        if self.keys.is_kept() {
            self.keys.set_first(self.entries[id].key_hash, None);
        }
        let (mut removed, mut next) = (Vec::new(), Some(id));
        while let Some(id) = next {
            next = self.entries[id].next;
            removed.extend(self.remove(id));
        }
        removed
    }

    /// Removes all records that are not in flight, in the order of their arrival. No record may be queued afterwards.
    pub(crate) fn clear(&mut self) -> Vec<(Removed<T>, Undelivered)> {
        while self.untracked.len() > 0 {
            self.track_oldest_chunk();
        }
        self.shard_queues.clear();
        self.delayed.clear();
        let mut queued: Vec<_> = self.entries.ids();
        queued.retain(|id| !self.entries[*id].in_flight);
        queued.sort_unstable_by_key(|id| self.entries[*id].arrival);
        let removed = queued.into_iter().filter_map(|id| self.remove(id)).collect();
        // The records that are left are in flight. Their links to removed ones end here: the entries may be used again.
        for id in self.entries.ids() {
            let next = self.entries[id].next.filter(|next| self.entries[*next].token.is_some());
            let entry = &mut self.entries[id];
            (entry.next, entry.waiting_bytes) = (next, 0);
        }
        let entries = &self.entries;
        self.keys.retain_queues(|queue| {
            queue.last = queue.first;
            while let Some(next) = entries[queue.last].next {
                queue.last = next;
            }
            entries[queue.first].token.is_some()
        });
        removed
    }

    #[inline]
    fn remove(&mut self, id: EntryId) -> Option<(Removed<T>, Undelivered)> {
        let Entry { generation, size, attempts, may_be_stored, .. } = self.entries[id];
        let (token, record) = self.entries.remove(id)?;
        self.records -= 1;
        self.bytes -= size;
        Some((Removed { token, generation, size }, Undelivered { record, attempts, may_be_stored }))
    }

    /// Replaces the shards of the stream.
    pub(crate) fn set_map(&mut self, map: ShardMap) {
        for id in self.shard_queues.set_map(map) {
            self.make_ready(id);
        }
    }
}
