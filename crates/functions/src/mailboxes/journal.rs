//! What is written down between two cuts.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use statefun_kinesis_types::{FunctionType, Timestamp};

use super::{
    change::{StoredEgress, StoredMessage, StoredTimer},
    state::Content,
};
use crate::StateSpec;

/// Most changed instances for which there is room from the beginning; about seven megabytes that are not touched before
/// they are needed.
const EXPECTED_MAX: usize = 1 << 16;

/// What has changed since the last cut. It has all that a cut says, so that a cut is a swap.
#[derive(Debug)]
pub(super) struct Journal {
    /// The number that the next cut has.
    pub(super) number: u64,
    /// The functions by their places; shared by all journals until there is one more.
    pub(super) functions: Arc<Vec<FunctionType>>,
    pub(super) specs: Vec<(FunctionType, StateSpec)>,
    /// Instances whose states have changed, each once.
    pub(super) instances: Vec<ChangedInstance>,
    /// About how many bytes the changed states have.
    pub(super) state_bytes: usize,
    pub(super) messages: Delta<StoredMessage>,
    pub(super) timers: Delta<StoredTimer>,
    pub(super) egress: Delta<StoredEgress>,
}

/// Where the journal has what changed of an instance.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Written {
    /// The number of the cut that has the last change; 0 when there was no change.
    pub(super) cut: u64,
    /// The place in that cut.
    at: u32,
}

/// The states of an instance that have changed; there is at least one.
#[derive(Debug)]
pub(super) struct ChangedInstance {
    pub(super) function: u32,
    pub(super) id: Arc<str>,
    pub(super) first: ChangedState,
    pub(super) others: Vec<ChangedState>,
}

/// A state as it was after its last change.
#[derive(Debug)]
pub(super) struct ChangedState {
    pub(super) name: Arc<str>,
    pub(super) content: Option<Content>,
    pub(super) expires: Option<Timestamp>,
}

impl ChangedState {
    /// What a change takes beside the value, about.
    const OVERHEAD: usize = 96;

    fn size(&self) -> usize {
        Self::OVERHEAD + self.content.as_ref().map_or(0, Content::len)
    }
}

impl Journal {
    pub(super) fn new(number: u64, functions: Arc<Vec<FunctionType>>) -> Self {
        Self {
            number,
            functions,
            specs: Vec::new(),
            instances: Vec::new(),
            state_bytes: 0,
            messages: Delta::default(),
            timers: Delta::default(),
            egress: Delta::default(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.specs.is_empty()
            && self.instances.is_empty()
            && self.messages.is_empty()
            && self.timers.is_empty()
            && self.egress.is_empty()
    }

    /// Takes what was written so far, and begins anew.
    pub(super) fn take(&mut self) -> Self {
        let mut next = Self::new(self.number + 1, Arc::clone(&self.functions));
        // As much may change until the next cut, and nobody should wait while it is moved to where there is room.
        next.instances.reserve(self.instances.len().min(EXPECTED_MAX));
        next.messages.expect_as_many_as(&self.messages);
        next.timers.expect_as_many_as(&self.timers);
        next.egress.expect_as_many_as(&self.egress);
        std::mem::replace(self, next)
    }

    /// A function has got the next place.
    pub(super) fn add_function(&mut self, name: FunctionType) {
        Arc::make_mut(&mut self.functions).push(name);
    }

    /// Writes down what a state has now, in place of what was written of it since the last cut.
    pub(super) fn state_changed(&mut self, written: &mut Written, function: u32, id: &Arc<str>, state: ChangedState) {
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
pub(super) struct Delta<V> {
    /// What came last and is there, at its number less that of the first: neighbours in time are neighbours in memory.
    recent: VecDeque<Option<V>>,
    /// The number of the first of these.
    first: u64,
    /// What stayed for so long that it is none of these any more.
    older: HashMap<u64, V, BuildHasherDefault<NumberHasher>>,
    pub(super) removed: Vec<u64>,
}

impl<V> Default for Delta<V> {
    fn default() -> Self {
        Self { recent: VecDeque::new(), first: 0, older: HashMap::default(), removed: Vec::new() }
    }
}

impl<V> Delta<V> {
    /// Most numbers from the oldest to the newest that are kept side by side: more than mailboxes take in, unless their
    /// limits say otherwise. One that stays for long would else keep the room of all that come after it; here it is
    /// some twenty megabytes.
    const RECENT_MAX: usize = 1 << 17;

    fn is_empty(&self) -> bool {
        self.added().next().is_none() && self.removed.is_empty()
    }

    /// What came and is there, in no order.
    pub(super) fn added(&self) -> impl Iterator<Item = &V> {
        self.recent.iter().flatten().chain(self.older.values())
    }

    /// The same with their numbers.
    pub(super) fn into_added(self) -> impl Iterator<Item = (u64, V)> {
        let recent = (self.first..).zip(self.recent);
        recent.filter_map(|(id, value)| Some((id, value?))).chain(self.older)
    }

    /// Adds what has the next number.
    pub(super) fn add(&mut self, id: u64, value: V) {
        if self.recent.is_empty() {
            self.first = id;
        }
        debug_assert_eq!(self.first + self.recent.len() as u64, id, "numbers grow by one each");
        if self.recent.len() == Self::RECENT_MAX {
            if let Some(Some(value)) = self.recent.pop_front() {
                self.older.insert(self.first, value);
            }
            self.first += 1;
            self.forget_gaps();
        }
        self.recent.push_back(Some(value));
    }

    fn expect_as_many_as(&mut self, other: &Self) {
        self.recent.reserve(other.recent.len());
    }

    pub(super) fn remove(&mut self, id: u64) {
        let place = id.checked_sub(self.first).and_then(|place| usize::try_from(place).ok());
        let found = match place.and_then(|place| self.recent.get_mut(place)) {
            Some(recent) => recent.take(),
            None => self.older.remove(&id),
        };
        if found.is_none() {
            self.removed.push(id);
        }
        self.forget_gaps();
    }

    /// Lets the oldest of those side by side be one that is there.
    fn forget_gaps(&mut self) {
        while let Some(None) = self.recent.front() {
            self.recent.pop_front();
            self.first += 1;
        }
    }
}

/// Spreads numbers that we count ourselves: nobody can choose them so that they collide.
#[derive(Debug, Default)]
pub(super) struct NumberHasher(u64);

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
                    delta.remove(id);
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
                delta.remove(id);
            }
        }
        let mut added: Vec<_> = delta.added().copied().collect();
        added.sort_unstable();
        assert_eq!(added, [0, 100_000, 200_000, 300_000, 400_000, 500_000, 600_000, 700_000, 800_000, 900_000]);
        assert!(delta.recent.len() <= Delta::<u64>::RECENT_MAX && delta.older.len() >= 8);
        [0, 500_000].into_iter().for_each(|id| delta.remove(id));
        assert_eq!((delta.added().count(), &delta.removed[..]), (8, &[][..]));
    }
}
