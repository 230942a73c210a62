use std::{
    collections::BTreeSet,
    ops::Index,
    time::{Duration, Instant},
};

use statefun_kinesis_client::InstantExt as _;
use statefun_kinesis_types::{HashKey, HashKeyRange, ShardId};

use super::{
    entry::EntryId,
    shard_queue::{ShardQueue, Waiting},
};
use crate::{Aggregation, pace::Pace, shard_map::ShardMap};

/// The shard queue of records whose shard does not matter or is not known.
pub(crate) const ANY_SHARD: usize = 0;

/// The ready records, shard by shard, and the shards as they were listed last.
///
/// Queue 0 is [`ANY_SHARD`]; the others are in the order of the shard map. A stream may have thousands of shards: those with
/// ready records are found by sets, so that no step looks at all of them.
#[derive(Debug)]
pub(crate) struct ShardQueues {
    queues: Vec<ShardQueue>,
    map: Option<ShardMap>,
    /// How many shard maps there have been. The index of a shard queue means nothing under another map.
    map_version: u32,
    /// How large an aggregate becomes, if records are aggregated.
    aggregation: Option<Aggregation>,
    /// Shards with a pace. Without any, the shard of a record matters for aggregation only.
    paced: BTreeSet<usize>,
    /// When paces are looked through the next time for those that are over.
    next_removal: Option<Instant>,
    /// The queues with records except [`ANY_SHARD`], each in the set of that for which it waits.
    for_others: BTreeSet<usize>,
    full: BTreeSet<usize>,
    for_release: BTreeSet<usize>,
}

impl ShardQueues {
    /// How often paces are looked through for those that are over.
    const REMOVE_EVERY: Duration = Duration::from_secs(1);

