//! The functions that are served, and what is known of each.

use std::{
    collections::{HashMap, VecDeque},
    ops::{Index, IndexMut},
    sync::Arc,
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

/// No group serves a function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no endpoint and no function in process serves {function}")]
pub struct UnknownFunction {
    /// The function.
    pub function: FunctionType,
}

/// Which group serves a function: the one that names the function, else the one that names its namespace.
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

/// A function: what is known of it and its instances.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: FunctionType,
    pub(crate) group: GroupId,
    pub(crate) specs: Specs,
    pub(crate) first_request: FirstRequest,
    pub(crate) instances: Ids,
    pub(crate) counts: FunctionCounts,
    /// Its messages in memory, those in flight too.
    pub(crate) memory: Amount,
    /// All its messages, those in the store too.
    pub(crate) messages: u64,
    /// Those of them that are in flight.
    pub(crate) messages_in_flight: u64,
    /// Delayed messages for it.
    pub(crate) timers: u64,
    /// Its addresses in memory that have messages.
    pub(crate) mailboxes: usize,
    /// Its messages of which no mailbox is in memory.
    pub(crate) stored_only: StoredOnly,
}

/// The first request of a function since the start, which goes alone: only its answer tells which states there are.
#[derive(Debug, Default)]
pub(crate) struct FirstRequest {
    /// Whether one was answered, so that requests go out side by side.
    is_answered: bool,
    is_in_flight: bool,
    /// Mailboxes that are ready but for that.
    behind: VecDeque<u32>,
}

impl FirstRequest {
    /// Whether a request has to wait for another one.
    pub(crate) fn is_awaited(&self) -> bool {
        !self.is_answered && self.is_in_flight
    }

    /// A mailbox waits for the answer.
    pub(crate) fn wait(&mut self, slot: u32) {
        self.behind.push_back(slot);
    }

    /// A request of the function goes out.
    pub(crate) fn begin(&mut self) {
        self.is_in_flight = true;
    }

    /// A request of the function is not in flight any more.
    pub(crate) fn end(&mut self) {
        self.is_in_flight = false;
    }

    /// The mailbox that is tried next because another one failed: it may be one message that fails.
    pub(crate) fn next(&mut self) -> Option<u32> {
        self.behind.pop_front()
    }

    /// A request was answered: gives the mailboxes that waited for that.
    pub(crate) fn answered(&mut self) -> VecDeque<u32> {
        self.is_answered = true;
        std::mem::take(&mut self.behind)
    }

    /// The mailboxes that wait.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn behind(&self) -> impl Iterator<Item = u32> {
        self.behind.iter().copied()
    }

    #[cfg(any(test, debug_assertions))]
    fn check_invariants(&self) {
        assert!(!self.is_answered || self.behind.is_empty(), "nothing waits for a first request that was answered");
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
        }
    }

    pub(crate) fn address(&self, id: &Arc<str>) -> Address {
        Address { function: self.name.clone(), id: Arc::clone(id) }
    }

    /// A request with so many messages goes out.
    pub(crate) fn request_begins(&mut self, messages: usize) {
        self.first_request.begin();
        self.messages_in_flight += messages as u64;
        self.counts.in_flight += 1;
    }

    /// A request with so many messages is not in flight any more.
    pub(crate) fn request_ends(&mut self, messages: usize, failed: bool) {
        self.first_request.end();
        self.messages_in_flight -= messages as u64;
        self.counts.in_flight -= 1;
        self.counts.failures += u64::from(failed);
    }
}

/// All functions that were ever looked up, each at a place that it keeps.
#[derive(Debug, Default)]
pub(crate) struct Functions {
    directory: Directory,
    all: Vec<Function>,
    by_type: HashMap<FunctionType, u32>,
    /// The function that was looked up last.
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

    /// The place of a function that is served. A function that was not looked up before is written down.
    pub(crate) fn look_up(&mut self, name: &FunctionType, journal: &mut Journal) -> Result<u32, UnknownFunction> {
        // Most messages are for the function that the message before was for.
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

    /// The place of a function that was looked up before.
    pub(crate) fn find(&self, name: &FunctionType) -> Option<u32> {
        self.by_type.get(name).copied()
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

    /// What each function may have in memory.
    pub(crate) fn share(&self, limits: &Limits) -> Amount {
        limits.share(self.all.len())
    }

    /// Whether one of them has less in memory than its share, or there is none yet.
    pub(crate) fn has_share(&self, limits: &Limits) -> bool {
        let share = self.share(limits);
        self.all.is_empty() || self.all.iter().any(|function| !function.memory.reaches(share))
    }

    /// What all of them have in memory.
    pub(crate) fn memory(&self) -> Amount {
        self.all.iter().fold(Amount::default(), |all, Function { memory, .. }| Amount {
            messages: all.messages + memory.messages,
            bytes: all.bytes + memory.bytes,
        })
    }

    /// All messages of all of them.
    pub(crate) fn messages(&self) -> u64 {
        self.all.iter().map(|function| function.messages).sum()
    }

    /// What waits for each of them, without those for which nothing does.
    pub(crate) fn totals(&self) -> Vec<FunctionTotals> {
        let functions = self.all.iter().filter(|function| function.messages > 0 || function.timers > 0);
        let of_function = |Function { name, messages, timers, .. }: &Function| FunctionTotals {
            function: name.clone(),
            messages: *messages,
            timers: *timers,
        };
        functions.map(of_function).collect()
    }

    /// What each function has done so far.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (&FunctionType, FunctionCounts)> {
        self.all.iter().map(|function| {
            let backlog = function.messages - function.messages_in_flight;
            (&function.name, FunctionCounts { backlog, ..function.counts })
        })
    }

    /// Checks what always holds.
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

/// What a function has done so far, in StateFun's terms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionCounts {
    /// Messages that came (`in`).
    pub messages_in: u64,
    /// Messages to functions that it sent, delayed ones too (`outLocal`).
    pub messages_out: u64,
    /// Messages to egresses that it sent (`outEgress`).
    pub egress_out: u64,
    /// Messages that wait now, in memory or in the store, those in flight apart (`numBacklog`).
    pub backlog: u64,
    /// Requests that are in flight now (`inflightAsyncOps`).
    pub in_flight: u64,
    /// Requests that failed (`remoteInvocationFailures`).
    pub failures: u64,
}
