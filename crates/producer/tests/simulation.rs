//! Thousands of runs against an unruly Kinesis, each of them repeatable by its seed.
//!
//! Calls are slow, overtake each other, time out and are carried out nevertheless, perhaps later than their retries;
//! single records fail; shards are throttled, split and merged; the stream's record size is lowered; single records make
//! the service reject whole requests. Whatever happens, with and without aggregation: each record is readable and
//! acknowledged, or reported as failed, or in the dead-letter stream; and per key, acknowledged records are readable in
//! the order in which they were sent.
//!
//! `STATEFUN_KINESIS_RUNS` sets the number of runs and `STATEFUN_KINESIS_SEED` the first seed.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    num::NonZeroU32,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use fastrand::Rng;
use statefun_kinesis_aggregation::{Decoded, decode};
use statefun_kinesis_client::{
    Error, ErrorKind, KinesisAdmin, KinesisClientExt, Operation, PutFailure, PutOutcome, Result as ClientResult,
    ShardFilter, forward_client,
};
use statefun_kinesis_dead_letter::DeadLetterReader;
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_producer::{
    Aggregation, Handling, OnFailure, Order, Producer, Reason, SendError, Settings, Stored,
};
use statefun_kinesis_types::{
    HashKey, HashKeyRange, LogLevel, PUT_RECORDS_MAX_BYTES, PUT_RECORDS_MAX_RECORDS, PutRecord, SequenceNumber,
    ShardId, StreamName, StreamRef,
};
use tokio::time::{sleep, timeout};

/// Default number of runs, which continuous integration makes.
const RUNS: u64 = 20_000;

/// Longer than any run takes by its own clock, in which every record is given up after two minutes.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// A record with these bytes makes the service reject the whole request.
const POISON: &[u8] = b"poison";

/// A number from the environment. What is no number is an error, not a default.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}

#[test]
fn acknowledged_records_are_readable_in_the_order_of_their_key_and_all_others_are_reported() {
    let first = number("STATEFUN_KINESIS_SEED").unwrap_or(0);
    let runs = number("STATEFUN_KINESIS_RUNS").unwrap_or(RUNS);
    let next = AtomicU64::new(first);
    let total = std::thread::scope(|scope| {
        let work = || {
            let mut total = Seen::default();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + runs {
                    return total;
                }
                total.add(&run(seed));
            }
        };
        let threads = [scope.spawn(work), scope.spawn(work)];
        let mut total = Seen::default();
        for thread in threads {
            total.add(&thread.join().unwrap_or_else(|cause| resume_unwind(cause)));
        }
        total
    });
    // A simulation in which nothing goes wrong would prove nothing.
    let floor = Seen {
        acknowledged: runs * 10,
        aggregated: runs,
        repeated: runs / 2,
        failed: runs / 10,
        skipped: runs / 20,
        dead_lettered: runs / 20,
        rejected: runs / 10,
        misplaced: runs / 50,
        paced: runs / 20,
        closed_shards: runs / 2,
    };
    assert!(runs < 100 || total.exceeds(&floor), "too little has happened: {total:?}");
}

fn run(seed: u64) -> Seen {
    let run = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let simulation = async { timeout(LONGEST, simulate(seed)).await.expect("the run does not end") };
        runtime.block_on(simulation)
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(seen) => seen,
        Err(cause) => {
            let text = cause.downcast_ref::<String>().map(String::as_str);
            match text.or(cause.downcast_ref::<&str>().copied()) {
                Some(text) => panic!("STATEFUN_KINESIS_SEED={seed} STATEFUN_KINESIS_RUNS=1: {text}"),
                None => resume_unwind(cause),
            }
        }
    }
}

/// What happened.
#[derive(Debug, Default)]
struct Seen {
    acknowledged: u64,
    /// Acknowledged in an aggregate with others.
    aggregated: u64,
    /// Stored more than once.
    repeated: u64,
    failed: u64,
    skipped: u64,
    dead_lettered: u64,
    /// Records that spoil their requests and were found.
    rejected: u64,
    /// Aggregates that landed on a wrong shard.
    misplaced: u64,
    /// Runs in which shards had a pace.
    paced: u64,
    closed_shards: u64,
}

