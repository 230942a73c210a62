//! The changes that a checkpoint writes.

use std::sync::Arc;

use statefun_kinesis_types::{Address, FunctionType};

use crate::{
    StateSpec, StoredCancellation, StoredEgress, StoredKey, StoredMessage, StoredState, StoredTimer, TimerKey, Totals,
    journal::Journal, state::Content,
};

/// A cut: the changes since the cut before.
#[derive(Debug)]
pub struct Cut {
    /// The cut's number. The first cut of mailboxes has 1, and each further one is one more.
    pub number: u64,
    /// The changes.
    pub changes: Changes,
}

/// The changes from one cut to the next.
///
/// A cut is a consistent moment: every batch is applied as a whole or not at all, and every delivery taken as a whole
/// or not at all. Messages in flight count as not handled. An entry that was added and removed between two cuts is in
/// neither.
#[derive(Debug)]
pub struct Changes(Journal, Totals);

impl Changes {
    pub(crate) fn new(journal: Journal, totals: Totals) -> Self {
        Self(journal, totals)
    }

    /// The journal and the totals.
    pub(crate) fn into_parts(self) -> (Journal, Totals) {
        (self.0, self.1)
    }

    /// The totals at the moment of the cut.
    pub fn totals(&self) -> &Totals {
        &self.1
    }

    /// Whether nothing has changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// States that functions have declared, in the order of their declaration: new ones, and those that differ from an
    /// earlier run.
    pub fn specs(&self) -> &[(FunctionType, StateSpec)] {
        &self.0.specs
    }

    /// States that were set, were cleared or have expired, each once with its last value. Those of one address follow
    /// each other.
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

    /// New messages that are not handled, in no order.
    pub fn messages(&self) -> impl Iterator<Item = &StoredMessage> {
        self.0.messages.added()
    }

    /// Messages of earlier cuts that were handled or skipped.
    pub fn messages_done(&self) -> &[StoredKey] {
        &self.0.messages.removed
    }

    /// New delayed messages, in no order.
    pub fn timers(&self) -> impl Iterator<Item = &StoredTimer> {
        self.0.timers.added()
    }

    /// Delayed messages of earlier cuts that were delivered or cancelled.
    pub fn timers_done(&self) -> &[TimerKey] {
        &self.0.timers.removed
    }

    /// New cancellations whose delayed messages may still be in the store, in no order.
    pub fn cancellations(&self) -> impl Iterator<Item = &StoredCancellation> {
        self.0.cancellations.added()
    }

    /// Cancellations of earlier cuts whose delayed messages were removed.
    pub fn cancellations_done(&self) -> &[StoredKey] {
        &self.0.cancellations.removed
    }

    /// New records that their egress has not stored, in no order.
    pub fn egress(&self) -> impl Iterator<Item = &StoredEgress> {
        self.0.egress.added()
    }

    /// Records of earlier cuts that their egress has stored.
    pub fn egress_done(&self) -> &[StoredKey] {
        &self.0.egress.removed
    }
}
