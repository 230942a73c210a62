//! Random streams, traffic, resharding, faults and restarts, each run repeatable from its seed.
//!
//! What is checked all the time: the next record of a shard comes, and no other; what was processed does not come
//! again after a restart; a child comes behind all of its parents; keys keep their order; the bounds hold. At the end:
//! everything was processed.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use statefun_kinesis_client::{ErrorKind, KinesisAdmin, KinesisClient, KinesisClientExt, Operation, ShardFilter};
use statefun_kinesis_consumer::{Batch, Consumer, MemoryCheckpoints, Position, Settings, StreamCheckpoint};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_types::{HashKey, PutRecord, Shard, ShardId, StartupPosition, StreamArn, StreamRef};
use tokio::time::{sleep, timeout};

use crate::tap::Tap;

const STEPS: usize = 70;
const KEYS: usize = 6;

/// What was written and must be read.
#[derive(Clone, Debug)]
struct Written {
    position: Position,
    key: usize,
    /// The how-manieth record of its key.
    count: usize,
}

/// A shard, as this run of the consumer sees it.
#[derive(Debug, Default)]
struct Progress {
    /// Records that were delivered, or processed before this run.
    delivered: usize,
    /// Records that were acknowledged, or processed before this run.
    processed: usize,
}

struct World {
    random: fastrand::Rng,
    fake: FakeKinesis,
    tap: Arc<Tap>,
    streams: Vec<(StreamRef, StreamArn)>,
    start: StartupPosition,
    settings: Settings,
    checkpoints: Arc<MemoryCheckpoints>,
    written: BTreeMap<(StreamArn, ShardId), Vec<Written>>,
    counts: HashMap<(StreamArn, usize), usize>,
    /// How many records of a key were delivered at least once.
    seen: HashMap<(StreamArn, usize), usize>,
    shards: HashMap<(StreamArn, ShardId), Shard>,
    run: HashMap<(StreamArn, ShardId), Progress>,
    /// Records that the client had given when this run began, and that this run handed out.
    given_before: usize,
    handed_out: usize,
    /// A batch was dropped in this run: only a restart brings it back.
    dropped: bool,
}

impl World {
    async fn new(seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut builder = FakeKinesis::builder().enforce_throughput(random.bool());
        if random.bool() {
            builder = builder.status_delay(Duration::from_millis(random.u64(1..3_000)));
        }
        let fake = builder.build();
        let mut streams = Vec::new();
        for name in ["orders", "invoices"].into_iter().take(random.usize(1..=2)) {
            let stream: StreamRef = name.parse().unwrap();
            fake.create_stream(&stream.name(), random.usize(1..=3)).await.unwrap();
            let arn = fake.describe_stream_summary(&stream).await.unwrap().arn;
            streams.push((stream, arn));
        }
        sleep(Duration::from_secs(5)).await;

        let tap = Tap::new(&fake);
        tap.ignores_filters.store(random.usize(0..4) == 0, Ordering::Relaxed);
        tap.hides_children.store(random.usize(0..3) == 0, Ordering::Relaxed);
        let settings = Settings {
            seed: Some(seed),
            prefetch_records: random.usize(3..60),
            max_records_per_call: random.usize(1..20),
            discovery_interval: Duration::from_millis(random.u64(500..10_000)),
            poll_idle_max: Duration::from_millis(random.u64(300..5_000)),
            ..Settings::default()
        };
        let start = match random.usize(0..3) {
            0 => StartupPosition::Latest,
            1 => StartupPosition::TrimHorizon,
            _ => StartupPosition::AtTimestamp(fake.clock().now()),
        };
        let mut world = Self {
            random,
            fake,
            tap,
            streams,
            start,
            settings,
            checkpoints: Arc::default(),
            written: BTreeMap::new(),
            counts: HashMap::new(),
            seen: HashMap::new(),
            shards: HashMap::new(),
            run: HashMap::new(),
            given_before: 0,
            handed_out: 0,
            dropped: false,
        };
        // History, which counts only when reading does not start at the latest record.
        for _ in 0..world.random.usize(0..6) {
            world.put().await;
            world.reshard().await;
        }
        if start == StartupPosition::Latest {
            world.written.clear();
            world.counts.clear();
            sleep(Duration::from_millis(10)).await;
        }
        world
    }

    fn inject_faults(&mut self) {
        let faults = self.fake.faults();
        let kinds = [ErrorKind::Throttled, ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::LimitExceeded];
        let reads = [
            Operation::DescribeStreamSummary,
            Operation::ListShards,
            Operation::GetShardIterator,
            Operation::GetRecords,
        ];
        let ratio = *self.random.choice(&[0.0, 0.05, 0.2]).unwrap();
        faults.randomly(self.random.u64(..), ratio, &reads, &kinds);
        for operation in reads {
            faults.delay(operation, Duration::from_millis(*self.random.choice(&[0, 5, 80, 400]).unwrap()));
        }
    }