impl Seen {
    fn counts(&self) -> [u64; 10] {
        let Self { acknowledged, aggregated, repeated, failed, skipped, dead_lettered, rejected, misplaced, .. } = self;
        let counts = [acknowledged, aggregated, repeated, failed, skipped, dead_lettered, rejected, misplaced];
        let [a, b, c, d, e, f, g, h] = counts.map(|count| *count);
        [a, b, c, d, e, f, g, h, self.paced, self.closed_shards]
    }

    fn add(&mut self, other: &Self) {
        let [a, b, c, d, e, f, g, h, i, j] = other.counts();
        self.acknowledged += a;
        self.aggregated += b;
        self.repeated += c;
        self.failed += d;
        self.skipped += e;
        self.dead_lettered += f;
        self.rejected += g;
        self.misplaced += h;
        self.paced += i;
        self.closed_shards += j;
    }

    fn exceeds(&self, floor: &Self) -> bool {
        self.counts().into_iter().zip(floor.counts()).all(|(count, floor)| count > floor)
    }
}

/// A client whose requests are slow on both ways, and some of which go on when their caller has stopped waiting.
#[derive(Debug)]
struct Unruly {
    kinesis: FakeKinesis,
    random: Mutex<Rng>,
    slowest: Duration,
}

impl Unruly {
    fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        draw(&mut self.random.lock().unwrap())
    }

    fn delay(&self) -> Duration {
        let slowest = self.slowest.as_millis() as u64;
        self.draw(|random| match random.u8(0..10) {
            0..4 => Duration::ZERO,
            4..9 => Duration::from_millis(random.u64(0..=slowest / 10)),
            _ => Duration::from_millis(random.u64(0..=slowest)),
        })
    }
}

forward_client! {
    impl KinesisClient for Unruly {
        |this| this.kinesis => describe_stream_summary, list_shards, get_shard_iterator, get_records;

        async fn put_records(&self, stream: &StreamRef, records: &[PutRecord]) -> ClientResult<Vec<PutOutcome>> {
            assert!((1..=PUT_RECORDS_MAX_RECORDS).contains(&records.len()), "{} records in a request", records.len());
            assert!(records.iter().map(PutRecord::size).sum::<usize>() <= PUT_RECORDS_MAX_BYTES);
            let is_rejected = |record: &PutRecord| record.data.windows(POISON.len()).any(|bytes| bytes == POISON);
            if records.iter().any(is_rejected) {
                return Err(Error::new(Operation::PutRecords, ErrorKind::InvalidArgument, "one of the records is wrong"));
            }
            let (there, back) = (self.delay(), self.delay());
            let (kinesis, stream, records) = (self.kinesis.clone(), stream.clone(), records.to_vec());
            let call = async move {
                sleep(there).await;
                let answer = kinesis.put_records(&stream, &records).await;
                sleep(back).await;
                answer
            };
            if self.draw(|random| random.u8(0..3) > 0) {
                return call.await;
            }
            match tokio::spawn(call).await {
                Ok(answer) => answer,
                Err(error) => Err(Error::new(Operation::PutRecords, ErrorKind::Unexpected, error.to_string())),
            }
        }
    }
}

/// What became of the records of one key, in the order in which they were sent.
type Story = Vec<(u64, Result<Option<Stored>, SendError>)>;

