//! What a store has: entries, and how much there is in all.

use std::sync::Arc;

use statefun_kinesis_types::{Address, FunctionType, Timestamp};

use crate::{EgressMessage, Message, StateSpec, Value};

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
