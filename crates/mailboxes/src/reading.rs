//! What comes back from the store: messages and delayed messages.

use std::collections::BTreeSet;

use statefun_kinesis_types::{Address, FunctionType, HashKey};

use crate::{
    Found, Mailboxes, MessagePlace, Read, ReadId, StoredMessage, UnknownFunction,
    mailbox::{Envelope, Phase},
    stored::Gap,
};

impl Mailboxes {
    /// What the store is asked for since the last call. Each read has to be told of once, by [`found`](Self::found) or by
    /// [`read_failed`](Self::read_failed).
    pub fn take_reads(&mut self) -> Vec<(ReadId, Read)> {
        if let Some(from) = self.timers.begin_read(self.timer_window()) {
            self.reads.want(Read::Delayed { from });
        }
        for sender in self.timers.begin_lookups() {
            self.reads.want(Read::DelayedBy { sender });
        }
        let share = self.functions.share(&self.limits);
        for function in self.functions.iter_mut() {
            let has_room = function.mailboxes <= share.messages / 2 && !function.memory.reaches(share);
            if let Some(from) = function.stored_only.next().filter(|_| has_room) {
                function.stored_only.begin_read();
                self.reads.want(Read::Waiting { function: function.name.clone(), from });
            }
        }
        self.reads.take()
    }

    /// What the store had. A second answer to a read changes nothing.
    ///
    /// # Errors
    ///
    /// When a stored message is for a function that no group serves. It stays in the store.
    ///
    /// # Panics
    ///
    /// When the answer is one to another kind of read.
    pub fn found(&mut self, id: ReadId, found: Found) -> Result<(), UnknownFunction> {
        let Some(read) = self.reads.end(id) else { return Ok(()) };
        let result = match read {
            Read::Messages { to, from, until } => {
                let Found::Messages { messages, rest } = found else { panic!("{found:?} answers another read") };
                self.found_messages(&to, from, messages, rest.unwrap_or(until));
                Ok(())
            }
            Read::Waiting { function, from } => {
                let Found::Waiting { messages, rest } = found else { panic!("{found:?} answers another read") };
                self.found_waiting(&function, from, messages, rest)
            }
            Read::Delayed { .. } => {
                let Found::Delayed { timers, rest } = found else { panic!("{found:?} answers another read") };
                self.timers.end_read(timers, rest);
                Ok(())
            }
            Read::DelayedBy { sender } => {
                let Found::DelayedBy { timers } = found else { panic!("{found:?} answers another read") };
                for cancelled in self.timers.end_lookup(&sender, timers, &mut self.cuts.journal) {
                    if let Some(function) = self.functions.find(&cancelled.to.function) {
                        self.functions[function].timers -= 1;
                    }
                }
                Ok(())
            }
        };
        self.forget_removed();
        result
    }

    /// The store could not be read; it is asked again. The caller waits a while before it says so, or before it reads.
    pub fn read_failed(&mut self, id: ReadId) {
        if let Some(read) = self.reads.end(id) {
            self.reads.want(read);
        }
        self.forget_removed();
    }

    /// Forgets what was removed and no read can bring any more.
    pub(crate) fn forget_removed(&mut self) {
        let oldest = self.reads.oldest();
        self.removed.forget(oldest);
        self.timers.forget_removed(oldest);
    }

    /// Has the next messages of a mailbox read, when they are durable.
    pub(crate) fn want_messages(&mut self, slot: u32) {
        let Some(mailbox) = self.slots.get_mut(slot) else { return };
        let Some(gap) = mailbox.gap.as_mut().filter(|gap| !gap.is_read) else { return };
        let until = gap.until.min(self.cuts.durable_numbers().message);
        if until <= gap.from {
            if mailbox.phase == Phase::Loading {
                self.schedule.starve(slot);
            }
            return;
        }
        gap.is_read = true;
        let (from, function) = (gap.from, &self.functions[mailbox.function]);
        let to = function.address(&self.instances.get(mailbox.instance).id);
        self.reads.want(Read::Messages { to, from, until });
    }