    pub(super) fn new(aggregation: Option<Aggregation>) -> Self {
        Self {
            queues: vec![ShardQueue::default()],
            map: None,
            map_version: 0,
            aggregation,
            paced: BTreeSet::new(),
            next_removal: None,
            for_others: BTreeSet::new(),
            full: BTreeSet::new(),
            for_release: BTreeSet::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.queues.len()
    }

    /// The shard of a shard queue; none for [`ANY_SHARD`].
    pub(crate) fn shard(&self, index: usize) -> Option<&ShardId> {
        self.map.as_ref()?.get(index.checked_sub(1)?)
    }

    pub(crate) fn map_version(&self) -> u32 {
        self.map_version
    }

    /// Shards with a pace.
    pub(crate) fn paced(&self) -> usize {
        self.paced.len()
    }

    pub(crate) fn is_paced(&self, index: usize) -> bool {
        self.queues[index].pace.is_some()
    }

    /// The queues with records that wait for something, except [`ANY_SHARD`].
    pub(crate) fn waiting(&self, waiting: Waiting) -> &BTreeSet<usize> {
        match waiting {
            Waiting::ForOthers => &self.for_others,
            Waiting::Full => &self.full,
            Waiting::ForRelease => &self.for_release,
        }
    }

    fn waiting_mut(&mut self, waiting: Waiting) -> &mut BTreeSet<usize> {
        match waiting {
            Waiting::ForOthers => &mut self.for_others,
            Waiting::Full => &mut self.full,
            Waiting::ForRelease => &mut self.for_release,
        }
    }

    /// For what the records of a queue wait now; none when it has none, and for [`ANY_SHARD`].
    #[inline]
    fn waiting_of(&self, index: usize) -> Option<Waiting> {
        let queue = &self.queues[index];
        let is_full = || {
            self.aggregation.is_some_and(|Aggregation { max_bytes, max_records }| {
                queue.bytes + queue.waiting_bytes >= max_bytes.get() as usize
                    || queue.len() >= max_records.get() as usize
            })
        };
        match () {
            () if index == ANY_SHARD || queue.is_empty() => None,
            () if queue.pace.is_some() => Some(Waiting::ForRelease),
            () if is_full() => Some(Waiting::Full),
            () => Some(Waiting::ForOthers),
        }
    }

    /// Puts a queue into the right set. To be called whenever it has changed.
    #[inline]
    fn relist(&mut self, index: usize) {
        let (before, now) = (self.queues[index].listed, self.waiting_of(index));
        if before == now {
            return;
        }
        self.queues[index].listed = now;
        before.map(|before| self.waiting_mut(before).remove(&index));
        now.map(|now| self.waiting_mut(now).insert(index));
    }

    /// Adds a record to a queue, behind which wait so many bytes of its key.
    pub(super) fn push(&mut self, index: usize, record: Ready, is_returned: bool) {
        let Ready { arrival, id, size, waiting_bytes } = record;
        let queue = &mut self.queues[index];
        queue.waiting_bytes += waiting_bytes;
        if is_returned {
            queue.push_returned(arrival, id, size);
        } else {
            queue.push_new(arrival, id, size);
        }
        self.relist(index);
    }

    /// Removes the record that [`ShardQueue::peek`] returned.
    #[inline]
    pub(super) fn pop(&mut self, index: usize, is_returned: bool, size: usize, waiting_bytes: usize) {
        let queue = &mut self.queues[index];
        queue.pop(is_returned, size);
        queue.waiting_bytes -= waiting_bytes;
        self.relist(index);
    }

    /// Takes note of bytes that wait behind a record of the queue.
    pub(super) fn add_waiting_bytes(&mut self, index: usize, bytes: usize) {
        self.queues[index].waiting_bytes += bytes;
        self.relist(index);
    }

    /// Removes all records.
    pub(super) fn clear(&mut self) {
        for index in 0..self.queues.len() {
            self.queues[index].drain();
            self.relist(index);
        }
    }

    /// Replaces the shards of the stream. Paces of shards that are still there go on. Returns the records that have to be
    /// queued again: those of shards, and with aggregation those of [`ANY_SHARD`] too, since then all records belong to a
    /// shard.
    pub(super) fn set_map(&mut self, map: ShardMap) -> Vec<EntryId> {
        let mut queues = Vec::new();
        queues.resize_with(map.len() + 1, ShardQueue::default);
        queues[ANY_SHARD] = std::mem::take(&mut self.queues[ANY_SHARD]);
        let old = std::mem::replace(&mut self.queues, queues);
        let old_map = self.map.replace(map);
        // Requests in flight refer to queues by index: they see by the version that it has changed.
        self.map_version += 1;
        self.paced.clear();
        self.for_others.clear();
        self.full.clear();
        self.for_release.clear();
        let mut displaced = Vec::new();
        for (index, mut queue) in old.into_iter().enumerate().skip(1) {
            displaced.append(&mut queue.drain());
            let Some(pace) = queue.pace else { continue };
            let shard = old_map.as_ref().and_then(|map| map.get(index - 1));
            if let Some(index) = shard.and_then(|shard| self.map.as_ref()?.index(shard)) {
                self.queues[index + 1].pace = Some(pace);
                self.paced.insert(index + 1);
            }
        }
        if self.aggregation.is_some() {
            displaced.append(&mut self.queues[ANY_SHARD].drain());
        }
        displaced
    }

    /// The shard queue of a hash key; none when its shard is not known.
    pub(super) fn find(&self, key: HashKey) -> Option<usize> {
        self.map.as_ref()?.find(key).map(|shard| shard + 1)
    }

    /// The range of an open shard.
    pub(crate) fn range(&self, shard: &ShardId) -> Option<HashKeyRange> {
        self.map.as_ref()?.range(shard)
    }

    /// Takes note that a shard throttled a record of so many bytes, in a request that was sent at that time: from now on it
    /// has a pace. Returns when the pace lets such a record go.
    pub(crate) fn throttled(&mut self, index: usize, now: Instant, sent: Instant, bytes: usize) -> Instant {
        let pace = self.queues[index].pace.get_or_insert_with(|| Pace::new(now));
        pace.throttled(now, sent, bytes);
        let ready_at = pace.ready_at(bytes);
        self.paced.insert(index);
        self.relist(index);
        ready_at
    }

    /// Whether the pace of a queue's shard, if there is one, lets a record of so many bytes go now.
    pub(crate) fn admits(&mut self, index: usize, now: Instant, bytes: usize) -> bool {
        self.queues[index].pace.as_mut().is_none_or(|pace| pace.admit(now, bytes))
    }

    /// Removes the paces of shards that were not at their limits for long and that no record waits for.
    pub(crate) fn remove_old_paces(&mut self, now: Instant) {
        if self.paced.is_empty() || self.next_removal.is_some_and(|next| now < next) {
            return;
        }
        self.next_removal = Some(now.saturating_add(Self::REMOVE_EVERY));
        let Self { paced, queues, .. } = self;
        paced.retain(|index| {
            let queue = &mut queues[*index];
            !queue.is_empty() || queue.pace.take_if(|pace| pace.is_over(now)).is_none()
        });
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self) {
        let paced = (0..self.len()).filter(|index| self.is_paced(*index));
        assert!(paced.eq(self.paced.iter().copied()), "shards with a pace");
        assert!(!self.is_paced(ANY_SHARD), "the queue of any shard has no pace");
        let shards = self.map.as_ref().map_or(0, ShardMap::len);
        assert_eq!(self.queues.len(), shards + 1, "one queue per shard of the map");
        for index in 0..self.len() {
            let waiting = self.waiting_of(index);
            assert_eq!(self.queues[index].listed, waiting, "for what queue {index} waits");
            for set in [Waiting::ForOthers, Waiting::Full, Waiting::ForRelease] {
                // A record in a queue that is in no set would never be sent.
                assert_eq!(self.waiting(set).contains(&index), waiting == Some(set), "queue {index} in {set:?}");
            }
        }
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn iter(&self) -> impl Iterator<Item = &ShardQueue> {
        self.queues.iter()
    }
}

/// A record that may be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ready {
    pub(super) arrival: u64,
    pub(super) id: EntryId,
    pub(super) size: usize,
    /// Bytes of those of its key that wait behind it.
    pub(super) waiting_bytes: usize,
}

impl Index<usize> for ShardQueues {
    type Output = ShardQueue;

    #[inline]
    fn index(&self, index: usize) -> &ShardQueue {
        &self.queues[index]
    }
}
