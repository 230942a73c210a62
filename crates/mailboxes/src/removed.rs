use std::collections::{HashSet, VecDeque};

use crate::{journal::NumberHashing, reads::ReadId};

/// The numbers of entries that were removed recently and that reads of the store may still return.
///
/// A removed entry stays in the store until the cut with its removal is durable, and a read that began before that may
/// return it even later. Callers ignore entries of a read whose numbers are here. Otherwise a message would be handled
/// twice, or a delayed message sent twice.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    numbers: HashSet<u64, NumberHashing>,
    /// Numbers by the cut that has their removal, oldest first.
    undurable: VecDeque<(u64, Vec<u64>)>,
    /// Numbers whose removal is durable, each with the first read that cannot return them any more.
    durable: VecDeque<(ReadId, Vec<u64>)>,
}

impl Removed {
    /// Adds the number of a removed entry that an earlier cut has. The removal will be in the cut `cut`.
    pub(crate) fn add(&mut self, cut: u64, number: u64) {
        self.numbers.insert(number);
        match self.undurable.back_mut() {
            Some((last, numbers)) if *last == cut => numbers.push(number),
            _ => self.undurable.push_back((cut, vec![number])),
        }
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.numbers.contains(&number)
    }

    /// Notes that all cuts up to this one are durable. `next` is the next read that begins.
    pub(crate) fn durable(&mut self, cut: u64, next: ReadId) {
        while let Some((_, numbers)) = self.undurable.pop_front_if(|(of, _)| *of <= cut) {
            self.durable.push_back((next, numbers));
        }
    }

    /// Forgets numbers that no read can return any more. `oldest` is the oldest read in progress, or else the next one.
    pub(crate) fn forget(&mut self, oldest: ReadId) {
        while let Some((_, numbers)) = self.durable.pop_front_if(|(first, _)| *first <= oldest) {
            for number in numbers {
                self.numbers.remove(&number);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removal_counts_until_no_read_can_show_what_was_removed() {
        let mut removed = Removed::default();
        removed.add(1, 7);
        removed.add(2, 8);
        // Read 0 began while the store still had both.
        removed.durable(1, ReadId(1));
        removed.forget(ReadId(0));
        assert!(removed.contains(7) && removed.contains(8));
        removed.forget(ReadId(1));
        assert!(!removed.contains(7) && removed.contains(8));
        removed.durable(2, ReadId(3));
        removed.forget(ReadId(3));
        assert!(!removed.contains(8));
    }
}
