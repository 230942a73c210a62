//! What a checkpoint writes.

use std::sync::Arc;

use statefun_kinesis_types::{Address, FunctionType};

use crate::{
    StateSpec, StoredCancellation, StoredEgress, StoredKey, StoredMessage, StoredState, StoredTimer, TimerKey, Totals,
    journal::Journal, state::Content,
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

    /// What was written down, and what there is in all.
    pub(crate) fn into_parts(self) -> (Journal, Totals) {
        (self.0, self.1)
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
