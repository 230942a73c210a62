use std::{collections::HashSet, hash::BuildHasherDefault};

use super::{ANY_SHARD, EntryId, EntrySet, Queue};
use crate::{key_hash::PrehashedHasher, record_meta::Token};

impl<T: Token> Queue<T> {
    /// Checks everything that always holds between two calls. `in_flight` is the number of untracked records in flight and
    /// their bytes, `set_aside` are the records that the caller keeps to send them by themselves.
    pub(crate) fn check_invariants(&self, in_flight: (usize, usize), set_aside: impl Iterator<Item = EntryId>) {
        self.entries.check_invariants();
        self.shard_queues.check_invariants();
        let mut untracked_keys = HashSet::<u64, BuildHasherDefault<PrehashedHasher>>::default();
        let mut is_repeated = false;
        self.untracked.check_invariants(|key_hash| is_repeated |= !untracked_keys.insert(key_hash));

        let tracked = self.entries.iter().count();
        assert_eq!(self.records, tracked + self.untracked.len() + in_flight.0, "outstanding records");
        let tracked_bytes: usize = self.entries.iter().map(|(_, entry)| entry.size).sum();
        assert_eq!(self.bytes, tracked_bytes + self.untracked.bytes() + in_flight.1, "outstanding bytes");

        let waiting = if self.keys.is_kept() {
            assert!(!is_repeated, "two untracked records have the same key");
            let untracked = self.untracked.len() + in_flight.0;
            assert_eq!(self.keys.untracked_keys(), untracked, "one key per untracked record");
            self.check_key_queues()
        } else {
            assert!(self.keys.untracked_keys() == 0 && self.keys.queues().next().is_none(), "keys without order");
            EntrySet::default()
        };
        self.check_states(&waiting, set_aside);
    }

    /// Checks the links of the records of each key. Returns the records that wait for another one.
    fn check_key_queues(&self) -> EntrySet {
        let (mut linked, mut waiting) = (EntrySet::default(), EntrySet::default());
        for (key_hash, queue) in self.keys.queues() {
            let waits_for_untracked = self.keys.has_untracked(key_hash);
            let (mut id, mut last_arrival, mut bytes, mut is_in_flight) = (queue.first, None, 0, true);
            loop {
                let entry = &self.entries[id];
                assert!(entry.token.is_some(), "a key has a record that was removed");
                assert_eq!(entry.key_hash, key_hash, "a record is in the queue of another key");
                assert!(Some(entry.arrival) > last_arrival, "the records of a key are in the order of their arrival");
                assert!(linked.insert(id), "a record is in two queues");
                // Of a key, the records in flight are the first ones: storing a later one first would break the order.
                assert!(is_in_flight || !entry.in_flight, "a record is in flight before an earlier one of its key");
                is_in_flight = entry.in_flight;
                if waits_for_untracked || id != queue.first {
                    waiting.insert(id);
                }
                if id != queue.first && !entry.in_flight {
                    bytes += entry.size;
                }
                assert!(id == queue.first || self.is_aggregating || !entry.in_flight, "two of a key are in flight");
                last_arrival = Some(entry.arrival);
                match entry.next {
                    Some(next) => id = next,
                    None => break,
                }
            }
            assert_eq!(id, queue.last, "the last record of a key");
            if self.is_aggregating {
                assert_eq!(self.entries[queue.first].waiting_bytes, bytes, "bytes that wait behind a record");
            }
        }
        assert_eq!(linked.len(), self.entries.iter().count(), "a record is in the queue of no key");
        waiting
    }

    /// Checks that each tracked record is where its state says, and nowhere else.
    fn check_states(&self, waiting: &EntrySet, set_aside: impl Iterator<Item = EntryId>) {
        let mut placed = EntrySet::default();
        for (index, queue) in self.shard_queues.iter().enumerate() {
            let (mut bytes, mut waiting_bytes) = (0, 0);
            for id in queue.ids() {
                let entry = &self.entries[id];
                assert!(placed.insert(id), "a record is ready twice");
                assert!(entry.is_ready && !entry.in_flight && entry.record.is_some(), "a ready record");
                assert_eq!(entry.shard_queue as usize, index, "a ready record is in another queue than it says");
                assert!(entry.token.is_some(), "a removed record is ready");
                bytes += entry.size;
                waiting_bytes += entry.waiting_bytes;
            }
            assert_eq!((queue.bytes, queue.waiting_bytes), (bytes, waiting_bytes), "bytes of a shard queue");
            assert!(index == ANY_SHARD || queue.is_empty() || self.is_aggregating || queue.pace.is_some());
        }
        let ready = placed.len();
        for id in self.delayed.ids().chain(set_aside) {
            assert!(placed.insert(id), "a record is ready, delayed or set aside at the same time");
        }
        for (id, entry) in self.entries.iter() {
            let is_waiting = waiting.contains(id) && !entry.in_flight;
            let states = [entry.in_flight, is_waiting, placed.contains(id)];
            let count = states.into_iter().filter(|is| *is).count();
            // Were there none, the record would never be sent and its receipt never be resolved.
            assert_eq!(count, 1, "in flight, waiting, and ready or delayed: {states:?} of {:?}", entry.arrival);
        }
        let flagged = self.entries.iter().filter(|(_, entry)| entry.is_ready).count();
        assert_eq!(flagged, ready, "a record says that it is ready and is not");
    }
}
