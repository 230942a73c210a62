//! What is written down between two cuts.

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

/// Most changed instances for which there is room from the beginning; about seven megabytes that are not touched before
/// they are needed.
const EXPECTED_MAX: usize = 1 << 16;

/// What has changed since the last cut. It has all that a cut says, so that a cut is a swap.
#[derive(Debug)]
pub(crate) struct Journal {
    /// The number that the next cut has.
    pub(crate) number: u64,
    /// The functions by their places; shared by all journals until there is one more.
    pub(crate) functions: Arc<Vec<FunctionType>>,
    pub(crate) specs: Vec<(FunctionType, StateSpec)>,
    /// Instances whose states have changed, each once.
    pub(crate) instances: Vec<ChangedInstance>,
    /// About how many bytes the changed states have.
    pub(crate) state_bytes: usize,
    pub(crate) messages: Delta<StoredMessage, StoredKey>,
    /// About how many bytes the messages have that came and are there.
    pub(crate) message_bytes: usize,
    pub(crate) timers: Delta<StoredTimer, TimerKey>,
    pub(crate) cancellations: Delta<StoredCancellation, StoredKey>,
    pub(crate) egress: Delta<StoredEgress, StoredKey>,
}

/// Where the journal has what changed of an instance.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    /// The number of the cut that has the last change; 0 when there was no change.
    pub(crate) cut: u64,
    /// The place in that cut.
    at: u32,
}

/// The states of an instance that have changed; there is at least one.
#[derive(Debug)]
pub(crate) struct ChangedInstance {
    pub(crate) function: u32,
    pub(crate) id: Arc<str>,
    pub(crate) first: ChangedState,
    pub(crate) others: Vec<ChangedState>,
}

/// A state as it was after its last change.
#[derive(Debug)]
pub(crate) struct ChangedState {
    pub(crate) name: Arc<str>,
    pub(crate) content: Option<Content>,
    pub(crate) expires: Option<Timestamp>,
}

impl ChangedState {
    /// What a change takes beside the value, about.
    const OVERHEAD: usize = 96;

    fn size(&self) -> usize {
        Self::OVERHEAD + self.content.as_ref().map_or(0, Content::len)
    }
}

impl Journal {
    /// What the cut of this number will have.
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

    /// Takes what was written so far, and starts over with nothing.
    pub(crate) fn take(&mut self) -> Self {
        let mut next = Self::new(self.number + 1);
        next.functions = Arc::clone(&self.functions);
        // As much may change until the next cut, and growing bit by bit would hold the mailboxes up.
        next.instances.reserve(self.instances.len().min(EXPECTED_MAX));
        next.messages.expect_as_many_as(&self.messages);
        next.timers.expect_as_many_as(&self.timers);
        next.egress.expect_as_many_as(&self.egress);
        std::mem::replace(self, next)
    }

    /// A message came.
    pub(crate) fn add_message(&mut self, message: StoredMessage) {
        self.message_bytes += message.message.footprint();
        self.messages.add(message.id, message);
    }

    /// A message was handled. Says whether an earlier cut has it.
    pub(crate) fn remove_message(&mut self, number: u64, footprint: usize, key: impl FnOnce() -> StoredKey) -> bool {
        let is_in_earlier_cut = self.messages.remove(number, key);
        if !is_in_earlier_cut {
            self.message_bytes -= footprint;
        }
        is_in_earlier_cut
    }

    /// A function has got the next place.
    pub(crate) fn add_function(&mut self, name: FunctionType) {
        Arc::make_mut(&mut self.functions).push(name);
    }

    /// Writes down what a state has now, in place of what was written of it since the last cut.
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

/// What came and went of one kind. Numbers grow by one each, and most of what comes goes soon, in about that order.
#[derive(Debug)]
pub(crate) struct Delta<V, K> {
    /// What came last and is there, at its number less that of the first: neighbours in time are neighbours in memory.
    recent: VecDeque<Option<V>>,
    /// The number of the first of these.
    first: u64,
    /// What stayed for so long that it is none of these any more.
    older: HashMap<u64, V, NumberHashing>,
    /// The keys of those that went and that an earlier cut has.
    pub(crate) removed: Vec<K>,
}

impl<V, K> Default for Delta<V, K> {
    fn default() -> Self {
        Self { recent: VecDeque::new(), first: 0, older: HashMap::default(), removed: Vec::new() }
    }
}

impl<V, K> Delta<V, K> {
    /// Most numbers from the oldest to the newest that are kept side by side: more than mailboxes take in, unless their
    /// limits say otherwise. One that stays for long would else keep the room of all that come after it; here it is
    /// some twenty megabytes.
    const RECENT_MAX: usize = 1 << 17;

    /// Most numbers in a row that are left out and have room all the same.
    const GAP_MAX: u64 = 1_024;

    fn is_empty(&self) -> bool {
        self.added().next().is_none() && self.removed.is_empty()
    }

    /// What came and is there, in no order.
    pub(crate) fn added(&self) -> impl Iterator<Item = &V> {
        self.recent.iter().flatten().chain(self.older.values())
    }

    /// The same with their numbers.
    pub(crate) fn into_added(self) -> impl Iterator<Item = (u64, V)> {
        let recent = (self.first..).zip(self.recent);
        recent.filter_map(|(id, value)| Some((id, value?))).chain(self.older)
    }

    /// Adds what has a number that is greater than all before it.
    pub(crate) fn add(&mut self, id: u64, value: V) {
        if self.recent.is_empty() {
            self.first = id;
        }
        // Delayed messages and their cancellations share their numbers, so that there are gaps.
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

    /// Lets the oldest of those side by side go, if there are as many as may be.
    fn make_room(&mut self) {
        if self.recent.len() == Self::RECENT_MAX {
            if let Some(Some(value)) = self.recent.pop_front() {
                self.older.insert(self.first, value);
            }
            self.first += 1;
            self.forget_gaps();
        }
    }

    fn expect_as_many_as(&mut self, other: &Self) {
        self.recent.reserve(other.recent.len());
    }

    /// Removes what has this number. Says whether an earlier cut has it; `key` is where.
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

    /// Lets the oldest of those side by side be one that is there.
    fn forget_gaps(&mut self) {
        while let Some(None) = self.recent.front() {
            self.recent.pop_front();
            self.first += 1;
        }
    }
}

/// Hashes numbers that are counted here, so that nothing outside can choose them to collide.
pub(crate) type NumberHashing = BuildHasherDefault<NumberHasher>;

/// Spreads numbers that are counted here.
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
        // The golden ratio's fraction: neighbours get far apart, in the upper bits too, which a table looks at first.
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
        fn what_came_and_stayed_is_there_and_what_came_before_is_removed(
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
    fn one_that_stays_keeps_no_room_for_those_that_go() {
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
