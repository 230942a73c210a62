use std::{
    num::NonZeroU32,
    ops::{Index, IndexMut},
    time::Instant,
};

use statefun_kinesis_types::PutRecord;

/// Identifies an entry of the queue as long as its record is outstanding.
///
/// It is the entry's index plus one, so that an `Option` of it takes no more room: there is one in each entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct EntryId(NonZeroU32);

impl EntryId {
    fn of(index: usize) -> Self {
        Self(NonZeroU32::MIN.saturating_add(index as u32))
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// A tracked record: one about which there is something to remember besides its key and its sender.
#[derive(Debug)]
pub(crate) struct Entry<T> {
    /// `None` while a request carries the record as it is, or its dead letter is being written. Records of an aggregate
    /// stay here.
    pub(crate) record: Option<PutRecord>,
    /// By what the record's sender is found. `None` in a free entry.
    pub(crate) token: Option<T>,
    /// The flush generation that the record belongs to.
    pub(crate) generation: u64,
    /// When the first request with the record was sent.
    pub(crate) first_sent: Option<Instant>,
    /// Bytes of data and partition key.
    pub(crate) size: usize,
    /// How many requests have carried the record.
    pub(crate) attempts: u32,
    /// How many of these failed as a whole, not because of the record.
    pub(crate) failed_calls: u32,
    /// Whether one of them may have stored it although the answer did not say so.
    pub(crate) may_be_stored: bool,
    /// Whether the record is in a request, in an aggregate whose shard is being looked up, or is being written to
    /// the dead-letter stream. Nothing else touches it until that is over.
    pub(crate) in_flight: bool,
    /// The shard queue in which the record was last.
    pub(crate) shard_queue: u32,
    /// Whether it is there now.
    pub(super) is_ready: bool,
    /// The record's number in the order of arrival.
    pub(super) arrival: u64,
    pub(super) key_hash: u64,
    /// The next record of the same partition key.
    pub(super) next: Option<EntryId>,
    /// Of a record that is first of its key: bytes of those behind it that are not in flight. Only for aggregation.
    pub(super) waiting_bytes: usize,
}

impl<T> Entry<T> {
    pub(crate) fn arrival(&self) -> u64 {
        self.arrival
    }

    /// Takes note that a request with the record is sent.
    #[inline]
    pub(crate) fn sent(&mut self, now: Instant) {
        self.attempts += 1;
        self.first_sent.get_or_insert(now);
    }
}

/// The entries of a queue. The places of removed ones are used again.
#[derive(Debug)]
pub(super) struct Entries<T> {
    entries: Vec<Entry<T>>,
    free: Vec<EntryId>,
}

impl<T> Entries<T> {
    pub(super) fn new() -> Self {
        Self { entries: Vec::new(), free: Vec::new() }
    }

    pub(super) fn insert(&mut self, entry: Entry<T>) -> EntryId {
        if let Some(id) = self.free.pop() {
            self[id] = entry;
            return id;
        }
        self.entries.push(entry);
        EntryId::of(self.entries.len() - 1)
    }

    /// Frees an entry, and returns the token and the record of its record.
    #[inline]
    pub(super) fn remove(&mut self, id: EntryId) -> Option<(T, Option<PutRecord>)> {
        let entry = &mut self[id];
        let token = entry.token.take()?;
        entry.in_flight = false;
        let record = entry.record.take();
        self.free.push(id);
        Some((token, record))
    }

    /// All entries that are in use.
    pub(super) fn iter(&self) -> impl Iterator<Item = (EntryId, &Entry<T>)> {
        let entries = self.entries.iter().enumerate().map(|(index, entry)| (EntryId::of(index), entry));
        entries.filter(|(_, entry)| entry.token.is_some())
    }

    /// The ids of all entries that are in use.
    pub(super) fn ids(&self) -> Vec<EntryId> {
        self.iter().map(|(id, _)| id).collect()
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self) {
        let mut free = EntrySet::default();
        for id in &self.free {
            assert!(free.insert(*id), "an entry is free twice");
            assert!(self[*id].token.is_none(), "an entry that is in use is free");
        }
        assert_eq!(free.len() + self.iter().count(), self.entries.len(), "an entry is neither free nor in use");
    }
}

/// A set of entries. Cheap enough to check invariants at each step of thousands of simulated runs.
#[cfg(any(test, debug_assertions))]
#[derive(Debug, Default)]
pub(crate) struct EntrySet {
    contains: Vec<bool>,
    len: usize,
}

#[cfg(any(test, debug_assertions))]
impl EntrySet {
    /// Adds an entry. Returns whether it is new in the set.
    pub(crate) fn insert(&mut self, id: EntryId) -> bool {
        if self.contains.len() <= id.index() {
            self.contains.resize(id.index() + 1, false);
        }
        let is_new = !std::mem::replace(&mut self.contains[id.index()], true);
        self.len += usize::from(is_new);
        is_new
    }

    pub(crate) fn contains(&self, id: EntryId) -> bool {
        self.contains.get(id.index()).is_some_and(|contains| *contains)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl<T> Index<EntryId> for Entries<T> {
    type Output = Entry<T>;

    #[inline]
    fn index(&self, id: EntryId) -> &Entry<T> {
        &self.entries[id.index()]
    }
}

impl<T> IndexMut<EntryId> for Entries<T> {
    #[inline]
    fn index_mut(&mut self, id: EntryId) -> &mut Entry<T> {
        &mut self.entries[id.index()]
    }
}
