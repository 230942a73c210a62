//! Instances of functions: the addresses of which something is in memory.

use std::{collections::BTreeSet, sync::Arc};

use slab::Slab;
use statefun_kinesis_types::Timestamp;

use crate::{journal::Written, state::Cells};

/// An address of which something is in memory: messages, states, or that it has no states.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: Arc<str>,
    pub(crate) function: u32,
    pub(crate) mailbox: Option<u32>,
    pub(crate) knowledge: Knowledge,
    /// Whether its states are needed soon or just now, so that they have to stay.
    pub(crate) is_pinned: bool,
    pub(crate) cells: Cells,
    pub(crate) written: Written,
    /// When to look for expired values; the time in `expiries`.
    look_at: Option<Timestamp>,
    queue: Option<Queue>,
    before: u32,
    after: u32,
}

/// What is known of the states of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knowledge {
    /// They are in memory.
    Known,
    /// They may be in the store.
    Unknown,
    /// They are to be asked for.
    Wanted,
    /// They were asked for.
    Loading,
}

/// Where an instance waits to be evicted, the one that was used last at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// The store has all of it.
    Saved,
    /// Its last change was not durable when it was put here.
    Unsaved,
}

/// No instance.
const NONE: u32 = u32::MAX;

impl Instance {
    /// What an instance takes beside its id and its states, about: its place here and in the map of its function.
    const OVERHEAD: usize = 192;

    fn new(function: u32, id: Arc<str>, knowledge: Knowledge) -> Self {
        Self {
            id,
            function,
            mailbox: None,
            knowledge,
            is_pinned: false,
            cells: Cells::default(),
            written: Written::default(),
            look_at: None,
            queue: None,
            before: NONE,
            after: NONE,
        }
    }

    /// Whether its states are in memory.
    pub(crate) fn is_known(&self) -> bool {
        self.knowledge == Knowledge::Known
    }

    pub(crate) fn is_idle_and_empty(&self) -> bool {
        self.mailbox.is_none() && self.knowledge == Knowledge::Known && self.cells.is_empty()
    }

    /// About how many bytes of memory it keeps, messages apart.
    fn footprint(&self) -> usize {
        Self::OVERHEAD + self.id.len() + self.cells.footprint()
    }
}

/// The first and the last instance of a queue.
#[derive(Debug)]
struct Ends {
    first: u32,
    last: u32,
}

impl Default for Ends {
    fn default() -> Self {
        Self { first: NONE, last: NONE }
    }
}

/// All instances, each at a place that it keeps.
#[derive(Debug, Default)]
pub(crate) struct Instances {
    all: Slab<Instance>,
    bytes: usize,
    /// The part of them that instances in the queue of saved ones have.
    saved_bytes: usize,
    saved: Ends,
    unsaved: Ends,
    /// Instances whose values may expire, by the time when one may.
    expiries: BTreeSet<(Timestamp, u32)>,
    /// Whether the store may have states of addresses that are not in memory.
    pub(crate) store_has_states: bool,
}

impl Instances {
    pub(crate) fn insert(&mut self, function: u32, id: Arc<str>, knowledge: Knowledge) -> u32 {
        let instance = Instance::new(function, id, knowledge);
        self.bytes += instance.footprint();
        u32::try_from(self.all.insert(instance)).expect("fewer instances than the memory has room for")
    }

    pub(crate) fn remove(&mut self, place: u32) -> Instance {
        self.unlink(place);
        let instance = self.all.remove(place as usize);
        if let Some(at) = instance.look_at {
            self.expiries.remove(&(at, place));
        }
        self.bytes -= instance.footprint();
        instance
    }

    pub(crate) fn get(&self, place: u32) -> &Instance {
        &self.all[place as usize]
    }

    /// An instance to do something with that leaves the size of its states.
    pub(crate) fn get_mut(&mut self, place: u32) -> &mut Instance {
        &mut self.all[place as usize]
    }

    /// Does something with an instance that may change its states. It leaves its queue for that.
    pub(crate) fn change<R>(&mut self, place: u32, change: impl FnOnce(&mut Instance) -> R) -> R {
        self.unlink(place);
        let instance = &mut self.all[place as usize];
        self.bytes -= instance.footprint();
        let result = change(instance);
        self.bytes += instance.footprint();
        result
    }

