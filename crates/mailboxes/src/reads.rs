//! Reads of the store for messages and delayed messages.

use std::collections::{BTreeMap, VecDeque};

use statefun_kinesis_types::{Address, FunctionType, HashKey, Timestamp};

use crate::{StoredMessage, StoredTimer};

/// Identifies a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub(crate) u64);

/// The place of a message in the store. The store has messages in the order of their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessagePlace {
    /// The hash of the id of the address.
    pub hash: HashKey,
    /// The message's number.
    pub number: u64,
}

impl MessagePlace {
    /// The first place.
    pub const MIN: Self = Self { hash: HashKey::MIN, number: 0 };
}

/// The place of a delayed message in the store's index, which is in the order in which they are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DuePlace {
    /// When it is due.
    pub at: Timestamp,
    /// The hash of the id of its sender.
    pub hash: HashKey,
    /// The delayed message's number.
    pub number: u64,
}

/// A read of the store. It has to begin after it was [taken](crate::Mailboxes::take_reads), and may see the store of
/// any moment after that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// Messages of an address, in the order of their numbers, from `from` up to but not including `until`. The result
    /// is [`Found::Messages`].
    Messages {
        /// The address.
        to: Address,
        /// The first number.
        from: u64,
        /// The number after the last one.
        until: u64,
    },
    /// Messages of all addresses of a function, in the order of their places, from `from` on. The result is
    /// [`Found::Waiting`], which may also have messages of other functions.
    Waiting {
        /// The function.
        function: FunctionType,
        /// The first place.
        from: MessagePlace,
    },
    /// Delayed messages in the order in which they are due, from `from` on. The result is [`Found::Delayed`].
    Delayed {
        /// The first place; `None` stands for the beginning.
        from: Option<DuePlace>,
    },
    /// All delayed messages of a sender. The result is [`Found::DelayedBy`].
    DelayedBy {
        /// The sender.
        sender: Address,
    },
}

/// The result of a read. Except for [`DelayedBy`](Self::DelayedBy) it may be a page: the first part of the entries, of
/// any length, and where the rest begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The result of [`Read::Messages`].
    Messages {
        /// The messages.
        messages: Vec<StoredMessage>,
        /// The first number that was not read; `None` when all were.
        rest: Option<u64>,
    },
    /// The result of [`Read::Waiting`].
    Waiting {
        /// The messages.
        messages: Vec<StoredMessage>,
        /// The first place that was not read; `None` when all were.
        rest: Option<MessagePlace>,
    },
    /// The result of [`Read::Delayed`].
    Delayed {
        /// The delayed messages.
        timers: Vec<StoredTimer>,
        /// The first place that was not read; `None` when all were.
        rest: Option<DuePlace>,
    },
    /// The result of [`Read::DelayedBy`].
    DelayedBy {
        /// All of the sender's delayed messages.
        timers: Vec<StoredTimer>,
    },
}

/// Reads that are wanted, and reads in progress.
#[derive(Debug, Default)]
pub(crate) struct Reads {
    wanted: VecDeque<Read>,
    under_way: BTreeMap<ReadId, Read>,
    next: ReadId,
}

impl Reads {
    pub(crate) fn want(&mut self, read: Read) {
        self.wanted.push_back(read);
    }

    /// Takes the reads that begin now.
    pub(crate) fn take(&mut self) -> Vec<(ReadId, Read)> {
        let mut taken = Vec::with_capacity(self.wanted.len());
        for read in self.wanted.drain(..) {
            let id = self.next;
            self.next.0 += 1;
            self.under_way.insert(id, read.clone());
            taken.push((id, read));
        }
        taken
    }

    /// Ends a read. Returns `None` when it has ended before.
    pub(crate) fn end(&mut self, id: ReadId) -> Option<Read> {
        self.under_way.remove(&id)
    }

    /// The next read that begins.
    pub(crate) fn next(&self) -> ReadId {
        self.next
    }

    /// The oldest read in progress, or else the next one.
    pub(crate) fn oldest(&self) -> ReadId {
        self.under_way.first_key_value().map_or(self.next, |(id, _)| *id)
    }

    pub(crate) fn len(&self) -> usize {
        self.wanted.len() + self.under_way.len()
    }
}
