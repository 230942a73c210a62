//! Evicts messages and states when memory is short. The store has everything that is evicted.

use std::time::Duration;

use statefun_kinesis_types::HashKey;

use crate::{
    Mailboxes,
    instances::{Instance, Knowledge, Queue},
};

impl Mailboxes {
    /// Evicts the messages of an address that wait behind a failing batch, so that they do not use up the share of
    /// memory of other addresses of the function.
    pub(crate) fn evict_waiting(&mut self, slot: u32) {
        let mailbox = &mut self.slots[slot];
        let memory = &mut self.functions[mailbox.function].memory;
        mailbox.evict_waiting(self.cuts.next.message, memory);
    }

    /// Evicts mailboxes of a function that wait for a retry, when too many of its addresses have messages. Otherwise
    /// failing addresses would fill the function's share of memory and block its healthy ones.
    pub(crate) fn evict_parked(&mut self, function: u32) {
        // Most mailboxes that one call evicts. The calls are frequent, so few are enough.
        const AT_ONCE: usize = 8;
        // How long an evicted mailbox waits in addition. It loses its count of failures and with it its backoff.
        const PAUSE: Duration = Duration::from_secs(5);
        let share = self.functions.share(&self.limits);
        let of = &mut self.functions[function];
        let has_too_many = if of.stored_only.is_empty() {
            of.mailboxes >= share.messages
        } else {
            // Other addresses of the function wait for room in memory.
            of.mailboxes > share.messages / 2 || of.memory.reaches(share)
        };
        // A policy that gives up needs the count of failures, which an eviction would reset, and so the address would
        // fail for ever. There mailboxes stay, and become free once their message is given up.
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
            of.counts.failing -= u64::from(mailbox.failing_since.is_some());
            of.stored_only.add(hash, self.cuts.journal.number);
            of.stored_only.not_before = of.stored_only.not_before.max(Some(until + PAUSE));
            self.queue_for_eviction(mailbox.instance);
        }
    }

    /// Puts an instance into its queue for eviction, or removes it when it has nothing worth keeping. Has to be called
    /// after each change that may make the instance evictable or needed; `check_invariants` finds a missing call.
    pub(crate) fn queue_for_eviction(&mut self, place: u32) {
        self.instances.unlink(place);
        let instance = self.instances.get(place);
        match instance.knowledge {
            Knowledge::Known if !instance.is_pinned => {}
            // Its states were evicted while its mailbox waited for something else, and the mailbox is gone now.
            Knowledge::Unknown if instance.mailbox.is_none() => return self.forget(place),
            Knowledge::Known | Knowledge::Unknown | Knowledge::Wanted | Knowledge::Loading => return,
        }
        if instance.mailbox.is_some() && instance.cells.is_empty() {
            // Its mailbox stays and it has no states, so evicting it would free nothing.
            return;
        }
        let is_saved = self.is_saved(instance);
        if instance.is_idle_and_empty() && is_saved {
            // If the store may have states of the function, remembering that this address has none saves a read. It is
            // kept as long as there is room.
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

    /// Whether the last change of an instance is durable. Only then may it be evicted: a read would not find the
    /// change.
    fn is_saved(&self, instance: &Instance) -> bool {
        self.cuts.is_durable(instance.written.cut)
    }

    /// Evicts the least recently used instances while states exceed their limit of memory.
    pub(crate) fn evict(&mut self) {
        // Several per call, so that the queue shrinks faster than it grows.
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

    /// Requeues the first instance of the queue `Unsaved` if its last change is durable by now. Returns whether it did.
    /// Checking the first one is enough, because the queue is roughly in the order of the cuts.
    pub(crate) fn requeue_first_unsaved(&mut self) -> bool {
        let first = self.instances.first(Queue::Unsaved).filter(|place| self.is_saved(self.instances.get(*place)));
        first.inspect(|place| self.queue_for_eviction(*place)).is_some()
    }

    /// Removes an instance, or only its states when it has messages. The store has its states.
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
