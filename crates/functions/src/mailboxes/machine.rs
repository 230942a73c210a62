use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::Arc,
};

use slab::Slab;
use statefun_kinesis_types::{Address, FunctionType, Timestamp};

use super::{
    change::{Changes, Cut, StoredEgress, StoredMessage, StoredTimer},
    egress::Outgoing,
    group::{Directory, Function, FunctionCounts, Group, GroupId, GroupSettings, UnknownFunction},
    instances::{Expiries, Instance, Instances, Knowledge},
    journal::{ChangedState, Journal},
    lineage::{Finished, Lineage},
    loads::Loads,
    mailbox::{Envelope, Mailbox, Phase, Tag},
    timers::Timers,
};
use crate::{Message, StateSpec};

/// Most delayed messages that are delivered at a time, so that nobody waits for more than a few milliseconds when all of
/// them are overdue after a restart.
const DUE_AT_ONCE: usize = 4_096;

/// Bounds of all mailboxes together.
///
/// Delayed messages that are not due have none: each takes about 400 to 700 bytes of memory, its payload apart, so that ten
/// million of them take four to seven gigabytes (`benches/cut.rs` measures it; [`Usage::timers`] tells how many there are).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Messages that are not handled, those in flight too, from which on nothing more is taken in. Default: 100 000.
    pub messages: usize,
    /// The same in bytes of memory. Default: 256 MiB.
    pub bytes: usize,
    /// Records on their way to egresses from which on no request goes out. Default: 100 000.
    pub egress_records: usize,
    /// The same in bytes. Default: 64 MiB.
    pub egress_bytes: usize,
    /// Bytes of memory for states from which on those that were not used for longest are put out of memory, where
    /// mailboxes are [`backed`](Mailboxes::backed). What is in use or not durable stays. Default: 256 MiB.
    pub state_bytes: usize,
    /// Bytes of changed states that are in no durable cut from which on no request goes out, where mailboxes are
    /// [`journalled`](Mailboxes::journalled). A cut has copies of some of them until it is durable. Default: 64 MiB.
    pub unsaved_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            messages: 100_000,
            bytes: 256 << 20,
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
    /// Messages that are not handled, those in flight too.
    pub messages: usize,
    /// About how much memory they take.
    pub bytes: usize,
    /// Delayed messages that are not due.
    pub timers: usize,
    /// Records that their egress has not stored.
    pub egress_records: usize,
    /// The bytes of these records.
    pub egress_bytes: usize,
    /// Addresses with messages.
    pub mailboxes: usize,
    /// Addresses with messages or states in memory.
    pub instances: usize,
    /// About how much memory these addresses take, messages apart.
    pub state_bytes: usize,
    /// About how many bytes of changed states are in no durable cut.
    pub unsaved_bytes: usize,
    /// Addresses whose states are asked for.
    pub loads: usize,
}

/// The mailboxes, states and timers of all functions: a state machine without I/O.
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
/// * An address with as many messages waiting as a batch may have holds up whoever sends to it: a sender has no further
///   turn until there is room. A mailbox that is full itself is never held up. So among senders that hold each other up
///   there is always one that is not, and no cycle of functions stands still.
/// * An instance without messages and states takes no memory.
/// * Where they are [`journalled`](Self::journalled), all that changes is in the next [`cut`](Self::cut), and mailboxes
///   that [`restore`](Self::restore) the sum of all cuts go on as these would have.
/// * Where they are [`backed`](Self::backed) by a store, states are in memory as far as there is room for them, and an
///   address that waits for its states holds up no other.
///
/// `T` is a ticket of who delivers; it comes back by [`take_finished`](Self::take_finished) when all that came of the
/// delivery is done, records for egresses included and delayed messages not.
#[derive(Debug)]
pub struct Mailboxes<T> {
    /// First, so that it goes first: what is dropped with the mailboxes is not finished.
    pub(super) finished: Finished<T>,
    pub(super) limits: Limits,
    pub(super) groups: Vec<Group>,
    pub(super) directory: Directory,
    pub(super) functions: Vec<Function>,
    pub(super) by_type: HashMap<FunctionType, u32>,
    /// The function that was looked up last.
    pub(super) last_function: u32,
    pub(super) instances: Instances,
    pub(super) mailboxes: Slab<Mailbox<T>>,
    /// Memory of mailboxes that are gone, for the next ones: most live for a message or two.
    pub(super) spare: Vec<VecDeque<Envelope<T>>>,
    pub(super) parked: BTreeSet<(Timestamp, u32)>,
    pub(super) timers: Timers,
    pub(super) expiries: Expiries,
    pub(super) outgoing: Outgoing<T>,
    pub(super) messages: usize,
    pub(super) bytes: usize,
    pub(super) journal: Option<Journal>,
    pub(super) next: Numbers,
    pub(super) next_request: u64,
    pub(super) next_group: usize,
    /// The numbers of the cuts that are not durable, with the bytes of their states.
    pub(super) undurable: VecDeque<(u64, usize)>,
    pub(super) undurable_bytes: usize,
    /// The number of the last cut that is durable.
    pub(super) durable: u64,
    pub(super) is_backed: bool,
    pub(super) loads: Loads,
}