    /// All messages of an address from a number up to another one were read.
    fn found_messages(&mut self, to: &Address, from: u64, messages: Vec<StoredMessage>, read_up_to: u64) {
        let place = self.functions.find(&to.function).map(|function| &self.functions[function]);
        let place = place.and_then(|function| function.instances.get(&to.id));
        let Some(slot) = place.and_then(|place| self.instances.get(place).mailbox) else { return };
        let mailbox = &mut self.slots[slot];
        // The mailbox for which this was read may be gone, and this one be another: what it has not asked for may leave
        // something out.
        let Some(gap) = mailbox.gap.filter(|gap| gap.is_read && gap.from == from) else { return };
        let memory = &mut self.functions[mailbox.function].memory;
        let is_left = |found: &StoredMessage| found.id >= gap.from && !self.removed.contains(found.id);
        let envelope = |StoredMessage { id, message, .. }| Envelope { number: id, message };
        mailbox.fill_gap(gap, messages.into_iter().filter(is_left).map(envelope), read_up_to, memory);
        match mailbox.phase {
            Phase::Loading if mailbox.has_next() => self.loaded_if_complete(slot),
            // All that was asked for was handled before.
            Phase::Loading if mailbox.gap.is_none() => {
                self.instances.get_mut(mailbox.instance).is_pinned = false;
                let group = self.functions[mailbox.function].group;
                self.schedule[group].loads -= 1;
                self.go_on(slot);
            }
            Phase::Loading => self.want_messages(slot),
            Phase::Ready | Phase::BehindFirst | Phase::InFlight | Phase::Parked(_) | Phase::Idle => {}
        }
    }

    /// Messages of addresses of a function of which no mailbox was in memory.
    fn found_waiting(
        &mut self,
        name: &FunctionType,
        from: MessagePlace,
        messages: Vec<StoredMessage>,
        rest: Option<MessagePlace>,
    ) -> Result<(), UnknownFunction> {
        let function = self.function(name)?;
        let share = self.functions.share(&self.limits);
        let mut rest = rest;
        let mut opened = BTreeSet::new();
        for StoredMessage { id: number, to, message } in messages {
            if to.function != *name || self.removed.contains(number) {
                continue;
            }
            let place = self.functions[function].instances.get(&to.id);
            let slot = match place.and_then(|place| self.instances.get(place).mailbox) {
                // It has its messages, or knows that they are in the store.
                Some(slot) if !opened.contains(&slot) => continue,
                Some(slot) => slot,
                None => {
                    let of = &self.functions[function];
                    let is_full = of.memory.reaches(share) || of.mailboxes >= share.messages;
                    if is_full && !opened.is_empty() {
                        let hash = HashKey::of_text(&to.id);
                        rest = Some(MessagePlace { hash, number });
                        break;
                    }
                    let slot = self.open(function, &to.id);
                    opened.insert(slot);
                    if from.number > 0 && from.hash == HashKey::of_text(&to.id) {
                        // The read began within its messages: an earlier mailbox had those in front of it.
                        self.slots[slot].gap = Some(Gap::new(0, number + 1));
                    }
                    slot
                }
            };
            let of = &mut self.functions[function];
            let window = self.schedule[of.group].settings.window();
            let has_room = !of.memory.reaches(share);
            self.slots[slot].add_stored(Envelope { number, message }, has_room, window, &mut of.memory);
        }
        for slot in opened {
            let mailbox = &mut self.slots[slot];
            let hash = HashKey::of_text(&self.instances.get(mailbox.instance).id);
            // The page may end within the messages of an address, and others may have come too late for it.
            if rest.is_some_and(|rest| rest.hash == hash) || self.functions[function].stored_only.may_have_later(hash) {
                let behind = mailbox.waiting.back().map_or(0, |last| last.number + 1);
                let from = mailbox.gap.map_or(behind, |gap| gap.from);
                mailbox.gap = Some(Gap::new(from, self.cuts.next.message)).filter(|gap| gap.from < gap.until);
            }
            if mailbox.is_empty() {
                self.go_on(slot);
            } else {
                self.make_ready(slot);
            }
        }
        self.functions[function].stored_only.end_read(rest);
        Ok(())
    }

    /// A mailbox whose turn it was may go on, if its states and messages are there.
    pub(crate) fn loaded_if_complete(&mut self, slot: u32) {
        let mailbox = &mut self.slots[slot];
        if mailbox.phase != Phase::Loading || !mailbox.has_next() {
            return;
        }
        let place = mailbox.instance;
        if !self.instances.get(place).is_known() {
            return;
        }
        mailbox.phase = Phase::Ready;
        let group = self.functions[mailbox.function].group;
        self.schedule[group].loaded.push_back(slot);
    }
}
