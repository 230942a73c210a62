//! States that come from the store.

use statefun_kinesis_types::{Address, Timestamp};

use crate::{GroupId, Mailboxes, StoredState, instances::Knowledge, mailbox::Phase};

/// Most mailboxes of a group whose turn has come and that wait for their states or, with them, for the request before
/// theirs: enough to keep a store busy, few beside the addresses that may have messages.
const LOADS_AT_ONCE: usize = 1_024;

/// Most addresses that are asked for at a time only because a value has expired.
const SWEEPS_AT_ONCE: usize = 64;

impl Mailboxes {
    /// Addresses whose states are asked for since the last call. Each has to be told of once by
    /// [`loaded`](Self::loaded) or [`load_failed`](Self::load_failed); what the store had at any time after this call
    /// will do.
    pub fn take_loads(&mut self) -> Vec<Address> {
        while self.loads.count() < SWEEPS_AT_ONCE
            && let Some(address) = self.loads.next_sweep()
        {
            let Ok(index) = self.function(&address.function) else { continue };
            let function = &self.functions[index];
            // What is in memory has its expiry there; and of a function without states nothing is known to expire.
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

    /// The states of an address that was asked for: all that the store has, or none. Values that have expired count as
    /// not set, and become changes.
    pub fn loaded(&mut self, address: &Address, states: Vec<StoredState>, now: Timestamp) {
        let Some(place) = self.loading(address) else { return };
        self.instances.get_mut(place).knowledge = Knowledge::Known;
        let before = self.instances.bytes();
        for state in &states {
            self.put_state(place, state);
        }
        self.expire(place, now);
        self.instances.schedule_expiry(place);
        self.loads.came(self.instances.bytes() - before);
        if let Some(slot) = self.instances.get(place).mailbox
            && self.slots[slot].phase == Phase::Loading
        {
            self.instances.get_mut(place).is_pinned = true;
            self.loaded_if_complete(slot);
        }
        self.queue_for_eviction(place);
        self.evict();
    }

    /// The store could not be asked for the states of this address; they are asked for again. Whoever says so waits
    /// a while before, or before it asks.
    pub fn load_failed(&mut self, address: &Address) {
        if let Some(place) = self.loading(address) {
            self.loads.failed();
            self.want(place);
        }
    }

    /// The place of an instance whose states were asked for.
    fn loading(&self, address: &Address) -> Option<u32> {
        let function = &self.functions[self.functions.find(&address.function)?];
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
            if is_over {
                self.loads.add_sweep(state.address);
            }
        }
    }

    /// How many addresses [`sweep`](Self::sweep) has not asked for yet: whoever looks for more waits while there are any.
    pub fn sweeps_left(&self) -> usize {
        self.loads.sweeps_left()
    }

    /// Lets a mailbox whose turn it is wait for its states or messages. Says whether there was room for them.
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
        // One goes on in any case, so that a group is not held up by what others keep in memory.
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

    /// Puts a value where it is in the store.
    pub(crate) fn put_state(&mut self, place: u32, state: &StoredState) {
        let specs = &self.functions[self.instances.get(place).function].specs;
        // One that the function never declared cannot be seen by it.
        let (Some(spec), Some(value)) = (specs.place(&state.name), &state.value) else { return };
        self.instances.change(place, |instance| {
            instance.cells.set(spec, specs.get(spec), value, state.expires);
        });
    }
}
