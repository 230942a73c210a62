use std::{sync::Arc, time::Duration};

use statefun_kinesis_types::{Address, PutRecord, StreamRef, Timestamp, TypeName};

use crate::Value;

/// What came of a batch of messages. Effects are applied in the order of the fields, all of them or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Messages to functions, in order.
    pub messages: Vec<(Address, Value)>,
    /// Delayed messages and cancellations of such, in order.
    pub delayed: Vec<Delayed>,
    /// Messages to egresses, in order.
    pub egress: Vec<EgressMessage>,
    /// Changes of the address' own states, in order.
    pub states: Vec<StateChange>,
}

/// A message for later, or the cancellation of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delayed {
    /// Send a message after a while.
    Send {
        /// How much later.
        delay: Duration,
        /// To whom.
        to: Address,
        /// What.
        value: Value,
        /// By what the sender can cancel it.
        token: Option<Arc<str>>,
    },
    /// Do not send what this sender has delayed under this token; without effect when there is no such message.
    Cancel {
        /// The token.
        token: Arc<str>,
    },
}

/// A record for an egress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressMessage {
    /// The egress.
    pub egress: TypeName,
    /// The stream, when it is not the egress' own.
    pub stream: Option<StreamRef>,
    /// The record.
    pub record: PutRecord,
}

/// A change of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// The state's name.
    pub name: Arc<str>,
    /// Its new value; `None` when it is not set any more.
    pub value: Option<Value>,
}

/// A state that a function has, as the function declares it. Of several declarations since the start the first counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSpec {
    /// The state's name.
    pub name: Arc<str>,
    /// The type of its values.
    pub typename: Arc<str>,
    /// When its value expires.
    pub expiration: Expiration,
}

/// When the value of a state expires, by the time of day. An expired value is as one that was never set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiration {
    /// It does not.
    #[default]
    Never,
    /// So long after it was last set.
    AfterWrite(Duration),
    /// So long after its address last got a message.
    AfterInvoke(Duration),
}

impl Expiration {
    pub(crate) fn at_write(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::AfterWrite(after) | Self::AfterInvoke(after) => Some(now.after(after)),
        }
    }

    /// The new time of expiry when the address gets a message, if that changes it.
    pub(crate) fn at_invoke(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::AfterInvoke(after) => Some(now.after(after)),
            Self::Never | Self::AfterWrite(_) => None,
        }
    }
}
