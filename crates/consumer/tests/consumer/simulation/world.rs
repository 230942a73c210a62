//! Streams, traffic and faults of a run, and what must be true of it.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use statefun_kinesis_aggregation::Aggregator;
use statefun_kinesis_client::{
    ErrorKind, FanOutClient, KinesisAdmin, KinesisClient, KinesisClientExt, Operation, ShardFilter,
};
use statefun_kinesis_consumer::{
    Batch, CheckpointStore, Consumer, ConsumerBuilder, ConsumerError, FanOut, FileCheckpoints, InvalidKind,
    MemoryCheckpoints, Position, PositionStore, Settings, StreamCheckpoint,
};
use statefun_kinesis_dead_letter::{DeadLetterReader, Origin};
use statefun_kinesis_fake::{FakeKinesis, SubscriptionFault};
use statefun_kinesis_types::{
    ConsumerName, HashKey, InvalidRecordHandling, LogLevel, PutRecord, SequenceNumber, Shard, ShardId, StartupPosition,
    StreamArn, StreamRef, Timestamp,
};
use tokio::time::{sleep, timeout};

use super::slow_store::SlowStore;
use crate::{scene::corrupt_aggregate, tap::Tap};

/// Partition keys of the records.
const KEYS: usize = 6;

/// What was written and must be read.
#[derive(Clone, Debug)]
pub(super) struct Written {
    pub(super) position: Position,
    pub(super) key: usize,
    /// The how-manieth record of its key.
    pub(super) count: usize,
    /// Whether the reader rejects it.
    pub(super) bad: bool,
    /// Whether it was acknowledged at least once.
    pub(super) done: bool,
}

/// A shard, as this run of the consumer sees it.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Records that were delivered, or processed before this run.
    pub(super) delivered: usize,
    /// Records that were acknowledged, or processed before this run.
    pub(super) processed: usize,
}

pub(super) type Place = (StreamArn, ShardId);

/// A delivered batch that is not acknowledged, and the first of its records in what was written.
pub(super) struct OpenBatch {
    pub(super) batch: Batch,
    pub(super) place: Place,
    pub(super) first: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Policy {
    Fail,
    Skip,
    DeadLetter,
}

pub(super) struct World {
    pub(super) random: fastrand::Rng,
    pub(super) fake: FakeKinesis,
    pub(super) tap: Arc<Tap>,
    pub(super) streams: Vec<(StreamRef, StreamArn)>,
    pub(super) dead: StreamRef,
    pub(super) start: StartupPosition,
    pub(super) settings: Settings,
    pub(super) policy: Policy,
    pub(super) aggregates: bool,
    /// Others leave room for one consumer on each stream.
    pub(super) crowded: bool,
    pub(super) store: Arc<SlowStore>,
    /// The same positions in files, where a run uses those.
    pub(super) files: Option<FileCheckpoints>,
    pub(super) written: BTreeMap<Place, Vec<Written>>,
    pub(super) corrupt: BTreeMap<Place, Vec<SequenceNumber>>,
    pub(super) counts: HashMap<(StreamArn, usize), usize>,
    /// How many records of a key were delivered at least once.
    pub(super) seen: HashMap<(StreamArn, usize), usize>,
    pub(super) shards: HashMap<Place, Shard>,
    pub(super) run: HashMap<Place, Progress>,
    /// Records that this run handed out.
    pub(super) handed_out: u64,
    /// A batch was dropped in this run: only a restart brings it back.
    pub(super) dropped: bool,
}

pub(super) fn name(text: &str) -> StreamRef {
    text.parse().unwrap()
}

impl World {
    pub(super) async fn new(seed: u64, files: Option<FileCheckpoints>) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let epoch = Timestamp::from_millis(1_800_000_000_000);
        let mut builder = FakeKinesis::builder().enforce_throughput(random.bool()).epoch(epoch);
        if random.bool() {
            builder = builder.status_delay(Duration::from_millis(random.u64(1..3_000)));
        }
        let fake = builder.build();
        let policy = *random.choice(&[Policy::Fail, Policy::Skip, Policy::DeadLetter]).unwrap();
        let mut streams = Vec::new();
        for stream in ["orders", "invoices"].into_iter().take(random.usize(3..=6) / 3).map(name) {
            fake.create_stream(&stream.name(), random.usize(1..=3)).await.unwrap();
            let arn = fake.describe_stream_summary(&stream).await.unwrap().arn;
            streams.push((stream, arn));
        }
        if policy == Policy::DeadLetter {
            fake.create_stream(&"dead".parse().unwrap(), 1).await.unwrap();
        }
        sleep(Duration::from_secs(5)).await;

