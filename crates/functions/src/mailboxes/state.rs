//! The states of a function's instances.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use statefun_kinesis_types::Timestamp;

use crate::{Expiration, StateSpec, Value};

/// A value in memory. Clones share its bytes: the cell, the journal and requests have one copy together.
#[derive(Clone, Debug)]
pub(super) struct Content {
    typename: Arc<str>,
    /// Not a slice of an answer, which would keep all of the answer for as long as the state lives.
    bytes: Arc<[u8]>,
}

impl Content {
    pub(super) fn value(&self) -> Value {
        Value { typename: Arc::clone(&self.typename), bytes: Some(Bytes::from_owner(Arc::clone(&self.bytes))) }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

/// A state that is set.
#[derive(Debug)]
struct Cell {
    /// The place of the state among the function's declarations.
    spec: u16,
    expires: Option<Timestamp>,
    content: Content,
}

/// The states of an instance that are set.
#[derive(Debug, Default)]
pub(super) struct Cells(Vec<Cell>);

impl Cells {
    /// What a state takes beside the bytes of its value, about: its cell, and what comes with an allocation or two.
    const OVERHEAD: usize = 96;

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// About how many bytes of memory they take.
    pub(super) fn footprint(&self) -> usize {
        self.0.iter().map(|cell| Self::OVERHEAD + cell.content.len()).sum()
    }

    /// When the first of them expires, if one does.
    pub(super) fn first_expiry(&self) -> Option<Timestamp> {
        self.0.iter().filter_map(|cell| cell.expires).min()
    }

    /// Removes what has expired, calling `changed` with the place of each such state.
    pub(super) fn expire(&mut self, now: Timestamp, mut changed: impl FnMut(u16)) {
        self.0.retain(|cell| {
            let stays = cell.expires.is_none_or(|at| at > now);
            if !stays {
                changed(cell.spec);
            }
            stays
        });
    }

    /// The address gets a message: puts expiry off where that is what counts, calling `changed` with each such state.
    /// Expired values have to be removed before.
    pub(super) fn invoked(
        &mut self,
        specs: &[StateSpec],
        now: Timestamp,
        mut changed: impl FnMut(u16, &Content, Option<Timestamp>),
    ) {
        for cell in &mut self.0 {
            let expires = specs[usize::from(cell.spec)].expiration.at_invoke(now);
            if expires.is_some() && expires != cell.expires {
                cell.expires = expires;
                changed(cell.spec, &cell.content, expires);
            }
        }
    }

    pub(super) fn get(&self, spec: u16) -> Option<&Content> {
        self.0.iter().find(|cell| cell.spec == spec).map(|cell| &cell.content)
    }

    /// Sets a state, or unsets it when the value is absent, and gives what it has from now on.
    pub(super) fn set(
        &mut self,
        spec: u16,
        declared: &StateSpec,
        value: &Value,
        expires: Option<Timestamp>,
    ) -> Option<&Content> {
        let Some(bytes) = &value.bytes else {
            self.clear(spec);
            return None;
        };
        // Almost all values are of the type that was declared, whose name need not be there a million times.
        let typename = if value.typename == declared.typename { &declared.typename } else { &value.typename };
        let content = Content { typename: Arc::clone(typename), bytes: bytes.as_ref().into() };
        let cell = Cell { spec, expires, content };
        let place = match self.0.iter().position(|cell| cell.spec == spec) {
            Some(place) => {
                self.0[place] = cell;
                place
            }
            None => {
                // Most functions have one or two states, and there may be a million instances.
                self.0.reserve_exact(1);
                self.0.push(cell);
                self.0.len() - 1
            }
        };
        Some(&self.0[place].content)
    }

    pub(super) fn clear(&mut self, spec: u16) {
        self.0.retain(|cell| cell.spec != spec);
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

    pub(super) fn get(&self, place: u16) -> &StateSpec {
        &self.specs[usize::from(place)]
    }

    pub(super) fn name(&self, place: u16) -> &Arc<str> {
        &self.specs[usize::from(place)].name
    }

    pub(super) fn expiration(&self, place: u16) -> Expiration {
        self.specs[usize::from(place)].expiration
    }
}
