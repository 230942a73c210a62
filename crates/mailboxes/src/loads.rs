//! States that live in a store: what is in memory of them, and what is asked for.

use std::collections::VecDeque;

use statefun_kinesis_types::{Address, Timestamp};

use crate::{
    Mailboxes, StoredState,
    instances::{Instance, Knowledge, Queue},
    mailbox::Phase,
};

/// Most mailboxes of a group whose turn has come and that wait for their states or, with them, for the request before
/// theirs: enough to keep a store busy, few beside the addresses that may have messages.
const LOADS_AT_ONCE: usize = 1_024;

/// Most addresses that are asked for at a time only because a value has expired.
const SWEEPS_AT_ONCE: usize = 64;

/// Addresses whose states are asked for.
#[derive(Debug)]
pub(crate) struct Loads {
    /// Instances whose states are to be asked for.
    wanted: VecDeque<u32>,
    /// How many were asked for and have not come.
    under_way: usize,
    /// Addresses that have expired values in the store, and that nobody has to know for anything else.
    sweeps: VecDeque<Address>,
    /// About how large an instance is with the states that come.
    expected_bytes: usize,
}

impl Default for Loads {
    /// A guess on the safe side, until the first states have come: nobody should find a gigabyte on its way.
    fn default() -> Self {
        Self { wanted: VecDeque::new(), under_way: 0, sweeps: VecDeque::new(), expected_bytes: 1 << 20 }
    }
}

impl Loads {
    pub(crate) fn count(&self) -> usize {
        self.wanted.len() + self.under_way
    }
}

impl Mailboxes {
    /// Addresses whose states are asked for since the last call. Each has to be told of once by
    /// [`loaded`](Self::loaded) or [`load_failed`](Self::load_failed); what the store had at any time after this call
    /// will do.
    pub fn take_loads(&mut self) -> Vec<Address> {
        while self.loads.count() < SWEEPS_AT_ONCE
            && let Some(address) = self.loads.sweeps.pop_front()
        {
            let Ok(index) = self.function(&address.function) else { continue };
            let function = &self.functions[index as usize];
            // What is in memory has its expiry there; and of a function without states nothing is known to expire.
            if function.instances.get(&address.id).is_none() && !function.specs.is_empty() {
                let place = self.instance(index, &address.id);
                self.want(place);
            }
        }
        let wanted = std::mem::take(&mut self.loads.wanted);
        self.loads.under_way += wanted.len();
        let take = |place| {
            let instance = self.instances.get_mut(place);
            instance.knowledge = Knowledge::Loading;
            self.functions[instance.function as usize].address(&instance.id)
        };
        wanted.into_iter().map(take).collect()
    }

    /// The states of an address that was asked for: all that the store has, or none. Values that have expired count as
    /// not set, and become changes.
    pub fn loaded(&mut self, address: &Address, states: Vec<StoredState>, now: Timestamp) {
        let Some(place) = self.loading(address) else { return };
        self.loads.under_way -= 1;
        self.instances.get_mut(place).knowledge = Knowledge::Known;
        let before = self.instances.bytes();
        for state in &states {
            self.put_state(place, state);
        }
        self.expire(place, now);
        self.instances.schedule(place, &mut self.expiries, false);
        let bytes = self.instances.bytes() - before;
        self.loads.expected_bytes = (self.loads.expected_bytes * 15 + bytes).div_ceil(16);
        if let Some(slot) = self.instances.get(place).mailbox
            && self.mailboxes[slot as usize].phase == Phase::Loading
        {
            self.instances.get_mut(place).is_pinned = true;
            self.loaded_if_complete(slot);
        }
        self.settle(place);
        self.evict();
    }

    /// The store could not be asked for the states of this address; they are asked for again. Whoever says so waits
    /// a while before, or before it asks.
    pub fn load_failed(&mut self, address: &Address) {
        if let Some(place) = self.loading(address) {
            self.loads.under_way -= 1;
            self.want(place);
        }
    }

    /// The place of an instance whose states were asked for.
    fn loading(&self, address: &Address) -> Option<u32> {
        let function = &self.functions[*self.by_type.get(&address.function)? as usize];
        let place = function.instances.get(&address.id)?;
        (self.instances.get(place).knowledge == Knowledge::Loading).then_some(place)
    }

    /// Values that a look into the store came upon: those that have expired are removed from it, in time.
    ///
    /// The look may be a while ago. So their addresses are asked for first, by [`take_loads`](Self::take_loads), a few at
    /// a time, and what has changed since is not touched.
    pub fn sweep(&mut self, states: Vec<StoredState>, now: Timestamp) {
        for state in states {
            let is_over = state.expires.is_some_and(|at| at <= now);
            if is_over && self.loads.sweeps.back() != Some(&state.address) {
                self.loads.sweeps.push_back(state.address);
            }
        }
    }

