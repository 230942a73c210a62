use std::collections::{HashSet, VecDeque};

use crate::{journal::NumberHashing, reads::ReadId};

/// What was removed of late, while the store may still show it.
///
/// An entry that was removed stays visible in the store until its removal is durable, and a read that began before that
/// may bring it later still. What a read brings and what stands here is therefore gone. It would otherwise be handled, or
/// fire, a second time.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    numbers: HashSet<u64, NumberHashing>,
    /// By the cut that has the removal, oldest first.
    undurable: VecDeque<(u64, Vec<u64>)>,
    /// Durable removals, with the first read that cannot show them any more.
    durable: VecDeque<(ReadId, Vec<u64>)>,
}

impl Removed {
    /// An entry was removed that an earlier cut had; `cut` will have the removal.
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

    /// All cuts up to this one are durable; `next` is the next read that begins.
    pub(crate) fn durable(&mut self, cut: u64, next: ReadId) {
        while let Some((_, numbers)) = self.undurable.pop_front_if(|(of, _)| *of <= cut) {
            self.durable.push_back((next, numbers));
        }
    }

    /// Forgets what no read can show any more; `oldest` is the oldest read that is under way, or else the next one.
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
