use std::{sync::Arc, time::Duration};

use statefun_kinesis_types::{Address, FunctionType, HashKey, Timestamp};

use crate::{
    FunctionCounts, GroupId, GroupSettings, Limits, Message, StateSpec, StoredEgress, StoredMessage, UnknownFunction,
    Usage,
    arrivals::Arrivals,
    cuts::Cuts,
    egress::Outgoing,
    entry::StoredKey,
    functions::Functions,
    instances::{Instances, Knowledge},
    loads::Loads,
    mailbox::{Envelope, Phase},
    reads::Reads,
    removed::Removed,
    schedule::Schedule,
    slots::Slots,
    stored::Gap,
    timers::Timers,
};

/// The mailboxes, states and delayed messages of all functions: a state machine without I/O.
///
/// [`deliver`](Self::deliver) adds messages and [`next_request`](Self::next_request) returns requests. The caller
/// reports the result of each request: an answer to [`answered`](Self::answered), a failure to [`failed`](Self::failed)
/// and then to [`park`](Self::park), [`split`](Self::split), [`skip`](Self::skip) or
/// [`dead_lettered`](Self::dead_lettered). The caller also passes the time.
///
/// * An address has at most one request in flight; messages that arrive meanwhile are its next batch.
/// * Messages of one sender to one address keep their order.
/// * Addresses take turns, and so do groups. The first request of a function is sent alone, because only its answer
///   declares the function's states.
/// * A batch has all of its effects or none.
/// * An instance without messages and states takes no memory.
///
/// Behind the mailboxes is a store. The next [`cut`](Self::cut) has all changes. The caller writes it to the store and
/// calls [`durable`](Self::durable) when that is done. Mailboxes that are [`restored`](Self::restore) from the store
/// continue where these stopped.
///
/// Memory is a window of the store. The least recently used states, messages far back in a mailbox, and delayed
/// messages that are due late are only in the store. The mailboxes ask for them when they are needed: for states by
/// [`take_loads`](Self::take_loads), for all else by [`take_reads`](Self::take_reads). An address that waits for the
/// store or whose messages fail does not delay other addresses.
#[derive(Debug)]
pub struct Mailboxes {
    pub(crate) limits: Limits,
    pub(crate) functions: Functions,
    pub(crate) schedule: Schedule,
    pub(crate) slots: Slots,
    pub(crate) instances: Instances,
    /// Reads of states.
    pub(crate) loads: Loads,
    /// Reads of messages and delayed messages.
    pub(crate) reads: Reads,
    /// Messages that were handled recently. A read may still return them.
    pub(crate) removed: Removed,
    pub(crate) timers: Timers,
    pub(crate) outgoing: Outgoing,
    pub(crate) cuts: Cuts,
    pub(crate) arrivals: Arrivals,
    /// Bytes of all waiting messages that arrived since the start.
    waiting_bytes: usize,
    /// Arrival times of ingress records whose last message was handled since the last call of `take_done`.
    done: Vec<Timestamp>,
}

