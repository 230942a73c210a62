//! Instances of functions: the addresses that are in memory.

use std::{collections::BTreeSet, sync::Arc};

use slab::Slab;
use statefun_kinesis_types::Timestamp;

use crate::{journal::Written, state::Cells};

/// An address that is in memory, because of its messages, its states, or the knowledge that it has no states.
#[derive(Debug)]
pub(crate) struct Instance {
    pub(crate) id: Arc<str>,
    pub(crate) function: u32,
    pub(crate) mailbox: Option<u32>,
    pub(crate) knowledge: Knowledge,
    /// Whether its states must not be evicted, because a request is in flight or comes next.
    pub(crate) is_pinned: bool,
    pub(crate) cells: Cells,
    pub(crate) written: Written,
    /// When to check for expired values; the time in `expiries`.
    next_check: Option<Timestamp>,
    queue: Option<Queue>,
    before: u32,
    after: u32,
}

/// Whether the states of an instance are in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knowledge {
    /// They are in memory.
    Known,
    /// They may be in the store.
    Unknown,
    /// They should be read from the store.
    Wanted,
    /// They are being read from the store.
    Loading,
}

/// The queues of instances that may be evicted, each with the most recently used one at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// The store has all of the instance, so it may be evicted at once.
    Saved,
    /// The last change of the instance was not durable when it was queued.
    Unsaved,
}

/// No instance.
const NONE: u32 = u32::MAX;

impl Instance {
    /// About how many bytes an instance takes in addition to its id and states: here and in the map of its function.
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
            next_check: None,
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

    /// About how many bytes of memory it takes, without messages.
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

/// All instances. Each keeps its place until it is removed.
#[derive(Debug, Default)]
pub(crate) struct Instances {
    all: Slab<Instance>,
    bytes: usize,
    /// The bytes of the instances in the queue `Saved`.
    saved_bytes: usize,
    saved: Ends,
    unsaved: Ends,
    /// Instances with values that expire, by the time of their next check.
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
        if let Some(at) = instance.next_check {
            self.expiries.remove(&(at, place));
        }
        self.bytes -= instance.footprint();
        instance
    }

    pub(crate) fn get(&self, place: u32) -> &Instance {
        &self.all[place as usize]
    }

    /// An instance, for changes that do not change the size of its states.
    pub(crate) fn get_mut(&mut self, place: u32) -> &mut Instance {
        &mut self.all[place as usize]
    }

    /// Changes the states of an instance. It leaves its queue, and the caller has to queue it again.
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

    /// About how many bytes of memory all instances take.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The part of these bytes that evictions cannot free now.
    pub(crate) fn kept_bytes(&self) -> usize {
        self.bytes - self.saved_bytes
    }

    fn ends(&mut self, queue: Queue) -> &mut Ends {
        match queue {
            Queue::Saved => &mut self.saved,
            Queue::Unsaved => &mut self.unsaved,
        }
    }

    /// The first instance of a queue.
    pub(crate) fn first(&self, queue: Queue) -> Option<u32> {
        let ends = match queue {
            Queue::Saved => &self.saved,
            Queue::Unsaved => &self.unsaved,
        };
        (ends.first != NONE).then_some(ends.first)
    }

    /// Moves an instance to the end of a queue.
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

    /// Makes the instance be checked when the first of its values expires.
    pub(crate) fn schedule_expiry(&mut self, place: u32) {
        let instance = &mut self.all[place as usize];
        // An entry that is too early is kept, since it costs only a check. Each message may postpone expiry, and moving
        // the entry each time would cost more.
        let Some(first) = instance.cells.first_expiry() else { return };
        match instance.next_check {
            Some(at) if at <= first => return,
            Some(at) => drop(self.expiries.remove(&(at, place))),
            None => {}
        }
        instance.next_check = Some(first);
        self.expiries.insert((first, place));
    }

    /// Takes the next instance whose check is due. It is not checked again unless that is scheduled again.
    pub(crate) fn pop_expiry(&mut self, now: Timestamp) -> Option<u32> {
        let (at, place) = *self.expiries.first()?;
        if at > now {
            return None;
        }
        self.expiries.pop_first();
        self.all[place as usize].next_check = None;
        Some(place)
    }

    /// The time of the next check.
    pub(crate) fn next_expiry(&self) -> Option<Timestamp> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Checks the counts of bytes, the queues and the scheduled checks.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check_invariants(&self) {
        let footprint = |is_counted: fn(&Instance) -> bool| -> usize {
            let instances = self.all.iter().map(|(_, instance)| instance);
            instances.filter(|instance| is_counted(instance)).map(Instance::footprint).sum()
        };
        assert_eq!(self.bytes, footprint(|_| true), "bytes of instances");
        let saved_bytes = footprint(|instance| instance.queue == Some(Queue::Saved));
        assert_eq!(self.saved_bytes, saved_bytes, "bytes of saved instances");
        let next_check = self.all.iter().filter_map(|(place, instance)| Some((instance.next_check?, place as u32)));
        assert_eq!(self.expiries, next_check.collect(), "instances by their next check");
        for (place, instance) in &self.all {
            let (first, next_check) = (instance.cells.first_expiry(), instance.next_check);
            assert!(first.is_none_or(|first| next_check.is_some_and(|at| at <= first)), "{place} expires unseen");
            assert!(instance.queue.is_none() || !instance.is_pinned, "a pinned instance is in no queue for eviction");
        }
    }
}
