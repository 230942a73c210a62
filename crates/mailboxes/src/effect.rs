use std::{sync::Arc, time::Duration};

use statefun_kinesis_types::{Address, PutRecord, StreamRef, Timestamp, TypeName};

use crate::Value;

/// The effects of a batch of messages. They are applied in the order of the fields, all of them or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Messages to functions, in order.
    pub messages: Vec<(Address, Value)>,
    /// Delayed messages and cancellations of delayed messages, in order.
    pub delayed: Vec<Delayed>,
    /// Messages to egresses, in order.
    pub egress: Vec<EgressMessage>,
    /// Changes of the states of the address, in order.
    pub states: Vec<StateChange>,
}

/// A delayed message, or a cancellation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delayed {
    /// Sends a message after a delay.
    Send {
        /// The delay.
        delay: Duration,
        /// The target.
        to: Address,
        /// The value.
        value: Value,
        /// The token with which the sender can cancel it.
        token: Option<Arc<str>>,
    },
    /// Cancels the delayed messages that this sender sent with this token. Has no effect when there are none.
    Cancel {
        /// The token.
        token: Arc<str>,
    },
}

/// A message to an egress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EgressMessage {
    /// A record.
    Record {
        /// The egress.
        egress: TypeName,
        /// The stream; `None` stands for the egress' default stream.
        stream: Option<StreamRef>,
        /// The record.
        record: PutRecord,
    },
    /// Something that is not a valid record, for example because its partition key is too long. The egress handles it as
    /// a record that can never be stored.
    Invalid {
        /// The egress.
        egress: TypeName,
        /// What the function sent.
        value: Value,
        /// What is wrong with it.
        error: Arc<str>,
    },
}

impl EgressMessage {
    /// The egress.
    pub fn egress(&self) -> &TypeName {
        match self {
            Self::Record { egress, .. } | Self::Invalid { egress, .. } => egress,
        }
    }

    /// The record; `None` if it is not a valid one.
    pub fn record(&self) -> Option<&PutRecord> {
        match self {
            Self::Record { record, .. } => Some(record),
            Self::Invalid { .. } => None,
        }
    }

    /// Bytes that it holds in memory, without its fixed size: key and data of a record.
    pub(crate) fn size(&self) -> usize {
        match self {
            Self::Record { record, .. } => record.size(),
            Self::Invalid { value, error, .. } => value.typename.len() + value.payload_len() + error.len(),
        }
    }
}

/// A change of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// The state's name.
    pub name: Arc<str>,
    /// Its new value; `None` clears the state.
    pub value: Option<Value>,
}

/// The declaration of a state by its function. If a state is declared several times since the start, the first
/// declaration counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSpec {
    /// The state's name.
    pub name: Arc<str>,
    /// The type of its values.
    pub typename: Arc<str>,
    /// When its value expires.
    pub expiration: Expiration,
}

/// When the value of a state expires, by the time of day. An expired state is not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiration {
    /// It never expires.
    #[default]
    Never,
    /// It expires this long after it was last set.
    AfterWrite(Duration),
    /// It expires this long after its address last got a message, or after it was set if that is later.
    AfterInvoke(Duration),
}

impl Expiration {
    pub(crate) fn at_write(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::AfterWrite(after) | Self::AfterInvoke(after) => Some(now.after(after)),
        }
    }

    /// The new time of expiry when the address gets a message; `None` if a message does not change it.
    pub(crate) fn at_invoke(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::AfterInvoke(after) => Some(now.after(after)),
            Self::Never | Self::AfterWrite(_) => None,
        }
    }
}
