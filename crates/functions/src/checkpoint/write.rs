//! Turns the changes of a cut into a commit.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use statefun_kinesis_store::{Commit, Table, key};
use statefun_kinesis_types::FunctionType;

use super::format::{NumberedEntry, TOTALS, encode_specs, encode_state, encode_totals, specs_name};
use crate::{Cut, StateSpec, StoredKey, TimerKey};

/// The changes of one moment, which one commit makes durable together.
#[derive(Debug)]
pub(crate) struct Moment {
    pub(crate) cut: Cut,
    /// The changes of positions.
    pub(crate) positions: Commit,
}

/// The size of a commit. Complete once the store has written it.
#[derive(Debug, Default)]
pub(super) struct Size {
    changes: AtomicU64,
    bytes: AtomicU64,
}

impl Size {
    pub(super) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// Bytes of keys and values.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn add(&self, commit: &mut Commit, table: Table, key: Bytes, value: Option<Bytes>) {
        self.bytes.fetch_add((key.len() + value.as_ref().map_or(0, Bytes::len)) as u64, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Relaxed);
        match value {
            Some(value) => commit.put(table, key, value),
            None => commit.delete(table, key),
        }
    }
}

/// Builds the commit of a moment. Updates `specs`, the states that functions have declared, with the new declarations.
///
/// The large part of a commit is encoded later, in the store's own thread, so that it takes no time from the functions.
/// The commit keeps the moment until then.
pub(super) fn write(moment: &Arc<Moment>, specs: &mut HashMap<FunctionType, Vec<StateSpec>>) -> (Commit, Arc<Size>) {
    let size = Arc::new(Size::default());
    let mut commit = moment.positions.clone();
    size.changes.fetch_add(commit.len() as u64, Ordering::Relaxed);
    for (function, spec) in moment.cut.changes.specs() {
        let known = specs.entry(function.clone()).or_default();
        match known.iter_mut().find(|other| other.name == spec.name) {
            Some(other) => other.clone_from(spec),
            None => known.push(spec.clone()),
        }
        size.add(&mut commit, Table::Meta, key::meta(&specs_name(function)), Some(encode_specs(known)));
    }
    let (moment, of_changes) = (Arc::clone(moment), Arc::clone(&size));
    commit.later(move |commit| write_changes(&moment, commit, &of_changes));
    (commit, size)
}

fn write_changes(moment: &Moment, commit: &mut Commit, size: &Size) {
    let changes = &moment.cut.changes;
    for state in changes.states() {
        size.add(commit, Table::State, key::state(&state.address, &state.name), encode_state(&state));
    }
    for message in changes.messages() {
        size.add(commit, Table::Mailboxes, key::numbered(&message.to.id, message.id), Some(message.encode()));
    }
    for timer in changes.timers() {
        let TimerKey { at, key: StoredKey { owner, number } } = TimerKey::of(timer);
        size.add(commit, Table::Timers, key::numbered(&owner, number), Some(timer.encode()));
        size.add(commit, Table::Due, key::due(at, &owner, number), Some(Bytes::new()));
    }
    for cancellation in changes.cancellations() {
        let key = key::numbered(&cancellation.sender.id, cancellation.id);
        size.add(commit, Table::Cancellations, key, Some(cancellation.encode()));
    }
    for record in changes.egress() {
        size.add(commit, Table::Egress, key::numbered(&record.sender, record.id), Some(record.encode()));
    }
    for TimerKey { at, key: StoredKey { owner, number } } in changes.timers_done() {
        size.add(commit, Table::Timers, key::numbered(owner, *number), None);
        size.add(commit, Table::Due, key::due(*at, owner, *number), None);
    }
    let done = [
        (Table::Mailboxes, changes.messages_done()),
        (Table::Cancellations, changes.cancellations_done()),
        (Table::Egress, changes.egress_done()),
    ];
    for (table, keys) in done {
        for StoredKey { owner, number } in keys {
            size.add(commit, table, key::numbered(owner, *number), None);
        }
    }
    size.add(commit, Table::Meta, key::meta(TOTALS), Some(encode_totals(changes.totals())));
}
