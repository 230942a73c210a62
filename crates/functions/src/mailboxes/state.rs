//! The states of a function's instances.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use statefun_kinesis_types::Timestamp;

use crate::{Expiration, StateSpec, Value};

/// A function's instance: its mailbox while it has one, and the states that are set. An instance with neither is not
/// kept.
#[derive(Debug, Default)]
pub(super) struct Instance {
    pub(super) mailbox: Option<u32>,
    cells: Vec<Cell>,
    /// When to look for expired values; the time in [`Expiries`].
    look_at: Option<Timestamp>,
}

/// A state that is set.
#[derive(Debug)]
struct Cell {
    /// The place of the state among the function's declarations.
    spec: u16,
    expires: Option<Timestamp>,
    typename: Arc<str>,
    /// A copy: a slice of an answer would keep all of the answer for as long as the state lives.
    bytes: Box<[u8]>,
}

impl Cell {
    fn value(&self) -> Value {
        Value { typename: Arc::clone(&self.typename), bytes: Some(Bytes::copy_from_slice(&self.bytes)) }
    }
}

/// Instances whose states may expire, by the time when one may.
#[derive(Debug, Default)]
pub(super) struct Expiries(BTreeSet<(Timestamp, u32, Arc<str>)>);

impl Expiries {
    /// The next instance that is to be looked at.
    pub(super) fn pop(&mut self, now: Timestamp) -> Option<(u32, Arc<str>)> {
        let due = self.0.first().is_some_and(|(at, ..)| *at <= now);
        if !due {
            return None;
        }
        self.0.pop_first().map(|(_, function, id)| (function, id))
    }

    pub(super) fn next_at(&self) -> Option<Timestamp> {
        self.0.first().map(|(at, ..)| *at)
    }
}

impl Instance {
    pub(super) fn is_idle_and_empty(&self) -> bool {
        self.mailbox.is_none() && self.cells.is_empty()
    }

    /// Removes what has expired, calling `changed` with the place of each such state.
    pub(super) fn expire(&mut self, now: Timestamp, mut changed: impl FnMut(u16)) {
        self.cells.retain(|cell| {
            let stays = cell.expires.is_none_or(|at| at > now);
            if !stays {
                changed(cell.spec);
            }
            stays
        });
    }

    /// The address gets a message: puts expiry off where that is what counts. Expired values have to be removed before.
    pub(super) fn invoked(&mut self, specs: &[StateSpec], now: Timestamp, mut changed: impl FnMut(u16)) {
        for cell in &mut self.cells {
            let expires = specs[usize::from(cell.spec)].expiration.at_invoke(now);
            if expires.is_some() && expires != cell.expires {
                cell.expires = expires;
                changed(cell.spec);
            }
        }
    }

    pub(super) fn get(&self, spec: u16) -> Option<(Value, Option<Timestamp>)> {
        self.cells.iter().find(|cell| cell.spec == spec).map(|cell| (cell.value(), cell.expires))
    }

    pub(super) fn set(&mut self, spec: u16, value: &Value, expires: Option<Timestamp>) {
        let Some(bytes) = &value.bytes else { return self.clear(spec) };
        let cell = Cell { spec, expires, typename: Arc::clone(&value.typename), bytes: bytes.as_ref().into() };
        match self.cells.iter_mut().find(|cell| cell.spec == spec) {
            Some(old) => *old = cell,
            None => {
                // Most functions have one or two states, and there may be a million instances.
                self.cells.reserve_exact(1);
                self.cells.push(cell);
            }
        }
    }

    pub(super) fn clear(&mut self, spec: u16) {
        self.cells.retain(|cell| cell.spec != spec);
    }

    /// Sees to it that the instance is looked at when the first of its values expires. `popped` says that the entry it
    /// had is gone.
    pub(super) fn schedule(&mut self, function: u32, id: &Arc<str>, expiries: &mut Expiries, popped: bool) {
        if popped {
            self.look_at = None;
        }
        // An entry that is too early costs a look and no more: with each message expiry may be put off again.
        let Some(first) = self.cells.iter().filter_map(|cell| cell.expires).min() else { return };
        match self.look_at {
            Some(at) if at <= first => return,
            Some(at) => drop(expiries.0.remove(&(at, function, Arc::clone(id)))),
            None => {}
        }
        self.look_at = Some(first);
        expiries.0.insert((first, function, Arc::clone(id)));
    }
}

/// The states that a function has declared so far. Places do not change.
#[derive(Debug, Default)]
pub(super) struct Specs {
    specs: Vec<StateSpec>,
    by_name: HashMap<Arc<str>, u16>,
}

impl Specs {
    /// Registers a state, unless one of its name is known: the first registration counts.
    pub(super) fn register(&mut self, spec: StateSpec) -> Option<&StateSpec> {
        if self.by_name.contains_key(&spec.name) {
            return None;
        }
        let place = u16::try_from(self.specs.len()).ok()?;
        self.by_name.insert(Arc::clone(&spec.name), place);
        self.specs.push(spec);
        self.specs.last()
    }

    pub(super) fn place(&self, name: &str) -> Option<u16> {
        self.by_name.get(name).copied()
    }

    pub(super) fn all(&self) -> &[StateSpec] {
        &self.specs
    }

    pub(super) fn name(&self, place: u16) -> &Arc<str> {
        &self.specs[usize::from(place)].name
    }

    pub(super) fn expiration(&self, place: u16) -> Expiration {
        self.specs[usize::from(place)].expiration
    }
}
