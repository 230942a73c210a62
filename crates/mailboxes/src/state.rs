//! The states of a function's instances.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use statefun_kinesis_types::Timestamp;

use crate::{Expiration, StateSpec, Value};

/// A value in memory. Clones share its bytes, so that the cell, the journal and requests have one copy together.
#[derive(Clone, Debug)]
pub(crate) struct Content {
    typename: Arc<str>,
    /// A copy, since a slice of an answer would keep the whole answer in memory.
    bytes: Arc<[u8]>,
}

impl Content {
    pub(crate) fn value(&self) -> Value {
        Value { typename: Arc::clone(&self.typename), bytes: Some(Bytes::from_owner(Arc::clone(&self.bytes))) }
    }

    pub(crate) fn len(&self) -> usize {
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
pub(crate) struct Cells(Vec<Cell>);

impl Cells {
    /// About how many bytes a state takes in addition to its value: its cell, and the cost of one or two allocations.
    const OVERHEAD: usize = 96;

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// About how many bytes of memory the states take.
    pub(crate) fn footprint(&self) -> usize {
        self.0.iter().map(|cell| Self::OVERHEAD + cell.content.len()).sum()
    }

    /// When the first state expires; `None` when none does.
    pub(crate) fn first_expiry(&self) -> Option<Timestamp> {
        self.0.iter().filter_map(|cell| cell.expires).min()
    }

    /// Removes expired states, and calls `changed` with the index of each.
    pub(crate) fn expire(&mut self, now: Timestamp, mut changed: impl FnMut(u16)) {
        self.0.retain(|cell| {
            let stays = cell.expires.is_none_or(|at| at > now);
            if !stays {
                changed(cell.spec);
            }
            stays
        });
    }

    /// Postpones the expiry of states that expire after the last message, and calls `changed` with each. Expired states
    /// have to be removed before.
    pub(crate) fn invoked(
        &mut self,
        specs: &Specs,
        now: Timestamp,
        mut changed: impl FnMut(u16, &Content, Option<Timestamp>),
    ) {
        for cell in &mut self.0 {
            let expires = specs.expiration(cell.spec).at_invoke(now);
            if expires.is_some() && expires != cell.expires {
                cell.expires = expires;
                changed(cell.spec, &cell.content, expires);
            }
        }
    }

    pub(crate) fn get(&self, spec: u16) -> Option<&Content> {
        self.0.iter().find(|cell| cell.spec == spec).map(|cell| &cell.content)
    }

    /// Sets a state, or clears it when the value is absent. Returns the new content.
    pub(crate) fn set(
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
        // Almost all values have the declared type. Sharing its name saves a copy per value.
        let typename = if value.typename == declared.typename { &declared.typename } else { &value.typename };
        let content = Content { typename: Arc::clone(typename), bytes: bytes.as_ref().into() };
        let cell = Cell { spec, expires, content };
        let place = match self.0.iter().position(|cell| cell.spec == spec) {
            Some(place) => {
                self.0[place] = cell;
                place
            }
            None => {
                // Reserves exactly, because most functions have one or two states and there may be a million instances.
                self.0.reserve_exact(1);
                self.0.push(cell);
                self.0.len() - 1
            }
        };
        Some(&self.0[place].content)
    }

    pub(crate) fn clear(&mut self, spec: u16) {
        self.0.retain(|cell| cell.spec != spec);
    }
}

/// The states that a function has declared, since the start or in an earlier run. Their indexes do not change.
#[derive(Debug, Default)]
pub(crate) struct Specs {
    specs: Vec<StateSpec>,
    /// For each state, how many were declared since the start before it; `None` if only an earlier run declared it.
    since_start: Vec<Option<u16>>,
    declared: u16,
    by_name: HashMap<Arc<str>, u16>,
    /// Whether a state expires after the last message.
    expires_by_use: bool,
}

impl Specs {
    /// Adds a state that an earlier run declared. Requests have it only after the function declares it again.
    pub(crate) fn remember(&mut self, spec: StateSpec) {
        if !self.by_name.contains_key(&spec.name) {
            self.add(spec, None);
        }
    }

    /// Registers a state. The first registration since the start counts. Returns the state if it is new or differs from
    /// an earlier run, so that it has to be stored.
    pub(crate) fn register(&mut self, spec: StateSpec) -> Option<&StateSpec> {
        let declared = self.declared;
        let Some(place) = self.by_name.get(&spec.name).map(|place| usize::from(*place)) else {
            self.add(spec, Some(declared))?;
            self.declared += 1;
            return self.specs.last();
        };
        if self.since_start[place].is_some() {
            return None;
        }
        self.since_start[place] = Some(declared);
        self.declared += 1;
        if self.specs[place] == spec {
            return None;
        }
        self.expires_by_use |= expires_by_use(&spec);
        self.specs[place] = spec;
        Some(&self.specs[place])
    }

    fn add(&mut self, spec: StateSpec, since_start: Option<u16>) -> Option<()> {
        let place = u16::try_from(self.specs.len()).ok()?;
        self.expires_by_use |= expires_by_use(&spec);
        self.by_name.insert(Arc::clone(&spec.name), place);
        self.specs.push(spec);
        self.since_start.push(since_start);
        Some(())
    }

    /// Whether no states were declared, also not in an earlier run.
    pub(crate) fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    /// The index of a state, also of one that only an earlier run declared.
    pub(crate) fn place(&self, name: &str) -> Option<u16> {
        self.by_name.get(name).copied()
    }

    /// The index of a state that was declared since the start.
    pub(crate) fn declared_place(&self, name: &str) -> Option<u16> {
        self.place(name).filter(|place| self.since_start[usize::from(*place)].is_some())
    }

    /// The states that were declared since the start, with their indexes.
    pub(crate) fn declared(&self) -> impl Iterator<Item = (u16, &StateSpec)> {
        let all = (0..).zip(&self.specs).zip(&self.since_start);
        all.filter(|(_, since_start)| since_start.is_some()).map(|(spec, _)| spec)
    }

    /// The number of states that were declared since the start.
    pub(crate) fn declared_count(&self) -> u16 {
        self.declared
    }

    /// Whether a state was among the first `first` states that were declared since the start.
    pub(crate) fn was_among(&self, first: u16, name: &str) -> bool {
        let place = self.place(name).map(usize::from);
        place.and_then(|place| self.since_start[place]).is_some_and(|since_start| since_start < first)
    }

    pub(crate) fn get(&self, place: u16) -> &StateSpec {
        &self.specs[usize::from(place)]
    }

    pub(crate) fn name(&self, place: u16) -> &Arc<str> {
        &self.specs[usize::from(place)].name
    }

    pub(crate) fn expiration(&self, place: u16) -> Expiration {
        self.specs[usize::from(place)].expiration
    }

    /// Whether a state expires after the last message.
    pub(crate) fn expires_by_use(&self) -> bool {
        self.expires_by_use
    }
}

fn expires_by_use(spec: &StateSpec) -> bool {
    matches!(spec.expiration, Expiration::AfterInvoke(_))
}
