//! What a checkpoint writes, and what a restart reads.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use statefun_kinesis_types::{Address, FunctionType, Timestamp};

use super::{journal::Journal, state::Content};
use crate::{EgressMessage, Message, StateSpec, Value};

/// What has changed up to a moment, since the moment before.
#[derive(Debug)]
pub struct Cut {
    /// The cut's number: 1 for the first of these mailboxes, then one more each.
    pub number: u64,
    /// What has changed.
    pub changes: Changes,
}

/// What has changed from one cut to the next.
///
/// A cut is a consistent moment: no batch is half applied and no delivery half taken. Messages that are in flight count
/// as not handled. What came and went between two cuts is in neither.
#[derive(Debug)]
pub struct Changes(Journal);

impl Changes {
    pub(super) fn new(journal: Journal) -> Self {
        Self(journal)
    }

    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// States that functions have declared, in the order of their declaration: those that are new, and those that are not
    /// what they were in an earlier run.
    pub fn specs(&self) -> &[(FunctionType, StateSpec)] {
        &self.0.specs
    }

    /// States that were set, have expired or are not set any more, each once and as it was in the end. Those of one
    /// address follow each other.
    pub fn states(&self) -> impl Iterator<Item = StoredState> {
        self.0.instances.iter().flat_map(|instance| {
            let function = self.0.functions[instance.function as usize].clone();
            let address = Address { function, id: Arc::clone(&instance.id) };
            std::iter::once(&instance.first).chain(&instance.others).map(move |state| StoredState {
                address: address.clone(),
                name: Arc::clone(&state.name),
                value: state.content.as_ref().map(Content::value),
                expires: state.expires,
            })
        })
    }

    /// Messages that came and are not handled, in no order.
    pub fn messages(&self) -> impl Iterator<Item = &StoredMessage> {
        self.0.messages.added()
    }

    /// Numbers of the messages that an earlier cut had and that were handled.
    pub fn messages_done(&self) -> &[u64] {
        &self.0.messages.removed
    }

    /// Messages that were delayed, in no order.
    pub fn timers(&self) -> impl Iterator<Item = &StoredTimer> {
        self.0.timers.added()
    }

    /// Numbers of the delayed messages that an earlier cut had and that were delivered or cancelled.
    pub fn timers_done(&self) -> &[u64] {
        &self.0.timers.removed
    }

    /// Records for egresses that these have not stored, in no order.
    pub fn egress(&self) -> impl Iterator<Item = &StoredEgress> {
        self.0.egress.added()
    }

    /// Numbers of the records that an earlier cut had and that their egress has stored.
    pub fn egress_done(&self) -> &[u64] {
        &self.0.egress.removed
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
        for state in changes.states() {
            self.set(state);
        }
        let Journal { specs, messages, timers, egress, .. } = changes.0;
        specs.into_iter().for_each(|(function, spec)| self.declare(function, spec));
        messages.removed.iter().for_each(|id| drop(self.messages.remove(id)));
        timers.removed.iter().for_each(|id| drop(self.timers.remove(id)));
        egress.removed.iter().for_each(|id| drop(self.egress.remove(id)));
        self.messages.extend(messages.into_added());
        self.timers.extend(timers.into_added());
        self.egress.extend(egress.into_added());
    }

    /// Adds a declared state behind those that are there, or in place of what it was.
    pub fn declare(&mut self, function: FunctionType, spec: StateSpec) {
        match self.specs.iter_mut().find(|(of, other)| *of == function && other.name == spec.name) {
            Some((_, other)) => *other = spec,
            None => self.specs.push((function, spec)),
        }
    }

    /// Adds a state, in place of what it was.
    pub fn set(&mut self, state: StoredState) {
        let key = (state.address.clone(), Arc::clone(&state.name));
        if state.value.is_some() {
            self.states.insert(key, state);
        } else {
            self.states.remove(&key);
        }
    }

    /// Adds a message that is not handled yet.
    pub fn add_message(&mut self, message: StoredMessage) {
        self.messages.insert(message.id, message);
    }

    /// Adds a delayed message.
    pub fn add_timer(&mut self, timer: StoredTimer) {
        self.timers.insert(timer.id, timer);
    }

    /// Adds a record that its egress has not stored yet.
    pub fn add_egress(&mut self, record: StoredEgress) {
        self.egress.insert(record.id, record);
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