    /// Starts a run: what was stored is all that it knows.
    async fn consumer(&mut self) -> Consumer {
        let mut builder = Consumer::builder(self.tap.clone())
            .start(self.start)
            .checkpoints(self.checkpoints.clone())
            .clock(self.fake.clock())
            .settings(self.settings.clone());
        for (stream, arn) in &self.streams {
            builder = builder.stream(if self.random.bool() { stream.clone() } else { arn.clone().into() });
        }
        // The tasks of the consumer before, which was dropped or closed, are gone as soon as they are scheduled.
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0, "tasks outlive their consumer");
        self.run.clear();
        self.dropped = false;
        self.handed_out = 0;
        self.given_before = self.tap.records.load(Ordering::Relaxed);
        for (_, arn) in &self.streams {
            let Some(stored) = self.checkpoints.get(arn) else { continue };
            for (shard, position) in stored.shards {
                let place = (arn.clone(), shard);
                let written = self.written.get(&place).map_or(&[][..], Vec::as_slice);
                let covered = written.partition_point(|record| position.covers(record.position));
                self.run.insert(place, Progress { delivered: covered, processed: covered });
            }
        }
        builder.build().await.unwrap()
    }

    async fn put(&mut self) {
        let (stream, arn) = self.random.choice(&self.streams).unwrap().clone();
        let key = self.random.usize(0..KEYS);
        let count = *self.counts.entry((arn.clone(), key)).or_default();
        let record = PutRecord::new(format!("key {key}").parse().unwrap(), count.to_string());
        if let Ok(Ok(place)) = self.fake.put_record(&stream, record).await {
            let position = Position { sequence_number: place.sequence_number, sub_sequence_number: 0 };
            let written = self.written.entry((arn.clone(), place.shard)).or_default();
            written.push(Written { position, key, count });
            *self.counts.get_mut(&(arn, key)).unwrap() += 1;
        }
    }

    async fn reshard(&mut self) {
        let (stream, _) = self.random.choice(&self.streams).unwrap().clone();
        let all = all_shards(&self.fake, &stream).await;
        let mut open: Vec<Shard> = all.into_iter().filter(Shard::is_open).collect();
        open.sort_by_key(|shard| shard.hash_range.start());
        // A stream that is UPDATING refuses; that is as good.
        if open.len() > 1 && self.random.usize(0..8) < open.len() {
            let left = self.random.usize(0..open.len() - 1);
            let _ = self.fake.merge_shards(&stream, &open[left].id, &open[left + 1].id).await;
        } else {
            let shard = self.random.choice(&open).unwrap();
            let (start, end) = (shard.hash_range.start().get(), shard.hash_range.end().get());
            let _ = self.fake.split_shard(&stream, &shard.id, HashKey::new(start + (end - start) / 2)).await;
        }
    }

    /// Checks a batch, and remembers that it was delivered.
    async fn received(&mut self, batch: &Batch) {
        let place = (batch.stream().clone(), batch.shard().clone());
        self.children_come_last(&place).await;
        let written = self.written.get(&place).map_or(&[][..], Vec::as_slice);
        let progress = self.run.entry(place.clone()).or_default();
        for record in batch.records() {
            let position = Position::of(record);
            let expected = written.get(progress.delivered);
            assert_eq!(Some(position), expected.map(|record| record.position), "{place:?}, {}", progress.delivered);
            let Written { key, count, .. } = expected.unwrap();
            assert_eq!(record.data, count.to_string());
            progress.delivered += 1;
            let seen = self.seen.entry((place.0.clone(), *key)).or_default();
            assert!(count <= seen, "record {count} of key {key} came before record {seen}");
            *seen = (*seen).max(count + 1);
        }
        self.handed_out += batch.records().len();
        let in_hand = self.tap.records.load(Ordering::Relaxed) - self.given_before - self.handed_out;
        assert!(in_hand <= self.settings.prefetch_records, "{in_hand} records in hand");
    }

    async fn children_come_last(&mut self, place: &(StreamArn, ShardId)) {
        if !self.shards.contains_key(place) {
            for (stream, arn) in &self.streams {
                for shard in all_shards(&self.fake, stream).await {
                    self.shards.insert((arn.clone(), shard.id.clone()), shard);
                }
            }
        }
        for parent in self.shards[place].parents() {
            let parent = (place.0.clone(), parent.clone());
            let written = self.written.get(&parent).map_or(0, Vec::len);
            let processed = self.run.get(&parent).map_or(0, |progress| progress.processed);
            assert_eq!(processed, written, "{place:?} came before the end of its parent {parent:?}");
        }
    }

    fn acknowledge(&mut self, batch: Batch) {
        let place = (batch.stream().clone(), batch.shard().clone());
        self.run.get_mut(&place).unwrap().processed += batch.records().len();
        batch.done();
    }

    /// Whether the stored positions cover all that was written.
    fn is_done(&self) -> bool {
        let stored: HashMap<&StreamArn, StreamCheckpoint> =
            self.streams.iter().filter_map(|(_, arn)| Some((arn, self.checkpoints.get(arn)?))).collect();
        self.written.iter().all(|((arn, shard), written)| {
            let position = stored.get(arn).and_then(|stored| stored.shards.get(shard));
            position.is_some_and(|position| position.covers(written[written.len() - 1].position))
        })
    }
}

