//! The mailboxes in memory.

use std::{
    collections::VecDeque,
    ops::{Index, IndexMut},
};

use slab::Slab;

use crate::mailbox::{Envelope, Mailbox};

/// Most buffers that are kept: about the number of mailboxes that are removed while a delivery is handled.
const BUFFERS_MAX: usize = 256;

/// The mailboxes in memory, each in a slot that it keeps until it is removed. Slots are reused, so code that keeps a
/// slot number for longer has to check that the slot still has the same mailbox.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    all: Slab<Mailbox>,
    /// Buffers of removed mailboxes, for new ones. This saves allocations, since most mailboxes live for a message or
    /// two.
    buffers: Vec<VecDeque<Envelope>>,
}

impl Slots {
    /// Adds a mailbox without messages.
    pub(crate) fn insert(&mut self, function: u32, instance: u32) -> u32 {
        let mailbox = Mailbox::new(function, instance, self.buffers.pop().unwrap_or_default());
        u32::try_from(self.all.insert(mailbox)).expect("fewer mailboxes than the memory has room for")
    }

    /// Removes an empty mailbox and keeps its buffer.
    pub(crate) fn remove_empty(&mut self, slot: u32) {
        let waiting = self.remove(slot).waiting;
        if self.buffers.len() < BUFFERS_MAX {
            self.buffers.push(waiting);
        }
    }

    pub(crate) fn remove(&mut self, slot: u32) -> Mailbox {
        self.all.remove(slot as usize)
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Mailbox> {
        self.all.get(slot as usize)
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Mailbox> {
        self.all.get_mut(slot as usize)
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// All mailboxes with their slots.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Mailbox)> {
        self.all.iter().map(|(slot, mailbox)| (slot as u32, mailbox))
    }

    /// Checks all mailboxes, and that kept buffers are empty.
    #[cfg(any(test, debug_assertions))]
    pub(crate) fn check_invariants(&self) {
        self.all.iter().for_each(|(_, mailbox)| mailbox.check_invariants());
        assert!(self.buffers.len() <= BUFFERS_MAX, "{} buffers are kept", self.buffers.len());
        assert!(self.buffers.iter().all(VecDeque::is_empty), "buffers that are kept are empty");
    }
}

impl Index<u32> for Slots {
    type Output = Mailbox;

    fn index(&self, slot: u32) -> &Mailbox {
        &self.all[slot as usize]
    }
}

impl IndexMut<u32> for Slots {
    fn index_mut(&mut self, slot: u32) -> &mut Mailbox {
        &mut self.all[slot as usize]
    }
}