async fn simulate(seed: u64) -> Seen {
    let mut random = Rng::with_seed(seed);
    let name: StreamName = "orders".parse().unwrap();
    let orders = StreamRef::from(name.clone());
    let letters: StreamName = "letters".parse().unwrap();
    let kinesis = FakeKinesis::builder().enforce_throughput(true).build();
    let shards = [1, 1, 2, 3, 4, 8, 64][random.usize(0..7)];
    kinesis.create_stream(&name, shards).await.unwrap();
    kinesis.create_stream(&letters, 1).await.unwrap();

    let aggregation = random.bool().then(|| Aggregation {
        max_bytes: NonZeroU32::new(random.u32(50..=3_000)).unwrap(),
        max_records: NonZeroU32::new(random.u32(1..=40)).unwrap(),
    });
    let order = if random.u8(0..6) == 0 { Order::None } else { Order::PerPartitionKey };
    let settings = Settings {
        max_outstanding_records: NonZeroU32::new(random.u32(1..=100)).unwrap(),
        max_outstanding_bytes: NonZeroU32::new(random.u32(1..=1 << 16)).unwrap(),
        linger: Duration::from_millis(random.u64(0..=50)),
        order,
        aggregation,
        max_in_flight_requests: NonZeroU32::new(random.u32(1..=8)).unwrap(),
        request_timeout: Duration::from_millis(random.u64(100..=2_000)),
        give_up_after: Duration::from_secs(random.u64(2..=120)),
        max_attempts: (random.u8(0..4) == 0).then(|| NonZeroU32::new(random.u32(1..=6)).unwrap()),
        seed: Some(seed),
        ..Settings::default()
    };
    let slowest = Duration::from_millis(random.u64(0..=3_000));
    let client = Arc::new(Unruly { kinesis: kinesis.clone(), random: Mutex::new(random.fork()), slowest });
    let on_failure = match random.u8(0..4) {
        0 => OnFailure::Skip { log: LogLevel::Trace },
        1 => {
            let settings = Settings { seed: Some(seed), ..Settings::default() };
            let to = Producer::builder(client.clone(), letters.clone()).settings(settings).build().await.unwrap();
            OnFailure::DeadLetter { to, log: LogLevel::Trace }
        }
        _ => OnFailure::Fail,
    };
    let builder = Producer::builder(client, name).settings(settings).on_failure(on_failure);
    let producer = builder.build().await.unwrap();

    let faults = kinesis.faults();
    let mut entries = (random.fork(), random.f64() * 0.4, HashKey::new(random.u128(..)), random.bool());
    faults.fail_entries_with(move |_, record| {
        let (random, ratio, hot, throttles) = &mut entries;
        // One part of the hash keys is throttled most of the time.
        let is_hot = *throttles && record.hash_key() < *hot && random.u8(0..3) > 0;
        let kind = match random.f64() < *ratio {
            _ if is_hot => ErrorKind::Throttled,
            true if random.bool() => ErrorKind::Throttled,
            true => ErrorKind::Unavailable,
            false => return None,
        };
        Some(PutFailure::new(kind, "Fault", "a drawn fault"))
    });
    let mut kinds = vec![ErrorKind::Timeout, ErrorKind::Throttled, ErrorKind::Unavailable];
    if random.u8(0..4) == 0 {
        kinds.push(ErrorKind::AccessDenied);
    }
    let operations = [Operation::PutRecords, Operation::ListShards];
    faults.randomly(random.u64(..), random.f64() * 0.3, &operations, &kinds);

    let resharding = tokio::spawn(reshard(kinesis.clone(), orders.clone(), random.fork()));
    let senders: Vec<_> =
        (0..random.u64(1..=3)).map(|sender| tokio::spawn(send(producer.clone(), sender, random.fork()))).collect();
    if random.u8(0..4) == 0 {
        sleep(Duration::from_millis(random.u64(0..2_000))).await;
        kinesis.set_max_record_bytes(&orders, random.usize(1_000..3_000)).unwrap();
    }
    let mut stories: BTreeMap<String, Story> = BTreeMap::new();
    for sender in senders {
        stories.append(&mut sender.await.unwrap());
    }
    let paced = producer.metrics().paced_shards > 0;
    producer.close().await;
    let metrics = producer.metrics();
    assert_eq!((metrics.outstanding_records, metrics.outstanding_bytes, metrics.in_flight_requests), (0, 0, 0));
    resharding.abort();
    // A request that timed out may still arrive, and must not do harm then.
    sleep(Duration::from_secs(60)).await;
    faults.clear();
    let shards = kinesis.all_shards(&orders, ShardFilter::FromTrimHorizon).await.unwrap();
    let closed_shards = shards.iter().filter(|shard| !shard.is_open()).count() as u64;
    let ranges: HashMap<_, _> = shards.into_iter().map(|shard| (shard.id, shard.hash_range)).collect();
    let is_ordered = order == Order::PerPartitionKey;
    let seen = Reading::of(&kinesis, &orders, &ranges, &letters.into()).check(&stories, is_ordered);
    Seen { closed_shards, misplaced: metrics.misplaced_aggregates, paced: u64::from(paced), ..seen }
}

