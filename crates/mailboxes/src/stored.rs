use std::{collections::VecDeque, time::Duration};

use statefun_kinesis_types::HashKey;

use crate::MessagePlace;

/// A range of numbers of one address' messages that are only in the store. Its messages in memory have lower or higher
/// numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The first number.
    pub(crate) from: u64,
    /// The number after the last one.
    pub(crate) until: u64,
    /// Whether a read is wanted or in progress. At most one is, and it begins at `from`.
    pub(crate) is_read: bool,
}

impl Gap {
    pub(crate) fn new(from: u64, until: u64) -> Self {
        Self { from, until, is_read: false }
    }
}

/// Tracks where the store may have messages of a function's addresses that have no mailbox in memory. There are such
/// addresses after a start, and when too many of the function's addresses have messages.
///
/// The store is read in passes, each from some place to the end. Messages that are added before the place that a pass
/// has reached are read by the next pass. So addresses that fail and are evicted repeatedly do not delay others.
#[derive(Debug, Default)]
pub(crate) struct StoredOnly {
    /// The place that the current pass has reached; `None` without a pass.
    at: Option<MessagePlace>,
    /// The place where the next pass has to begin; `None` when no other pass is needed.
    again: Option<MessagePlace>,
    /// Messages that are not durable, which a pass can read only later: the cuts that have them, each with its lowest
    /// hash.
    undurable: VecDeque<(u64, HashKey)>,
    /// Whether a read is wanted or in progress.
    is_read: bool,
    /// The earliest time of the next pass, so that evicted mailboxes are not retried at once.
    pub(crate) not_before: Option<Duration>,
}

impl StoredOnly {
    /// Covers the whole store, as after a start.
    pub(crate) fn everything() -> Self {
        Self { at: Some(MessagePlace::MIN), ..Self::default() }
    }

    /// Whether the store has no messages of addresses without a mailbox.
    pub(crate) fn is_empty(&self) -> bool {
        self.at.is_none() && self.again.is_none() && self.undurable.is_empty()
    }

    /// Whether the store may have messages of an address with this hash, now or after the next cut.
    pub(crate) fn may_have(&self, hash: HashKey) -> bool {
        self.at.is_some_and(|at| at.hash <= hash) || self.may_have_later(hash)
    }

    /// Whether there may be messages of an address with this hash that a read that ends now did not see.
    pub(crate) fn may_have_later(&self, hash: HashKey) -> bool {
        self.again.is_some_and(|at| at.hash <= hash) || self.undurable.iter().any(|(_, lowest)| *lowest <= hash)
    }

    /// Adds a message of an address without a mailbox. It will be in the cut `cut`.
    pub(crate) fn add(&mut self, hash: HashKey, cut: u64) {
        match self.undurable.back_mut() {
            Some((last, lowest)) if *last == cut => *lowest = hash.min(*lowest),
            _ => self.undurable.push_back((cut, hash)),
        }
    }

    /// Whether there are messages that can be read only once this cut is durable.
    pub(crate) fn waits_for(&self, cut: u64) -> bool {
        self.undurable.back().is_some_and(|(last, _)| *last == cut)
    }

    /// Notes that all cuts up to this one are durable.
    pub(crate) fn durable(&mut self, cut: u64) {
        while let Some((_, hash)) = self.undurable.pop_front_if(|(of, _)| *of <= cut) {
            let place = MessagePlace { hash, number: 0 };
            self.again = Some(self.again.map_or(place, |again| again.min(place)));
        }
    }

    /// Where to read next; `None` when nothing is left to read, a read is in progress, or it is too early for a new
    /// pass.
    pub(crate) fn next(&self) -> Option<MessagePlace> {
        if self.is_read {
            return None;
        }
        self.at.or_else(|| self.again.filter(|_| self.not_before.is_none()))
    }

    /// Notes that a read from [`next`](Self::next) on is wanted.
    pub(crate) fn begin_read(&mut self) {
        self.is_read = true;
        if self.at.is_none() {
            self.at = self.again.take();
        }
    }

    /// Notes that everything up to `rest` was read, or up to the end.
    pub(crate) fn end_read(&mut self, rest: Option<MessagePlace>) {
        self.is_read = false;
        self.at = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u128) -> HashKey {
        HashKey::new(number)
    }

    fn place(number: u128) -> MessagePlace {
        MessagePlace { hash: hash(number), number: 0 }
    }

    #[test]
    fn added_messages_are_read_once_their_cut_is_durable() {
        let mut stored = StoredOnly::default();
        assert!(stored.is_empty() && !stored.may_have(HashKey::MAX));
        stored.add(hash(50), 3);
        stored.add(hash(40), 3);
        stored.add(hash(60), 4);
        assert_eq!([39, 40, 60].map(|at| stored.may_have(hash(at))), [false, true, true]);
        assert_eq!(stored.next(), None);
        stored.durable(3);
        assert_eq!(stored.next(), Some(place(40)));
        assert_eq!([39, 40, 60].map(|at| stored.may_have(hash(at))), [false, true, true]);
    }

    #[test]
    fn messages_that_become_durable_during_a_read_are_read_by_the_next_pass() {
        for added in [10, 80] {
            let mut stored = StoredOnly::everything();
            stored.begin_read();
            stored.end_read(Some(place(70)));
            stored.begin_read();
            assert_eq!(stored.next(), None, "one read at a time");
            stored.add(hash(added), 1);
            stored.durable(1);
            assert!(stored.may_have(hash(added)) && stored.may_have_later(hash(added)));
            // The read that began at 70 has reached the end, and may not have seen what was added.
            stored.end_read(None);
            assert_eq!(stored.next(), Some(place(added)));
            stored.begin_read();
            stored.end_read(None);
            assert!(stored.is_empty());
        }
    }

    #[test]
    fn repeated_evictions_do_not_delay_addresses_behind_them() {
        let mut stored = StoredOnly::everything();
        stored.begin_read();
        stored.end_read(Some(place(70)));
        stored.add(hash(10), 1);
        stored.not_before = Some(Duration::from_secs(30));
        stored.durable(1);
        assert_eq!(stored.next(), Some(place(70)), "the pass goes on");
        stored.begin_read();
        stored.end_read(None);
        assert_eq!(stored.next(), None, "the next one waits");
        stored.not_before = None;
        assert_eq!(stored.next(), Some(place(10)));
    }
}