    /// How many addresses [`sweep`](Self::sweep) has not asked for yet: whoever looks for more waits while there are any.
    pub fn sweeps_left(&self) -> usize {
        self.loads.sweeps.len()
    }

    /// Lets a mailbox whose turn it is wait for its states or messages. Says whether there was room for them.
    pub(crate) fn begin_load(&mut self, group: usize, slot: u32) -> bool {
        let loads = self.groups[group].loads;
        let place = self.mailboxes[slot as usize].instance;
        let needs_states = !self.instances.get(place).is_known();
        let expected = if needs_states { (self.loads.count() + 1) * self.loads.expected_bytes } else { 0 };
        while needs_states && self.instances.kept_bytes() + expected > self.limits.state_bytes && self.settle_first() {}
        let has_bytes = !needs_states || self.instances.kept_bytes() + expected <= self.limits.state_bytes;
        let has_room = loads < LOADS_AT_ONCE && has_bytes;
        // One goes on in any case, so that a group is not held up by what others keep in memory.
        if loads > 0 && !has_room {
            return false;
        }
        self.groups[group].loads += 1;
        self.mailboxes[slot as usize].phase = Phase::Loading;
        match self.instances.get(place).knowledge {
            Knowledge::Unknown => self.want(place),
            Knowledge::Wanted | Knowledge::Loading => {}
            Knowledge::Known => {
                self.instances.unlink(place);
                self.instances.get_mut(place).is_pinned = true;
            }
        }
        if !self.mailboxes[slot as usize].has_next() {
            self.want_messages(slot);
        }
        true
    }

    fn want(&mut self, place: u32) {
        self.instances.get_mut(place).knowledge = Knowledge::Wanted;
        self.loads.wanted.push_back(place);
    }

    /// Puts a value where it is in the store.
    pub(crate) fn put_state(&mut self, place: u32, state: &StoredState) {
        let specs = &self.functions[self.instances.get(place).function as usize].specs;
        // One that the function never declared cannot be seen by it.
        let (Some(spec), Some(value)) = (specs.place(&state.name), &state.value) else { return };
        self.instances.change(place, |instance| {
            instance.cells.set(spec, specs.get(spec), value, state.expires);
        });
    }

    /// Puts an instance where it waits to go, or removes it when nobody will miss it.
    pub(crate) fn settle(&mut self, place: u32) {
        self.instances.unlink(place);
        let instance = self.instances.get(place);
        match instance.knowledge {
            Knowledge::Known if !instance.is_pinned => {}
            // It was put out of memory while it waited for something else, and then had nothing more to do.
            Knowledge::Unknown if instance.mailbox.is_none() => return self.forget(place),
            Knowledge::Known | Knowledge::Unknown | Knowledge::Wanted | Knowledge::Loading => return,
        }
        if instance.mailbox.is_some() && instance.cells.is_empty() {
            // It would give no memory back.
            return;
        }
        let is_saved = self.is_saved(instance);
        if instance.is_idle_and_empty() && is_saved {
            // Where others may have states in the store, that an address has none is worth knowing while there is room.
            let has_specs = !self.functions[instance.function as usize].specs.is_empty();
            if !self.has_stored_states || !has_specs {
                return self.forget(place);
            }
        }
        if is_saved {
            self.instances.link(place, Queue::Saved);
        } else {
            self.instances.link(place, Queue::Unsaved);
        }
    }

    /// Whether the last change of an instance is durable, so that it can be read again.
    fn is_saved(&self, instance: &Instance) -> bool {
        instance.written.cut <= self.durable
    }

    /// Puts out of memory what is not needed.
    pub(crate) fn evict(&mut self) {
        // More than one each time, so that what waits here gets less when it can.
        for _ in 0..4 {
            if !self.settle_first() {
                break;
            }
        }
        while self.instances.bytes() > self.limits.state_bytes {
            match self.instances.first(Queue::Saved) {
                Some(place) => self.forget(place),
                None if self.settle_first() => {}
                None => return,
            }
        }
    }

    /// Takes the first instance out of the queue of those that were not durable, if it is now.
    fn settle_first(&mut self) -> bool {
        let first = self.instances.first(Queue::Unsaved).filter(|place| self.is_saved(self.instances.get(*place)));
        first.inspect(|place| self.settle(*place)).is_some()
    }

    /// Removes an instance, or only what is known of its states when it has messages. Its states are in the store.
    fn forget(&mut self, place: u32) {
        self.has_stored_states |= !self.instances.get(place).cells.is_empty();
        if self.instances.get(place).mailbox.is_none() {
            let instance = self.instances.remove(place, &mut self.expiries);
            self.functions[instance.function as usize].instances.remove(&instance.id);
        } else {
            self.instances.change(place, |instance| {
                instance.cells = Default::default();
                instance.knowledge = Knowledge::Unknown;
            });
        }
    }
}