        let tap = Tap::new(&fake);
        tap.ignores_filters.store(random.usize(0..4) == 0, Ordering::Relaxed);
        tap.hides_children.store(random.usize(0..3) == 0, Ordering::Relaxed);
        let mut settings = Settings {
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
        let mut millis = || Duration::from_millis(*random.choice(&[0, 0, 3, 50]).unwrap());
        let (before, after) = (millis(), millis());
        let (kept, fails) = (MemoryCheckpoints::new(), AtomicBool::new(false));
        if random.bool() {
            settings.checkpoint_interval = Duration::ZERO;
        }
        let store = Arc::new(SlowStore { kept, before, after, fails });
        let aggregates = random.usize(0..3) > 0;
        let mut world = Self {
            random,
            fake,
            tap,
            streams,
            dead: name("dead"),
            start,
            settings,
            policy,
            aggregates,
            crowded: false,
            store,
            files,
            written: BTreeMap::new(),
            corrupt: BTreeMap::new(),
            counts: HashMap::new(),
            seen: HashMap::new(),
            shards: HashMap::new(),
            run: HashMap::new(),
            handed_out: 0,
            dropped: false,
        };
        // History, which counts only when reading does not start at the latest record.
        for _ in 0..world.random.usize(0..4) {
            world.put().await;
            world.reshard().await;
        }
        world.crowded = world.random.bool();
        if world.crowded {
            world.crowd().await;
        }
        if start == StartupPosition::Latest {
            world.written.clear();
            world.corrupt.clear();
            world.counts.clear();
            sleep(Duration::from_millis(10)).await;
        }
        world
    }

    pub(super) fn inject_faults(&mut self) {
        let faults = self.fake.faults();
        let kinds = [ErrorKind::Throttled, ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::LimitExceeded];
        let reads = [
            Operation::DescribeStreamSummary,
            Operation::ListShards,
            Operation::GetShardIterator,
            Operation::GetRecords,
            Operation::SubscribeToShard,
            Operation::DescribeStreamConsumer,
            Operation::RegisterStreamConsumer,
        ];
        let ratio = *self.random.choice(&[0.0, 0.05, 0.2]).unwrap();
        faults.randomly(self.random.u64(..), ratio, &reads, &kinds);
        for operation in reads {
            faults.delay(operation, Duration::from_millis(*self.random.choice(&[0, 5, 80, 400]).unwrap()));
        }
        let of_subscriptions = [
            SubscriptionFault::Close,
            SubscriptionFault::Drop,
            SubscriptionFault::Stall,
            SubscriptionFault::Fail(ErrorKind::InUse),
            SubscriptionFault::Fail(ErrorKind::Unavailable),
        ];
        faults.randomly_subscriptions(self.random.u64(..), ratio / 4.0, &of_subscriptions);
        // Of all that is put, only dead letters are the consumer's.
        let mut random = self.random.fork();
        faults.fail_entries(move |_, record| record.data.starts_with(b"{\"version\"") && random.f64() < ratio);
    }

    pub(super) fn builder(&mut self) -> ConsumerBuilder {
        let checkpoints: Arc<dyn CheckpointStore> = match &self.files {
            Some(files) => Arc::new(files.clone()),
            None => self.store.clone(),
        };
        let handling = match self.policy {
            Policy::Fail => InvalidRecordHandling::Fail,
            Policy::Skip => InvalidRecordHandling::Skip { log: LogLevel::Info },
            Policy::DeadLetter => InvalidRecordHandling::DeadLetter { stream: self.dead.clone(), log: LogLevel::Error },
        };
        let mut builder = Consumer::builder(self.tap.clone())
            .start(self.start)
            .checkpoints(checkpoints)
            .clock(self.fake.clock())
            .invalid_records(handling)
            .settings(self.settings.clone());
        for (stream, arn) in &self.streams {
            builder = builder.stream(if self.random.bool() { stream.clone() } else { arn.clone().into() });
        }
        // A run may read otherwise than the one before.
        match self.random.usize(0..6) {
            0..3 => builder,
            3 => builder.fan_out(Arc::new(self.fake.clone()), FanOut::managed(consumer_name()).deregister_on_close()),
            _ => builder.fan_out(Arc::new(self.fake.clone()), FanOut::managed(consumer_name())),
        }
    }

