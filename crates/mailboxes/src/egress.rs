//! Records for egresses.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use crate::{
    StoredEgress,
    entry::StoredKey,
    journal::{Journal, NumberHashing},
    limits::{Amount, Limits},
};

/// Records that were sent and that their egress has not stored yet.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// By number.
    outstanding: HashMap<u64, Outstanding, NumberHashing>,
    outbox: Vec<StoredEgress>,
    all: Amount,
    /// By the index of the function that sent them. It may be shorter than the list of functions.
    by_function: Vec<OfFunction>,
    /// Mailboxes that wait, of all functions.
    waiting: usize,
}

#[derive(Debug)]
struct Outstanding {
    size: usize,
    /// The sender's id.
    sender: Arc<str>,
    /// The sender's function; `None` for a record of an earlier run.
    function: Option<u32>,
}

/// The records of one function.
#[derive(Debug, Default)]
struct OfFunction {
    outstanding: Amount,
    /// Mailboxes that wait until fewer records are outstanding, the longest waiting first.
    waiting: VecDeque<u32>,
}

impl Outgoing {
    pub(crate) fn push(&mut self, record: StoredEgress, function: Option<u32>) {
        let size = record.message.size();
        self.all.add(size);
        if let Some(function) = function {
            self.of_function(function).outstanding.add(size);
        }
        let sender = Arc::clone(&record.sender);
        self.outstanding.insert(record.id, Outstanding { size, sender, function });
        self.outbox.push(record);
    }

    pub(crate) fn take(&mut self) -> Vec<StoredEgress> {
        std::mem::take(&mut self.outbox)
    }

    /// Removes a record that its egress has stored.
    pub(crate) fn stored(&mut self, number: u64, journal: &mut Journal) {
        if let Some(Outstanding { size, sender, function }) = self.outstanding.remove(&number) {
            self.all.remove(size);
            if let Some(function) = function {
                self.of_function(function).outstanding.remove(size);
            }
            journal.egress.remove(number, || StoredKey { owner: sender, number });
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.all.messages
    }

    pub(crate) fn bytes(&self) -> usize {
        self.all.bytes
    }

    /// Whether a function has to wait until fewer of the records that it sent are outstanding.
    ///
    /// An egress that stands still must not hold up functions that do not write to it. Nothing is known in advance about
    /// where a function writes to, but only those that write to it have more and more records outstanding. So half of
    /// the limits is for all functions, and of the other half each has an equal share.
    pub(crate) fn holds_back(&self, function: u32, functions: usize, limits: &Limits) -> bool {
        let (all, share) = limits.egress(functions);
        let own = self.by_function.get(function as usize).map(|of| of.outstanding).unwrap_or_default();
        self.all.reaches(all) && own.reaches(share)
    }

    /// Makes a mailbox of a function wait.
    pub(crate) fn wait(&mut self, function: u32, slot: u32) {
        self.of_function(function).waiting.push_back(slot);
        self.waiting += 1;
    }

    /// Takes the longest waiting mailbox of each function that does not have to wait any more.
    pub(crate) fn released(&mut self, functions: usize, limits: &Limits) -> Vec<u32> {
        if self.waiting == 0 {
            return Vec::new();
        }
        let free = (0..self.by_function.len() as u32).filter(|function| !self.holds_back(*function, functions, limits));
        let free: Vec<u32> = free.collect();
        let slots: Vec<u32> =
            free.into_iter().filter_map(|function| self.of_function(function).waiting.pop_front()).collect();
        self.waiting -= slots.len();
        slots
    }

    fn of_function(&mut self, function: u32) -> &mut OfFunction {
        let place = function as usize;
        if self.by_function.len() <= place {
            self.by_function.resize_with(place + 1, OfFunction::default);
        }
        &mut self.by_function[place]
    }

    /// The mailboxes that wait.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn waiting(&self) -> impl Iterator<Item = u32> {
        self.by_function.iter().flat_map(|of| of.waiting.iter().copied())
    }

    /// Checks the sums.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check_invariants(&self) {
        let mut by_function = vec![Amount::default(); self.by_function.len()];
        let mut all = Amount::default();
        for record in self.outstanding.values() {
            all.add(record.size);
            if let Some(function) = record.function {
                by_function[function as usize].add(record.size);
            }
        }
        assert_eq!(self.all, all, "all records");
        assert!(self.by_function.iter().map(|of| of.outstanding).eq(by_function), "records by function");
        assert_eq!(self.waiting, self.waiting().count(), "mailboxes that wait for egresses");
    }
}
