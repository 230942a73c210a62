//! Records the changes between two cuts.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use statefun_kinesis_types::{FunctionType, Timestamp};

use crate::{
    StateSpec, StoredEgress, StoredMessage, StoredTimer,
    entry::{StoredCancellation, StoredKey, TimerKey},
    state::Content,
};

/// Most changed instances for which a new journal reserves memory: about seven megabytes, which are not touched before
/// they are used.
const EXPECTED_MAX: usize = 1 << 16;

/// The changes since the last cut. It has all the data of a cut, so that a cut only swaps it out.
#[derive(Debug)]
pub(crate) struct Journal {
    /// The number of the next cut.
    pub(crate) number: u64,
    /// The functions by index. Journals share it until a function is added.
    pub(crate) functions: Arc<Vec<FunctionType>>,
    pub(crate) specs: Vec<(FunctionType, StateSpec)>,
    /// Instances whose states have changed, each once.
    pub(crate) instances: Vec<ChangedInstance>,
    /// About how many bytes the changed states take.
    pub(crate) state_bytes: usize,
    pub(crate) messages: Delta<StoredMessage, StoredKey>,
    /// About how many bytes the new messages take that are not handled.
    pub(crate) message_bytes: usize,
    pub(crate) timers: Delta<StoredTimer, TimerKey>,
    pub(crate) cancellations: Delta<StoredCancellation, StoredKey>,
    pub(crate) egress: Delta<StoredEgress, StoredKey>,
}

/// Where the journal has the last change of an instance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    /// The number of the cut that has the last change; 0 when there was no change.
    pub(crate) cut: u64,
    /// The index in the journal of that cut.
    at: u32,
}

/// The changed states of an instance, at least one.
#[derive(Debug)]
pub(crate) struct ChangedInstance {
    pub(crate) function: u32,
    pub(crate) id: Arc<str>,
    pub(crate) first: ChangedState,
    pub(crate) others: Vec<ChangedState>,
}

/// A state after its last change.
#[derive(Debug)]
pub(crate) struct ChangedState {
    pub(crate) name: Arc<str>,
    pub(crate) content: Option<Content>,
    pub(crate) expires: Option<Timestamp>,
}

impl ChangedState {
    /// About how many bytes a change takes in addition to the value.
    const OVERHEAD: usize = 96;

    fn size(&self) -> usize {
        Self::OVERHEAD + self.content.as_ref().map_or(0, Content::len)
    }
}

