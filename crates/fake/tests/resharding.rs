//! Whatever is split and merged while records flow: the open shards divide the hash key space, and every record is
//! read once, in order per key, by whoever reads parents before children.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::{prelude::*, sample::Index};
use statefun_kinesis_client::{KinesisAdmin, KinesisClient, KinesisClientExt, ShardFilter, StreamStatus};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_types::{
    HashKey, PutRecord, Record, SequenceNumber, Shard, ShardId, StartPosition, StreamName, StreamRef,
};

#[derive(Clone, Debug)]
enum Step {
    Split { shard: Index, at: u128 },
    Merge { shard: Index },
    Put { keys: Vec<u8> },
    PutAt { hash: u128 },
    Wait { millis: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (any::<Index>(), any::<u128>()).prop_map(|(shard, at)| Step::Split { shard, at }),
        any::<Index>().prop_map(|shard| Step::Merge { shard }),
        prop::collection::vec(0..20_u8, 1..20).prop_map(|keys| Step::Put { keys }),
        any::<u128>().prop_map(|hash| Step::PutAt { hash }),
        (0..800_u64).prop_map(|millis| Step::Wait { millis }),
    ]
}

struct Run {
    kinesis: FakeKinesis,
    stream: StreamRef,
    /// What was put, by the number that is its payload: key, shard and sequence number.
    put: Vec<(String, ShardId, SequenceNumber)>,
}

impl Run {
    async fn new(shards: usize, status_delay: Duration) -> Self {
        let kinesis = FakeKinesis::builder().status_delay(status_delay).build();
        let name: StreamName = "stream".parse().unwrap();
        kinesis.create_stream(&name, shards).await.unwrap();
        tokio::time::advance(status_delay).await;
        Self { kinesis, stream: name.into(), put: Vec::new() }
    }

    async fn open(&self) -> Vec<Shard> {
        let mut open = self.kinesis.all_shards(&self.stream, ShardFilter::AtLatest).await.unwrap();
        open.sort_by_key(|shard| shard.hash_range.start());
        open
    }

    async fn is_active(&self) -> bool {
        self.kinesis.describe_stream_summary(&self.stream).await.unwrap().status == StreamStatus::Active
    }

    async fn take(&mut self, step: &Step) {
        let open = self.open().await;
        match step {
            Step::Split { shard, at } if self.is_active().await => {
                let shard = shard.get(&open);
                let (start, end) = (shard.hash_range.start().get(), shard.hash_range.end().get());
                if end - start > 4 {
                    let at = HashKey::new(start + 2 + at % (end - start - 2));
                    self.kinesis.split_shard(&self.stream, &shard.id, at).await.unwrap();
                }
            }
            Step::Merge { shard } if open.len() > 1 && self.is_active().await => {
                let left = shard.index(open.len() - 1);
                self.kinesis.merge_shards(&self.stream, &open[left].id, &open[left + 1].id).await.unwrap();
            }
            Step::Split { .. } | Step::Merge { .. } => {}
            Step::Put { keys } => {
                let keys: Vec<_> = keys.iter().map(|key| format!("key {key}")).collect();
                let records = keys.iter().map(|key| PutRecord::new(key.parse().unwrap(), "")).collect();
                self.put(records).await;
            }
            Step::PutAt { hash } => {
                let record = PutRecord::new("explicit".parse().unwrap(), "");
                self.put(vec![record.with_explicit_hash_key(HashKey::new(*hash))]).await;
            }
            Step::Wait { millis } => tokio::time::advance(Duration::from_millis(*millis)).await,
        }
    }

    async fn put(&mut self, mut records: Vec<PutRecord>) {
        let open = self.open().await;
        for (index, record) in records.iter_mut().enumerate() {
            record.data = (self.put.len() + index).to_string().into();
        }
        let outcomes = self.kinesis.put_records(&self.stream, &records).await.unwrap();
        for (record, outcome) in records.iter().zip(outcomes) {
            let placement = outcome.unwrap();
            let owner = open.iter().find(|shard| shard.hash_range.contains(record.hash_key())).unwrap();
            assert_eq!(placement.shard, owner.id);
            self.put.push((record.partition_key.to_string(), placement.shard, placement.sequence_number));
        }
    }

    async fn check_open_shards_divide_the_space(&self) {
        let open = self.open().await;
        assert_eq!(open[0].hash_range.start(), HashKey::MIN);
        assert_eq!(open[open.len() - 1].hash_range.end(), HashKey::MAX);
        for pair in open.windows(2) {
            assert_eq!(pair[0].hash_range.end().get() + 1, pair[1].hash_range.start().get());
        }
    }

    async fn read(&self, shard: &ShardId) -> Vec<Record> {
        let mut records = Vec::new();
        let mut next =
            Some(self.kinesis.get_shard_iterator(&self.stream, shard, StartPosition::TrimHorizon).await.unwrap());
        while let Some(iterator) = next {
            let page = self.kinesis.get_records(&iterator, 3).await.unwrap();
            let at_tip = page.behind_latest.is_zero();
            records.extend(page.records);
            next = page.next_iterator.filter(|_| !at_tip);
        }
        records
    }

    /// Reads all shards, each after its parents; checks numbers on the way.
    async fn check_every_record_is_read_once_and_in_order(&self) {
        let all = self.kinesis.all_shards(&self.stream, ShardFilter::FromTrimHorizon).await.unwrap();
        let mut finished: BTreeMap<&ShardId, SequenceNumber> = BTreeMap::new();
        let mut seen = BTreeSet::new();
        let mut newest_of_key: BTreeMap<&str, usize> = BTreeMap::new();
        for shard in &all {
            let mut last = shard.starting_sequence_number;
            for parent in shard.parents() {
                assert!(finished[parent] < last, "{} starts above the end of {parent}", shard.id);
            }
            for record in self.read(&shard.id).await {
                assert!(last < record.sequence_number, "numbers grow within {}", shard.id);
                last = record.sequence_number;
                let number: usize = std::str::from_utf8(&record.data).unwrap().parse().unwrap();
                let (key, put_to, sequence_number) = &self.put[number];
                assert_eq!((put_to, sequence_number), (&shard.id, &record.sequence_number));
                assert!(seen.insert(number), "record {number} came twice");
                // Explicit hash keys take one key to many shards, where no order is promised.
                if key != "explicit" {
                    let before = newest_of_key.insert(key, number);
                    assert!(before < Some(number), "{key}: {number} came behind {before:?}");
                }
            }
            let end = shard.ending_sequence_number.unwrap_or(last);
            assert!(last <= end);
            finished.insert(&shard.id, end);
        }
        assert_eq!(seen.len(), self.put.len(), "all records were read");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn no_record_is_lost_or_doubled(
        shards in 1..5_usize,
        // Without a delay, parents and children come about in the same millisecond.
        status_delay in prop::sample::select(vec![Duration::ZERO, Duration::from_millis(500)]),
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut run = Run::new(shards, status_delay).await;
            for step in &steps {
                run.take(step).await;
                run.check_open_shards_divide_the_space().await;
            }
            tokio::time::advance(status_delay).await;
            run.check_every_record_is_read_once_and_in_order().await;
        });
    }
}
