//! What is evicted when there is too much in memory. The store has all of it.

use std::time::Duration;

use statefun_kinesis_types::HashKey;

use crate::{
    Mailboxes,
    instances::{Instance, Knowledge, Queue},
};

impl Mailboxes {
    /// Evicts the messages of an address that wait behind a failing batch.
    pub(crate) fn evict_waiting(&mut self, slot: u32) {
        let mailbox = &mut self.slots[slot];
        let memory = &mut self.functions[mailbox.function].memory;
        mailbox.evict_waiting(self.cuts.next.message, memory);
    }

    /// Evicts addresses of a function that wait after a failure, when too many of its addresses have messages.
    pub(crate) fn evict_parked(&mut self, function: u32) {
        // Of those that wait longest, a few at a time: this is called often.
        const AT_ONCE: usize = 8;
        // Addresses that are evicted have forgotten how often they failed.
        const PAUSE: Duration = Duration::from_secs(5);
        let share = self.functions.share(&self.limits);
        let of = &mut self.functions[function];
        let has_too_many = if of.stored_only.is_empty() {
            of.mailboxes >= share.messages
        } else {
            // Others of the function wait for room in memory.
            of.mailboxes > share.messages / 2 || of.memory.reaches(share)
        };
        if !has_too_many || self.schedule[of.group].settings.gives_up {
            return;
        }
        let parked = self.schedule.parked_longest().filter(|(_, slot)| self.slots[*slot].function == function);
        let last: Vec<(Duration, u32)> = parked.take(AT_ONCE).collect();
        for (until, slot) in last {
            self.schedule.unpark(slot, until);
            let mailbox = self.slots.remove(slot);
            let instance = self.instances.get_mut(mailbox.instance);
            instance.mailbox = None;
            let hash = HashKey::of_text(&instance.id);
            let of = &mut self.functions[function];
            mailbox.in_memory().for_each(|message| of.memory.remove(message.footprint()));
            of.mailboxes -= 1;
            of.stored_only.add(hash, self.cuts.journal.number);
            of.stored_only.not_before = of.stored_only.not_before.max(Some(until + PAUSE));
            self.queue_for_eviction(mailbox.instance);
        }
    }

    /// Puts an instance into the queue of those that may be evicted, or removes it when it has nothing that is needed.
    /// Has to be called after each change that may end or begin the need for it.
    pub(crate) fn queue_for_eviction(&mut self, place: u32) {
        self.instances.unlink(place);
        let instance = self.instances.get(place);
        match instance.knowledge {
            Knowledge::Known if !instance.is_pinned => {}
            // It was evicted while it waited for something else, and then had nothing more to do.
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
            let has_specs = !self.functions[instance.function].specs.is_empty();
            if !self.instances.store_has_states || !has_specs {
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
        self.cuts.is_durable(instance.written.cut)
    }

    /// Evicts what is not needed, as long as states take more memory than they may.
    pub(crate) fn evict(&mut self) {
        // More than one each time, so that what waits here gets less when it can.
        for _ in 0..4 {
            if !self.requeue_first_unsaved() {
                break;
            }
        }
        while self.instances.bytes() > self.limits.state_bytes {
            match self.instances.first(Queue::Saved) {
                Some(place) => self.forget(place),
                None if self.requeue_first_unsaved() => {}
                None => return,
            }
        }
    }

    /// Moves the first instance whose last change was not durable to those that may be evicted, if it is durable now. Says
    /// whether there was one.
    pub(crate) fn requeue_first_unsaved(&mut self) -> bool {
        let first = self.instances.first(Queue::Unsaved).filter(|place| self.is_saved(self.instances.get(*place)));
        first.inspect(|place| self.queue_for_eviction(*place)).is_some()
    }

    /// Removes an instance, or only what is known of its states when it has messages. Its states are in the store.
    fn forget(&mut self, place: u32) {
        self.instances.store_has_states |= !self.instances.get(place).cells.is_empty();
        if self.instances.get(place).mailbox.is_none() {
            let instance = self.instances.remove(place);
            self.functions[instance.function].instances.remove(&instance.id);
        } else {
            self.instances.change(place, |instance| {
                instance.cells = Default::default();
                instance.knowledge = Knowledge::Unknown;
            });
        }
    }
}
