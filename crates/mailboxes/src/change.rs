//! What a checkpoint writes, and what a restart reads.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use statefun_kinesis_types::{Address, FunctionType, HashKey, Timestamp};

use crate::{
    DuePlace, EgressMessage, Found, Message, MessagePlace, Read, StateSpec, Value, journal::Journal, state::Content,
};

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
pub struct Changes(Journal, Totals);

impl Changes {
    pub(crate) fn new(journal: Journal, totals: Totals) -> Self {
        Self(journal, totals)
    }

    /// What there is in all, at the moment of the cut.
    pub fn totals(&self) -> &Totals {
        &self.1
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

    /// Messages that an earlier cut had and that were handled.
    pub fn messages_done(&self) -> &[StoredKey] {
        &self.0.messages.removed
    }

    /// Messages that were delayed, in no order.
    pub fn timers(&self) -> impl Iterator<Item = &StoredTimer> {
        self.0.timers.added()
    }

    /// Delayed messages that an earlier cut had and that were delivered or cancelled.
    pub fn timers_done(&self) -> &[TimerKey] {
        &self.0.timers.removed
    }

    /// Cancellations of delayed messages that were not found in the store yet, in no order.
    pub fn cancellations(&self) -> impl Iterator<Item = &StoredCancellation> {
        self.0.cancellations.added()
    }

    /// Cancellations that an earlier cut had and whose delayed messages were found.
    pub fn cancellations_done(&self) -> &[StoredKey] {
        &self.0.cancellations.removed
    }

    /// Records for egresses that these have not stored, in no order.
    pub fn egress(&self) -> impl Iterator<Item = &StoredEgress> {
        self.0.egress.added()
    }

    /// Records that an earlier cut had and that their egress has stored.
    pub fn egress_done(&self) -> &[StoredKey] {
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

/// A cancellation of delayed messages of which some may be in the store only: of those of the sender that have the token
/// and a lower number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCancellation {
    /// Its number, which no other cancellation and no delayed message has or had.
    pub id: u64,
    /// Whose delayed messages are cancelled.
    pub sender: Address,
    /// By what.
    pub token: Arc<str>,
}

impl StoredCancellation {
    pub(crate) fn concerns(&self, timer: &StoredTimer) -> bool {
        timer.id < self.id
            && timer.token.as_ref() == Some(&self.token)
            && timer.message.caller.as_ref() == Some(&self.sender)
    }

    pub(crate) fn key(&self) -> StoredKey {
        StoredKey { owner: Arc::clone(&self.sender.id), number: self.id }
    }
}

/// A record that its egress has not stored yet. Records of one egress are sent in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEgress {
    /// Its number, which no other record has or had.
    pub id: u64,
    /// The id of the address that sent it.
    pub sender: Arc<str>,
    /// The record.
    pub message: EgressMessage,
}

/// By what something is found in a store: the id beside which it lies, and its number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredKey {
    /// The id of the address that owns it: of the target of a message, of the sender of all else.
    pub owner: Arc<str>,
    /// Its number.
    pub number: u64,
}

/// By what a delayed message is found in a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey {
    /// When it is due.
    pub at: Timestamp,
    /// Its sender and its number.
    pub key: StoredKey,
}

impl TimerKey {
    /// That of a delayed message.
    pub fn of(timer: &StoredTimer) -> Self {
        let owner = timer.message.caller.as_ref().map_or_else(|| "".into(), |sender| Arc::clone(&sender.id));
        Self { at: timer.at, key: StoredKey { owner, number: timer.id } }
    }
}

/// What mailboxes hold in all, in memory and in the store, and the numbers that come next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The next message gets this number, or a greater one.
    pub next_message: u64,
    /// The same for delayed messages and cancellations.
    pub next_timer: u64,
    /// The same for records for egresses.
    pub next_record: u64,
    /// What waits for each function; functions for which nothing does need not be there.
    pub functions: Vec<FunctionTotals>,
}

/// What waits for a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionTotals {
    /// The function.
    pub function: FunctionType,
    /// Messages that are not handled.
    pub messages: u64,
    /// Delayed messages.
    pub timers: u64,
}

/// What a restart begins with. All else is read when it is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Declared states, in the order of their declaration.
    pub specs: Vec<(FunctionType, StateSpec)>,
    /// What there is in all.
    pub totals: Totals,
    /// Cancellations whose delayed messages were not found yet.
    pub cancellations: Vec<StoredCancellation>,
    /// Records that their egress has not stored yet, in the order of their numbers.
    pub egress: Vec<StoredEgress>,
    /// Whether the store has states.
    pub has_states: bool,
}

/// Everything that mailboxes hold: the sum of all changes. A store in memory that is as simple as can be, for tests.
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
    /// Adds what a cut said.
    pub fn apply(&mut self, changes: Changes) {
        for state in changes.states() {
            self.set(state);
        }
        let place = |key: &StoredKey| MessagePlace { hash: HashKey::of_text(&key.owner), number: key.number };
        for TimerKey { at, key: StoredKey { owner, number } } in changes.timers_done() {
            self.timers.remove(&DuePlace { at: *at, hash: HashKey::of_text(owner), number: *number });
        }
        let Changes(Journal { specs, messages, timers, cancellations, egress, .. }, totals) = changes;
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

    fn add_message(&mut self, message: StoredMessage) {
        let place = MessagePlace { hash: HashKey::of_text(&message.to.id), number: message.id };
        self.messages.insert(place, message);
    }

    fn add_timer(&mut self, timer: StoredTimer) {
        self.timers.insert(timer.place(), timer);
    }

    /// What a restart begins with.
    pub fn restored(&self) -> Restored {
        Restored {
            specs: self.specs.clone(),
            totals: self.totals.clone(),
            cancellations: self.cancellations.values().cloned().collect(),
            egress: self.egress.values().cloned().collect(),
            has_states: !self.states.is_empty(),
        }
    }

    /// Answers a read, with at most so many entries.
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

    /// Cancellations whose delayed messages were not found yet.
    pub fn cancellations(&self) -> impl Iterator<Item = &StoredCancellation> {
        self.cancellations.values()
    }

    /// Records that their egress has not stored yet, in the order in which they were sent.
    pub fn egress(&self) -> impl Iterator<Item = &StoredEgress> {
        self.egress.values()
    }

    /// What there is in all.
    pub fn totals(&self) -> &Totals {
        &self.totals
    }
}
