//! What a checkpoint writes, and what a restart reads.

use std::{collections::BTreeMap, collections::HashMap, sync::Arc};

use statefun_kinesis_types::{Address, FunctionType, Timestamp};

use crate::{EgressMessage, Message, StateSpec, Value};

/// What has changed from one cut to the next.
///
/// A cut is a consistent moment: no batch is half applied and no delivery half taken. Messages that are in flight count
/// as not handled. What came and went between two cuts is in neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// States that functions have declared, in the order of their declaration.
    pub specs: Vec<(FunctionType, StateSpec)>,
    /// States that were set, have expired or are not set any more.
    pub states: Vec<StoredState>,
    /// Messages that came.
    pub messages: Vec<StoredMessage>,
    /// Numbers of the messages that were handled.
    pub messages_done: Vec<u64>,
    /// Messages that were delayed.
    pub timers: Vec<StoredTimer>,
    /// Numbers of the delayed messages that were delivered or cancelled.
    pub timers_done: Vec<u64>,
    /// Records for egresses.
    pub egress: Vec<StoredEgress>,
    /// Numbers of the records that their egress has stored.
    pub egress_done: Vec<u64>,
}

impl Changes {
    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The value of a state, and its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredState {
    /// Whose state it is.
    pub address: Address,
    /// The state's name.
    pub name: Arc<str>,
    /// Its value; `None` when it is not set.
    pub value: Option<Value>,
    /// When the value expires, if it does.
    pub expires: Option<Timestamp>,
}

/// A message that is not handled yet. Those of one address are handled in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its number, which no other message has or had.
    pub id: u64,
    /// Whom it is for.
    pub to: Address,
    /// The message.
    pub message: Message,
}

/// A delayed message; its caller is who sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTimer {
    /// Its number, which no other delayed message has or had.
    pub id: u64,
    /// When it is due.
    pub at: Timestamp,
    /// Whom it is for.
    pub to: Address,
    /// The message.
    pub message: Message,
    /// By what its sender can cancel it.
    pub token: Option<Arc<str>>,
}

/// A record that its egress has not stored yet. Records of one egress are sent in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEgress {
    /// Its number, which no other record has or had.
    pub id: u64,
    /// The record.
    pub message: EgressMessage,
}

/// Everything that mailboxes hold: the sum of all changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    specs: Vec<(FunctionType, StateSpec)>,
    states: HashMap<(Address, Arc<str>), StoredState>,
    messages: BTreeMap<u64, StoredMessage>,
    timers: BTreeMap<u64, StoredTimer>,
    egress: BTreeMap<u64, StoredEgress>,
}

impl Image {
    /// Adds what a cut said.
    pub fn apply(&mut self, changes: Changes) {
        self.specs.extend(changes.specs);
        for state in changes.states {
            let key = (state.address.clone(), Arc::clone(&state.name));
            if state.value.is_some() {
                self.states.insert(key, state);
            } else {
                self.states.remove(&key);
            }
        }
        self.messages.extend(changes.messages.into_iter().map(|message| (message.id, message)));
        self.timers.extend(changes.timers.into_iter().map(|timer| (timer.id, timer)));
        self.egress.extend(changes.egress.into_iter().map(|record| (record.id, record)));
        changes.messages_done.iter().for_each(|id| drop(self.messages.remove(id)));
        changes.timers_done.iter().for_each(|id| drop(self.timers.remove(id)));
        changes.egress_done.iter().for_each(|id| drop(self.egress.remove(id)));
    }

    /// Declared states.
    pub fn specs(&self) -> &[(FunctionType, StateSpec)] {
        &self.specs
    }

    /// States that are set, in no order.
    pub fn states(&self) -> impl Iterator<Item = &StoredState> {
        self.states.values()
    }

    /// Messages that are not handled yet, in the order in which they came.
    pub fn messages(&self) -> impl Iterator<Item = &StoredMessage> {
        self.messages.values()
    }

    /// Delayed messages, in the order in which they were sent.
    pub fn timers(&self) -> impl Iterator<Item = &StoredTimer> {
        self.timers.values()
    }

    /// Records that their egress has not stored yet, in the order in which they were sent.
    pub fn egress(&self) -> impl Iterator<Item = &StoredEgress> {
        self.egress.values()
    }
}

/// What came and went of one kind since the last cut.
#[derive(Debug)]
pub(super) struct Delta<V> {
    added: BTreeMap<u64, V>,
    removed: Vec<u64>,
}

impl<V> Default for Delta<V> {
    fn default() -> Self {
        Self { added: BTreeMap::new(), removed: Vec::new() }
    }
}

impl<V> Delta<V> {
    pub(super) fn add(&mut self, id: u64, value: V) {
        self.added.insert(id, value);
    }

    pub(super) fn remove(&mut self, id: u64) {
        if self.added.remove(&id).is_none() {
            self.removed.push(id);
        }
    }

    pub(super) fn take(&mut self) -> (Vec<V>, Vec<u64>) {
        (std::mem::take(&mut self.added).into_values().collect(), std::mem::take(&mut self.removed))
    }
}

/// What is written down between two cuts.
#[derive(Debug, Default)]
pub(super) struct Journal {
    pub(super) specs: Vec<(FunctionType, StateSpec)>,
    /// Functions and ids of the addresses some of whose states have changed, with the places of those states.
    pub(super) states: HashMap<(u32, Arc<str>), Vec<u16>>,
    pub(super) messages: Delta<StoredMessage>,
    pub(super) timers: Delta<StoredTimer>,
    pub(super) egress: Delta<StoredEgress>,
}

impl Journal {
    pub(super) fn state_changed(&mut self, function: u32, id: &Arc<str>, spec: u16) {
        let changed = self.states.entry((function, Arc::clone(id))).or_default();
        if !changed.contains(&spec) {
            changed.push(spec);
        }
    }
}
