//! The entries of a store, and the totals.

use std::sync::Arc;

use statefun_kinesis_types::{Address, FunctionType, Timestamp};

use crate::{EgressMessage, Message, StateSpec, Value};

/// The value of a state, and when it expires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredState {
    /// The address of the state.
    pub address: Address,
    /// The state's name.
    pub name: Arc<str>,
    /// Its value; `None` when it is not set.
    pub value: Option<Value>,
    /// When the value expires; `None` when it does not.
    pub expires: Option<Timestamp>,
}

/// A message that is not handled yet. Messages of one address are handled in the order of their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMessage {
    /// Its number, which is unique among all messages of the store.
    pub id: u64,
    /// The target.
    pub to: Address,
    /// The message.
    pub message: Message,
}

/// A delayed message. The caller of the message is its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTimer {
    /// Its number, which is unique among all delayed messages and cancellations of the store.
    pub id: u64,
    /// When it is due.
    pub at: Timestamp,
    /// The target.
    pub to: Address,
    /// The message.
    pub message: Message,
    /// The token with which its sender can cancel it.
    pub token: Option<Arc<str>>,
}

/// A cancellation of delayed messages, some of which may be only in the store. It concerns the messages of the sender
/// that have the token and a lower number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCancellation {
    /// Its number, which is unique among all delayed messages and cancellations of the store.
    pub id: u64,
    /// The sender of the cancelled messages.
    pub sender: Address,
    /// The token of the cancelled messages.
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
    /// Its number, which is unique among all records of the store.
    pub id: u64,
    /// The id of the address that sent it.
    pub sender: Arc<str>,
    /// The record.
    pub message: EgressMessage,
}

/// The key of an entry in a store: the id that it belongs to, and its number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredKey {
    /// The id of its owner: of the target for messages, of the sender for all other entries.
    pub owner: Arc<str>,
    /// Its number.
    pub number: u64,
}

/// The key of a delayed message in a store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey {
    /// When it is due.
    pub at: Timestamp,
    /// Its sender and its number.
    pub key: StoredKey,
}

impl TimerKey {
    /// Returns the key of a delayed message.
    pub fn of(timer: &StoredTimer) -> Self {
        let owner = timer.message.caller.as_ref().map_or_else(|| "".into(), |sender| Arc::clone(&sender.id));
        Self { at: timer.at, key: StoredKey { owner, number: timer.id } }
    }
}

/// The totals of mailboxes: how much they hold in memory and in the store, and the next numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// The next message gets this number or a higher one.
    pub next_message: u64,
    /// The next delayed message or cancellation gets this number or a higher one.
    pub next_timer: u64,
    /// The next record gets this number or a higher one.
    pub next_record: u64,
    /// The totals of each function. Functions without messages may be missing.
    pub functions: Vec<FunctionTotals>,
}

/// The totals of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionTotals {
    /// The function.
    pub function: FunctionType,
    /// Messages that are not handled.
    pub messages: u64,
    /// Delayed messages.
    pub timers: u64,
}

/// The data that a start reads from the store. Everything else is read when it is needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Declared states, in the order of their declaration.
    pub specs: Vec<(FunctionType, StateSpec)>,
    /// The totals.
    pub totals: Totals,
    /// Cancellations whose delayed messages may still be in the store.
    pub cancellations: Vec<StoredCancellation>,
    /// Records that their egress has not stored yet, in the order of their numbers.
    pub egress: Vec<StoredEgress>,
    /// Whether the store has states.
    pub has_states: bool,
}
