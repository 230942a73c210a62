use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use slab::Slab;
use statefun_kinesis_types::{Address, FunctionType, HashKey, Timestamp};

use crate::{
    Changes, Cut, FunctionCounts, FunctionTotals, GroupId, GroupSettings, Message, Now, StateSpec, StoredEgress,
    StoredMessage, Totals, UnknownFunction,
    change::StoredKey,
    egress::Outgoing,
    group::{Amount, Directory, Function, Group},
    instances::{Expiries, Instance, Instances, Knowledge},
    journal::{ChangedState, Journal},
    loads::Loads,
    mailbox::{Envelope, Mailbox, Phase},
    reads::Reads,
    removed::Removed,
    stored::Gap,
    timers::{Timers, Window},
};

/// Most delayed messages that are delivered at a time, so that nobody waits for more than a few milliseconds when all of
/// them are overdue after a restart.
const DUE_AT_ONCE: usize = 4_096;

/// Bounds of all mailboxes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages in memory that are not handled, those in flight too. Each function has an equal share; what is more waits
    /// in the store. Default: 100 000.
    pub messages: usize,
    /// The same in bytes of memory. Default: 256 MiB.
    pub bytes: usize,
    /// Bytes of all messages that wait, in memory and in the store, from which on nothing more is taken in. Default: no
    /// bound, as suits a store on a disk.
    pub waiting_bytes: usize,
    /// Delayed messages in memory: those that are due first. Up to twice as many are there at times; the others are in the
    /// store. Each takes about 400 to 700 bytes beside its payload. Default: 50 000.
    pub timers: usize,
    /// The same in bytes of payloads. Default: 64 MiB.
    pub timer_bytes: usize,
    /// Records on their way to egresses from which on no request goes out. Default: 100 000.
    pub egress_records: usize,
    /// The same in bytes. Default: 64 MiB.
    pub egress_bytes: usize,
    /// Bytes of memory for states. Beyond that, those that were not used for longest are put out of memory. What is in use
    /// or not durable stays. Default: 256 MiB.
    pub state_bytes: usize,
    /// Bytes of changed states that are in no durable cut from which on no request goes out. A cut has copies of some of
    /// them until it is durable. Default: 64 MiB.
    pub unsaved_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            messages: 100_000,
            bytes: 256 << 20,
            waiting_bytes: usize::MAX,
            timers: 50_000,
            timer_bytes: 64 << 20,
            egress_records: 100_000,
            egress_bytes: 64 << 20,
            state_bytes: 256 << 20,
            unsaved_bytes: 64 << 20,
        }
    }
}

/// What mailboxes hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Messages that are not handled, those in flight and those in the store too.
    pub messages: u64,
    /// Those of them that are in memory.
    pub messages_in_memory: usize,
    /// About how much memory these take.
    pub bytes: usize,
    /// Delayed messages that are not due, those in the store too.
    pub timers: u64,
    /// Those of them that are in memory.
    pub timers_in_memory: usize,
    /// Records that their egress has not stored.
    pub egress_records: usize,
    /// The bytes of these records.
    pub egress_bytes: usize,
    /// Addresses in memory that have messages.
    pub mailboxes: usize,
    /// Addresses with messages or states in memory.
    pub instances: usize,
    /// About how much memory these addresses take, messages apart.
    pub state_bytes: usize,
    /// About how many bytes of changed states are in no durable cut.
    pub unsaved_bytes: usize,
    /// Addresses whose states the store is asked for, and other reads.
    pub reads: usize,
}

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
    pub(crate) groups: Vec<Group>,
    pub(crate) directory: Directory,
    pub(crate) functions: Vec<Function>,
    pub(crate) by_type: HashMap<FunctionType, u32>,
    /// The function that was looked up last.
    last_function: u32,
    pub(crate) instances: Instances,
    pub(crate) mailboxes: Slab<Mailbox>,
    /// Memory of mailboxes that are gone, for the next ones: most live for a message or two.
    pub(crate) spare: Vec<VecDeque<Envelope>>,
    /// Mailboxes that wait after a failure, by when their wait ends.
    pub(crate) parked: BTreeSet<(Duration, u32)>,
    pub(crate) timers: Timers,
    pub(crate) expiries: Expiries,
    pub(crate) outgoing: Outgoing,
    /// Bytes of all messages that wait, as far as they came since the start.
    waiting_bytes: usize,
    pub(crate) removed: Removed,
    pub(crate) reads: Reads,
    /// Mailboxes whose turn it is and whose next messages are not durable yet, so that they cannot be read.
    pub(crate) starved: Vec<u32>,
    pub(crate) journal: Journal,
    pub(crate) next: Numbers,
    pub(crate) next_request: u64,
    pub(crate) next_group: usize,
    /// The cuts that are not durable.
    undurable: VecDeque<Undurable>,
    /// The number of the last cut that is durable.
    pub(crate) durable: u64,
    /// All numbers below these are in durable cuts.
    pub(crate) durable_numbers: Numbers,
    /// Whether the store may have states of addresses that are not in memory.
    pub(crate) has_stored_states: bool,
    pub(crate) loads: Loads,
    /// When ingress records arrived whose last message was handled, since they were taken.
    pub(crate) done: Vec<Timestamp>,
}

