use std::{
    collections::HashMap,
    ops::{Index, IndexMut},
    time::Instant,
};

use statefun_kinesis_types::{HashKey, HashKeyRange, Shard, ShardId};

use super::{entry::EntryId, shard_queue::ShardQueue};
use crate::{pace::Pace, shard_map::ShardMap};

/// The shard queue of records whose shard does not matter or is not known.
pub(crate) const ANY_SHARD: usize = 0;

/// The ready records, shard by shard, and the shards as they were listed last.
///
/// Queue 0 is [`ANY_SHARD`]; the others are in the order of the shard map.
#[derive(Debug)]
pub(crate) struct ShardQueues {
    queues: Vec<ShardQueue>,
    map: Option<ShardMap>,
    /// How many shard maps there have been. The index of a shard queue means nothing under another map.
    map_version: u32,
    /// Shards with a pace. Without any, the shard of a record matters for aggregation only.
    paced: usize,
}

impl ShardQueues {
    pub(super) fn new() -> Self {
        Self { queues: vec![ShardQueue::default()], map: None, map_version: 0, paced: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.queues.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<&ShardQueue> {
        self.queues.get(index)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut ShardQueue> {
        self.queues.iter_mut()
    }

    /// Whether the shards of the stream are known.
    pub(crate) fn has_map(&self) -> bool {
        self.map.is_some()
    }

    pub(crate) fn map_version(&self) -> u32 {
        self.map_version
    }

    /// Shards with a pace.
    pub(crate) fn paced(&self) -> usize {
        self.paced
    }

    /// Replaces the shards of the stream. Paces of shards that are still there go on. Returns the records that have to be
    /// queued again: those of shards, and with `all` those of [`ANY_SHARD`] too.
    pub(super) fn set_map(&mut self, shards: Vec<Shard>, all: bool) -> Vec<EntryId> {
        let map = ShardMap::new(shards);
        let mut queues = vec![std::mem::take(&mut self.queues[ANY_SHARD])];
        queues.extend(map.ids().map(|id| ShardQueue::of(id.clone())));
        let old = std::mem::replace(&mut self.queues, queues);
        // Requests in flight refer to queues by index: they see by the version that it has changed.
        self.map_version += 1;
        self.paced = 0;
        let (mut displaced, mut paces) = (Vec::new(), HashMap::new());
        for mut queue in old.into_iter().skip(1) {
            displaced.append(&mut queue.drain());
            if let (Some(pace), Some(shard)) = (queue.pace, queue.shard) {
                paces.insert(shard, pace);
            }
        }
        for queue in &mut self.queues[1..] {
            if paces.is_empty() {
                break;
            }
            queue.pace = queue.shard.as_ref().and_then(|shard| paces.remove(shard));
            self.paced += usize::from(queue.pace.is_some());
        }
        if all {
            displaced.append(&mut self.queues[ANY_SHARD].drain());
        }
        self.map = Some(map);
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

    /// Takes note that a shard throttles: from now on it has a pace, which is returned.
    pub(crate) fn throttled(&mut self, index: usize, now: Instant) -> &Pace {
        let pace = &mut self.queues[index].pace;
        if pace.is_none() {
            self.paced += 1;
        }
        let pace = pace.get_or_insert_with(|| Pace::new(now));
        pace.throttled(now);
        pace
    }

    /// Removes the paces of shards that have not throttled for long and that no record waits for.
    pub(crate) fn remove_old_paces(&mut self, now: Instant) {
        if self.paced == 0 {
            return;
        }
        for queue in self.queues.iter_mut().filter(|queue| queue.is_empty()) {
            if queue.pace.take_if(|pace| pace.is_over(now)).is_some() {
                self.paced -= 1;
            }
        }
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn check_invariants(&self) {
        let paced = self.queues.iter().filter(|queue| queue.pace.is_some()).count();
        assert_eq!(self.paced, paced, "shards with a pace");
        let any = &self.queues[ANY_SHARD];
        assert!(any.shard.is_none() && any.pace.is_none(), "the queue of any shard has no shard and no pace");
        assert!(self.queues[1..].iter().all(|queue| queue.shard.is_some()), "all other queues belong to a shard");
        let shards = self.map.as_ref().map_or(0, |map| map.ids().count());
        assert_eq!(self.queues.len(), shards + 1, "one queue per shard of the map");
    }

    #[cfg(any(test, debug_assertions))]
    pub(super) fn iter(&self) -> impl Iterator<Item = &ShardQueue> {
        self.queues.iter()
    }
}

impl Index<usize> for ShardQueues {
    type Output = ShardQueue;

    #[inline]
    fn index(&self, index: usize) -> &ShardQueue {
        &self.queues[index]
    }
}

impl IndexMut<usize> for ShardQueues {
    #[inline]
    fn index_mut(&mut self, index: usize) -> &mut ShardQueue {
        &mut self.queues[index]
    }
}
