//! What a commit has.

use std::collections::HashMap;

use bytes::Bytes;
use statefun_kinesis_store::{Commit, Table, key};
use statefun_kinesis_types::FunctionType;
use tokio::task::yield_now;

use super::format::{encode_specs, specs_name};
use crate::{Cut, StateSpec};

/// What is to become durable together: all of one moment.
#[derive(Debug)]
pub(crate) struct Moment {
    pub(crate) cut: Cut,
    /// The changes of positions.
    pub(crate) positions: Commit,
}

/// The changes of a moment, and how many bytes they are.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) commit: Commit,
    pub(super) changes: u64,
    pub(super) bytes: u64,
}

/// Entries that are written without letting other tasks go on: about a millisecond.
const STRETCH: u64 = 2_000;

impl Written {
    async fn change(&mut self, table: Table, key: Bytes, value: Option<Bytes>) {
        self.bytes += (key.len() + value.as_ref().map_or(0, Bytes::len)) as u64;
        self.changes += 1;
        match value {
            Some(value) => self.commit.put(table, key, value),
            None => self.commit.delete(table, key),
        }
        if self.changes.is_multiple_of(STRETCH) {
            yield_now().await;
        }
    }
}

/// Writes all of a moment into one commit. `specs` has what functions declared before, and then what they have declared.
pub(super) async fn write(moment: &Moment, specs: &mut HashMap<FunctionType, Vec<StateSpec>>) -> Written {
    let mut written = Written::default();
    let changes = &moment.cut.changes;
    for (function, spec) in changes.specs() {
        let known = specs.entry(function.clone()).or_default();
        if known.iter().all(|other| other.name != spec.name) {
            known.push(spec.clone());
        }
        written.change(Table::Meta, key::meta(&specs_name(function)), Some(encode_specs(known))).await;
    }
    for state in changes.states() {
        written.change(Table::State, key::state(&state.address, &state.name), state.encode()).await;
    }
    for message in changes.messages() {
        written.change(Table::Mailboxes, key::number(message.id), Some(message.encode())).await;
    }
    for timer in changes.timers() {
        written.change(Table::Timers, key::number(timer.id), Some(timer.encode())).await;
    }
    for record in changes.egress() {
        written.change(Table::Egress, key::number(record.id), Some(record.encode())).await;
    }
    let done = [
        (Table::Mailboxes, changes.messages_done()),
        (Table::Timers, changes.timers_done()),
        (Table::Egress, changes.egress_done()),
    ];
    for (table, numbers) in done {
        for number in numbers {
            written.change(table, key::number(*number), None).await;
        }
    }
    written.changes += moment.positions.len() as u64;
    written.commit.append(moment.positions.clone());
    written
}
