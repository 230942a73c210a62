//! Groups of functions.

use std::{collections::VecDeque, num::NonZeroU32};

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

/// A group, and the mailboxes of its functions whose turn it is.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) settings: GroupSettings,
    /// Mailboxes whose next batch can go out, longest waiting first.
    pub(crate) ready: VecDeque<u32>,
    /// Those whose turn it was when there was no room for their states.
    pub(crate) unloaded: VecDeque<u32>,
    /// Those whose turn it was, and whose states and messages have come from the store since.
    pub(crate) loaded: VecDeque<u32>,
    /// How many wait for their states or messages, or are in `loaded`.
    pub(crate) loads: usize,
    /// Requests in flight.
    pub(crate) in_flight: u32,
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
        }
    }

    /// Whether another request may be in flight.
    pub(crate) fn has_room(&self) -> bool {
        self.in_flight < self.settings.max_in_flight.get()
    }
}
