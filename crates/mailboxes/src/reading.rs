//! What comes back from the store: messages and delayed messages.

use std::{collections::BTreeSet, time::Duration};

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
        let share = self.share();
        for place in 0..self.functions.len() {
            let function = &self.functions[place];
            let has_room = function.mailboxes <= share / 2 && !self.is_saturated(place);
            if let Some(from) = function.stored_only.next().filter(|_| has_room) {
                let function = &mut self.functions[place];
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
                for cancelled in self.timers.end_lookup(&sender, timers, &mut self.journal) {
                    if let Some(function) = self.by_type.get(&cancelled.to.function) {
                        self.functions[*function as usize].timers -= 1;
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

    /// Has the next messages of a mailbox read, when they are durable.
    pub(crate) fn want_messages(&mut self, slot: u32) {
        let Some(mailbox) = self.mailboxes.get_mut(slot as usize) else { return };
        let Some(gap) = mailbox.gap.as_mut().filter(|gap| !gap.is_read) else { return };
        let until = gap.until.min(self.durable_numbers.message);
        if until <= gap.from {
            if mailbox.phase == Phase::Loading && !self.starved.contains(&slot) {
                self.starved.push(slot);
            }
            return;
        }
        gap.is_read = true;
        let (from, function) = (gap.from, &self.functions[mailbox.function as usize]);
        let to = function.address(&self.instances.get(mailbox.instance).id);
        self.reads.want(Read::Messages { to, from, until });
    }

    /// All messages of an address from a number up to another one were read.
    fn found_messages(&mut self, to: &Address, from: u64, messages: Vec<StoredMessage>, read_up_to: u64) {
        let place = self.by_type.get(&to.function).map(|function| &self.functions[*function as usize]);
        let place = place.and_then(|function| function.instances.get(&to.id));
        let Some(slot) = place.and_then(|place| self.instances.get(place).mailbox) else { return };
        let mailbox = &mut self.mailboxes[slot as usize];
        // The mailbox for which this was read may be gone, and this one be another: what it has not asked for may leave
        // something out.
        let Some(gap) = mailbox.gap.filter(|gap| gap.is_read && gap.from == from) else { return };
        let memory = &mut self.functions[mailbox.function as usize].memory;
        for StoredMessage { id, message, .. } in messages {
            if id >= gap.from && !self.removed.contains(id) {
                memory.add(message.footprint());
                mailbox.waiting.push_back(Envelope { number: id, message });
            }
        }
        if read_up_to >= gap.until {
            mailbox.gap = None;
            let behind = std::mem::take(&mut mailbox.behind);
            mailbox.waiting.extend(behind);
        } else {
            mailbox.gap = Some(Gap { from: gap.from.max(read_up_to), is_read: false, ..gap });
        }
        match mailbox.phase {
            Phase::Loading if mailbox.has_next() => self.loaded_if_complete(slot),
            // All that was asked for was handled before.
            Phase::Loading if mailbox.gap.is_none() => {
                self.instances.get_mut(mailbox.instance).is_pinned = false;
                let group = self.functions[mailbox.function as usize].group;
                self.groups[group.index()].loads -= 1;
                self.go_on(slot);
            }
            Phase::Loading => self.want_messages(slot),
            Phase::Ready | Phase::Aside | Phase::InFlight | Phase::Parked(_) | Phase::Idle => {}
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
        let share = self.share();
        let mut rest = rest;
        let mut opened = BTreeSet::new();
        for StoredMessage { id: number, to, message } in messages {
            if to.function != *name || self.removed.contains(number) {
                continue;
            }
            let place = self.functions[function as usize].instances.get(&to.id);
            let slot = match place.and_then(|place| self.instances.get(place).mailbox) {
                // It has its messages, or knows that they are in the store.
                Some(slot) if !opened.contains(&slot) => continue,
                Some(slot) => slot,
                None => {
                    let is_full =
                        self.is_saturated(function as usize) || self.functions[function as usize].mailboxes >= share;
                    if is_full && !opened.is_empty() {
                        let hash = HashKey::of_text(&to.id);
                        rest = Some(MessagePlace { hash, number });
                        break;
                    }
                    let slot = self.open(function, &to.id);
                    opened.insert(slot);
                    if from.number > 0 && from.hash == HashKey::of_text(&to.id) {
                        // The read began within its messages: an earlier mailbox had those in front of it.
                        self.mailboxes[slot as usize].gap = Some(Gap::new(0, number + 1));
                    }
                    slot
                }
            };
            let group = self.functions[function as usize].group;
            let window = self.groups[group.index()].settings.window();
            let is_saturated = self.is_saturated(function as usize);
            let mailbox = &mut self.mailboxes[slot as usize];
            match &mut mailbox.gap {
                Some(gap) => gap.until = gap.until.max(number + 1),
                None if mailbox.waiting.len() < window && (mailbox.waiting.is_empty() || !is_saturated) => {
                    self.functions[function as usize].memory.add(message.footprint());
                    mailbox.waiting.push_back(Envelope { number, message });
                }
                None => mailbox.gap = Some(Gap::new(number, number + 1)),
            }
        }
        for slot in opened {
            let mailbox = &mut self.mailboxes[slot as usize];
            let hash = HashKey::of_text(&self.instances.get(mailbox.instance).id);
            // The page may end within the messages of an address, and others may have come too late for it.
            if rest.is_some_and(|rest| rest.hash == hash)
                || self.functions[function as usize].stored_only.may_have_later(hash)
            {
                let behind = mailbox.waiting.back().map_or(0, |last| last.number + 1);
                let from = mailbox.gap.map_or(behind, |gap| gap.from);
                mailbox.gap = Some(Gap::new(from, self.next.message)).filter(|gap| gap.from < gap.until);
            }
            if mailbox.is_empty() {
                self.go_on(slot);
            } else {
                self.make_ready(slot);
            }
        }
        self.functions[function as usize].stored_only.end_read(rest);
        Ok(())
    }

    /// A mailbox whose turn it was may go on, if its states and messages are there.
    pub(crate) fn loaded_if_complete(&mut self, slot: u32) {
        let mailbox = &mut self.mailboxes[slot as usize];
        if mailbox.phase != Phase::Loading || !mailbox.has_next() {
            return;
        }
        let place = mailbox.instance;
        if !self.instances.get(place).is_known() {
            return;
        }
        mailbox.phase = Phase::Ready;
        let group = self.functions[mailbox.function as usize].group;
        self.groups[group.index()].loaded.push_back(slot);
    }

    /// Puts the messages of an address that wait behind a failing batch out of memory.
    pub(crate) fn put_out_waiting(&mut self, slot: u32) {
        let mailbox = &mut self.mailboxes[slot as usize];
        let Some(first) = mailbox.waiting.front() else { return };
        let is_read = mailbox.gap.is_some_and(|gap| gap.is_read);
        if is_read {
            // What the read brings belongs behind what waits.
            return;
        }
        mailbox.gap = Some(Gap::new(first.number, self.next.message));
        let memory = &mut self.functions[mailbox.function as usize].memory;
        let all = mailbox.waiting.drain(..).chain(mailbox.behind.drain(..));
        all.for_each(|envelope| memory.remove(envelope.message.footprint()));
    }

    /// Puts addresses of a function out of memory that wait after a failure, when too many of its addresses have messages.
    pub(crate) fn put_out_parked(&mut self, function: usize) {
        // Of those that wait longest, a few at a time: this is called often.
        const AT_ONCE: usize = 8;
        // Addresses that are put out have forgotten how often they failed.
        const PAUSE: Duration = Duration::from_secs(5);
        let of = &self.functions[function];
        let has_too_many = if of.stored_only.is_empty() {
            of.mailboxes >= self.share()
        } else {
            // Others of the function wait for room in memory.
            of.mailboxes > self.share() / 2 || self.is_saturated(function)
        };
        if !has_too_many || self.groups[of.group.index()].settings.gives_up {
            return;
        }
        let is_of_function = |slot: u32| self.mailboxes[slot as usize].function as usize == function;
        let parked = self.parked.iter().rev().filter(|(_, slot)| is_of_function(*slot));
        let last: Vec<(Duration, u32)> = parked.take(AT_ONCE).copied().collect();
        for (until, slot) in last {
            self.parked.remove(&(until, slot));
            let mailbox = self.mailboxes.remove(slot as usize);
            let instance = self.instances.get_mut(mailbox.instance);
            instance.mailbox = None;
            let hash = HashKey::of_text(&instance.id);
            let function = &mut self.functions[function];
            let batch = mailbox.batch.iter().flat_map(|batch| batch.messages.iter());
            let waiting = mailbox.waiting.iter().chain(&mailbox.behind).map(|envelope| &envelope.message);
            batch.chain(waiting).for_each(|message| function.memory.remove(message.footprint()));
            function.mailboxes -= 1;
            function.stored_only.add(hash, self.journal.number);
            function.stored_only.not_before = function.stored_only.not_before.max(Some(until + PAUSE));
            self.settle(mailbox.instance);
        }
    }
}