/// The numbers that come next. Each kind has its own, without gaps, as the journal likes them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    message: u64,
    timer: u64,
    record: u64,
}

impl Numbers {
    pub(super) fn message(&mut self) -> u64 {
        take_number(&mut self.message)
    }

    pub(super) fn timer(&mut self) -> u64 {
        take_number(&mut self.timer)
    }

    pub(super) fn record(&mut self) -> u64 {
        take_number(&mut self.record)
    }

    /// What has been restored keeps its numbers.
    pub(super) fn go_behind(&mut self, messages: Option<u64>, timers: Option<u64>, records: Option<u64>) {
        let behind = |last: Option<u64>| last.map_or(0, |last| last + 1);
        *self = Self { message: behind(messages), timer: behind(timers), record: behind(records) };
    }
}

fn take_number(next: &mut u64) -> u64 {
    *next += 1;
    *next - 1
}

impl<T> Mailboxes<T> {
    /// Empty mailboxes that nobody serves yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            finished: Finished::new(),
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
            outgoing: Outgoing::new(),
            messages: 0,
            bytes: 0,
            journal: None,
            next: Numbers::default(),
            next_request: 0,
            next_group: 0,
            undurable: VecDeque::new(),
            undurable_bytes: 0,
            durable: 0,
            is_backed: false,
            loads: Loads::default(),
        }
    }

    /// The same mailboxes, which write down what changes, for [`cut`](Self::cut).
    #[must_use]
    pub fn journalled(mut self) -> Self {
        assert!(self.functions.is_empty(), "mailboxes are journalled before they are used");
        self.journal.get_or_insert_with(|| Journal::new(1, Arc::default()));
        self
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

    /// Whether someone serves the function.
    pub fn serves(&self, function: &FunctionType) -> bool {
        self.directory.find(function).is_some()
    }

    /// Declares a state of a function ahead of its first answer, which would do so otherwise. Of several declarations of
    /// a state since the start the first one counts.
    ///
    /// # Errors
    ///
    /// When nobody serves the function.
    pub fn declare(&mut self, function: &FunctionType, spec: StateSpec) -> Result<(), UnknownFunction> {
        let place = self.function(function)?;
        self.register(place, spec);
        Ok(())
    }

    /// Registers a state of the function at that place, and writes that down.
    pub(super) fn register(&mut self, function: u32, spec: StateSpec) {
        let function = &mut self.functions[function as usize];
        if let Some(spec) = function.specs.register(spec)
            && let Some(journal) = &mut self.journal
        {
            journal.specs.push((function.name.clone(), spec.clone()));
        }
    }

    /// Takes messages, in order, all of them or none.
    ///
    /// It takes them even when there is no room: [`has_room_for`](Self::has_room_for) tells whether to wait before the
    /// next delivery. So a cut never lies within a delivery, and the bounds are passed by a delivery per caller at most.
    ///
    /// # Errors
    ///
    /// When nobody serves one of the functions.
    pub fn deliver(
        &mut self,
        ticket: T,
        messages: impl IntoIterator<Item = (Address, Message)>,
    ) -> Result<(), UnknownFunction> {
        let messages: Vec<(u32, Address, Message)> = messages
            .into_iter()
            .map(|(to, message)| self.function(&to.function).map(|function| (function, to, message)))
            .collect::<Result<_, _>>()?;
        let lineage = self.finished.begin(ticket);
        for (function, to, message) in messages {
            self.post(function, to.id, message, lineage.clone());
        }
        Ok(())
    }

    /// Whether there is room for messages at all.
    pub(crate) fn has_room(&self) -> bool {
        self.messages < self.limits.messages && self.bytes < self.limits.bytes
    }

    /// Whether there is room for a message to this address.
    pub fn has_room_for(&self, to: &Address) -> bool {
        if !self.has_room() {
            return false;
        }
        let Some(function) = self.by_type.get(&to.function).map(|function| &self.functions[*function as usize]) else {
            return true;
        };
        let mailbox = function.instances.get(&to.id).and_then(|place| self.instances.get(place).mailbox);
        mailbox.is_none_or(|slot| !self.is_full(slot))
    }

    /// Tickets of the deliveries that are finished since the last call.
    pub fn take_finished(&mut self) -> Vec<T> {
        self.finished.take()
    }

    /// Records that are to be sent, since the last call. Each has to be told of by [`stored`](Self::stored).
    pub fn take_egress(&mut self) -> Vec<StoredEgress> {
        self.outgoing.take()
    }

    /// The egress has stored a record.
    pub fn stored(&mut self, record: u64) {
        if self.outgoing.stored(record)
            && let Some(journal) = &mut self.journal
        {
            journal.egress.remove(record);
        }
    }

    /// What is held now.
    pub fn usage(&self) -> Usage {
        Usage {
            messages: self.messages,
            bytes: self.bytes,
            timers: self.timers.len(),
            egress_records: self.outgoing.len(),
            egress_bytes: self.outgoing.bytes(),
            mailboxes: self.mailboxes.len(),
            instances: self.instances.len(),
            state_bytes: self.instances.bytes(),
            unsaved_bytes: self.unsaved_bytes(),
            loads: self.loads.count(),
        }
    }

    /// What each function has done so far.
    pub fn counts(&self) -> impl Iterator<Item = (&FunctionType, FunctionCounts)> {
        self.functions.iter().map(|function| (&function.name, function.counts))
    }

    /// Whether something has changed since the last cut; never without [`journalled`](Self::journalled).
    pub fn has_changes(&self) -> bool {
        self.journal.as_ref().is_some_and(|journal| !journal.is_empty())
    }

    /// Whether so much has changed since the last cut that the next one should not wait for its time: a quarter of
    /// [`Limits::unsaved_bytes`], so that requests need not wait for it.
    pub fn wants_cut(&self) -> bool {
        let changed = self.journal.as_ref().map_or(0, |journal| journal.state_bytes);
        changed > 0 && changed >= self.limits.unsaved_bytes / 4
    }

    /// What has changed since the last cut; nothing without [`journalled`](Self::journalled).
    ///
    /// That is a swap, which takes the same time whatever has changed. To read or to drop the changes takes longer, and
    /// is better done where nobody waits for the mailboxes. When they are where a restart finds them,
    /// [`durable`](Self::durable) has to be told.
    pub fn cut(&mut self) -> Cut {
        let journal = self.journal.as_mut().map_or_else(|| Journal::new(0, Arc::default()), Journal::take);
        if journal.number > 0 {
            self.undurable.push_back((journal.number, journal.state_bytes));
        }
        self.undurable_bytes += journal.state_bytes;
        Cut { number: journal.number, changes: Changes::new(journal) }
    }

    /// The cut of this number and all before it are where a restart finds them. Requests that waited for it may go out.
    pub fn durable(&mut self, number: u64) {
        self.durable = self.durable.max(number);
        while let Some(&(number, bytes)) = self.undurable.front()
            && number <= self.durable
        {
            self.undurable_bytes -= bytes;
            self.undurable.pop_front();
        }
        self.evict();
    }

    /// Bytes of changed states that are in no durable cut.
    pub(super) fn unsaved_bytes(&self) -> usize {
        self.undurable_bytes + self.journal.as_ref().map_or(0, |journal| journal.state_bytes)
    }

    /// When [`on_time`](Self::on_time) has something to do next.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let parked = self.parked.first().map(|(until, _)| *until);
        [parked, self.timers.next_at(), self.expiries.next_at()].into_iter().flatten().min()
    }

    /// Does what is due: delivers delayed messages, wakes what was parked, forgets expired values.
    ///
    /// Of very many delayed messages that are due, and of those for which there is no room, some are left, and the next
    /// deadline is in the past then.
    pub fn on_time(&mut self, now: Timestamp) {
        while let Some((_, slot)) = self.parked.first().copied().filter(|(until, _)| *until <= now) {
            self.parked.pop_first();
            self.make_ready(slot);
        }
        for _ in 0..DUE_AT_ONCE {
            if self.messages >= self.limits.messages {
                break;
            }
            let Some(StoredTimer { id, to, message, .. }) = self.timers.pop(now) else { break };
            if let Some(journal) = &mut self.journal {
                journal.timers.remove(id);
            }
            let function = self.function(&to.function).expect("it was served when the message was sent");
            self.post(function, to.id, message, Lineage::NONE);
        }
        while let Some(place) = self.expiries.pop(now) {
            self.expire(place, now);
            self.instances.schedule(place, &mut self.expiries, true);
            self.settle(place);
        }
        self.evict();
    }

    /// Removes values that have expired.
    pub(super) fn expire(&mut self, place: u32, now: Timestamp) {
        let journal = &mut self.journal;
        let specs = &self.functions[self.instances.get(place).function as usize].specs;
        self.instances.change(place, |Instance { id, function, cells, written, .. }| {
            cells.expire(now, |spec| {
                if let Some(journal) = journal {
                    let state = ChangedState { name: Arc::clone(specs.name(spec)), content: None, expires: None };
                    journal.state_changed(written, *function, id, state);
                }
            });
        });
    }

    /// The place of a function that is served.
    pub(super) fn function(&mut self, name: &FunctionType) -> Result<u32, UnknownFunction> {
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
        if let Some(journal) = &mut self.journal {
            journal.add_function(name.clone());
        }
        Ok(place)
    }

    /// The place of an instance, which has nothing when it is a new one.
    pub(super) fn instance(&mut self, index: u32, id: &Arc<str>) -> u32 {
        let function = &mut self.functions[index as usize];
        if let Some(place) = function.instances.get(id) {
            return place;
        }
        // Of a function that never declared a state, the store has none.
        let is_known = !self.is_backed || function.specs.is_empty();
        let knowledge = if is_known { Knowledge::Known } else { Knowledge::Unknown };
        let place = self.instances.insert(index, Arc::clone(id), knowledge);
        function.instances.insert(Arc::clone(id), place);
        place
    }

    /// Puts a message into its mailbox, and gives the place of that.
    pub(super) fn post(&mut self, function: u32, id: Arc<str>, message: Message, lineage: Lineage<T>) -> u32 {
        let number = self.next.message();
        if let Some(journal) = &mut self.journal {
            let to = self.functions[function as usize].address(&id);
            journal.messages.add(number, StoredMessage { id: number, to, message: message.clone() });
        }
        self.put(function, &id, message, Tag { id: number, lineage })
    }

    /// The same for a message that has its number.
    pub(super) fn put(&mut self, function: u32, id: &Arc<str>, message: Message, tag: Tag<T>) -> u32 {
        self.messages += 1;
        self.bytes += message.footprint();
        let of = &mut self.functions[function as usize];
        of.counts.messages_in += 1;
        of.counts.backlog += 1;
        let place = self.instance(function, id);
        let instance = self.instances.get_mut(place);
        let slot = *instance.mailbox.get_or_insert_with(|| {
            let slot = self.mailboxes.insert(Mailbox::new(function, place, self.spare.pop().unwrap_or_default()));
            u32::try_from(slot).expect("fewer mailboxes than the memory has room for")
        });
        let mailbox = &mut self.mailboxes[slot as usize];
        mailbox.waiting.push_back(Envelope { message, tag });
        if mailbox.phase == Phase::Idle {
            self.make_ready(slot);
        }
        slot
    }

    /// Whether an address has as many messages waiting as it may.
    pub(super) fn is_full(&self, slot: u32) -> bool {
        let mailbox = &self.mailboxes[slot as usize];
        let group = self.functions[mailbox.function as usize].group;
        mailbox.waiting.len() >= self.groups[group.index()].settings.max_batch_messages.get() as usize
    }

    pub(super) fn make_ready(&mut self, slot: u32) {
        let mailbox = &mut self.mailboxes[slot as usize];
        mailbox.phase = Phase::Ready;
        let group = self.functions[mailbox.function as usize].group;
        self.groups[group.index()].ready.push_back(slot);
    }
}
