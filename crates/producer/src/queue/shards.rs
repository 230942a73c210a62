use std::time::Instant;

use statefun_kinesis_types::{HashKeyRange, Shard, ShardId};

use super::{ANY, Queue};
use crate::{lane::Lane, pace::Pace, shard_map::ShardMap, slips::Token};

/// What the shards of the stream have to do with the queue.
impl<T: Token> Queue<T> {
    /// Whether the shards of the stream are known.
    pub(crate) fn has_map(&self) -> bool {
        self.map.is_some()
    }

    /// Takes the shards of the stream as they are now. Paces of shards that are still there go on.
    pub(crate) fn set_map(&mut self, shards: Vec<Shard>) {
        let map = ShardMap::new(shards);
        let mut lanes = vec![std::mem::take(&mut self.lanes[ANY])];
        lanes.extend(map.ids().map(|id| Lane::of(id.clone())));
        let old = std::mem::replace(&mut self.lanes, lanes);
        self.map_version += 1;
        self.paced = 0;
        let mut ready = Vec::new();
        for mut lane in old.into_iter().skip(1) {
            ready.append(&mut lane.drain());
            let same = self.lanes.iter_mut().skip(1).find(|new| new.shard == lane.shard);
            if let Some((new, pace)) = same.zip(lane.pace) {
                new.pace = Some(pace);
                self.paced += 1;
            }
        }
        if self.aggregating {
            ready.append(&mut self.lanes[ANY].drain());
        }
        self.map = Some(map);
        for place in ready {
            self.make_ready(place);
        }
    }

    /// The lane of the shard that a record goes to; none when that is not known.
    pub(crate) fn shard_lane(&self, place: u32) -> Option<usize> {
        let record = self.entries[place as usize].record.as_ref()?;
        self.map.as_ref()?.find(record.hash_key()).map(|shard| shard + 1)
    }

    /// Notes that a shard throttles: from now on it has a pace.
    pub(crate) fn throttled(&mut self, lane: usize, now: Instant) -> &Pace {
        let pace = &mut self.lanes[lane].pace;
        if pace.is_none() {
            self.paced += 1;
        }
        let pace = pace.get_or_insert_with(|| Pace::new(now));
        pace.throttled(now);
        pace
    }

    /// Forgets the paces of shards that have not throttled for long and that nothing waits for.
    pub(crate) fn relax(&mut self, now: Instant) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.is_empty()) {
            if lane.pace.take_if(|pace| pace.is_over(now)).is_some() {
                self.paced -= 1;
            }
        }
    }

    /// The range of an open shard.
    pub(crate) fn range(&self, shard: &ShardId) -> Option<HashKeyRange> {
        self.map.as_ref()?.range(shard)
    }
}
