//! Groups of functions.

use std::{collections::VecDeque, num::NonZeroU32};

use crate::breaker::Breaker;

/// Identifies a group of functions that are called the same way, such as those of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupId(pub(crate) u32);

impl GroupId {
    /// The index of the group in the order in which groups were added, from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// The limits and the failure handling of a group's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// Most requests in flight, over all functions of the group. Default: 1024.
    pub max_in_flight: NonZeroU32,
    /// Most messages of a request. An address keeps as many waiting messages in memory, but at least 100; the others
    /// are in the store. Default: 1000.
    pub max_batch_messages: NonZeroU32,
    /// Most bytes of a request: its messages, and the states up to half of it. A single message may be larger. Default:
    /// 1 MiB.
    pub max_batch_bytes: usize,
    /// Whether failing batches are given up after some attempts or some time. If so, their addresses stay in memory
    /// while they wait for a retry, because the store does not have the number of attempts. Otherwise they may be
    /// evicted to make room for other addresses. Default: `false`.
    pub gives_up: bool,
}

impl GroupSettings {
    /// Least number of messages of an address that may wait in memory. It keeps small requests from reading the store
    /// all the time.
    const WINDOW_MIN: usize = 100;

    /// Most messages of an address that wait in memory.
    pub(crate) fn window(&self) -> usize {
        (self.max_batch_messages.get() as usize).max(Self::WINDOW_MIN)
    }
}

impl Default for GroupSettings {
    /// StateFun's defaults of 1000 messages and 1024 requests, and 1 MiB per request, the default limit of aiohttp and
    /// nginx.
    fn default() -> Self {
        Self {
            max_in_flight: const { NonZeroU32::new(1024).unwrap() },
            max_batch_messages: const { NonZeroU32::new(1000).unwrap() },
            max_batch_bytes: 1 << 20,
            gives_up: false,
        }
    }
}

/// A group, with the ready mailboxes of its functions.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) settings: GroupSettings,
    /// Mailboxes that wait for their turn, the longest waiting first.
    pub(crate) ready: VecDeque<u32>,
    /// Mailboxes whose turn it was, but which wait until there is room to load them.
    pub(crate) unloaded: VecDeque<u32>,
    /// Mailboxes whose turn it was and whose states and messages have been loaded since. They go first.
    pub(crate) loaded: VecDeque<u32>,
    /// The number of mailboxes that are loading or in `loaded`.
    pub(crate) loads: usize,
    /// Requests in flight.
    pub(crate) in_flight: u32,
    /// Holds requests back while the group's server takes none.
    pub(crate) breaker: Breaker,
}

impl Group {
    pub(crate) fn new(settings: GroupSettings) -> Self {
        Self {
            settings,
            ready: VecDeque::new(),
            unloaded: VecDeque::new(),
            loaded: VecDeque::new(),
            loads: 0,
            in_flight: 0,
            breaker: Breaker::default(),
        }
    }

    /// Notes that the group's server answered a request, even if with an error.
    pub(crate) fn answered(&mut self, request: u64) {
        self.breaker.answered(request, self.settings.max_in_flight.get());
    }

    /// Whether another request may be sent.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight < self.settings.max_in_flight.get() && self.breaker.has_room()
    }
}