    /// Starts a run: what was stored is all that it knows.
    pub(super) async fn consumer(&mut self) -> Consumer {
        // The tasks of the consumer before, which was dropped or closed, are gone as soon as they are scheduled.
        settle().await;
        assert_eq!(tokio::runtime::Handle::current().metrics().num_alive_tasks(), 0, "tasks outlive their consumer");
        let mut builder = self.builder();
        if self.random.usize(0..4) == 0 {
            // Killed before it began.
            let patience = Duration::from_millis(self.random.u64(0..600));
            let _ = timeout(patience, builder.build()).await;
            settle().await;
            builder = self.builder();
        }
        let consumer = builder.build().await.unwrap();
        self.run.clear();
        self.dropped = false;
        self.handed_out = 0;
        for (arn, stored) in self.stored().await {
            for (shard, position) in stored.shards {
                let place = (arn.clone(), shard);
                let written = self.written.get(&place).map_or(&[][..], Vec::as_slice);
                let covered = written.partition_point(|record| position.covers(record.position));
                self.run.insert(place, Progress { delivered: covered, processed: covered });
            }
        }
        consumer
    }

    pub(super) async fn stored(&self) -> Vec<(StreamArn, StreamCheckpoint)> {
        let mut all = Vec::new();
        for (_, arn) in &self.streams {
            let stored = match &self.files {
                Some(files) => files.load(arn).await.unwrap(),
                None => self.store.kept.get(arn),
            };
            all.extend(stored.map(|stored| (arn.clone(), stored)));
        }
        all
    }

    /// Closes the consumer, which tells of batches that were dropped, and of nothing else.
    pub(super) async fn close(&self, consumer: Consumer) {
        let counted = consumer.metrics().snapshot().iter().any(|stream| stream.dropped_batches > 0);
        assert!(self.dropped || !counted, "a batch counts as dropped, and none was");
        match consumer.close().await {
            Ok(()) => assert!(!counted, "a batch was dropped, and closing does not say so"),
            Err(ConsumerError::BatchesDropped { .. }) => assert!(counted, "no batch was dropped"),
            Err(error) => panic!("{error:?}"),
        }
    }

    /// No position is stored before its records are done and its dead letters are stored.
    pub(super) async fn check_stored(&self) {
        let dead = self.dead_letters();
        for (arn, stored) in self.stored().await {
            for (shard, position) in stored.shards {
                let place = (arn.clone(), shard);
                for record in self.written.get(&place).into_iter().flatten() {
                    if position.covers(record.position) {
                        assert!(record.done, "{place:?} is stored up to {position:?}, and {record:?} is not done");
                        let letter = (place.1.clone(), record.position);
                        let missing = record.bad && dead.as_ref().is_some_and(|dead| !dead.contains(&letter));
                        assert!(!missing, "{place:?}: {record:?} has no dead letter");
                    }
                }
                for number in self.corrupt.get(&place).into_iter().flatten() {
                    let letter = (place.1.clone(), Position::inside(*number, 0));
                    let missing = position.covers(Position::behind(*number))
                        && dead.as_ref().is_some_and(|dead| !dead.contains(&letter));
                    assert!(!missing, "{place:?}: the corrupt record {number} has no dead letter");
                }
            }
        }
    }

    /// What the dead-letter stream names, if there is one.
    pub(super) fn dead_letters(&self) -> Option<HashSet<(ShardId, Position)>> {
        let read = |record: &statefun_kinesis_types::Record| {
            let letter = DeadLetterReader::new().read(&record.data).unwrap().expect("a letter of one part");
            let Origin::Ingress(origin) = letter.origin() else { panic!("{letter:?}") };
            (origin.shard.clone(), Position::inside(origin.sequence_number, origin.sub_sequence_number))
        };
        let dead_letter = self.policy == Policy::DeadLetter;
        dead_letter.then(|| self.fake.records(&self.dead).iter().map(|(_, record)| read(record)).collect())
    }

    pub(super) async fn put(&mut self) {
        let (stream, arn) = self.random.choice(&self.streams).unwrap().clone();
        match self.random.usize(0..40) {
            0 => self.put_corrupt(&stream, &arn).await,
            1..12 if self.aggregates => self.put_aggregate(&stream, &arn).await,
            _ => {
                let (key, count, bad, record) = self.record(&arn, None);
                if let Ok(place) = self.fake.put_record(&stream, record).await {
                    let position = Position::inside(place.sequence_number, 0);
                    self.count((arn, place.shard), Written { position, key, count, bad, done: false });
                }
            }
        }
    }

