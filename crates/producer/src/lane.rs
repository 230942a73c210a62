use std::{
    cmp::Reverse,
    collections::{BinaryHeap, VecDeque},
};

use statefun_kinesis_types::ShardId;

use crate::pace::Pace;

/// Records that may be sent now, apart from the pace of their shard: oldest first.
///
/// The first lane of a queue is for records of any shard; the others belong to one shard each. Those that come back
/// (retries and next in line) are older than most of what is fresh; a heap keeps them in order among themselves, and
/// fresh ones need none.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    /// `None` for the first lane.
    pub(crate) shard: Option<ShardId>,
    /// Set while the shard throttles.
    pub(crate) pace: Option<Pace>,
    fresh: VecDeque<(u64, u32)>,
    returned: BinaryHeap<Reverse<(u64, u32)>>,
    /// Bytes of the records in the lane.
    pub(crate) bytes: usize,
    /// Bytes of the records in line behind those in the lane.
    pub(crate) following: usize,
}

impl Lane {
    pub(crate) fn of(shard: ShardId) -> Self {
        Self { shard: Some(shard), ..Self::default() }
    }

    pub(crate) fn len(&self) -> usize {
        self.fresh.len() + self.returned.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn push_fresh(&mut self, arrival: u64, place: u32, size: usize) {
        self.fresh.push_back((arrival, place));
        self.bytes += size;
    }

    pub(crate) fn push_returned(&mut self, arrival: u64, place: u32, size: usize) {
        self.returned.push(Reverse((arrival, place)));
        self.bytes += size;
    }

    /// Whether there are any that have waited for something already.
    pub(crate) fn has_returned(&self) -> bool {
        !self.returned.is_empty()
    }

    /// The oldest of all, and whether it was returned.
    #[inline]
    pub(crate) fn peek(&self) -> Option<(u32, bool)> {
        match (self.returned.peek(), self.fresh.front()) {
            (Some(Reverse(returned)), Some(fresh)) if returned > fresh => Some((fresh.1, false)),
            (Some(Reverse((_, place))), _) => Some((*place, true)),
            (None, fresh) => fresh.map(|(_, place)| (*place, false)),
        }
    }

    /// Removes what [`peek`](Self::peek) gave, a record of so many bytes.
    #[inline]
    pub(crate) fn pop(&mut self, returned: bool, size: usize) {
        if returned {
            self.returned.pop();
        } else {
            self.fresh.pop_front();
        }
        self.bytes -= size;
    }

    /// Removes everything, in no order.
    pub(crate) fn drain(&mut self) -> Vec<u32> {
        (self.bytes, self.following) = (0, 0);
        let fresh = self.fresh.drain(..).map(|(_, place)| place);
        fresh.chain(self.returned.drain().map(|Reverse((_, place))| place)).collect()
    }
}