/// Sends records of the sender's own keys, one by one and in batches, and waits for their receipts.
async fn send(producer: Producer, sender: u64, mut random: Rng) -> BTreeMap<String, Story> {
    static PADDING: [u8; 4 << 10] = [0; 4 << 10];
    let keys = random.u64(1..=8);
    let most_bytes = [10, 100, 100, 1_000, 3_000][random.usize(0..5)];
    let poison = random.u8(0..4) == 0;
    let mut sent: Vec<(String, u64)> = Vec::new();
    let mut receipts = Vec::new();
    let total = random.usize(5..=40);
    while sent.len() < total {
        let (step, size) = (random.u8(0..10), random.usize(1..25));
        let mut record = || {
            let spoils = poison && random.u8(0..20) == 0;
            let id = u64::from(spoils) << 63 | sender << 32 | sent.len() as u64;
            let key = format!("{sender}-{}", random.u64(0..keys));
            let mut data = id.to_be_bytes().to_vec();
            if spoils {
                data.extend_from_slice(POISON);
            }
            data.extend_from_slice(&PADDING[..random.usize(0..most_bytes)]);
            sent.push((key.clone(), id));
            PutRecord::new(key.parse().unwrap(), Bytes::from(data))
        };
        match step {
            0..6 => {
                let receipt = producer.send(record()).await.unwrap();
                receipts.push(tokio::spawn(async { vec![receipt.await.map(Some)] }));
            }
            6..9 => {
                let batch: Vec<_> = (0..size).map(|_| record()).collect();
                let receipt = producer.send_all(batch).await.unwrap();
                receipts.push(tokio::spawn(async move {
                    match receipt.await {
                        Ok(delivered) => {
                            assert_eq!(delivered.len(), size);
                            let mut outcomes: Vec<_> = (0..size).map(|index| Ok(delivered.get(index))).collect();
                            for (index, error) in delivered.into_handled() {
                                assert_eq!(outcomes[index].as_ref().ok(), Some(&None));
                                outcomes[index] = Err(error);
                            }
                            outcomes
                        }
                        // One of the batch failed; the outcomes of the others are not reported.
                        Err(error) => {
                            assert!(!matches!(error.reason(), Reason::TaskFailed(_)), "{error:?}");
                            (0..size).map(|_| Ok(None)).collect()
                        }
                    }
                }));
            }
            _ => sleep(Duration::from_millis(random.u64(0..500))).await,
        }
        if random.u8(0..20) == 0 {
            producer.flush().await;
        }
    }
    let mut outcomes = Vec::new();
    for receipt in receipts {
        outcomes.extend(receipt.await.unwrap());
    }
    assert_eq!(outcomes.len(), sent.len());
    let mut stories: BTreeMap<String, Story> = BTreeMap::new();
    for ((key, id), outcome) in sent.into_iter().zip(outcomes) {
        stories.entry(key).or_default().push((id, outcome));
    }
    stories
}

/// Splits and merges shards at any time.
async fn reshard(kinesis: FakeKinesis, stream: StreamRef, mut random: Rng) {
    loop {
        sleep(Duration::from_millis(random.u64(0..2_000))).await;
        let shards = kinesis.all_shards(&stream, ShardFilter::AtLatest).await.unwrap();
        let shard = random.choice(&shards).unwrap();
        let (start, end) = (shard.hash_range.start().get(), shard.hash_range.end().get());
        let neighbour = shards.iter().find(|other| other.hash_range.start().get().checked_sub(1) == Some(end));
        match neighbour {
            Some(neighbour) if random.bool() => kinesis.merge_shards(&stream, &shard.id, &neighbour.id).await.unwrap(),
            _ if shards.len() < 8 && end - start > 1 => {
                let middle = HashKey::new(start + (end - start) / 2 + 1);
                kinesis.split_shard(&stream, &shard.id, middle).await.unwrap();
            }
            _ => {}
        }
    }
}

/// What readers find.
struct Reading {
    /// All that is there at all, by its place.
    at: HashMap<(ShardId, SequenceNumber, u64), u64>,
    /// Where a record is first seen by a reader that takes those records of an aggregate that belong to the shard.
    first_seen: HashMap<u64, usize>,
    /// Where a record is first seen by a reader that drops an aggregate with records of another shard, as the KCL does.
    first_seen_by_kcl: HashMap<u64, usize>,
    /// The places of what such a reader sees.
    kcl: HashSet<(ShardId, SequenceNumber, u64)>,
    repeated: u64,
    in_aggregates: HashSet<(ShardId, SequenceNumber)>,
    dead_letters: HashSet<u64>,
}

fn id_of(data: &[u8]) -> u64 {
    u64::from_be_bytes(data[..8].try_into().unwrap())
}