impl Journal {
    /// Creates the empty journal of a cut.
    pub(crate) fn new(number: u64) -> Self {
        Self {
            number,
            functions: Arc::default(),
            specs: Vec::new(),
            instances: Vec::new(),
            state_bytes: 0,
            messages: Delta::default(),
            message_bytes: 0,
            timers: Delta::default(),
            cancellations: Delta::default(),
            egress: Delta::default(),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.specs.is_empty()
            && self.instances.is_empty()
            && self.messages.is_empty()
            && self.timers.is_empty()
            && self.cancellations.is_empty()
            && self.egress.is_empty()
    }

    /// Whether entries were removed that an earlier cut has.
    pub(crate) fn has_removals(&self) -> bool {
        !self.messages.removed.is_empty()
            || !self.timers.removed.is_empty()
            || !self.cancellations.removed.is_empty()
            || !self.egress.removed.is_empty()
    }

    /// Takes the changes and starts the journal of the next cut.
    pub(crate) fn take(&mut self) -> Self {
        let mut next = Self::new(self.number + 1);
        next.functions = Arc::clone(&self.functions);
        // The next journal will probably be as large. Growing it step by step would hold the lock of the mailboxes.
        next.instances.reserve(self.instances.len().min(EXPECTED_MAX));
        next.messages.reserve_like(&self.messages);
        next.timers.reserve_like(&self.timers);
        next.egress.reserve_like(&self.egress);
        std::mem::replace(self, next)
    }

    /// Records a new message.
    pub(crate) fn add_message(&mut self, message: StoredMessage) {
        self.message_bytes += message.message.footprint();
        self.messages.add(message.id, message);
    }

    /// Records that a message was handled. Returns whether an earlier cut has it.
    pub(crate) fn remove_message(&mut self, number: u64, footprint: usize, key: impl FnOnce() -> StoredKey) -> bool {
        let is_in_earlier_cut = self.messages.remove(number, key);
        if !is_in_earlier_cut {
            self.message_bytes -= footprint;
        }
        is_in_earlier_cut
    }

    /// Adds a function at the next index.
    pub(crate) fn add_function(&mut self, name: FunctionType) {
        Arc::make_mut(&mut self.functions).push(name);
    }

    /// Records the new value of a state. It replaces an earlier change since the last cut.
    pub(crate) fn state_changed(&mut self, written: &mut Written, function: u32, id: &Arc<str>, state: ChangedState) {
        self.state_bytes += state.size();
        if written.cut != self.number {
            let at = u32::try_from(self.instances.len()).expect("fewer instances than the memory has room for");
            *written = Written { cut: self.number, at };
            let (id, others) = (Arc::clone(id), Vec::new());
            return self.instances.push(ChangedInstance { function, id, first: state, others });
        }
        let instance = &mut self.instances[written.at as usize];
        let mut states = std::iter::once(&mut instance.first).chain(&mut instance.others);
        match states.find(|other| other.name == state.name) {
            Some(other) => {
                self.state_bytes -= other.size();
                *other = state;
            }
            None => instance.others.push(state),
        }
    }
}

/// The entries of one kind that were added and removed since the last cut. Numbers rise by one each. Most entries are
/// removed soon after they were added, in about the same order.
#[derive(Debug)]
pub(crate) struct Delta<V, K> {
    /// The newest entries. The index is the number minus `first`, so that entries of one time are close in memory.
    recent: VecDeque<Option<V>>,
    /// The number of the first of these.
    first: u64,
    /// Entries that are older than those in `recent`.
    older: HashMap<u64, V, NumberHashing>,
    /// The keys of removed entries that an earlier cut has. Entries that were added since it leave no trace.
    pub(crate) removed: Vec<K>,
}

impl<V, K> Default for Delta<V, K> {
    fn default() -> Self {
        Self { recent: VecDeque::new(), first: 0, older: HashMap::default(), removed: Vec::new() }
    }
}

impl<V, K> Delta<V, K> {
    /// Largest length of `recent`, about twenty megabytes. It is more than the default limit of messages in memory.
    /// Without it, one entry that stays long would keep the memory of all that were added after it.
    const RECENT_MAX: usize = 1 << 17;

    /// Most missing numbers in a row that get empty places in `recent`.
    const GAP_MAX: u64 = 1_024;

    fn is_empty(&self) -> bool {
        self.added().next().is_none() && self.removed.is_empty()
    }

    /// The entries that were added and not removed, in no order.
    pub(crate) fn added(&self) -> impl Iterator<Item = &V> {
        self.recent.iter().flatten().chain(self.older.values())
    }

    /// The entries that were added and not removed, with their numbers.
    pub(crate) fn into_added(self) -> impl Iterator<Item = (u64, V)> {
        let recent = (self.first..).zip(self.recent);
        recent.filter_map(|(id, value)| Some((id, value?))).chain(self.older)
    }

    /// Adds an entry. Its number has to be greater than all before it.
    pub(crate) fn add(&mut self, id: u64, value: V) {
        if self.recent.is_empty() {
            self.first = id;
        }
        // Delayed messages and cancellations share a sequence of numbers, so that each kind has gaps.
        let gap = id - (self.first + self.recent.len() as u64);
        if gap > Self::GAP_MAX {
            let recent = (self.first..).zip(self.recent.drain(..));
            self.older.extend(recent.filter_map(|(id, value)| Some((id, value?))));
            self.first = id;
        } else {
            for _ in 0..gap {
                self.make_room();
                self.recent.push_back(None);
            }
        }
        debug_assert_eq!(self.first + self.recent.len() as u64, id, "numbers grow");
        self.make_room();
        self.recent.push_back(Some(value));
    }

