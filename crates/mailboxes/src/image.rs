//! A store in memory, for tests.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use statefun_kinesis_types::{Address, FunctionType, HashKey};

use crate::{
    Changes, DuePlace, Found, MessagePlace, Read, Restored, StateSpec, StoredCancellation, StoredEgress, StoredKey,
    StoredMessage, StoredState, StoredTimer, TimerKey, Totals, journal::Journal,
};

/// The sum of all changes of mailboxes: a very simple store in memory, for tests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    specs: Vec<(FunctionType, StateSpec)>,
    states: HashMap<(Address, Arc<str>), StoredState>,
    messages: BTreeMap<MessagePlace, StoredMessage>,
    timers: BTreeMap<DuePlace, StoredTimer>,
    cancellations: BTreeMap<u64, StoredCancellation>,
    egress: BTreeMap<u64, StoredEgress>,
    totals: Totals,
}

impl Image {
    /// Applies the changes of a cut.
    pub fn apply(&mut self, changes: Changes) {
        for state in changes.states() {
            self.set(state);
        }
        let place = |key: &StoredKey| MessagePlace { hash: HashKey::of_text(&key.owner), number: key.number };
        for TimerKey { at, key: StoredKey { owner, number } } in changes.timers_done() {
            self.timers.remove(&DuePlace { at: *at, hash: HashKey::of_text(owner), number: *number });
        }
        let (Journal { specs, messages, timers, cancellations, egress, .. }, totals) = changes.into_parts();
        specs.into_iter().for_each(|(function, spec)| self.declare(function, spec));
        messages.removed.iter().for_each(|key| drop(self.messages.remove(&place(key))));
        cancellations.removed.iter().for_each(|key| drop(self.cancellations.remove(&key.number)));
        egress.removed.iter().for_each(|key| drop(self.egress.remove(&key.number)));
        messages.into_added().for_each(|(_, message)| self.add_message(message));
        timers.into_added().for_each(|(_, timer)| self.add_timer(timer));
        self.cancellations.extend(cancellations.into_added());
        self.egress.extend(egress.into_added());
        self.totals = totals;
    }

    /// Adds a declared state, or replaces its earlier declaration.
    pub fn declare(&mut self, function: FunctionType, spec: StateSpec) {
        match self.specs.iter_mut().find(|(of, other)| *of == function && other.name == spec.name) {
            Some((_, other)) => *other = spec,
            None => self.specs.push((function, spec)),
        }
    }

    /// Sets or clears a state.
    pub fn set(&mut self, state: StoredState) {
        let key = (state.address.clone(), Arc::clone(&state.name));
        if state.value.is_some() {
            self.states.insert(key, state);
        } else {
            self.states.remove(&key);
        }
    }

    fn add_message(&mut self, message: StoredMessage) {
        let place = MessagePlace { hash: HashKey::of_text(&message.to.id), number: message.id };
        self.messages.insert(place, message);
    }

    fn add_timer(&mut self, timer: StoredTimer) {
        self.timers.insert(timer.place(), timer);
    }

    /// The data that a start reads.
    pub fn restored(&self) -> Restored {
        Restored {
            specs: self.specs.clone(),
            totals: self.totals.clone(),
            cancellations: self.cancellations.values().cloned().collect(),
            egress: self.egress.values().cloned().collect(),
            has_states: !self.states.is_empty(),
        }
    }

    /// Answers a read, with at most `most` entries.
    pub fn read(&self, read: &Read, most: usize) -> Found {
        match read {
            Read::Messages { to, from, until } => {
                let hash = HashKey::of_text(&to.id);
                let place = |number| MessagePlace { hash, number };
                let mut all = self.messages.range(place(*from)..place(*until));
                let part: Vec<_> = all.by_ref().take(most).map(|(_, message)| message.clone()).collect();
                let rest = all.next().map(|(place, _)| place.number);
                let messages = part.into_iter().filter(|message| message.to == *to).collect();
                Found::Messages { messages, rest }
            }
            Read::Waiting { from, .. } => {
                let mut all = self.messages.range(from..);
                let messages = all.by_ref().take(most).map(|(_, message)| message.clone()).collect();
                Found::Waiting { messages, rest: all.next().map(|(place, _)| *place) }
            }
            Read::Delayed { from } => {
                let mut all = self.timers.iter().filter(|(place, _)| Some(**place) >= *from);
                let timers = all.by_ref().take(most).map(|(_, timer)| timer.clone()).collect();
                Found::Delayed { timers, rest: all.next().map(|(place, _)| *place) }
            }
            Read::DelayedBy { sender } => {
                let is_sender = |timer: &&StoredTimer| timer.message.caller.as_ref() == Some(sender);
                Found::DelayedBy { timers: self.timers.values().filter(is_sender).cloned().collect() }
            }
        }
    }

    /// Declared states.
    pub fn specs(&self) -> &[(FunctionType, StateSpec)] {
        &self.specs
    }

    /// States that are set, in no order.
    pub fn states(&self) -> impl Iterator<Item = &StoredState> {
        self.states.values()
    }

    /// Messages that are not handled yet, in the order of their places.
    pub fn messages(&self) -> impl Iterator<Item = &StoredMessage> {
        self.messages.values()
    }

    /// Delayed messages, in the order in which they are due.
    pub fn timers(&self) -> impl Iterator<Item = &StoredTimer> {
        self.timers.values()
    }

    /// Cancellations whose delayed messages may still be in the store.
    pub fn cancellations(&self) -> impl Iterator<Item = &StoredCancellation> {
        self.cancellations.values()
    }

    /// Records that their egress has not stored yet, in the order in which they were sent.
    pub fn egress(&self) -> impl Iterator<Item = &StoredEgress> {
        self.egress.values()
    }

    /// The totals.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }
}