    #[cfg(any(test, debug_assertions))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Instance> {
        self.all.iter().map(|(_, instance)| instance)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// About how many bytes of memory all of them keep.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many of these bytes cannot be had by evicting instances now.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.bytes - self.saved_bytes
    }

    fn ends(&mut self, queue: Queue) -> &mut Ends {
        match queue {
            Queue::Saved => &mut self.saved,
            Queue::Unsaved => &mut self.unsaved,
        }
    }

    /// The instance at the head of a queue.
    pub(crate) fn first(&self, queue: Queue) -> Option<u32> {
        let ends = match queue {
            Queue::Saved => &self.saved,
            Queue::Unsaved => &self.unsaved,
        };
        (ends.first != NONE).then_some(ends.first)
    }

    /// Puts an instance at the end of a queue, and takes it out of the one it was in.
    pub(crate) fn link(&mut self, place: u32, queue: Queue) {
        self.unlink(place);
        if queue == Queue::Saved {
            self.saved_bytes += self.all[place as usize].footprint();
        }
        let ends = self.ends(queue);
        let last = std::mem::replace(&mut ends.last, place);
        if last == NONE {
            ends.first = place;
        } else {
            self.all[last as usize].after = place;
        }
        let instance = &mut self.all[place as usize];
        (instance.queue, instance.before, instance.after) = (Some(queue), last, NONE);
    }

    pub(crate) fn unlink(&mut self, place: u32) {
        let instance = &mut self.all[place as usize];
        let Some(queue) = instance.queue.take() else { return };
        let (before, after) = (instance.before, instance.after);
        if queue == Queue::Saved {
            self.saved_bytes -= instance.footprint();
        }
        let ends = self.ends(queue);
        if before == NONE {
            ends.first = after;
        }
        if after == NONE {
            ends.last = before;
        }
        if before != NONE {
            self.all[before as usize].after = after;
        }
        if after != NONE {
            self.all[after as usize].before = before;
        }
    }

    /// Sees to it that the instance is looked at when the first of its values expires.
    pub(crate) fn schedule_expiry(&mut self, place: u32) {
        let instance = &mut self.all[place as usize];
        // An entry that is too early costs a look and no more: with each message expiry may be put off again.
        let Some(first) = instance.cells.first_expiry() else { return };
        match instance.look_at {
            Some(at) if at <= first => return,
            Some(at) => drop(self.expiries.remove(&(at, place))),
            None => {}
        }
        instance.look_at = Some(first);
        self.expiries.insert((first, place));
    }

    /// The next instance that is to be looked at. It is not looked at again unless that is scheduled anew.
    pub(crate) fn pop_expiry(&mut self, now: Timestamp) -> Option<u32> {
        let (at, place) = *self.expiries.first()?;
        if at > now {
            return None;
        }
        self.expiries.pop_first();
        self.all[place as usize].look_at = None;
        Some(place)
    }

    /// When the next instance is to be looked at.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Checks what always holds.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check_invariants(&self) {
        let footprint = |is_counted: fn(&Instance) -> bool| -> usize {
            let instances = self.all.iter().map(|(_, instance)| instance);
            instances.filter(|instance| is_counted(instance)).map(Instance::footprint).sum()
        };
        assert_eq!(self.bytes, footprint(|_| true), "bytes of instances");
        let saved_bytes = footprint(|instance| instance.queue == Some(Queue::Saved));
        assert_eq!(self.saved_bytes, saved_bytes, "bytes of instances that the store has");
        let look_at = self.all.iter().filter_map(|(place, instance)| Some((instance.look_at?, place as u32)));
        assert_eq!(self.expiries, look_at.collect(), "instances by when they are looked at");
        for (place, instance) in &self.all {
            let (first, look_at) = (instance.cells.first_expiry(), instance.look_at);
            assert!(first.is_none_or(|first| look_at.is_some_and(|at| at <= first)), "{place} expires unseen");
            assert!(instance.queue.is_none() || !instance.is_pinned, "what is needed is not evicted");
        }
    }
}