    /// Moves the oldest recent entry to `older` if `recent` is full.
    fn make_room(&mut self) {
        if self.recent.len() == Self::RECENT_MAX {
            if let Some(Some(value)) = self.recent.pop_front() {
                self.older.insert(self.first, value);
            }
            self.first += 1;
            self.forget_gaps();
        }
    }

    /// Reserves memory for as many entries as `other` has.
    fn reserve_like(&mut self, other: &Self) {
        self.recent.reserve(other.recent.len());
    }

    /// Removes the entry with a number. Returns whether an earlier cut has it, and then records its `key` as removed.
    pub(crate) fn remove(&mut self, id: u64, key: impl FnOnce() -> K) -> bool {
        let place = id.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        let found = match place.and_then(|place| self.recent.get_mut(place)) {
            Some(recent) => recent.take(),
            None => self.older.remove(&id),
        };
        let is_in_earlier_cut = found.is_none();
        if is_in_earlier_cut {
            self.removed.push(key());
        }
        self.forget_gaps();
        is_in_earlier_cut
    }

    /// Drops empty places at the front of `recent`.
    fn forget_gaps(&mut self) {
        while let Some(None) = self.recent.front() {
            self.recent.pop_front();
            self.first += 1;
        }
    }
}

/// Hashes the mailboxes' own numbers. A fast hash is safe, because an attacker cannot choose these numbers.
pub(crate) type NumberHashing = BuildHasherDefault<NumberHasher>;

/// A multiplicative hash of numbers.
#[derive(Debug, Default)]
pub(crate) struct NumberHasher(u64);

impl Hasher for NumberHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_u64(&mut self, number: u64) {
        // The fraction of the golden ratio moves neighbours far apart, also in the upper bits, which hash tables use
        // first.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn added_entries_are_kept_and_removals_of_earlier_ones_are_recorded(
            before in 0_u64..50,
            steps in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..300),
        ) {
            let mut delta = Delta::default();
            let (mut there, mut expected): (Vec<u64>, _) = ((0..before).collect(), BTreeMap::new());
            let (mut next, mut removed) = (before, BTreeSet::new());
            for (adds, which) in steps {
                if adds {
                    delta.add(next, next.to_string());
                    expected.insert(next, next.to_string());
                    there.push(next);
                    next += 1;
                } else if !there.is_empty() {
                    let id = there.swap_remove(which.index(there.len()));
                    delta.remove(id, || id);
                    if expected.remove(&id).is_none() {
                        removed.insert(id);
                    }
                }
                prop_assert_eq!(delta.is_empty(), expected.is_empty() && removed.is_empty());
            }
            prop_assert_eq!(delta.removed.iter().copied().collect::<BTreeSet<_>>(), removed);
            prop_assert_eq!(delta.added().count(), expected.len());
            prop_assert_eq!(delta.into_added().collect::<BTreeMap<_, _>>(), expected);
        }
    }

    #[test]
    fn one_entry_that_stays_does_not_keep_the_memory_of_removed_ones() {
        let mut delta = Delta::default();
        delta.add(0, 0);
        for id in 1..1_000_000 {
            delta.add(id, id);
            if id % 100_000 != 0 {
                delta.remove(id, || id);
            }
        }
        let mut added: Vec<_> = delta.added().copied().collect();
        added.sort_unstable();
        assert_eq!(added, [0, 100_000, 200_000, 300_000, 400_000, 500_000, 600_000, 700_000, 800_000, 900_000]);
        assert!(delta.recent.len() <= Delta::<u64, u64>::RECENT_MAX && delta.older.len() >= 8);
        for id in [0, 500_000] {
            assert!(!delta.remove(id, || id));
        }
        assert_eq!((delta.added().count(), &delta.removed[..]), (8, &[][..]));
    }
}