impl Reading {
    fn of(
        kinesis: &FakeKinesis,
        stream: &StreamRef,
        ranges: &HashMap<ShardId, HashKeyRange>,
        letters: &StreamRef,
    ) -> Self {
        let mut reading = Self {
            at: HashMap::new(),
            first_seen: HashMap::new(),
            first_seen_by_kcl: HashMap::new(),
            kcl: HashSet::new(),
            repeated: 0,
            in_aggregates: HashSet::new(),
            dead_letters: HashSet::new(),
        };
        let mut index = 0;
        // Shards come in the order of their creation, parents before children: so the records of a key are in the
        // order in which a consumer reads them.
        for (shard, record) in kinesis.records(stream) {
            let number = record.sequence_number;
            let mut users = Vec::new();
            match decode(&record.data) {
                Decoded::Plain => users.push((0, true, record.data.clone())),
                Decoded::Corrupt(corrupt) => panic!("a corrupt aggregate: {corrupt}"),
                Decoded::Aggregate(aggregate) => {
                    assert!(aggregate.len() > 1, "an aggregate of {}", aggregate.len());
                    reading.in_aggregates.insert((shard.clone(), number));
                    let belongs = |key: HashKey| ranges[&shard].contains(key);
                    users.extend(aggregate.iter().map(|user| (user.index, belongs(user.hash_key()), user.data)));
                }
            }
            let all_belong = users.iter().all(|(_, belongs, _)| *belongs);
            for (sub, belongs, data) in users {
                index += 1;
                let (id, place) = (id_of(&data), (shard.clone(), number, sub));
                reading.at.insert(place.clone(), id);
                if belongs && *reading.first_seen.entry(id).or_insert(index) < index {
                    reading.repeated += 1;
                }
                if all_belong {
                    reading.first_seen_by_kcl.entry(id).or_insert(index);
                    reading.kcl.insert(place);
                }
            }
        }
        let mut reader = DeadLetterReader::new();
        for (_, letter) in kinesis.records(letters) {
            if let Some(letter) = reader.read(&letter.data).unwrap() {
                reading.dead_letters.insert(id_of(letter.data().unwrap()));
            }
        }
        reading
    }

    fn check(&self, stories: &BTreeMap<String, Story>, is_ordered: bool) -> Seen {
        let mut seen = Seen { repeated: self.repeated, ..Seen::default() };
        for (key, story) in stories {
            let (mut before, mut before_by_kcl) = (None, None);
            for (id, outcome) in story {
                let spoils = id >> 63 == 1;
                match outcome {
                    Ok(Some(stored)) => {
                        let Stored { shard, sequence_number, sub_sequence_number, .. } = stored;
                        let place = (shard.clone(), *sequence_number, *sub_sequence_number);
                        assert_eq!(
                            self.at.get(&place),
                            Some(id),
                            "record {id} of key {key} is not where its receipt says"
                        );
                        assert!(self.kcl.contains(&place), "record {id} of key {key} is dropped by some readers");
                        let (first, by_kcl) = (self.first_seen.get(id), self.first_seen_by_kcl.get(id));
                        assert!(
                            !is_ordered || first > before,
                            "record {id} of key {key} is read before its predecessor"
                        );
                        assert!(!is_ordered || by_kcl > before_by_kcl, "some read record {id} of key {key} too early");
                        assert!(!spoils, "record {id} cannot have been stored");
                        (before, before_by_kcl) = (first, by_kcl);
                        seen.acknowledged += 1;
                        seen.aggregated += u64::from(self.in_aggregates.contains(&(place.0, place.1)));
                    }
                    Ok(None) => {}
                    Err(error) => {
                        assert!(
                            error.may_be_stored() || !self.first_seen.contains_key(id),
                            "record {id} of key {key} was reported as not stored: {error:?}"
                        );
                        // A broken invariant panics in the producer's task, which fails its records.
                        assert!(
                            !matches!(error.reason(), Reason::TaskFailed(_)),
                            "record {id} of key {key}: {error:?}"
                        );
                        match error.handling() {
                            Handling::Skipped => seen.skipped += 1,
                            Handling::DeadLettered => {
                                assert!(self.dead_letters.contains(id), "record {id} of key {key} has no dead letter");
                                seen.dead_lettered += 1;
                            }
                            _ => seen.failed += 1,
                        }
                        seen.rejected += u64::from(spoils && matches!(error.reason(), Reason::Rejected { .. }));
                    }
                }
            }
        }
        seen
    }
}
