//! Reads messages and delayed messages back from the store.

use std::collections::BTreeSet;

use statefun_kinesis_types::{Address, FunctionType, HashKey};

use crate::{
    Found, Mailboxes, MessagePlace, Read, ReadId, StoredMessage, UnknownFunction,
    mailbox::{Envelope, Phase},
    stored::Gap,
};

impl Mailboxes {
    /// Takes the reads of the store that are needed, since the last call. Each has to be reported once, to
    /// [`found`](Self::found) or [`read_failed`](Self::read_failed).
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

    /// Takes the result of a read. A second result of the same read is ignored.
    ///
    /// # Errors
    ///
    /// When a stored message is for a function that no group serves. It stays in the store.
    ///
    /// # Panics
    ///
    /// When the result belongs to another kind of read.
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

    /// Notes that a read failed. The next [`take_reads`](Self::take_reads) returns it again; the caller should wait
    /// before it reads again.
    pub fn read_failed(&mut self, id: ReadId) {
        if let Some(read) = self.reads.end(id) {
            self.reads.want(read);
        }
        self.forget_removed();
    }

    /// Forgets removed numbers that no read can return any more.
    pub(crate) fn forget_removed(&mut self) {
        let oldest = self.reads.oldest();
        self.removed.forget(oldest);
        self.timers.forget_removed(oldest);
    }

    /// Requests a read of the next messages of a mailbox's gap. Messages that are not durable cannot be read, so the
    /// read ends at the last durable number; if none is durable, the mailbox waits for a commit.
    pub(crate) fn want_messages(&mut self, slot: u32) {
        let Some(mailbox) = self.slots.get_mut(slot) else { return };
        let Some(gap) = mailbox.gap.as_mut().filter(|gap| !gap.is_read) else { return };
        let until = gap.until.min(self.cuts.durable_numbers().message);
        if until <= gap.from {
            if mailbox.phase == Phase::Loading {
                self.schedule.await_commit(slot);
            }
            return;
        }
        gap.is_read = true;
        let (from, function) = (gap.from, &self.functions[mailbox.function]);
        let to = function.address(&self.instances.get(mailbox.instance).id);
        self.reads.want(Read::Messages { to, from, until });
    }

    /// Takes all messages of an address with numbers from `from` up to `read_up_to`.
    fn found_messages(&mut self, to: &Address, from: u64, messages: Vec<StoredMessage>, read_up_to: u64) {
        let place = self.functions.find(&to.function).map(|function| &self.functions[function]);
        let place = place.and_then(|function| function.instances.get(&to.id));
        let Some(slot) = place.and_then(|place| self.instances.get(place).mailbox) else { return };
        let mailbox = &mut self.slots[slot];
        // The mailbox that wanted the read may have been removed and this be a new one. A read that it did not want may
        // lack messages at the beginning of its gap, so the read is used only if it begins where the gap does.
        let Some(gap) = mailbox.gap.filter(|gap| gap.is_read && gap.from == from) else { return };
        let memory = &mut self.functions[mailbox.function].memory;
        let is_left = |found: &StoredMessage| found.id >= gap.from && !self.removed.contains(found.id);
        let envelope = |StoredMessage { id, message, .. }| Envelope { number: id, message };
        mailbox.fill_gap(gap, messages.into_iter().filter(is_left).map(envelope), read_up_to, memory);
        match mailbox.phase {
            Phase::Loading if mailbox.has_next() => self.loaded_if_complete(slot),
            // The store had none of the messages, so the turn of this mailbox is over.
            Phase::Loading if mailbox.gap.is_none() => {
                self.instances.get_mut(mailbox.instance).is_pinned = false;
                let group = self.functions[mailbox.function].group;
                self.schedule[group].loads -= 1;
                self.requeue_or_remove(slot);
            }
            Phase::Loading => self.want_messages(slot),
            Phase::Ready
            | Phase::AwaitingFirst
            | Phase::AwaitingEgress
            | Phase::InFlight
            | Phase::Parked(_)
            | Phase::Idle => {}
        }
    }

    /// Takes a page of messages of a function's addresses without mailboxes, and opens mailboxes for them while there
    /// is room.
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
                // This mailbox existed before. It has the message in memory or in its gap.
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
                        // The page begins in the middle of the address' messages. Older ones may be left in the store,
                        // so the gap covers everything up to this message.
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
            self.opened_by_page(slot, rest);
        }
        self.functions[function].stored_only.end_read(rest);
        Ok(())
    }

    /// Makes a mailbox ready that a page of waiting messages has opened. `rest` is where the next page begins.
    fn opened_by_page(&mut self, slot: u32, rest: Option<MessagePlace>) {
        let mailbox = &mut self.slots[slot];
        let hash = HashKey::of_text(&self.instances.get(mailbox.instance).id);
        // The store may have more messages of the address: after the end of the page, or newer than the read. A gap up to
        // the next number makes them be read before messages that arrive from now on.
        let of = &self.functions[mailbox.function];
        if rest.is_some_and(|rest| rest.hash == hash) || of.stored_only.may_have_later(hash) {
            let behind = mailbox.waiting.back().map_or(0, |last| last.number + 1);
            let from = mailbox.gap.map_or(behind, |gap| gap.from);
            mailbox.gap = Some(Gap::new(from, self.cuts.next.message)).filter(|gap| gap.from < gap.until);
        }
        if mailbox.is_empty() {
            self.requeue_or_remove(slot);
        } else {
            self.make_ready(slot);
        }
    }

    /// Lets a mailbox whose turn it was send its request, if its states and messages have been loaded.
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
