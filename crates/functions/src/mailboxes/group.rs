//! Functions, and those who serve them.

use std::{
    collections::{HashMap, VecDeque},
    num::NonZeroU32,
    sync::Arc,
};

use statefun_kinesis_types::{Address, FunctionType};

use super::{ids::Ids, state::Specs};

/// Functions that are served by one place, such as an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupId(pub(super) u32);

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
    /// Most messages of a request, and most messages that an address may have waiting before it holds up who sends to it.
    pub max_batch_messages: NonZeroU32,
    /// Most bytes of messages of a request; one message may be larger.
    pub max_batch_bytes: usize,
}

impl Default for GroupSettings {
    /// StateFun's 1000 messages, 1024 requests, and 16 MiB per request, half of what StateFun's SDKs take.
    fn default() -> Self {
        Self {
            max_in_flight: const { NonZeroU32::new(1024).unwrap() },
            max_batch_messages: const { NonZeroU32::new(1000).unwrap() },
            max_batch_bytes: 16 << 20,
        }
    }
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) settings: GroupSettings,
    /// Mailboxes whose next batch can go out, longest waiting first.
    pub(super) ready: VecDeque<u32>,
    /// Those whose turn it was when there was no room for their states.
    pub(super) cold: VecDeque<u32>,
    /// Those whose turn it was, and whose states have come from the store since.
    pub(super) loaded: VecDeque<u32>,
    /// How many wait for their states or are in `loaded`.
    pub(super) loads: usize,
    pub(super) in_flight: u32,
}

impl Group {
    pub(super) fn new(settings: GroupSettings) -> Self {
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
pub(super) struct Directory {
    pub(super) functions: HashMap<FunctionType, GroupId>,
    pub(super) namespaces: HashMap<String, GroupId>,
}

impl Directory {
    pub(super) fn find(&self, function: &FunctionType) -> Option<GroupId> {
        self.functions.get(function).or_else(|| self.namespaces.get(function.namespace())).copied()
    }
}

/// No group serves a function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nobody serves the function {function}")]
pub struct UnknownFunction {
    /// The function.
    pub function: FunctionType,
}

/// A function: what is known of it and its instances.
#[derive(Debug)]
pub(super) struct Function {
    pub(super) name: FunctionType,
    pub(super) group: GroupId,
    pub(super) specs: Specs,
    /// Whether a batch was handled yet: only then all states are known, and requests go out side by side.
    pub(super) is_known: bool,
    /// Whether the one request of a function that is not known is in flight.
    pub(super) is_tried: bool,
    /// Mailboxes that are ready but for that.
    pub(super) aside: VecDeque<u32>,
    pub(super) instances: Ids,
    pub(super) counts: FunctionCounts,
}

impl Function {
    pub(super) fn new(name: FunctionType, group: GroupId) -> Self {
        Self {
            name,
            group,
            specs: Specs::default(),
            is_known: false,
            is_tried: false,
            aside: VecDeque::new(),
            instances: Ids::new(),
            counts: FunctionCounts::default(),
        }
    }

    pub(super) fn address(&self, id: &Arc<str>) -> Address {
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
    /// Messages that wait now (`numBacklog`).
    pub backlog: u64,
    /// Requests that are in flight now (`inflightAsyncOps`).
    pub in_flight: u64,
    /// Requests that failed (`remoteInvocationFailures`).
    pub failures: u64,
}
