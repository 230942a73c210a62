//! Reads states from the store.

use statefun_kinesis_types::{Address, Timestamp};

use crate::{GroupId, Mailboxes, StoredState, instances::Knowledge, mailbox::Phase};

/// Most mailboxes of a group that wait for the store, or have their data and wait for a free request. This is enough to
/// keep a store busy, and few compared with the addresses that may have messages.
const LOADS_AT_ONCE: usize = 1_024;

/// Most addresses that are read at a time only to remove expired values.
const SWEEPS_AT_ONCE: usize = 64;

impl Mailboxes {
    /// Takes the addresses whose states should be read, since the last call. Each has to be reported once, to
    /// [`loaded`](Self::loaded) or [`load_failed`](Self::load_failed). The read has to begin after this call.
    pub fn take_loads(&mut self) -> Vec<Address> {
        while self.loads.count() < SWEEPS_AT_ONCE
            && let Some(address) = self.loads.next_sweep()
        {
            let Ok(index) = self.function(&address.function) else { continue };
            let function = &self.functions[index];
            // An address in memory expires there. A function without declared states has none that expire.
            if function.instances.get(&address.id).is_none() && !function.specs.is_empty() {
                let place = self.instance(index, &address.id);
                self.want(place);
            }
        }
        let take = |place| {
            let instance = self.instances.get_mut(place);
            instance.knowledge = Knowledge::Loading;
            self.functions[instance.function].address(&instance.id)
        };
        self.loads.take().into_iter().map(take).collect()
    }

    /// Takes the states of an address that was read: all that the store has. Expired values count as not set, and their
    /// removal is recorded as a change.
    pub fn loaded(&mut self, address: &Address, states: Vec<StoredState>, now: Timestamp) {
        let Some(place) = self.loading(address) else { return };
        self.instances.get_mut(place).knowledge = Knowledge::Known;
        let before = self.instances.bytes();
        for state in &states {
            self.put_state(place, state);
        }
        self.expire(place, now);
        self.instances.schedule_expiry(place);
        self.loads.loaded(self.instances.bytes() - before);
        if let Some(slot) = self.instances.get(place).mailbox
            && self.slots[slot].phase == Phase::Loading
        {
            self.instances.get_mut(place).is_pinned = true;
            self.loaded_if_complete(slot);
        }
        self.queue_for_eviction(place);
        self.evict();
    }

    /// Notes that the states of an address could not be read. They are requested again by the next
    /// [`take_loads`](Self::take_loads); the caller should wait before it reads again.
    pub fn load_failed(&mut self, address: &Address) {
        if let Some(place) = self.loading(address) {
            self.loads.failed();
            self.want(place);
        }
    }

    /// The place of an instance whose states are being read.
    fn loading(&self, address: &Address) -> Option<u32> {
        let function = &self.functions[self.functions.find(&address.function)?];
        let place = function.instances.get(&address.id)?;
        (self.instances.get(place).knowledge == Knowledge::Loading).then_some(place)
    }

    /// Takes states that a search of the store found, and removes those that have expired.
    ///
    /// The states may have changed since the search. So their addresses are first read again, a few at a time, by
    /// [`take_loads`](Self::take_loads), and only values that are still expired are removed.
    pub fn sweep(&mut self, states: Vec<StoredState>, now: Timestamp) {
        for state in states {
            let is_over = state.expires.is_some_and(|at| at <= now);
            if is_over {
                self.loads.add_sweep(state.address);
            }
        }
    }

    /// The number of addresses of [`sweep`](Self::sweep) that are not read yet. A search should pause until it is 0.
    pub fn sweeps_left(&self) -> usize {
        self.loads.sweeps_left()
    }

    /// Makes a mailbox whose turn it is wait for its states or messages. Returns whether there was room for them.
    pub(crate) fn begin_load(&mut self, group: GroupId, slot: u32) -> bool {
        let loads = self.schedule[group].loads;
        let place = self.slots[slot].instance;
        let needs_states = !self.instances.get(place).is_known();
        let expected = if needs_states { self.loads.bytes_with_one_more() } else { 0 };
        while needs_states
            && self.instances.kept_bytes() + expected > self.limits.state_bytes
            && self.requeue_first_unsaved()
        {}
        let has_bytes = !needs_states || self.instances.kept_bytes() + expected <= self.limits.state_bytes;
        let has_room = loads < LOADS_AT_ONCE && has_bytes;
        // One load per group may always go on. Otherwise states that other groups keep in memory could block this
        // group.
        if loads > 0 && !has_room {
            return false;
        }
        self.schedule[group].loads += 1;
        self.slots[slot].phase = Phase::Loading;
        match self.instances.get(place).knowledge {
            Knowledge::Unknown => self.want(place),
            Knowledge::Wanted | Knowledge::Loading => {}
            Knowledge::Known => {
                self.instances.unlink(place);
                self.instances.get_mut(place).is_pinned = true;
            }
        }
        if !self.slots[slot].has_next() {
            self.want_messages(slot);
        }
        true
    }

    fn want(&mut self, place: u32) {
        self.instances.get_mut(place).knowledge = Knowledge::Wanted;
        self.loads.want(place);
    }

    /// Puts a value from the store into memory, without recording a change.
    pub(crate) fn put_state(&mut self, place: u32, state: &StoredState) {
        let specs = &self.functions[self.instances.get(place).function].specs;
        // A function cannot see a state that it never declared, so that one stays in the store.
        let (Some(spec), Some(value)) = (specs.place(&state.name), &state.value) else { return };
        self.instances.change(place, |instance| {
            instance.cells.set(spec, specs.get(spec), value, state.expires);
        });
    }
}
