//! What the mailboxes ask their store for, beside states.

use std::collections::{BTreeMap, VecDeque};

use statefun_kinesis_types::{Address, FunctionType, HashKey, Timestamp};

use crate::{StoredMessage, StoredTimer};

/// The name of a read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub(crate) u64);

/// The place of a message in the store, which has them in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessagePlace {
    /// Where the id of its address lies.
    pub hash: HashKey,
    /// The message's number.
    pub number: u64,
}

impl MessagePlace {
    /// The first place.
    pub const MIN: Self = Self { hash: HashKey::MIN, number: 0 };
}

/// The place of a delayed message in the order in which they are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DuePlace {
    /// When it is due.
    pub at: Timestamp,
    /// Where the id of its sender lies.
    pub hash: HashKey,
    /// The delayed message's number.
    pub number: u64,
}

/// What the store is asked for. Any moment of it after the read was [taken](crate::Mailboxes::take_reads) will do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Read {
    /// Messages of an address, in the order of their numbers: those from the first number up to the other one, which is
    /// not included. The answer is [`Found::Messages`].
    Messages {
        /// The address.
        to: Address,
        /// The first number.
        from: u64,
        /// The number at which to stop.
        until: u64,
    },
    /// Messages of all addresses of a function, in the order of their places, from this one on. The answer is
    /// [`Found::Waiting`]; it may have messages of other functions, too.
    Waiting {
        /// The function.
        function: FunctionType,
        /// The first place.
        from: MessagePlace,
    },
    /// Delayed messages in the order in which they are due, from this place on, or from the first one. The answer is
    /// [`Found::Delayed`].
    Delayed {
        /// The first place.
        from: Option<DuePlace>,
    },
    /// All delayed messages of a sender. The answer is [`Found::DelayedBy`].
    DelayedBy {
        /// The sender.
        sender: Address,
    },
}

/// What the store has. An answer to a long read may be a part of it that ends anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// To [`Read::Messages`].
    Messages {
        /// The messages.
        messages: Vec<StoredMessage>,
        /// The first number that was not looked at; none when all were.
        rest: Option<u64>,
    },
    /// To [`Read::Waiting`].
    Waiting {
        /// The messages.
        messages: Vec<StoredMessage>,
        /// The first place that was not looked at; none when all were.
        rest: Option<MessagePlace>,
    },
    /// To [`Read::Delayed`].
    Delayed {
        /// The delayed messages.
        timers: Vec<StoredTimer>,
        /// The first place that was not looked at; none when all were.
        rest: Option<DuePlace>,
    },
    /// To [`Read::DelayedBy`].
    DelayedBy {
        /// All of the sender's delayed messages.
        timers: Vec<StoredTimer>,
    },
}

/// Reads that are wanted, and those that are under way.
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

    /// Reads that begin now.
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

    /// A read has ended.
    pub(crate) fn end(&mut self, id: ReadId) -> Option<Read> {
        self.under_way.remove(&id)
    }

    /// The next read that begins.
    pub(crate) fn next(&self) -> ReadId {
        self.next
    }

    /// The oldest read that is under way, or else the next one.
    pub(crate) fn oldest(&self) -> ReadId {
        self.under_way.first_key_value().map_or(self.next, |(id, _)| *id)
    }

    pub(crate) fn len(&self) -> usize {
        self.wanted.len() + self.under_way.len()
    }
}
