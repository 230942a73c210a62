use std::{
    collections::{HashMap, HashSet, hash_map},
    hash::{BuildHasher, BuildHasherDefault, RandomState},
};

use statefun_kinesis_types::PartitionKey;

use super::entry::EntryId;
use crate::{
    Order,
    key_hash::{PrehashedHasher, hash_bytes},
};

/// Which partition keys have records outstanding, so that of each key one record at a time may be sent.
///
/// A key whose first record has no entry is in `untracked`; all entries of a key are in its `KeyQueue`. A key may be in
/// both: then the untracked record is the first, and the queue stands behind it.
///
/// Keys are known by a hash of 64 bits under a secret of the process. Should two keys share a hash, they share a queue:
/// they wait for each other, and nothing else happens.
#[derive(Debug)]
pub(super) struct KeyOrder {
    is_kept: bool,
    secret: u64,
    /// Most keys have nothing but an untracked record, so that a member takes eight bytes.
    untracked: HashSet<u64, BuildHasherDefault<PrehashedHasher>>,
    queues: HashMap<u64, KeyQueue, BuildHasherDefault<PrehashedHasher>>,
}

/// The entries of one key, linked by [`Entry::next`](super::Entry::next): a key costs one map entry and no allocation.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyQueue {
    pub(super) first: EntryId,
    pub(super) last: EntryId,
}

impl KeyOrder {
    pub(super) fn new(order: Order) -> Self {
        Self {
            is_kept: order == Order::PerPartitionKey,
            secret: RandomState::new().hash_one("the keys of one queue"),
            untracked: HashSet::default(),
            queues: HashMap::default(),
        }
    }

    /// Whether records of a key have an order at all. Otherwise nothing else here is used.
    #[inline]
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept
    }

    #[inline]
    pub(super) fn hash(&self, key: &PartitionKey) -> u64 {
        if self.is_kept { hash_bytes(key.as_str().as_bytes(), self.secret) } else { 0 }
    }

    /// Whether the key has entries. Looked up only when any key has: on most streams none does.
    #[inline]
    pub(super) fn has_queue(&self, key_hash: u64) -> bool {
        !self.queues.is_empty() && self.queues.contains_key(&key_hash)
    }

    #[inline]
    pub(super) fn queue(&self, key_hash: u64) -> Option<KeyQueue> {
        if self.queues.is_empty() { None } else { self.queues.get(&key_hash).copied() }
    }

    /// Adds the key of an untracked record. Returns whether the record is the first of its key.
    #[inline]
    pub(super) fn insert_untracked(&mut self, key_hash: u64) -> bool {
        self.untracked.insert(key_hash)
    }

    #[inline]
    pub(super) fn has_untracked(&self, key_hash: u64) -> bool {
        self.untracked.contains(&key_hash)
    }

    #[inline]
    pub(super) fn remove_untracked(&mut self, key_hash: u64) {
        self.untracked.remove(&key_hash);
    }

    /// Starts the queue of a key that has no entries.
    pub(super) fn start_queue(&mut self, key_hash: u64, id: EntryId) {
        self.queues.insert(key_hash, KeyQueue { first: id, last: id });
    }

    /// Appends an entry to the queue of its key. Returns the queue as it was before.
    pub(super) fn push_back(&mut self, key_hash: u64, id: EntryId) -> Option<KeyQueue> {
        let queue = self.queues.get_mut(&key_hash)?;
        let before = *queue;
        // The caller links the entry behind `before.last`.
        queue.last = id;
        Some(before)
    }

    /// Puts an entry before all others of its key. Returns the one that was first.
    pub(super) fn push_front(&mut self, key_hash: u64, id: EntryId) -> Option<EntryId> {
        match self.queues.entry(key_hash) {
            hash_map::Entry::Vacant(vacant) => {
                vacant.insert(KeyQueue { first: id, last: id });
                None
            }
            hash_map::Entry::Occupied(queue) => Some(std::mem::replace(&mut queue.into_mut().first, id)),
        }
    }

    /// Makes the next entry of a key its first, or removes the queue when there is none.
    pub(super) fn set_first(&mut self, key_hash: u64, next: Option<EntryId>) {
        match next {
            None => _ = self.queues.remove(&key_hash),
            Some(next) => {
                if let Some(queue) = self.queues.get_mut(&key_hash) {
                    queue.first = next;
                }
            }
        }
    }

    /// Removes the queues that are not to be kept. `is_kept` may change the others.
    pub(super) fn retain_queues(&mut self, mut is_kept: impl FnMut(&mut KeyQueue) -> bool) {
        self.queues.retain(|_, queue| is_kept(queue));
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn untracked_keys(&self) -> usize {
        self.untracked.len()
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn queues(&self) -> impl Iterator<Item = (u64, KeyQueue)> {
        self.queues.iter().map(|(key_hash, queue)| (*key_hash, *queue))
    }
}
