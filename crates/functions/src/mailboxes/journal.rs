//! What is written down between two cuts.

use std::{
    collections::HashMap,
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

/// What came and went of one kind.
#[derive(Debug)]
pub(super) struct Delta<V> {
    pub(super) added: HashMap<u64, V, BuildHasherDefault<NumberHasher>>,
    pub(super) removed: Vec<u64>,
}

impl<V> Default for Delta<V> {
    fn default() -> Self {
        Self { added: HashMap::default(), removed: Vec::new() }
    }
}

impl<V> Delta<V> {
    fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }

    pub(super) fn add(&mut self, id: u64, value: V) {
        self.added.insert(id, value);
    }

    pub(super) fn remove(&mut self, id: u64) {
        if self.added.remove(&id).is_none() {
            self.removed.push(id);
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
