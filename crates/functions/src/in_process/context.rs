use std::{sync::Arc, time::Duration};

use statefun_kinesis_types::{Address, PutRecord, StreamRef, TypeName};

use crate::{
    BoxError, Delayed, Effects, EgressMessage, Message, Origin, Payload, Request, StateChange, Value, ValueSpec,
};

/// Why a state cannot be read or set.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The function did not declare the state.
    #[error("the state `{name}` is not among those that the function declares")]
    Undeclared {
        /// The state.
        name: Arc<str>,
    },
    /// The value cannot be read as the requested type.
    #[error("the state `{name}` cannot be read")]
    Unreadable {
        /// The state.
        name: Arc<str>,
        /// The cause.
        source: BoxError,
    },
}

/// The context in which a function handles a message. It gives access to the address, the caller and the states, and
/// takes messages, delayed messages and records for egresses.
///
/// The effects are applied together when the function has handled all messages of its batch. If it fails, none is.
#[derive(Debug)]
pub struct Context {
    address: Address,
    caller: Option<Address>,
    origin: Option<Arc<Origin>>,
    states: Vec<(Arc<str>, Option<Value>)>,
    effects: Effects,
}

impl Context {
    pub(super) fn new(request: &Request) -> Self {
        let states = request.states.clone();
        Self { address: request.target.clone(), caller: None, origin: None, states, effects: Effects::default() }
    }

    /// Makes a message the current one.
    pub(super) fn begin(&mut self, message: &Message) {
        self.caller.clone_from(&message.caller);
        self.origin.clone_from(&message.origin);
    }

    pub(super) fn into_effects(self) -> Effects {
        self.effects
    }

    /// The address that handles the message.
    pub fn self_address(&self) -> &Address {
        &self.address
    }

    /// The address that sent the message; `None` when it came from an ingress.
    pub fn caller(&self) -> Option<&Address> {
        self.caller.as_ref()
    }

    /// The record that the message came from; `None` when a function sent it.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_deref()
    }

    /// Returns the value of a state; `None` when it is not set or has expired.
    ///
    /// # Errors
    ///
    /// When the function did not declare the state, or its value cannot be read.
    pub fn get<T: Payload>(&self, state: &ValueSpec<T>) -> Result<Option<T>, StateError> {
        let name = state.name();
        let found = self.states.iter().find(|(other, _)| other == name);
        let (_, value) = found.ok_or_else(|| StateError::Undeclared { name: Arc::clone(name) })?;
        let read = value.as_ref().map(Value::read).transpose();
        read.map_err(|source| StateError::Unreadable { name: Arc::clone(name), source })
    }

    /// Sets a state.
    ///
    /// # Errors
    ///
    /// When the function did not declare the state.
    pub fn set<T: Payload>(&mut self, state: &ValueSpec<T>, value: &T) -> Result<(), StateError> {
        self.change(state.name(), Some(Value::of(value)))
    }

    /// Clears a state.
    ///
    /// # Errors
    ///
    /// When the function did not declare the state.
    pub fn clear<T: Payload>(&mut self, state: &ValueSpec<T>) -> Result<(), StateError> {
        self.change(state.name(), None)
    }

    fn change(&mut self, name: &Arc<str>, value: Option<Value>) -> Result<(), StateError> {
        let found = self.states.iter_mut().find(|(other, _)| other == name);
        let (_, current) = found.ok_or_else(|| StateError::Undeclared { name: Arc::clone(name) })?;
        current.clone_from(&value);
        // Only the last value of each state in a batch is kept.
        match self.effects.states.iter_mut().find(|change| change.name == *name) {
            Some(change) => change.value = value,
            None => self.effects.states.push(StateChange { name: Arc::clone(name), value }),
        }
        Ok(())
    }

    /// Sends a message to a function.
    pub fn send<T: Payload>(&mut self, to: Address, message: &T) {
        self.effects.messages.push((to, Value::of(message)));
    }

    /// Sends a message to a function after a delay.
    pub fn send_after<T: Payload>(&mut self, delay: Duration, to: Address, message: &T) {
        self.effects.delayed.push(Delayed::Send { delay, to, value: Value::of(message), token: None });
    }

    /// Sends a message to a function after a delay, unless this address [cancels](Self::cancel) it by its token before.
    pub fn send_after_unless_cancelled<T: Payload>(
        &mut self,
        delay: Duration,
        to: Address,
        message: &T,
        token: impl Into<Arc<str>>,
    ) {
        let token = Some(token.into());
        self.effects.delayed.push(Delayed::Send { delay, to, value: Value::of(message), token });
    }

    /// Cancels the delayed messages that this address sent with this token. Has no effect when they were delivered or
    /// there are none.
    pub fn cancel(&mut self, token: impl Into<Arc<str>>) {
        self.effects.delayed.push(Delayed::Cancel { token: token.into() });
    }

    /// Sends a record to the default stream of an egress.
    pub fn egress(&mut self, egress: TypeName, record: PutRecord) {
        self.effects.egress.push(EgressMessage::Record { egress, stream: None, record });
    }

    /// Sends a record to another stream of an egress.
    pub fn egress_to(&mut self, egress: TypeName, stream: StreamRef, record: PutRecord) {
        self.effects.egress.push(EgressMessage::Record { egress, stream: Some(stream), record });
    }
}