    /// The next record of some key, or of this one.
    pub(super) fn record(&mut self, arn: &StreamArn, key: Option<usize>) -> (usize, usize, bool, PutRecord) {
        let key = key.unwrap_or_else(|| self.random.usize(0..KEYS));
        let count = *self.counts.entry((arn.clone(), key)).or_default();
        let bad = self.random.usize(0..60) == 0;
        let data = if bad { format!("bad {count}") } else { count.to_string() };
        (key, count, bad, PutRecord::new(key_of(key).parse().unwrap(), data))
    }

    pub(super) fn count(&mut self, place: Place, written: Written) {
        *self.counts.get_mut(&(place.0.clone(), written.key)).unwrap() += 1;
        self.written.entry(place).or_default().push(written);
    }

    /// Puts some records of one shard into an aggregate, and between them some that belong elsewhere.
    pub(super) async fn put_aggregate(&mut self, stream: &StreamRef, arn: &StreamArn) {
        let shards = all_shards(&self.fake, stream).await;
        let open: Vec<&Shard> = shards.iter().filter(|shard| shard.is_open()).collect();
        let hash = |key: usize| HashKey::of(&key_of(key).parse().unwrap());
        let range = self.random.choice(&open).unwrap().hash_range;
        let here: Vec<usize> = (0..KEYS).filter(|&key| range.contains(hash(key))).collect();
        if here.is_empty() {
            return;
        }
        let mut aggregator = Aggregator::new(50_000, 100);
        let mut inside = Vec::new();
        let before = self.counts.clone();
        for index in 0..self.random.u64(2..12) {
            let stray = (index > 0 && self.random.usize(0..5) == 0)
                .then(|| (0..KEYS).find(|&key| !range.contains(hash(key))))
                .flatten();
            let record = match stray {
                Some(key) => PutRecord::new(key_of(key).parse().unwrap(), "stray"),
                None => {
                    let key = *self.random.choice(&here).unwrap();
                    let (key, count, bad, record) = self.record(arn, Some(key));
                    *self.counts.get_mut(&(arn.clone(), key)).unwrap() += 1;
                    inside.push((index, key, count, bad));
                    record
                }
            };
            aggregator.push(&record).unwrap();
        }
        let record = aggregator.finish().unwrap();
        self.counts = before;
        if let Ok(place) = self.fake.put_record(stream, record).await {
            for (index, key, count, bad) in inside {
                let position = Position::inside(place.sequence_number, index);
                self.counts.entry((arn.clone(), key)).or_default();
                let written = Written { position, key, count, bad, done: false };
                self.count((arn.clone(), place.shard.clone()), written);
            }
        }
    }

    pub(super) async fn put_corrupt(&mut self, stream: &StreamRef, arn: &StreamArn) {
        let record = PutRecord::new(key_of(self.random.usize(0..KEYS)).parse().unwrap(), corrupt_aggregate());
        if let Ok(place) = self.fake.put_record(stream, record).await {
            self.corrupt.entry((arn.clone(), place.shard)).or_default().push(place.sequence_number);
        }
    }