/// Lists shards in spite of the faults that are meant for the consumer.
async fn all_shards(fake: &FakeKinesis, stream: &StreamRef) -> Vec<Shard> {
    loop {
        if let Ok(shards) = fake.all_shards(stream, ShardFilter::FromTrimHorizon).await {
            return shards;
        }
    }
}

/// What a run showed, to know that the simulation meets what it is meant to meet.
#[derive(Debug, Default)]
struct Met {
    records: usize,
    shards: usize,
    restarts: usize,
    repeated: usize,
}

async fn simulate(seed: u64) -> Met {
    let mut world = World::new(seed).await;
    let mut met = Met::default();
    let mut consumer = world.consumer().await;
    world.inject_faults();
    let mut open: Vec<Batch> = Vec::new();
    for _ in 0..STEPS {
        match world.random.usize(0..100) {
            0..35 => {
                for _ in 0..world.random.usize(1..12) {
                    world.put().await;
                }
            }
            35..45 => world.reshard().await,
            45..50 => world.fake.faults().expire_iterators(),
            50..62 => sleep(Duration::from_millis(world.random.u64(0..4_000))).await,
            62..63 => sleep(Duration::from_secs(301)).await,
            63..82 => {
                for _ in 0..world.random.usize(1..6) {
                    let patience = Duration::from_millis(world.random.u64(0..1_500));
                    let Ok(batch) = timeout(patience, consumer.next()).await else { break };
                    let batch = batch.unwrap().unwrap();
                    world.received(&batch).await;
                    met.records += batch.records().len();
                    open.push(batch);
                }
            }
            82..92 => {
                for _ in 0..world.random.usize(0..=open.len()) {
                    let batch = open.swap_remove(world.random.usize(0..open.len()));
                    world.acknowledge(batch);
                }
            }
            92..93 if !open.is_empty() => {
                drop(open.swap_remove(world.random.usize(0..open.len())));
                world.dropped = true;
            }
            93..96 => {
                // Killed at any instant: saved is what was saved.
                drop(consumer);
                open.clear();
                consumer = world.consumer().await;
                met.restarts += 1;
            }
            96..98 => {
                consumer.close().await.unwrap();
                open.clear();
                consumer = world.consumer().await;
                met.restarts += 1;
            }
            _ => world.inject_faults(),
        }
    }

    world.fake.faults().clear();
    for batch in open {
        world.acknowledge(batch);
    }
    if world.dropped {
        consumer.close().await.unwrap();
        consumer = world.consumer().await;
    }
    while !world.is_done() {
        let Ok(batch) = timeout(Duration::from_secs(60), consumer.next()).await else {
            // The last position may have been saved while nothing more came.
            assert!(world.is_done(), "nothing comes, and not all was processed: {:?}", world.run);
            break;
        };
        let batch = batch.unwrap().unwrap();
        world.received(&batch).await;
        met.records += batch.records().len();
        world.acknowledge(batch);
    }
    assert!(timeout(Duration::from_secs(30), consumer.next()).await.is_err(), "there is nothing more to come");
    consumer.close().await.unwrap();
    assert_eq!(world.seen, world.counts.into_iter().filter(|(_, count)| *count > 0).collect());
    met.repeated = met.records - world.written.values().map(Vec::len).sum::<usize>();
    met.shards = world.shards.len();
    met
}

/// Runs the simulation for each seed. Any failure names its seed.
fn check(seeds: Range<u64>) {
    let mut all = Met::default();
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let met = catch_unwind(AssertUnwindSafe(|| runtime.block_on(simulate(seed))));
        let met = met.unwrap_or_else(|_| panic!("the simulation of seed {seed} failed, for the reason above"));
        all.records += met.records;
        all.shards += met.shards;
        all.restarts += met.restarts;
        all.repeated += met.repeated;
    }
    assert!(all.records > 5_000 && all.shards > 500 && all.restarts > 100 && all.repeated > 500, "{all:?}");
}

#[test]
fn nothing_is_lost_and_order_holds_whatever_happens_first_hundred() {
    check(0..100);
}

#[test]
fn nothing_is_lost_and_order_holds_whatever_happens_second_hundred() {
    check(100..200);
}

#[test]
fn nothing_is_lost_and_order_holds_whatever_happens_third_hundred() {
    check(200..300);
}