/// A cut that is not durable.
#[derive(Debug)]
struct Undurable {
    cut: u64,
    state_bytes: usize,
    message_bytes: usize,
    next: Numbers,
}

/// The numbers that come next. Each kind has its own, without gaps, as the journal likes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) message: u64,
    pub(crate) timer: u64,
    pub(crate) record: u64,
}

impl Numbers {
    pub(crate) fn take_timer(&mut self) -> u64 {
        take_number(&mut self.timer)
    }

    pub(crate) fn take_record(&mut self) -> u64 {
        take_number(&mut self.record)
    }
}

fn take_number(next: &mut u64) -> u64 {
    *next += 1;
    *next - 1
}

impl Mailboxes {
    /// Empty mailboxes; no function is served yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            groups: Vec::new(),
            directory: Directory::default(),
            functions: Vec::new(),
            by_type: HashMap::new(),
            last_function: 0,
            instances: Instances::default(),
            mailboxes: Slab::new(),
            spare: Vec::new(),
            parked: BTreeSet::new(),
            timers: Timers::default(),
            expiries: Expiries::default(),
            outgoing: Outgoing::default(),
            waiting_bytes: 0,
            removed: Removed::default(),
            reads: Reads::default(),
            starved: Vec::new(),
            journal: Journal::new(1),
            next: Numbers::default(),
            next_request: 0,
            next_group: 0,
            undurable: VecDeque::new(),
            durable: 0,
            durable_numbers: Numbers::default(),
            has_stored_states: false,
            loads: Loads::default(),
            done: Vec::new(),
        }
    }

    /// A new group, which serves no function yet.
    pub fn add_group(&mut self, settings: GroupSettings) -> GroupId {
        let id = GroupId(u32::try_from(self.groups.len()).expect("groups come from a module file of bounded size"));
        self.groups.push(Group::new(settings));
        id
    }

    /// The group serves this function from now on.
    pub fn serve_function(&mut self, function: FunctionType, group: GroupId) {
        self.directory.functions.insert(function, group);
    }

    /// The group serves all functions of this namespace that no group serves by name.
    pub fn serve_namespace(&mut self, namespace: impl Into<String>, group: GroupId) {
        self.directory.namespaces.insert(namespace.into(), group);
    }

    /// Whether a group serves the function.
    pub fn serves(&self, function: &FunctionType) -> bool {
        self.directory.find(function).is_some()
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
        let function = &mut self.functions[function as usize];
        if let Some(spec) = function.specs.register(spec) {
            self.journal.specs.push((function.name.clone(), spec.clone()));
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
        let has_share = self.functions.is_empty() || (0..self.functions.len()).any(|place| !self.is_saturated(place));
        has_share && !self.is_full() && self.undurable_message_bytes() < self.limits.bytes
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
    pub(crate) fn is_saturated(&self, function: usize) -> bool {
        let Amount { messages, bytes } = self.functions[function].memory;
        messages >= self.share() || bytes >= (self.limits.bytes / self.functions.len()).max(1)
    }

    /// How many messages a function may have in memory, and how many addresses with messages.
    pub(crate) fn share(&self) -> usize {
        (self.limits.messages / self.functions.len().max(1)).max(1)
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
        self.outgoing.stored(record, &mut self.journal);
    }

    /// What is held now.
    pub fn usage(&self) -> Usage {
        let memory = self.functions.iter().map(|function| function.memory);
        let (messages_in_memory, bytes) =
            memory.fold((0, 0), |(messages, bytes), of| (messages + of.messages, bytes + of.bytes));
        Usage {
            messages: self.functions.iter().map(|function| function.messages).sum(),
            messages_in_memory,
            bytes,
            timers: self.timers.len(),
            timers_in_memory: self.timers.in_memory(),
            egress_records: self.outgoing.len(),
            egress_bytes: self.outgoing.bytes(),
            mailboxes: self.mailboxes.len(),
            instances: self.instances.len(),
            state_bytes: self.instances.bytes(),
            unsaved_bytes: self.unsaved_bytes(),
            reads: self.loads.count() + self.reads.len(),
        }
    }

    /// What each function has done so far.
    pub fn counts(&self) -> impl Iterator<Item = (&FunctionType, FunctionCounts)> {
        self.functions.iter().map(|function| {
            let backlog = function.messages - function.messages_in_flight;
            (&function.name, FunctionCounts { backlog, ..function.counts })
        })
    }

    /// Whether something has changed since the last cut, or waits for the next one.
    pub fn has_changes(&self) -> bool {
        let waits = |function: &Function| function.stored_only.waits_for(self.journal.number);
        !self.journal.is_empty() || !self.starved.is_empty() || self.functions.iter().any(waits)
    }

    /// Whether the next cut should not wait for its time: when a quarter of [`Limits::unsaved_bytes`] has changed, or of
    /// [`Limits::bytes`] has come, or when an address waits for messages that are not durable yet.
    pub fn wants_cut(&self) -> bool {
        let is_much = |bytes: usize, limit: usize| bytes > 0 && bytes >= limit / 4;
        is_much(self.journal.state_bytes, self.limits.unsaved_bytes)
            || is_much(self.journal.message_bytes, self.limits.bytes)
            || !self.starved.is_empty()
    }

    /// What has changed since the last cut.
    ///
    /// That is a swap, which takes the same time whatever has changed. To read or to drop the changes takes longer, and
    /// is better done where nobody waits for the mailboxes. When they are where a restart finds them,
    /// [`durable`](Self::durable) has to be told.
    pub fn cut(&mut self) -> Cut {
        let totals = self.totals();
        let journal = self.journal.take();
        self.undurable.push_back(Undurable {
            cut: journal.number,
            state_bytes: journal.state_bytes,
            message_bytes: journal.message_bytes,
            next: self.next,
        });
        Cut { number: journal.number, changes: Changes::new(journal, totals) }
    }

    fn totals(&self) -> Totals {
        let functions = self.functions.iter().filter(|function| function.messages > 0 || function.timers > 0);
        let of_function = |function: &Function| FunctionTotals {
            function: function.name.clone(),
            messages: function.messages,
            timers: function.timers,
        };
        Totals {
            next_message: self.next.message,
            next_timer: self.next.timer,
            next_record: self.next.record,
            functions: functions.map(of_function).collect(),
        }
    }

    /// The cut of this number and all before it are where a restart finds them. Requests that waited for it may go out.
    pub fn durable(&mut self, number: u64) {
        self.durable = self.durable.max(number);
        while let Some(cut) = self.undurable.pop_front_if(|cut| cut.cut <= number) {
            self.durable_numbers = cut.next;
        }
        let next = self.reads.next();
        self.removed.durable(self.durable, next);
        self.timers.durable(self.durable, next);
        self.forget_removed();
        for function in &mut self.functions {
            function.stored_only.durable(number);
        }
        for slot in std::mem::take(&mut self.starved) {
            self.want_messages(slot);
        }
        self.timers.shrink(self.timer_window(), self.durable_numbers.timer);
        self.evict();
    }

    pub(crate) fn forget_removed(&mut self) {
        let oldest = self.reads.oldest();
        self.removed.forget(oldest);
        self.timers.forget_removed(oldest);
    }

    pub(crate) fn timer_window(&self) -> Window {
        Window { count: self.limits.timers.max(1), bytes: self.limits.timer_bytes }
    }

    /// Bytes of changed states that are in no durable cut.
    pub(crate) fn unsaved_bytes(&self) -> usize {
        self.undurable.iter().map(|cut| cut.state_bytes).sum::<usize>() + self.journal.state_bytes
    }

    /// Bytes of messages that came and are in no durable cut.
    fn undurable_message_bytes(&self) -> usize {
        self.undurable.iter().map(|cut| cut.message_bytes).sum::<usize>() + self.journal.message_bytes
    }

    /// The time of day at which [`on_time`](Self::on_time) has something to do next: a delayed message is due, or a state
    /// expires.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        [self.timers.next_at(), self.expiries.next_at()].into_iter().flatten().min()
    }

    /// The same by the clock that never goes back: a wait after a failure ends.
    pub fn next_retry(&self) -> Option<Duration> {
        let parked = self.parked.first().map(|(until, _)| *until);
        self.functions.iter().filter_map(|function| function.stored_only.not_before).chain(parked).min()
    }

    /// Does what is due: delivers delayed messages, wakes what was parked, forgets expired values.
    ///
    /// Of very many delayed messages that are due some are left, and the next deadline is in the past then.
    pub fn on_time(&mut self, now: impl Into<Now>) {
        let Now { time: now, elapsed } = now.into();
        while let Some((_, slot)) = self.parked.first().copied().filter(|(until, _)| *until <= elapsed) {
            self.parked.pop_first();
            self.make_ready(slot);
        }
        for function in &mut self.functions {
            function.stored_only.not_before = function.stored_only.not_before.filter(|at| *at > elapsed);
        }
        for _ in 0..DUE_AT_ONCE {
            let Some(timer) = self.timers.pop(now, &mut self.journal) else { break };
            let function = self.function(&timer.to.function).expect("it was served when the message was sent");
            self.functions[function as usize].timers -= 1;
            self.post(function, timer.to.id, timer.message);
        }
        while let Some(place) = self.expiries.pop(now) {
            self.expire(place, now);
            self.instances.schedule(place, &mut self.expiries, true);
            self.settle(place);
        }
        self.evict();
    }

    /// Removes values that have expired.
    pub(crate) fn expire(&mut self, place: u32, now: Timestamp) {
        let journal = &mut self.journal;
        let specs = &self.functions[self.instances.get(place).function as usize].specs;
        self.instances.change(place, |Instance { id, function, cells, written, .. }| {
            cells.expire(now, |spec| {
                let state = ChangedState { name: Arc::clone(specs.name(spec)), content: None, expires: None };
                journal.state_changed(written, *function, id, state);
            });
        });
    }

    /// The place of a function that is served.
    pub(crate) fn function(&mut self, name: &FunctionType) -> Result<u32, UnknownFunction> {
        // Most messages are for the function that the message before was for.
        if self.functions.get(self.last_function as usize).is_some_and(|last| last.name == *name) {
            return Ok(self.last_function);
        }
        if let Some(function) = self.by_type.get(name) {
            self.last_function = *function;
            return Ok(*function);
        }
        let group = self.directory.find(name).ok_or_else(|| UnknownFunction { function: name.clone() })?;
        let place = u32::try_from(self.functions.len()).expect("fewer functions than the memory has room for");
        self.functions.push(Function::new(name.clone(), group));
        self.by_type.insert(name.clone(), place);
        self.journal.add_function(name.clone());
        Ok(place)
    }

    /// The place of an instance, which has nothing when it is a new one.
    pub(crate) fn instance(&mut self, index: u32, id: &Arc<str>) -> u32 {
        let function = &mut self.functions[index as usize];
        if let Some(place) = function.instances.get(id) {
            return place;
        }
        // Of a function that never declared a state, the store has none.
        let is_known = !self.has_stored_states || function.specs.is_empty();
        let knowledge = if is_known { Knowledge::Known } else { Knowledge::Unknown };
        let place = self.instances.insert(index, Arc::clone(id), knowledge);
        function.instances.insert(Arc::clone(id), place);
        place
    }

    /// A new message to an address.
    pub(crate) fn post(&mut self, function: u32, id: Arc<str>, message: Message) {
        let number = self.next.message;
        self.next.message += 1;
        let footprint = message.footprint();
        self.waiting_bytes = self.waiting_bytes.saturating_add(footprint);
        let of = &mut self.functions[function as usize];
        of.counts.messages_in += 1;
        of.messages += 1;
        let to = of.address(&id);
        self.journal.add_message(StoredMessage { id: number, to, message: message.clone() });

        let is_saturated = self.is_saturated(function as usize);
        let share = self.share();
        let place = self.functions[function as usize].instances.get(&id);
        let slot = match place.and_then(|place| self.instances.get(place).mailbox) {
            Some(slot) => slot,
            None => {
                let of = &mut self.functions[function as usize];
                let is_crowded = is_saturated && of.mailboxes >= share;
                let hash = (is_crowded || !of.stored_only.is_empty()).then(|| HashKey::of_text(&id));
                if let Some(hash) = hash.filter(|_| is_crowded) {
                    // There are too many addresses with messages: this one is found when there are fewer.
                    return of.stored_only.add(hash, self.journal.number);
                }
                let is_behind = hash.is_some_and(|hash| of.stored_only.may_have(hash));
                let slot = self.open(function, &id);
                if is_behind {
                    // What came before is read first.
                    self.mailboxes[slot as usize].gap = Some(Gap::new(0, number));
                }
                slot
            }
        };
        let envelope = Envelope { number, message };
        let mailbox = &mut self.mailboxes[slot as usize];
        let group = self.functions[function as usize].group;
        let window = self.groups[group.index()].settings.window();
        match &mut mailbox.gap {
            None if !is_saturated && mailbox.waiting.len() < window => {
                mailbox.waiting.push_back(envelope);
                self.functions[function as usize].memory.add(footprint);
            }
            None => mailbox.gap = Some(Gap::new(number, number + 1)),
            Some(_) if !is_saturated && mailbox.behind.len() < window => {
                mailbox.behind.push_back(envelope);
                self.functions[function as usize].memory.add(footprint);
            }
            Some(gap) => {
                gap.until = number + 1;
                let memory = &mut self.functions[function as usize].memory;
                mailbox.behind.drain(..).for_each(|envelope| memory.remove(envelope.message.footprint()));
            }
        }
        if mailbox.phase == Phase::Idle {
            self.make_ready(slot);
        }
    }

    /// A mailbox for an address that has none.
    pub(crate) fn open(&mut self, function: u32, id: &Arc<str>) -> u32 {
        let place = self.instance(function, id);
        let slot = self.mailboxes.insert(Mailbox::new(function, place, self.spare.pop().unwrap_or_default()));
        let slot = u32::try_from(slot).expect("fewer mailboxes than the memory has room for");
        self.instances.get_mut(place).mailbox = Some(slot);
        self.functions[function as usize].mailboxes += 1;
        slot
    }

    pub(crate) fn make_ready(&mut self, slot: u32) {
        let mailbox = &mut self.mailboxes[slot as usize];
        mailbox.phase = Phase::Ready;
        let group = self.functions[mailbox.function as usize].group;
        self.groups[group.index()].ready.push_back(slot);
    }

    /// A message is handled, or left out.
    pub(crate) fn finish(&mut self, function: u32, id: &Arc<str>, number: u64, message: &Message) {
        let footprint = message.footprint();
        self.waiting_bytes = self.waiting_bytes.saturating_sub(footprint);
        let of = &mut self.functions[function as usize];
        of.messages -= 1;
        of.memory.remove(footprint);
        if let Some(origin) = message.origin.as_ref().filter(|origin| origin.is_last) {
            self.done.push(origin.arrival);
        }
        let key = || StoredKey { owner: Arc::clone(id), number };
        if self.journal.remove_message(number, footprint, key) {
            self.removed.add(self.journal.number, number);
        }
    }

    /// Checks what always holds, of everything: for tests, since it takes as long as there is something.
    #[cfg(any(test, debug_assertions))]
    pub fn check_invariants(&self) {
        self.timers.check_invariants();
        let mut memory = vec![Amount::default(); self.functions.len()];
        let mut in_memory = vec![0; self.functions.len()];
        for (slot, mailbox) in &self.mailboxes {
            mailbox.check_invariants();
            let instance = self.instances.get(mailbox.instance);
            assert_eq!((instance.mailbox, instance.function), (Some(slot as u32), mailbox.function));
            let batch = mailbox.batch.iter().flat_map(|batch| batch.messages.iter());
            let waiting = mailbox.waiting.iter().chain(&mailbox.behind).map(|envelope| &envelope.message);
            for message in batch.chain(waiting) {
                memory[mailbox.function as usize].add(message.footprint());
                in_memory[mailbox.function as usize] += 1;
            }
            assert_eq!(self.parked.iter().any(|(_, other)| *other as usize == slot), is_parked(mailbox.phase));
        }
        let has_gaps = self.mailboxes.iter().any(|(_, mailbox)| mailbox.gap.is_some());
        for (place, ((function, memory), in_memory)) in self.functions.iter().zip(memory).zip(in_memory).enumerate() {
            let mailboxes = self.mailboxes.iter().filter(|(_, mailbox)| mailbox.function as usize == place).count();
            assert_eq!(function.mailboxes, mailboxes, "mailboxes of {}", function.name);
            assert_eq!(function.memory, memory, "messages of {} in memory", function.name);
            assert!(function.messages >= in_memory, "messages of {}", function.name);
            if !has_gaps && function.stored_only.is_empty() {
                assert_eq!(function.messages, in_memory, "all messages of {} are in memory", function.name);
            }
        }
        let timers: u64 = self.functions.iter().map(|function| function.timers).sum();
        assert_eq!(timers, self.timers.len(), "delayed messages by function");
    }
}

#[cfg(any(test, debug_assertions))]
fn is_parked(phase: Phase) -> bool {
    matches!(phase, Phase::Parked(_))
}