    pub(super) async fn reshard(&mut self) {
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

    /// Others register as many consumers as leave room for one.
    pub(super) async fn crowd(&self) {
        for (_, arn) in &self.streams {
            for number in 0..19 {
                let other = format!("other-{number}").parse().unwrap();
                while self.fake.register_stream_consumer(arn, &other).await.is_err() {
                    // Five can be CREATING at a time.
                    sleep(Duration::from_secs(1)).await;
                }
            }
        }
    }

    /// Somebody removes this consumer of enhanced fan-out behind the reader's back.
    pub(super) async fn deregister(&self, name: ConsumerName) {
        for (_, arn) in &self.streams {
            if let Ok(consumer) = self.fake.describe_stream_consumer(arn, &name).await {
                let _ = self.fake.deregister_stream_consumer(&consumer.arn).await;
            }
        }
    }

    /// Somebody removes the reader's consumer, and where others wait for its place, one of them may get it.
    pub(super) async fn lose_consumer(&mut self) {
        self.deregister(consumer_name()).await;
        if !self.crowded || self.random.usize(0..4) == 0 {
            return;
        }
        for (_, arn) in &self.streams {
            // Until the consumer is gone its place is not free; the reader may be faster.
            for _ in 0..350 {
                match self.fake.register_stream_consumer(arn, &last_name()).await {
                    Err(error) if error.kind() == ErrorKind::LimitExceeded => sleep(Duration::from_millis(10)).await,
                    _ => break,
                }
            }
        }
        sleep(Duration::from_secs(*self.random.choice(&[0, 20]).unwrap())).await;
    }

    /// Checks a batch, rejects what is bad, and remembers that it was delivered.
    pub(super) async fn received(&mut self, consumer: &Consumer, batch: Batch) -> Result<OpenBatch, ConsumerError> {
        let place = (batch.stream().clone(), batch.shard().clone());
        self.children_come_last(&place).await;
        let written = self.written.get(&place).map_or(&[][..], Vec::as_slice);
        let progress = self.run.entry(place.clone()).or_default();
        let first = progress.delivered;
        let mut rejected = Vec::new();
        for (index, record) in batch.records().iter().enumerate() {
            let position = Position::of(record);
            let expected = written.get(progress.delivered);
            assert_eq!(Some(position), expected.map(|record| record.position), "{place:?}, {}", progress.delivered);
            let Written { key, count, bad, .. } = expected.unwrap();
            if *bad {
                assert_eq!(record.data, format!("bad {count}"));
                rejected.push(index);
            } else {
                assert_eq!(record.data, count.to_string());
            }
            assert_eq!(record.partition_key.as_ref().unwrap().as_str(), key_of(*key));
            progress.delivered += 1;
            let seen = self.seen.entry((place.0.clone(), *key)).or_default();
            assert!(count <= seen, "record {count} of key {key} came before record {seen}");
            *seen = (*seen).max(count + 1);
        }
        self.handed_out += batch.records().len() as u64;
        let metrics = consumer.metrics().snapshot();
        let corrupt = |(kind, count): &(_, u64)| if *kind == InvalidKind::CorruptAggregate { *count } else { 0 };
        let read: u64 =
            metrics.iter().map(|stream| stream.records - stream.invalid.iter().map(corrupt).sum::<u64>()).sum();
        let read_ahead = read - self.handed_out;
        assert!(read_ahead <= self.settings.prefetch_records as u64, "{read_ahead} records read ahead");
        for index in rejected {
            batch.reject(index, InvalidKind::Undecodable, "the test says so").await?;
        }
        Ok(OpenBatch { batch, place, first })
    }

    pub(super) async fn children_come_last(&mut self, place: &Place) {
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

    pub(super) fn acknowledge(&mut self, open_batch: OpenBatch) {
        let OpenBatch { batch, place, first } = open_batch;
        let count = batch.records().len();
        self.run.get_mut(&place).unwrap().processed += count;
        for written in &mut self.written.get_mut(&place).unwrap()[first..first + count] {
            written.done = true;
        }
        batch.done();
    }

    /// Whether the stored positions cover all that was written.
    pub(super) async fn is_done(&self) -> bool {
        let stored: HashMap<StreamArn, StreamCheckpoint> = self.stored().await.into_iter().collect();
        let covers = |(arn, shard): &Place, position| {
            let stored = stored.get(arn).and_then(|stored| stored.shards.get(shard));
            stored.is_some_and(|stored| stored.covers(position))
        };
        let last = |written: &Vec<Written>| written[written.len() - 1].position;
        self.written.iter().all(|(place, written)| covers(place, last(written)))
            && self
                .corrupt
                .iter()
                .all(|(place, numbers)| numbers.iter().all(|number| covers(place, Position::behind(*number))))
    }

    /// An invalid record ended reading, as it was to be; somebody decides to leave such records out.
    pub(super) fn leave_out(&mut self, error: &ConsumerError) {
        let ConsumerError::InvalidRecord(record) = error else { panic!("{error:?}") };
        assert_eq!(self.policy, Policy::Fail, "{error:?}");
        let place = (record.stream.clone(), record.shard.clone());
        let known = match record.kind {
            InvalidKind::CorruptAggregate => self.corrupt[&place].contains(&record.sequence_number),
            _ => {
                let position = Position::inside(record.sequence_number, record.sub_sequence_number);
                self.written[&place].iter().any(|written| written.bad && written.position == position)
            }
        };
        assert!(known, "{record}");
        self.policy = Policy::Skip;
    }
}

pub(super) fn consumer_name() -> ConsumerName {
    "simulation".parse().unwrap()
}

/// The consumer for which there is room only while the reader has none.
pub(super) fn last_name() -> ConsumerName {
    "last".parse().unwrap()
}

pub(super) fn key_of(key: usize) -> String {
    format!("key {key}")
}

/// Lists shards in spite of the faults that are meant for the consumer.
pub(super) async fn all_shards(fake: &FakeKinesis, stream: &StreamRef) -> Vec<Shard> {
    loop {
        if let Ok(shards) = fake.all_shards(stream, ShardFilter::FromTrimHorizon).await {
            return shards;
        }
    }
}

/// Lets everything happen that takes no time.
pub(super) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}
