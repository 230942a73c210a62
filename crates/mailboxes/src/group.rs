//! Functions, and those who serve them.

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU32,
    sync::Arc,
};

use statefun_kinesis_types::{Address, FunctionType};

use crate::{ids::Ids, state::Specs, stored::StoredOnly};

/// Functions that are served by one place, such as an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupId(pub(crate) u32);

impl GroupId {
    /// The group's place in the order in which groups were made, from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// How much a group of functions takes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// Most requests in flight, over all its functions.
    pub max_in_flight: NonZeroU32,
    /// Most messages of a request. As many messages of an address wait in memory, or 100; the others are in the store.
    pub max_batch_messages: NonZeroU32,
    /// Most bytes of messages of a request; one message may be larger.
    pub max_batch_bytes: usize,
    /// Whether batches that fail are given up after some attempts or some time. Then their addresses stay in memory while
    /// they wait for the next attempt, because the store does not know how often they failed; otherwise they make room
    /// for other addresses.
    pub gives_up: bool,
}

impl GroupSettings {
    /// Most messages of an address that wait in memory, unless a request may have more: enough that small requests do not
    /// make the store be read all the time.
    const WINDOW_MIN: usize = 100;

    /// Most messages of an address that wait in memory.
    pub(crate) fn window(&self) -> usize {
        (self.max_batch_messages.get() as usize).max(Self::WINDOW_MIN)
    }
}

impl Default for GroupSettings {
    /// StateFun's 1000 messages, 1024 requests, and 16 MiB per request, half of what StateFun's SDKs take.
    fn default() -> Self {
        Self {
            max_in_flight: const { NonZeroU32::new(1024).unwrap() },
            max_batch_messages: const { NonZeroU32::new(1000).unwrap() },
            max_batch_bytes: 16 << 20,
            gives_up: false,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) settings: GroupSettings,
    /// Mailboxes whose next batch can go out, longest waiting first.
    pub(crate) ready: VecDeque<u32>,
    /// Those whose turn it was when there was no room for their states.
    pub(crate) cold: VecDeque<u32>,
    /// Those whose turn it was, and whose states and messages have come from the store since.
    pub(crate) loaded: VecDeque<u32>,
    /// How many wait for their states or messages, or are in `loaded`.
    pub(crate) loads: usize,
    pub(crate) in_flight: u32,
}

impl Group {
    pub(crate) fn new(settings: GroupSettings) -> Self {
        Self {
            settings,
            ready: VecDeque::new(),
            cold: VecDeque::new(),
            loaded: VecDeque::new(),
            loads: 0,
            in_flight: 0,
        }
    }
}

/// Which group serves a function: the one that names the function, else the one that names its namespace.
#[derive(Debug, Default)]
pub(crate) struct Directory {
    pub(crate) functions: HashMap<FunctionType, GroupId>,
    pub(crate) namespaces: HashMap<String, GroupId>,
}

impl Directory {
    pub(crate) fn find(&self, function: &FunctionType) -> Option<GroupId> {
        self.functions.get(function).or_else(|| self.namespaces.get(function.namespace())).copied()
    }
}

/// No group serves a function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no endpoint and no function in process serves {function}")]
pub struct UnknownFunction {
    /// The function.
    pub function: FunctionType,
}

/// A function: what is known of it and its instances.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: FunctionType,
    pub(crate) group: GroupId,
    pub(crate) specs: Specs,
    /// Whether a batch was handled yet: only then all states are known, and requests go out side by side.
    pub(crate) is_known: bool,
    /// Whether the one request of a function that is not known is in flight.
    pub(crate) is_tried: bool,
    /// Mailboxes that are ready but for that.
    pub(crate) aside: VecDeque<u32>,
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

/// Messages, and about how much memory they take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

impl Amount {
    pub(crate) fn add(&mut self, footprint: usize) {
        self.messages += 1;
        self.bytes += footprint;
    }

    pub(crate) fn remove(&mut self, footprint: usize) {
        self.messages -= 1;
        self.bytes -= footprint;
    }
}

impl Function {
    pub(crate) fn new(name: FunctionType, group: GroupId) -> Self {
        Self {
            name,
            group,
            specs: Specs::default(),
            is_known: false,
            is_tried: false,
            aside: VecDeque::new(),
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
