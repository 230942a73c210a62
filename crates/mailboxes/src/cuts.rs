//! What is written down for the store, and how much of that is durable.

use std::collections::VecDeque;

use crate::journal::Journal;

/// The changes since the last cut, and the cuts that are not durable yet.
#[derive(Debug)]
pub(crate) struct Cuts {
    pub(crate) journal: Journal,
    /// The numbers that come next.
    pub(crate) next: Numbers,
    /// Oldest first.
    undurable: VecDeque<Undurable>,
    /// The number of the last cut that is durable.
    durable: u64,
    /// All numbers below these are in durable cuts.
    durable_numbers: Numbers,
}

/// A cut that is not durable.
#[derive(Debug)]
struct Undurable {
    cut: u64,
    state_bytes: usize,
    message_bytes: usize,
    next: Numbers,
}

/// The numbers that come next. Each kind has its own, without gaps, as the journal likes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers {
    pub(crate) message: u64,
    pub(crate) timer: u64,
    pub(crate) record: u64,
}

impl Numbers {
    pub(crate) fn take_message(&mut self) -> u64 {
        take_number(&mut self.message)
    }

    pub(crate) fn take_timer(&mut self) -> u64 {
        take_number(&mut self.timer)
    }

    pub(crate) fn take_record(&mut self) -> u64 {
        take_number(&mut self.record)
    }
}

fn take_number(next: &mut u64) -> u64 {
    *next += 1;
    *next - 1
}

impl Default for Cuts {
    fn default() -> Self {
        Self {
            journal: Journal::new(1),
            next: Numbers::default(),
            undurable: VecDeque::new(),
            durable: 0,
            durable_numbers: Numbers::default(),
        }
    }
}

impl Cuts {
    /// Goes on with these numbers, where earlier mailboxes ended. All before is durable.
    pub(crate) fn restored(&mut self, next: Numbers) {
        (self.next, self.durable_numbers) = (next, next);
    }

    /// Takes what has changed since the last cut.
    pub(crate) fn take(&mut self) -> Journal {
        let journal = self.journal.take();
        self.undurable.push_back(Undurable {
            cut: journal.number,
            state_bytes: journal.state_bytes,
            message_bytes: journal.message_bytes,
            next: self.next,
        });
        journal
    }

    /// The cut of this number and all before it are durable.
    pub(crate) fn durable(&mut self, number: u64) {
        self.durable = self.durable.max(number);
        while let Some(cut) = self.undurable.pop_front_if(|cut| cut.cut <= number) {
            self.durable_numbers = cut.next;
        }
    }

    /// Whether a cut is durable; 0 stands for what was there at the start.
    pub(crate) fn is_durable(&self, cut: u64) -> bool {
        cut <= self.durable
    }

    /// All numbers below these are in durable cuts, so that a read of the store finds what has them.
    pub(crate) fn durable_numbers(&self) -> Numbers {
        self.durable_numbers
    }

    /// Bytes of changed states that are in no durable cut.
    pub(crate) fn unsaved_bytes(&self) -> usize {
        self.undurable.iter().map(|cut| cut.state_bytes).sum::<usize>() + self.journal.state_bytes
    }

    /// Bytes of messages that came and are in no durable cut.
    pub(crate) fn undurable_message_bytes(&self) -> usize {
        self.undurable.iter().map(|cut| cut.message_bytes).sum::<usize>() + self.journal.message_bytes
    }

    /// Checks what always holds.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check_invariants(&self) {
        let cuts = self.undurable.iter().map(|cut| cut.cut).chain([self.journal.number]);
        assert!(cuts.is_sorted_by(|a, b| a + 1 == *b), "cuts become durable in their order");
        assert!(self.undurable.front().is_none_or(|cut| cut.cut > self.durable), "cuts up to {} wait", self.durable);
        let numbers = [self.durable_numbers].into_iter().chain(self.undurable.iter().map(|cut| cut.next));
        let kinds: [fn(Numbers) -> u64; 3] = [|of| of.message, |of| of.timer, |of| of.record];
        for kind in kinds {
            assert!(numbers.clone().chain([self.next]).map(kind).is_sorted(), "numbers grow");
        }
    }
}
