//! The functions, with their instances and counters.

use std::{
    collections::{HashMap, VecDeque},
    ops::{Index, IndexMut},
    sync::Arc,
    time::Duration,
};

use statefun_kinesis_types::{Address, FunctionType};

use crate::{
    FunctionTotals, GroupId,
    ids::Ids,
    journal::Journal,
    limits::{Amount, Limits},
    state::Specs,
    stored::StoredOnly,
};

/// The error for a function that no group serves.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no endpoint and no function in process serves {function}")]
pub struct UnknownFunction {
    /// The function.
    pub function: FunctionType,
}

/// Maps functions to groups. A group that names the function takes precedence over one that names its namespace.
#[derive(Debug, Default)]
struct Directory {
    functions: HashMap<FunctionType, GroupId>,
    namespaces: HashMap<String, GroupId>,
}

impl Directory {
    fn find(&self, function: &FunctionType) -> Option<GroupId> {
        self.functions.get(function).or_else(|| self.namespaces.get(function.namespace())).copied()
    }
}

/// A function, with its states and instances.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: FunctionType,
    pub(crate) group: GroupId,
    pub(crate) specs: Specs,
    pub(crate) first_request: FirstRequest,
    pub(crate) instances: Ids,
    pub(crate) counts: FunctionCounts,
    /// Its messages in memory, including those in flight.
    pub(crate) memory: Amount,
    /// All its messages, in memory and in the store.
    pub(crate) messages: u64,
    /// Its messages in flight.
    pub(crate) messages_in_flight: u64,
    /// The number of delayed messages for it.
    pub(crate) timers: u64,
    /// The number of its mailboxes in memory.
    pub(crate) mailboxes: usize,
    /// Messages of its addresses without a mailbox.
    pub(crate) stored_only: StoredOnly,
    /// Most bytes of messages that its server accepts in a request, and until when that is assumed; set when the server
    /// rejected a request as too large.
    accepted: Option<(usize, Duration)>,
}

/// The first request of a function since the start. It is sent alone, because only its answer declares the states that
/// further requests need.
#[derive(Debug, Default)]
pub(crate) struct FirstRequest {
    /// Whether a request was answered, so that requests may run at the same time.
    is_answered: bool,
    is_in_flight: bool,
    /// Mailboxes that wait for the answer.
    waiting: VecDeque<u32>,
}

impl FirstRequest {
    /// Whether a request has to wait for another one.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.is_answered && self.is_in_flight
    }

    /// Makes a mailbox wait for the answer.
    pub(crate) fn wait(&mut self, slot: u32) {
        self.waiting.push_back(slot);
    }

    /// Notes that a request of the function is sent.
    pub(crate) fn begin(&mut self) {
        self.is_in_flight = true;
    }

    /// Notes that a request of the function is no longer in flight.
    pub(crate) fn end(&mut self) {
        self.is_in_flight = false;
    }

    /// Takes the mailbox that makes the next attempt after a failure. The failure may be due to one message, so another
    /// address has to be tried.
    pub(crate) fn next(&mut self) -> Option<u32> {
        self.waiting.pop_front()
    }

    /// Notes that a request was answered. Returns the mailboxes that waited for it.
    pub(crate) fn answered(&mut self) -> VecDeque<u32> {
        self.is_answered = true;
        std::mem::take(&mut self.waiting)
    }

    /// The mailboxes that wait.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn waiting(&self) -> impl Iterator<Item = u32> {
        self.waiting.iter().copied()
    }

    #[cfg(any(test, debug_assertions))]
    fn check_invariants(&self) {
        assert!(!self.is_answered || self.waiting.is_empty(), "no mailbox waits for an answered first request");
    }
}

impl Function {
    fn new(name: FunctionType, group: GroupId) -> Self {
        Self {
            name,
            group,
            specs: Specs::default(),
            first_request: FirstRequest::default(),
            instances: Ids::new(),
            counts: FunctionCounts::default(),
            memory: Amount::default(),
            messages: 0,
            messages_in_flight: 0,
            timers: 0,
            mailboxes: 0,
            stored_only: StoredOnly::default(),
            accepted: None,
        }
    }

    /// Most bytes of messages that its server accepts in a request, as far as is known.
    pub(crate) fn accepted_bytes(&mut self, elapsed: Duration) -> usize {
        self.accepted = self.accepted.filter(|(_, until)| *until > elapsed);
        self.accepted.map_or(usize::MAX, |(bytes, _)| bytes)
    }

    /// Notes that its server rejected a request with so many bytes of messages. The limit is forgotten some time later,
    /// because it may be raised, and because some proxies reject requests of any size while they restart.
    pub(crate) fn too_large(&mut self, bytes: usize, until: Duration) {
        let known = self.accepted.map_or(usize::MAX, |(bytes, _)| bytes);
        self.accepted = Some((known.min(bytes / 2), until));
    }

    pub(crate) fn address(&self, id: &Arc<str>) -> Address {
        Address { function: self.name.clone(), id: Arc::clone(id) }
    }

    /// Notes that a request with that many messages is sent.
    pub(crate) fn request_begins(&mut self, messages: usize) {
        self.first_request.begin();
        self.messages_in_flight += messages as u64;
        self.counts.in_flight += 1;
    }

    /// Notes that a request with that many messages is no longer in flight.
    pub(crate) fn request_ends(&mut self, messages: usize, failed: bool) {
        self.first_request.end();
        self.messages_in_flight -= messages as u64;
        self.counts.in_flight -= 1;
        self.counts.failures += u64::from(failed);
    }
}

