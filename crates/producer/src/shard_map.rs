use std::{cmp::Ordering, collections::HashMap};

use statefun_kinesis_types::{HashKey, HashKeyRange, Shard, ShardId};

/// The open shards of a stream as they were listed last: to which of them a record goes.
///
/// A stream may have thousands. So a map is made outside the producer's lock, and nothing in it is searched shard by shard.
#[derive(Debug, Default)]
pub(crate) struct ShardMap {
    /// By the start of their ranges.
    shards: Vec<(HashKeyRange, ShardId)>,
    indices: HashMap<ShardId, usize>,
}

impl ShardMap {
    pub(crate) fn new(shards: impl IntoIterator<Item = Shard>) -> Self {
        let mut shards: Vec<_> =
            shards.into_iter().filter(Shard::is_open).map(|shard| (shard.hash_range, shard.id)).collect();
        shards.sort_unstable_by_key(|(range, _)| range.start());
        let indices = shards.iter().enumerate().map(|(index, (_, id))| (id.clone(), index)).collect();
        Self { shards, indices }
    }

    pub(crate) fn len(&self) -> usize {
        self.shards.len()
    }

    /// The shard with an index, in the order of the ranges.
    pub(crate) fn get(&self, index: usize) -> Option<&ShardId> {
        self.shards.get(index).map(|(_, id)| id)
    }

    /// The index of a shard, if it is one of the open ones.
    pub(crate) fn index(&self, id: &ShardId) -> Option<usize> {
        self.indices.get(id).copied()
    }

    /// The index of the shard whose range has a hash key. None when the stream was listed in the middle of a split or merge.
    pub(crate) fn find(&self, key: HashKey) -> Option<usize> {
        let order = |(range, _): &(HashKeyRange, ShardId)| match () {
            () if range.end() < key => Ordering::Less,
            () if range.start() > key => Ordering::Greater,
            () => Ordering::Equal,
        };
        self.shards.binary_search_by(order).ok()
    }

    /// The range of a shard, if it is one of the open ones.
    pub(crate) fn range(&self, id: &ShardId) -> Option<HashKeyRange> {
        self.shards.get(self.index(id)?).map(|(range, _)| *range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(number: usize, start: u128, end: u128, open: bool) -> Shard {
        let range = HashKeyRange::new(HashKey::new(start), HashKey::new(end)).unwrap();
        let mut shard = Shard::new(format!("shardId-{number:012}").parse().unwrap(), range, 1_u64.into());
        shard.ending_sequence_number = (!open).then(|| 9_u64.into());
        shard
    }

    #[test]
    fn a_hash_key_belongs_to_the_open_shard_around_it() {
        let map = ShardMap::new([
            shard(0, 0, 99, false),
            shard(2, 50, 99, true),
            shard(1, 0, 49, true),
            shard(3, 200, 300, true),
        ]);
        let found = |key| map.find(HashKey::new(key)).map(|place| map.shards[place].1.to_string());
        for (key, number) in [(0, 1), (49, 1), (50, 2), (99, 2), (200, 3), (300, 3)] {
            assert_eq!(found(key), Some(format!("shardId-{number:012}")), "{key}");
        }
        assert_eq!([found(100), found(199), found(301)], [None, None, None]);
        assert!(map.range(&"shardId-000000000000".parse().unwrap()).is_none());
        assert_eq!(map.range(&"shardId-000000000003".parse().unwrap()).unwrap().start(), HashKey::new(200));
        assert_eq!(map.len(), 3);
        for index in 0..map.len() {
            assert_eq!(map.index(map.get(index).unwrap()), Some(index));
        }
        assert_eq!((map.get(3), map.index(&"shardId-000000000000".parse().unwrap())), (None, None));
    }
}
