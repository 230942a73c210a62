use std::{collections::VecDeque, time::Duration};

use statefun_kinesis_types::HashKey;

use crate::MessagePlace;

/// Messages of one address that are in the store and not in memory, by their numbers. Those in memory have lower or
/// higher ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    /// The first number that is not in memory.
    pub(crate) from: u64,
    /// The number behind the last one.
    pub(crate) until: u64,
    /// Whether a read is wanted or under way.
    pub(crate) is_read: bool,
}

impl Gap {
    pub(crate) fn new(from: u64, until: u64) -> Self {
        Self { from, until, is_read: false }
    }
}

/// Where the store may have messages of addresses of a function of which no mailbox is in memory: after a start, or where
/// too many of its addresses have messages.
///
/// The store is read in passes, each from some place to the end. What is added in front of the place that a pass has
/// reached is read by the next one, so that addresses which fail and are evicted again and again do not delay others.
#[derive(Debug, Default)]
pub(crate) struct StoredOnly {
    /// The place that the pass has reached; none when there is no pass.
    at: Option<MessagePlace>,
    /// The place from which the next pass has to read; none when no other pass is needed.
    again: Option<MessagePlace>,
    /// Those that were added since: the cut that has them, and the lowest of their places. Once that cut is durable, a
    /// pass reads them.
    undurable: VecDeque<(u64, HashKey)>,
    /// Whether a read is wanted or under way.
    is_read: bool,
    /// No pass begins before this time, so that addresses that were parked are not retried at once.
    pub(crate) not_before: Option<Duration>,
}

impl StoredOnly {
    /// Everything that is in the store.
    pub(crate) fn everything() -> Self {
        Self { at: Some(MessagePlace::MIN), ..Self::default() }
    }

    /// Whether the store has no such messages.
    pub(crate) fn is_empty(&self) -> bool {
        self.at.is_none() && self.again.is_none() && self.undurable.is_empty()
    }

    /// Whether the store may have messages of an address that lies there, now or after the next cut.
    pub(crate) fn may_have(&self, hash: HashKey) -> bool {
        self.at.is_some_and(|at| at.hash <= hash) || self.may_have_later(hash)
    }

    /// Whether there may be messages of an address that lies there which a read that ends now has not seen.
    pub(crate) fn may_have_later(&self, hash: HashKey) -> bool {
        self.again.is_some_and(|at| at.hash <= hash) || self.undurable.iter().any(|(_, lowest)| *lowest <= hash)
    }

    /// A message of an address without a mailbox; `cut` will have it.
    pub(crate) fn add(&mut self, hash: HashKey, cut: u64) {
        match self.undurable.back_mut() {
            Some((last, lowest)) if *last == cut => *lowest = hash.min(*lowest),
            _ => self.undurable.push_back((cut, hash)),
        }
    }

    /// Whether something is read only once this cut is durable.
    pub(crate) fn waits_for(&self, cut: u64) -> bool {
        self.undurable.back().is_some_and(|(last, _)| *last == cut)
    }

    /// All cuts up to this one are durable.
    pub(crate) fn durable(&mut self, cut: u64) {
        while let Some((_, hash)) = self.undurable.pop_front_if(|(of, _)| *of <= cut) {
            let place = MessagePlace { hash, number: 0 };
            self.again = Some(self.again.map_or(place, |again| again.min(place)));
        }
    }

    /// Where to read next, if there is something to read, no read is under way, and it is time for that.
    pub(crate) fn next(&self) -> Option<MessagePlace> {
        if self.is_read {
            return None;
        }
        self.at.or_else(|| self.again.filter(|_| self.not_before.is_none()))
    }

    /// A read from the next place on is wanted.
    pub(crate) fn begin_read(&mut self) {
        self.is_read = true;
        if self.at.is_none() {
            self.at = self.again.take();
        }
    }

    /// All up to a place was read, or all there is.
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
    fn what_is_added_is_read_once_its_cut_is_durable() {
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
    fn what_becomes_durable_during_a_read_is_read_by_the_next_pass() {
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
    fn what_is_evicted_again_holds_up_nothing_behind_it() {
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