/// All functions that were looked up, each with a fixed index.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    directory: Directory,
    all: Vec<Function>,
    by_type: HashMap<FunctionType, u32>,
    /// The index of the function that was looked up last.
    last: u32,
}

impl Functions {
    pub(crate) fn serve_function(&mut self, function: FunctionType, group: GroupId) {
        self.directory.functions.insert(function, group);
    }

    pub(crate) fn serve_namespace(&mut self, namespace: String, group: GroupId) {
        self.directory.namespaces.insert(namespace, group);
    }

    /// Whether a group serves the function.
    pub(crate) fn serves(&self, function: &FunctionType) -> bool {
        self.directory.find(function).is_some()
    }

    /// Returns the index of a function. Adds the function, also to the journal, if it is new and a group serves it.
    pub(crate) fn look_up(&mut self, name: &FunctionType, journal: &mut Journal) -> Result<u32, UnknownFunction> {
        // Most messages are for the same function as the one before.
        if self.all.get(self.last as usize).is_some_and(|last| last.name == *name) {
            return Ok(self.last);
        }
        if let Some(function) = self.by_type.get(name) {
            self.last = *function;
            return Ok(*function);
        }
        let group = self.directory.find(name).ok_or_else(|| UnknownFunction { function: name.clone() })?;
        let place = u32::try_from(self.all.len()).expect("fewer functions than the memory has room for");
        self.all.push(Function::new(name.clone(), group));
        self.by_type.insert(name.clone(), place);
        journal.add_function(name.clone());
        Ok(place)
    }

    /// The index of a function that was looked up before.
    pub(crate) fn find(&self, name: &FunctionType) -> Option<u32> {
        self.by_type.get(name).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Function> {
        self.all.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Function> {
        self.all.iter_mut()
    }

    /// The share of memory of each function.
    pub(crate) fn share(&self, limits: &Limits) -> Amount {
        limits.share(self.all.len())
    }

    /// Whether a function has less in memory than its share, or there are no functions yet.
    pub(crate) fn has_share(&self, limits: &Limits) -> bool {
        let share = self.share(limits);
        self.all.is_empty() || self.all.iter().any(|function| !function.memory.reaches(share))
    }

    /// The messages of all functions in memory.
    pub(crate) fn memory(&self) -> Amount {
        self.all.iter().fold(Amount::default(), |all, Function { memory, .. }| Amount {
            messages: all.messages + memory.messages,
            bytes: all.bytes + memory.bytes,
        })
    }

    /// The number of all messages of all functions.
    pub(crate) fn messages(&self) -> u64 {
        self.all.iter().map(|function| function.messages).sum()
    }

    /// The totals of the functions that have messages.
    pub(crate) fn totals(&self) -> Vec<FunctionTotals> {
        let functions = self.all.iter().filter(|function| function.messages > 0 || function.timers > 0);
        let of_function = |Function { name, messages, timers, .. }: &Function| FunctionTotals {
            function: name.clone(),
            messages: *messages,
            timers: *timers,
        };
        functions.map(of_function).collect()
    }

    /// The counters of each function. `oldest` returns since when its oldest message waits.
    pub(crate) fn counts(
        &self,
        oldest: impl Fn(u32) -> Option<Duration>,
    ) -> impl Iterator<Item = (&FunctionType, FunctionCounts)> {
        (0..).zip(&self.all).map(move |(place, function)| {
            let backlog = function.messages - function.messages_in_flight;
            (&function.name, FunctionCounts { backlog, oldest: oldest(place), ..function.counts })
        })
    }

    /// Checks the index and the counters of each function.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check_invariants(&self) {
        assert_eq!(self.by_type.len(), self.all.len(), "each function has one place");
        for (place, function) in (0..).zip(&self.all) {
            function.first_request.check_invariants();
            let name = &function.name;
            assert_eq!(self.find(name), Some(place), "the place of {name}");
            assert!(function.messages >= function.memory.messages as u64, "messages of {name}");
            assert!(function.memory.messages as u64 >= function.messages_in_flight, "messages of {name} in flight");
        }
    }
}

impl Index<u32> for Functions {
    type Output = Function;

    fn index(&self, place: u32) -> &Function {
        &self.all[place as usize]
    }
}

impl IndexMut<u32> for Functions {
    fn index_mut(&mut self, place: u32) -> &mut Function {
        &mut self.all[place as usize]
    }
}

/// Counters of a function since the start. The names in parentheses are those of StateFun's metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionCounts {
    /// Messages that it received (`in`).
    pub messages_in: u64,
    /// Messages that it sent to functions, including delayed ones (`outLocal`).
    pub messages_out: u64,
    /// Records that it sent to egresses (`outEgress`).
    pub egress_out: u64,
    /// Messages that wait now, in memory or in the store, without those in flight (`numBacklog`).
    pub backlog: u64,
    /// Requests in flight now (`inflightAsyncOps`).
    pub in_flight: u64,
    /// Requests that failed (`remoteInvocationFailures`).
    pub failures: u64,
    /// Messages that were skipped because their requests failed.
    pub skipped: u64,
    /// Messages that were stored as dead letters because their requests failed.
    pub dead_lettered: u64,
    /// Addresses in memory whose last request failed.
    pub failing: u64,
    /// How long the oldest message has been waiting, including those in flight; `None` without messages. It may be
    /// a second too much, or a fifth of the age if that is more. For messages of an earlier run it is the time
    /// since the start.
    pub oldest: Option<Duration>,
}
