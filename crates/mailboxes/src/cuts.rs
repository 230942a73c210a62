//! The changes for the store, and how many of them are durable.

use std::collections::VecDeque;

use crate::journal::Journal;

/// The changes since the last cut, and the cuts that are not durable yet.
#[derive(Debug)]
pub(crate) struct Cuts {
    pub(crate) journal: Journal,
    /// The next numbers of messages, delayed messages and records.
    pub(crate) next: Numbers,
    /// Cuts that are not durable, oldest first.
    undurable: VecDeque<Undurable>,
    /// The number of the last durable cut.
    durable: u64,
    /// All entries with lower numbers are in durable cuts.
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

/// The next number of each kind. Numbers of a kind have no gaps, because the journal uses them as indexes.
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
    /// Continues with the numbers of earlier mailboxes. Everything with lower numbers is durable.
    pub(crate) fn restored(&mut self, next: Numbers) {
        (self.next, self.durable_numbers) = (next, next);
    }

    /// Takes the changes since the last cut.
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

    /// Notes that the cut of this number and all earlier ones are durable.
    pub(crate) fn durable(&mut self, number: u64) {
        self.durable = self.durable.max(number);
        while let Some(cut) = self.undurable.pop_front_if(|cut| cut.cut <= number) {
            self.durable_numbers = cut.next;
        }
    }

    /// Whether a cut is durable. 0 stands for the data of the start, which is.
    pub(crate) fn is_durable(&self, cut: u64) -> bool {
        cut <= self.durable
    }

    /// All entries with lower numbers are in durable cuts, so that a read that begins now finds them.
    pub(crate) fn durable_numbers(&self) -> Numbers {
        self.durable_numbers
    }

    /// Bytes of changed states that are not durable.
    pub(crate) fn unsaved_bytes(&self) -> usize {
        self.undurable.iter().map(|cut| cut.state_bytes).sum::<usize>() + self.journal.state_bytes
    }

    /// Bytes of new messages that are not durable.
    pub(crate) fn undurable_message_bytes(&self) -> usize {
        self.undurable.iter().map(|cut| cut.message_bytes).sum::<usize>() + self.journal.message_bytes
    }

    /// Checks the order of the cuts and of the numbers.
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
