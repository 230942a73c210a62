use std::{cmp::Reverse, collections::BinaryHeap, time::Instant};

use super::entry::EntryId;

/// Records that wait for their retry. Those that are due together share a request again, as far as they can.
#[derive(Debug, Default)]
pub(super) struct Delayed(BinaryHeap<Reverse<Group>>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Group {
    due: Instant,
    ids: Vec<EntryId>,
}

impl Delayed {
    pub(super) fn push(&mut self, due: Instant, ids: Vec<EntryId>) {
        self.0.push(Reverse(Group { due, ids }));
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse(group)| group.due)
    }

    /// Removes the records that are due first, if they are due by now.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Vec<EntryId>> {
        self.next_due().filter(|due| *due <= now)?;
        self.0.pop().map(|Reverse(group)| group.ids)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn ids(&self) -> impl Iterator<Item = EntryId> {
        self.0.iter().flat_map(|Reverse(group)| group.ids.iter().copied())
    }
}
