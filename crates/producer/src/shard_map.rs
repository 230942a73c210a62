use std::cmp::Ordering;

use statefun_kinesis_types::{HashKey, HashKeyRange, Shard, ShardId};

/// The open shards of a stream as they were listed last: to which of them a record goes.
#[derive(Debug, Default)]
pub(crate) struct ShardMap {
    /// By the start of their ranges.
    shards: Vec<(HashKeyRange, ShardId)>,
}

impl ShardMap {
    pub(crate) fn new(shards: impl IntoIterator<Item = Shard>) -> Self {
        let mut shards: Vec<_> =
            shards.into_iter().filter(Shard::is_open).map(|shard| (shard.hash_range, shard.id)).collect();
        shards.sort_unstable_by_key(|(range, _)| range.start());
        Self { shards }
    }

    /// The ids of the shards, in the order of their ranges.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &ShardId> {
        self.shards.iter().map(|(_, id)| id)
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
        self.shards.iter().find(|(_, shard)| shard == id).map(|(range, _)| *range)
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
        assert_eq!(map.ids().count(), 3);
    }
}
