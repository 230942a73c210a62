use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use super::entry::EntryId;
use crate::pace::Pace;

/// The ready records of one shard, or of any: those that may be sent as soon as the shard's pace lets them, oldest first.
#[derive(Debug, Default)]
pub(crate) struct ShardQueue {
    /// Only while the shard throttles.
    pub(super) pace: Option<Pace>,
    /// In which set of [`ShardQueues`](super::ShardQueues) the queue is.
    pub(super) listed: Option<Waiting>,
    /// Records that came here when they were sent by the program. They arrive in order, so that no heap is needed.
    new: VecDeque<(u64, EntryId)>,
    /// Records that have waited for something: a retry, or a record of their key. They are older than most new ones.
    returned: BinaryHeap<Reverse<(u64, EntryId)>>,
    /// Bytes of the records in the queue.
    pub(crate) bytes: usize,
    /// Bytes of the records that wait behind those in the queue, as records of the same key. Only for aggregation.
    pub(crate) waiting_bytes: usize,
}

/// For what the records of a shard queue wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Waiting {
    /// For others that share their request.
    ForOthers,
    /// For nothing: they fill an aggregate.
    Full,
    /// For the next release of the shards that have a pace.
    ForRelease,
}

impl ShardQueue {
    pub(crate) fn len(&self) -> usize {
        self.new.len() + self.returned.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(super) fn push_new(&mut self, arrival: u64, id: EntryId, size: usize) {
        self.new.push_back((arrival, id));
        self.bytes += size;
    }

    pub(super) fn push_returned(&mut self, arrival: u64, id: EntryId, size: usize) {
        self.returned.push(Reverse((arrival, id)));
        self.bytes += size;
    }

    /// The oldest record, and whether it is a returned one.
    #[inline]
    pub(crate) fn peek(&self) -> Option<(EntryId, bool)> {
        match (self.returned.peek(), self.new.front()) {
            (Some(Reverse(returned)), Some(new)) if returned > new => Some((new.1, false)),
            (Some(Reverse((_, id))), _) => Some((*id, true)),
            (None, new) => new.map(|(_, id)| (*id, false)),
        }
    }

    /// Removes the record that [`peek`](Self::peek) returned, which has so many bytes.
    #[inline]
    pub(super) fn pop(&mut self, is_returned: bool, size: usize) {
        if is_returned {
            self.returned.pop();
        } else {
            self.new.pop_front();
        }
        self.bytes -= size;
    }

    /// Removes all records, in any order.
    pub(super) fn drain(&mut self) -> Vec<EntryId> {
        (self.bytes, self.waiting_bytes) = (0, 0);
        let new = self.new.drain(..).map(|(_, id)| id);
        new.chain(self.returned.drain().map(|Reverse((_, id))| id)).collect()
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn ids(&self) -> impl Iterator<Item = EntryId> {
        self.new.iter().map(|(_, id)| *id).chain(self.returned.iter().map(|Reverse((_, id))| *id))
    }
}