impl Mailboxes {
    /// Creates empty mailboxes without groups.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            functions: Functions::default(),
            schedule: Schedule::default(),
            slots: Slots::default(),
            instances: Instances::default(),
            loads: Loads::default(),
            reads: Reads::default(),
            removed: Removed::default(),
            timers: Timers::default(),
            outgoing: Outgoing::default(),
            cuts: Cuts::default(),
            arrivals: Arrivals::default(),
            waiting_bytes: 0,
            done: Vec::new(),
        }
    }

    /// Adds a group. It serves no function yet.
    pub fn add_group(&mut self, settings: GroupSettings) -> GroupId {
        self.schedule.add_group(settings)
    }

    /// Makes a group serve a function.
    pub fn serve_function(&mut self, function: FunctionType, group: GroupId) {
        self.functions.serve_function(function, group);
    }

    /// Makes a group serve all functions of a namespace, except those that a group serves by name.
    pub fn serve_namespace(&mut self, namespace: impl Into<String>, group: GroupId) {
        self.functions.serve_namespace(namespace.into(), group);
    }

    /// Whether a group serves the function.
    pub fn serves(&self, function: &FunctionType) -> bool {
        self.functions.serves(function)
    }

    /// Declares a state of a function, so that the function's first answer need not do it. If a state is declared
    /// several times since the start, the first declaration counts.
    ///
    /// # Errors
    ///
    /// When no group serves the function.
    pub fn declare(&mut self, function: &FunctionType, spec: StateSpec) -> Result<(), UnknownFunction> {
        let place = self.function(function)?;
        self.register(place, spec);
        Ok(())
    }

    /// Registers a state of a function, and records a change in the journal.
    pub(crate) fn register(&mut self, function: u32, spec: StateSpec) {
        let function = &mut self.functions[function];
        if let Some(spec) = function.specs.register(spec) {
            self.cuts.journal.specs.push((function.name.clone(), spec.clone()));
        }
    }

    /// Adds messages to their mailboxes, in order, all of them or none.
    ///
    /// It takes the messages even without room; callers check [`has_room`](Self::has_room) before a delivery. So a
    /// delivery is never split by a cut, and the limits are exceeded by at most one delivery per caller.
    ///
    /// # Errors
    ///
    /// When no group serves one of the functions.
    pub fn deliver(&mut self, messages: impl IntoIterator<Item = (Address, Message)>) -> Result<(), UnknownFunction> {
        let messages: Vec<(u32, Address, Message)> = messages
            .into_iter()
            .map(|(to, message)| self.function(&to.function).map(|function| (function, to, message)))
            .collect::<Result<_, _>>()?;
        for (function, to, message) in messages {
            self.enqueue(function, to.id, message);
        }
        Ok(())
    }

    /// Whether there is room for another delivery.
    ///
    /// There is room while at least one function has fewer messages in memory than its share. Messages of the other
    /// functions then wait in the store, so that they do not block this one. There is no room while the mailboxes are
    /// [full](Self::is_full), or while too many bytes of messages are not durable yet.
    pub fn has_room(&self) -> bool {
        let has_durable_room = self.cuts.undurable_message_bytes() < self.limits.bytes;
        self.functions.has_share(&self.limits) && !self.is_full() && has_durable_room
    }

    /// Whether the waiting messages have reached [`Limits::waiting_bytes`].
    pub fn is_full(&self) -> bool {
        self.waiting_bytes >= self.limits.waiting_bytes
    }

    /// The number of messages of each function, in memory and in the store, including those in flight.
    pub fn waiting(&self) -> impl Iterator<Item = (&FunctionType, u64)> {
        self.functions.iter().map(|function| (&function.name, function.messages))
    }

    /// Whether the messages of a function in memory have reached its share of the limits.
    pub(crate) fn is_saturated(&self, function: u32) -> bool {
        self.functions[function].memory.reaches(self.functions.share(&self.limits))
    }

    /// Takes the arrival times of ingress records whose last message was handled since the last call.
    pub fn take_done(&mut self) -> Vec<Timestamp> {
        std::mem::take(&mut self.done)
    }

    /// Takes the records to send since the last call. Each has to be reported to [`stored`](Self::stored).
    pub fn take_egress(&mut self) -> Vec<StoredEgress> {
        self.outgoing.take()
    }

    /// Notes that an egress has stored a record.
    pub fn stored(&mut self, record: u64) {
        self.outgoing.stored(record, &mut self.cuts.journal);
    }

    /// What the mailboxes hold now.
    pub fn usage(&self) -> Usage {
        let memory = self.functions.memory();
        Usage {
            messages: self.functions.messages(),
            messages_in_memory: memory.messages,
            bytes: memory.bytes,
            timers: self.timers.len(),
            timers_in_memory: self.timers.in_memory(),
            egress_records: self.outgoing.len(),
            egress_bytes: self.outgoing.bytes(),
            mailboxes: self.slots.len(),
            instances: self.instances.len(),
            state_bytes: self.instances.bytes(),
            unsaved_bytes: self.cuts.unsaved_bytes(),
            reads: self.loads.count() + self.reads.len(),
        }
    }

    /// Counters of each function since the start. `elapsed` is the time now by the monotonic clock.
    pub fn counts(&self, elapsed: Duration) -> impl Iterator<Item = (&FunctionType, FunctionCounts)> {
        self.functions.counts(move |function| {
            let since = self.arrivals.oldest(function)?;
            Some(elapsed.saturating_sub(since))
        })
    }

    /// The number of addresses of a function in memory whose last request failed.
    pub fn failing(&self, function: &FunctionType) -> u64 {
        self.functions.find(function).map_or(0, |function| self.functions[function].counts.failing)
    }

    /// Whether requests of a group are held back because its server was not available.
    pub fn is_held_back(&self, group: GroupId) -> bool {
        self.schedule[group].breaker.holds_back()
    }

    /// Notes the time by the monotonic clock, as the time of arrival of the next messages. Only the
    /// [age](FunctionCounts::oldest) of messages depends on it.
    pub fn advance(&mut self, elapsed: Duration) {
        self.arrivals.advance(elapsed, self.cuts.next.message);
    }

    /// The index of a function, which is added when a group serves it.
    pub(crate) fn function(&mut self, name: &FunctionType) -> Result<u32, UnknownFunction> {
        self.functions.look_up(name, &mut self.cuts.journal)
    }

    /// The place of an instance, which is added without messages and states when it is not in memory.
    pub(crate) fn instance(&mut self, index: u32, id: &Arc<str>) -> u32 {
        let function = &mut self.functions[index];
        if let Some(place) = function.instances.get(id) {
            return place;
        }
        // The store has no states of a function that never declared any, so there is nothing to read.
        let is_known = !self.instances.store_has_states || function.specs.is_empty();
        let knowledge = if is_known { Knowledge::Known } else { Knowledge::Unknown };
        let place = self.instances.insert(index, Arc::clone(id), knowledge);
        function.instances.insert(Arc::clone(id), place);
        place
    }

    /// Adds a new message to an address. The journal always gets it, so that the store has it after the next cut.
    /// Memory gets it too if there is room; otherwise it is read back later.
    pub(crate) fn enqueue(&mut self, function: u32, id: Arc<str>, message: Message) {
        let number = self.cuts.next.take_message();
        self.waiting_bytes = self.waiting_bytes.saturating_add(message.footprint());
        let of = &mut self.functions[function];
        of.counts.messages_in += 1;
        self.arrivals.add(function, 1);
        of.messages += 1;
        let to = of.address(&id);
        self.cuts.journal.add_message(StoredMessage { id: number, to, message: message.clone() });

        let share = self.functions.share(&self.limits);
        let of = &mut self.functions[function];
        let is_saturated = of.memory.reaches(share);
        let place = of.instances.get(&id);
        let slot = match place.and_then(|place| self.instances.get(place).mailbox) {
            Some(slot) => slot,
            None => {
                let is_crowded = is_saturated && of.mailboxes >= share.messages;
                let hash = (is_crowded || !of.stored_only.is_empty()).then(|| HashKey::of_text(&id));
                if let Some(hash) = hash.filter(|_| is_crowded) {
                    // The function has too many mailboxes. A pass over the store finds this message later.
                    return of.stored_only.add(hash, self.cuts.journal.number);
                }
                let is_behind = hash.is_some_and(|hash| of.stored_only.may_have(hash));
                let slot = self.open(function, &id);
                if is_behind {
                    // The store may have older messages of this address without a mailbox. The gap from 0 makes them be
                    // read first, to keep the order.
                    self.slots[slot].gap = Some(Gap::new(0, number));
                }
                slot
            }
        };
        let of = &mut self.functions[function];
        let window = self.schedule[of.group].settings.window();
        let mailbox = &mut self.slots[slot];
        mailbox.add(Envelope { number, message }, !is_saturated, window, &mut of.memory);
        if mailbox.phase == Phase::Idle {
            self.make_ready(slot);
        }
    }

    /// Adds a mailbox for an address that has none.
    pub(crate) fn open(&mut self, function: u32, id: &Arc<str>) -> u32 {
        let place = self.instance(function, id);
        let slot = self.slots.insert(function, place);
        self.instances.get_mut(place).mailbox = Some(slot);
        self.functions[function].mailboxes += 1;
        slot
    }

    /// Removes a message that was handled or skipped.
    pub(crate) fn finish(&mut self, function: u32, id: &Arc<str>, number: u64, message: &Message) {
        let footprint = message.footprint();
        self.waiting_bytes = self.waiting_bytes.saturating_sub(footprint);
        self.arrivals.remove(function, number);
        let of = &mut self.functions[function];
        of.messages -= 1;
        of.memory.remove(footprint);
        if let Some(origin) = message.origin.as_ref().filter(|origin| origin.is_last) {
            self.done.push(origin.arrival);
        }
        let journal = &mut self.cuts.journal;
        let key = || StoredKey { owner: Arc::clone(id), number };
        if journal.remove_message(number, footprint, key) {
            // The store has the message until the next cut is durable, and a read may return it until then.
            self.removed.add(journal.number, number);
        }
    }

    /// Checks the invariants of all parts. For tests, since it visits everything in memory.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self) {
        self.functions.check_invariants();
        self.slots.check_invariants();
        self.instances.check_invariants();
        self.timers.check_invariants();
        self.outgoing.check_invariants();
        self.cuts.check_invariants();
        let count = |knowledge| self.instances.iter().filter(|instance| instance.knowledge == knowledge).count();
        self.loads.check_invariants(count(Knowledge::Wanted), count(Knowledge::Loading));
        self.arrivals.check_invariants(self.functions.iter().map(|function| function.messages));
        self.check_schedule();
        self.check_accounts();
    }

    /// Checks that the counters of each function match its mailboxes.
    #[cfg(any(test, debug_assertions))]
    fn check_accounts(&self) {
        use crate::limits::Amount;

        for (place, function) in (0_u32..).zip(self.functions.iter()) {
            let of_function = || self.slots.iter().filter(move |(_, mailbox)| mailbox.function == place);
            let mut memory = Amount::default();
            for (slot, mailbox) in of_function() {
                let instance = self.instances.get(mailbox.instance);
                assert_eq!((instance.mailbox, instance.function), (Some(slot), place), "the instance of a mailbox");
                mailbox.in_memory().for_each(|message| memory.add(message.footprint()));
            }
            let name = &function.name;
            assert_eq!(function.mailboxes, of_function().count(), "mailboxes of {name}");
            assert_eq!(function.memory, memory, "messages of {name} in memory");
            let has_gaps = of_function().any(|(_, mailbox)| mailbox.gap.is_some());
            if !has_gaps && function.stored_only.is_empty() {
                assert_eq!(function.messages, memory.messages as u64, "all messages of {name} are in memory");
            }
            let in_flight = of_function().filter(|(_, mailbox)| mailbox.phase == Phase::InFlight);
            let (requests, messages) = in_flight.fold((0, 0), |(requests, messages), (_, mailbox)| {
                (requests + 1, messages + mailbox.batch_len() as u64)
            });
            let failing = of_function().filter(|(_, mailbox)| mailbox.failing_since.is_some()).count() as u64;
            assert_eq!(function.counts.failing, failing, "failing addresses of {name}");
            let expected = (function.counts.in_flight, function.messages_in_flight);
            assert_eq!(expected, (requests, messages), "requests of {name} in flight, and their messages");
        }
        let timers: u64 = self.functions.iter().map(|function| function.timers).sum();
        assert_eq!(timers, self.timers.len(), "delayed messages by function");
    }
}
