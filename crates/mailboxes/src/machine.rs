use std::sync::Arc;

use statefun_kinesis_types::{Address, FunctionType, HashKey, Timestamp};

use crate::{
    FunctionCounts, GroupId, GroupSettings, Limits, Message, StateSpec, StoredEgress, StoredMessage, UnknownFunction,
    Usage,
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
/// Messages go in by [`deliver`](Self::deliver), requests come out by [`next_request`](Self::next_request), and what
/// came of them goes in by [`answered`](Self::answered), or, when nothing did, by [`park`](Self::park),
/// [`split`](Self::split) and [`skip`](Self::skip). The time is handed in.
///
/// * Of one address at most one request is in flight; what comes meanwhile is the next batch.
/// * Messages of one sender to one address keep their order.
/// * Addresses take turns; so do groups. The first request of a function goes alone, since only its answer tells which
///   states the function has.
/// * A batch has all of its effects or none.
/// * An instance without messages and states takes no memory.
///
/// Behind the mailboxes is a store. All that changes is in the next [`cut`](Self::cut), which the caller writes to the
/// store, and tells of when it is [`durable`](Self::durable). Mailboxes that are [`restored`](Self::restore) from the
/// store go on as these would have.
///
/// Memory is a window of the store. States that were not used for longest, messages that wait behind many others, and
/// delayed messages that are due late are in the store only, and are asked for when their turn comes: states by
/// [`take_loads`](Self::take_loads), all else by [`take_reads`](Self::take_reads). An address that waits for the store, or
/// whose messages fail, holds up no other one.
#[derive(Debug)]
pub struct Mailboxes {
    pub(crate) limits: Limits,
    pub(crate) functions: Functions,
    pub(crate) schedule: Schedule,
    pub(crate) slots: Slots,
    pub(crate) instances: Instances,
    /// States that are read from the store.
    pub(crate) loads: Loads,
    /// Messages and delayed messages that are read from the store.
    pub(crate) reads: Reads,
    /// Messages that were handled of late, which a read may bring all the same.
    pub(crate) removed: Removed,
    pub(crate) timers: Timers,
    pub(crate) outgoing: Outgoing,
    pub(crate) cuts: Cuts,
    /// Bytes of all messages that wait, as far as they came since the start.
    waiting_bytes: usize,
    /// When ingress records arrived whose last message was handled, since they were taken.
    done: Vec<Timestamp>,
}

impl Mailboxes {
    /// Empty mailboxes; no function is served yet.
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
            waiting_bytes: 0,
            done: Vec::new(),
        }
    }

    /// A new group, which serves no function yet.
    pub fn add_group(&mut self, settings: GroupSettings) -> GroupId {
        self.schedule.add_group(settings)
    }

    /// The group serves this function from now on.
    pub fn serve_function(&mut self, function: FunctionType, group: GroupId) {
        self.functions.serve_function(function, group);
    }

    /// The group serves all functions of this namespace that no group serves by name.
    pub fn serve_namespace(&mut self, namespace: impl Into<String>, group: GroupId) {
        self.functions.serve_namespace(namespace.into(), group);
    }

    /// Whether a group serves the function.
    pub fn serves(&self, function: &FunctionType) -> bool {
        self.functions.serves(function)
    }

    /// Declares a state of a function ahead of its first answer, which would do so otherwise. Of several declarations of
    /// a state since the start the first one counts.
    ///
    /// # Errors
    ///
    /// When no group serves the function.
    pub fn declare(&mut self, function: &FunctionType, spec: StateSpec) -> Result<(), UnknownFunction> {
        let place = self.function(function)?;
        self.register(place, spec);
        Ok(())
    }

    /// Registers a state of the function at that place, and writes that down.
    pub(crate) fn register(&mut self, function: u32, spec: StateSpec) {
        let function = &mut self.functions[function];
        if let Some(spec) = function.specs.register(spec) {
            self.cuts.journal.specs.push((function.name.clone(), spec.clone()));
        }
    }

    /// Takes messages, in order, all of them or none.
    ///
    /// It takes them even when there is no room: [`has_room`](Self::has_room) tells whether to wait before the next
    /// delivery. So a cut never lies within a delivery, and the bounds are passed by a delivery per caller at most.
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
            self.post(function, to.id, message);
        }
        Ok(())
    }

    /// Whether there is room for another delivery.
    ///
    /// There is as long as one function has fewer messages in memory than its share: the messages of the others wait in
    /// the store, so that they do not hold up this one. There is none while the mailboxes are [full](Self::is_full), or
    /// when more came than could be made durable so far.
    pub fn has_room(&self) -> bool {
        let has_durable_room = self.cuts.undurable_message_bytes() < self.limits.bytes;
        self.functions.has_share(&self.limits) && !self.is_full() && has_durable_room
    }

    /// Whether as many bytes of messages wait as [`Limits::waiting_bytes`] says.
    pub fn is_full(&self) -> bool {
        self.waiting_bytes >= self.limits.waiting_bytes
    }

    /// How many messages wait for each function, in memory and in the store, those in flight too.
    pub fn waiting(&self) -> impl Iterator<Item = (&FunctionType, u64)> {
        self.functions.iter().map(|function| (&function.name, function.messages))
    }

    /// Whether a function has as many messages in memory as its share of the limits is.
    pub(crate) fn is_saturated(&self, function: u32) -> bool {
        self.functions[function].memory.reaches(self.functions.share(&self.limits))
    }

    /// When those records arrived whose last message was handled since the last call.
    pub fn take_done(&mut self) -> Vec<Timestamp> {
        std::mem::take(&mut self.done)
    }

    /// Records that are to be sent, since the last call. Each has to be told of by [`stored`](Self::stored).
    pub fn take_egress(&mut self) -> Vec<StoredEgress> {
        self.outgoing.take()
    }

    /// The egress has stored a record.
    pub fn stored(&mut self, record: u64) {
        self.outgoing.stored(record, &mut self.cuts.journal);
    }

    /// What is held now.
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

    /// What each function has done so far.
    pub fn counts(&self) -> impl Iterator<Item = (&FunctionType, FunctionCounts)> {
        self.functions.counts()
    }

    /// The place of a function that is served.
    pub(crate) fn function(&mut self, name: &FunctionType) -> Result<u32, UnknownFunction> {
        self.functions.look_up(name, &mut self.cuts.journal)
    }

    /// The place of an instance, which has nothing when it is a new one.
    pub(crate) fn instance(&mut self, index: u32, id: &Arc<str>) -> u32 {
        let function = &mut self.functions[index];
        if let Some(place) = function.instances.get(id) {
            return place;
        }
        // Of a function that never declared a state, the store has none.
        let is_known = !self.instances.store_has_states || function.specs.is_empty();
        let knowledge = if is_known { Knowledge::Known } else { Knowledge::Unknown };
        let place = self.instances.insert(index, Arc::clone(id), knowledge);
        function.instances.insert(Arc::clone(id), place);
        place
    }

    /// A new message to an address.
    pub(crate) fn post(&mut self, function: u32, id: Arc<str>, message: Message) {
        let number = self.cuts.next.take_message();
        self.waiting_bytes = self.waiting_bytes.saturating_add(message.footprint());
        let of = &mut self.functions[function];
        of.counts.messages_in += 1;
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
                    // There are too many addresses with messages: this one is found when there are fewer.
                    return of.stored_only.add(hash, self.cuts.journal.number);
                }
                let is_behind = hash.is_some_and(|hash| of.stored_only.may_have(hash));
                let slot = self.open(function, &id);
                if is_behind {
                    // What came before is read first.
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

    /// A mailbox for an address that has none.
    pub(crate) fn open(&mut self, function: u32, id: &Arc<str>) -> u32 {
        let place = self.instance(function, id);
        let slot = self.slots.insert(function, place);
        self.instances.get_mut(place).mailbox = Some(slot);
        self.functions[function].mailboxes += 1;
        slot
    }

    /// A message is handled, or left out.
    pub(crate) fn finish(&mut self, function: u32, id: &Arc<str>, number: u64, message: &Message) {
        let footprint = message.footprint();
        self.waiting_bytes = self.waiting_bytes.saturating_sub(footprint);
        let of = &mut self.functions[function];
        of.messages -= 1;
        of.memory.remove(footprint);
        if let Some(origin) = message.origin.as_ref().filter(|origin| origin.is_last) {
            self.done.push(origin.arrival);
        }
        let journal = &mut self.cuts.journal;
        let key = || StoredKey { owner: Arc::clone(id), number };
        if journal.remove_message(number, footprint, key) {
            self.removed.add(journal.number, number);
        }
    }

    /// Checks what always holds, of everything: for tests, since it takes as long as there is something.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self) {
        self.functions.check_invariants();
        self.slots.check_invariants();
        self.instances.check_invariants();
        self.timers.check_invariants();
        self.cuts.check_invariants();
        let count = |knowledge| self.instances.iter().filter(|instance| instance.knowledge == knowledge).count();
        self.loads.check_invariants(count(Knowledge::Wanted), count(Knowledge::Loading));
        self.check_schedule();
        self.check_accounts();
    }

    /// Checks that what is counted of each function is what its mailboxes have.
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
            let expected = (function.counts.in_flight, function.messages_in_flight);
            assert_eq!(expected, (requests, messages), "requests of {name} in flight, and their messages");
        }
        let timers: u64 = self.functions.iter().map(|function| function.timers).sum();
        assert_eq!(timers, self.timers.len(), "delayed messages by function");
    }
}
