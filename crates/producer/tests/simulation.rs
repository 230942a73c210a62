//! A few hundred runs against an unruly Kinesis, each of them repeatable by its seed.
//!
//! Calls are slow, overtake each other, time out and are carried out all the same, later than their retries perhaps;
//! single records fail; shards are throttled, split and merged. Whatever happens: each record is stored and
//! acknowledged, or reported as failed; and per key, acknowledged records are stored in the order in which they were
//! sent.

use std::{
    collections::{BTreeMap, HashMap},
    num::NonZeroU32,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use fastrand::Rng;
use statefun_kinesis_client::{
    Error, ErrorKind, KinesisAdmin, KinesisClient, KinesisClientExt, Operation, Placement, PutOutcome, RecordPage,
    Result as ClientResult, ShardFilter, ShardIterator, ShardPage, ShardPageRequest, StreamSummary,
};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_producer::{Producer, SendError, Settings};
use statefun_kinesis_types::{
    HashKey, PUT_RECORDS_MAX_BYTES, PUT_RECORDS_MAX_RECORDS, PutRecord, SequenceNumber, ShardId, StartPosition,
    StreamName, StreamRef,
};
use tokio::time::sleep;

const SEEDS: std::ops::Range<u64> = 0..250;

#[test]
fn acknowledged_records_are_stored_in_the_order_of_their_key_and_all_others_are_reported() {
    let mut total = Seen::default();
    for seed in SEEDS {
        let run = || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(simulate(seed))
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(seen) => total.add(&seen),
            Err(cause) => {
                let text = cause.downcast_ref::<String>().map(String::as_str);
                match text.or(cause.downcast_ref::<&str>().copied()) {
                    Some(text) => panic!("seed {seed}: {text}"),
                    None => resume_unwind(cause),
                }
            }
        }
    }
    // A simulation in which nothing goes wrong would prove nothing.
    let Seen { acknowledged, repeated, failed, closed_shards } = total;
    assert!(acknowledged > 10_000 && repeated > 1_000 && failed > 100 && closed_shards > 100, "{total:?}");
}

/// What happened in a run.
#[derive(Debug, Default)]
struct Seen {
    acknowledged: usize,
    repeated: usize,
    failed: usize,
    closed_shards: usize,
}

impl Seen {
    fn add(&mut self, other: &Self) {
        self.acknowledged += other.acknowledged;
        self.repeated += other.repeated;
        self.failed += other.failed;
        self.closed_shards += other.closed_shards;
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

#[async_trait]
impl KinesisClient for Unruly {
    async fn describe_stream_summary(&self, stream: &StreamRef) -> ClientResult<StreamSummary> {
        self.kinesis.describe_stream_summary(stream).await
    }

    async fn list_shards(&self, stream: &StreamRef, page: ShardPageRequest) -> ClientResult<ShardPage> {
        self.kinesis.list_shards(stream, page).await
    }

    async fn get_shard_iterator(
        &self,
        stream: &StreamRef,
        shard: &ShardId,
        from: StartPosition,
    ) -> ClientResult<ShardIterator> {
        self.kinesis.get_shard_iterator(stream, shard, from).await
    }

    async fn get_records(&self, iterator: &ShardIterator, limit: usize) -> ClientResult<RecordPage> {
        self.kinesis.get_records(iterator, limit).await
    }

    async fn put_records(&self, stream: &StreamRef, records: &[PutRecord]) -> ClientResult<Vec<PutOutcome>> {
        assert!((1..=PUT_RECORDS_MAX_RECORDS).contains(&records.len()), "{} records in a request", records.len());
        assert!(records.iter().map(PutRecord::size).sum::<usize>() <= PUT_RECORDS_MAX_BYTES);
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

/// What became of the records of one key, in the order in which they were sent.
type Story = Vec<(u64, Result<Option<Placement>, SendError>)>;

async fn simulate(seed: u64) -> Seen {
    let mut random = Rng::with_seed(seed);
    let name: StreamName = "orders".parse().unwrap();
    let orders = StreamRef::from(name.clone());
    let throttle = random.bool();
    let kinesis = FakeKinesis::builder().enforce_throughput(throttle).build();
    kinesis.create_stream(&name, random.usize(1..=4)).await.unwrap();

    let settings = Settings {
        max_outstanding_records: NonZeroU32::new(random.u32(1..=200)).unwrap(),
        max_outstanding_bytes: NonZeroU32::new(random.u32(1..=2 << 20)).unwrap(),
        linger: Duration::from_millis(random.u64(0..=50)),
        max_in_flight_requests: NonZeroU32::new(random.u32(1..=8)).unwrap(),
        request_timeout: Duration::from_millis(random.u64(100..=2_000)),
        give_up_after: Duration::from_secs(random.u64(2..=120)),
        seed: Some(seed),
        ..Settings::default()
    };
    let client = Unruly {
        kinesis: kinesis.clone(),
        random: Mutex::new(random.fork()),
        slowest: Duration::from_millis(random.u64(0..=3_000)),
    };
    let producer = Producer::builder(Arc::new(client), name).settings(settings).build().await.unwrap();

    let faults = kinesis.faults();
    faults.randomly_entries(random.u64(..), random.f64() * 0.5);
    let mut kinds = vec![ErrorKind::Timeout, ErrorKind::Throttled, ErrorKind::Unavailable];
    if random.u8(0..4) == 0 {
        kinds.push(ErrorKind::AccessDenied);
    }
    faults.randomly(random.u64(..), random.f64() * 0.3, &[Operation::PutRecords], &kinds);

    let resharding = tokio::spawn(reshard(kinesis.clone(), orders.clone(), random.fork()));
    let most_bytes = if throttle { 60 << 10 } else { 1 << 10 };
    let senders: Vec<_> = (0..random.u64(1..=3))
        .map(|sender| tokio::spawn(send(producer.clone(), sender, most_bytes, random.fork())))
        .collect();
    let mut stories: BTreeMap<String, Story> = BTreeMap::new();
    for sender in senders {
        stories.append(&mut sender.await.unwrap());
    }
    producer.close().await;
    resharding.abort();
    // A request that was given up may still be on its way, and must not do harm when it arrives.
    sleep(Duration::from_secs(60)).await;
    faults.clear();
    let shards = kinesis.all_shards(&orders, ShardFilter::FromTrimHorizon).await.unwrap();
    let closed_shards = shards.iter().filter(|shard| !shard.is_open()).count();
    Seen { closed_shards, ..check(&kinesis, &orders, &stories) }
}

/// Sends records of the sender's own keys, one by one and in batches, and waits for their receipts.
async fn send(producer: Producer, sender: u64, most_bytes: usize, mut random: Rng) -> BTreeMap<String, Story> {
    static PADDING: [u8; 64 << 10] = [0; 64 << 10];
    let keys = random.u64(1..=12);
    let mut sent: Vec<(String, u64)> = Vec::new();
    let mut receipts = Vec::new();
    let total = random.usize(10..=100);
    while sent.len() < total {
        let (step, size) = (random.u8(0..10), random.usize(1..40));
        let mut record = || {
            let id = (sender << 32) | sent.len() as u64;
            let key = format!("{sender}-{}", random.u64(0..keys));
            let mut data = id.to_be_bytes().to_vec();
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
                        Ok(placements) => placements.into_iter().map(|placement| Ok(Some(placement))).collect(),
                        // One of the batch failed; of the others it is not told what became of them.
                        Err(_) => vec![Ok(None); size],
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

fn check(kinesis: &FakeKinesis, stream: &StreamRef, stories: &BTreeMap<String, Story>) -> Seen {
    let mut seen = Seen::default();
    // Shards come in the order of their creation, parents before children: so the records of a key are in the order
    // in which a consumer reads them.
    let mut first_seen: HashMap<u64, usize> = HashMap::new();
    let mut at: HashMap<(ShardId, SequenceNumber), u64> = HashMap::new();
    for (index, (shard, record)) in kinesis.records(stream).into_iter().enumerate() {
        let id = u64::from_be_bytes(record.data[..8].try_into().unwrap());
        if *first_seen.entry(id).or_insert(index) < index {
            seen.repeated += 1;
        }
        at.insert((shard, record.sequence_number), id);
    }
    for (key, story) in stories {
        let mut before = None;
        for (id, outcome) in story {
            match outcome {
                Ok(Some(placement)) => {
                    let found = at.get(&(placement.shard.clone(), placement.sequence_number));
                    assert_eq!(found, Some(id), "record {id} of key {key} is not where its receipt says");
                    let first = first_seen.get(id);
                    assert!(first > before, "record {id} of key {key} is read before its predecessor");
                    before = first;
                    seen.acknowledged += 1;
                }
                Ok(None) => {}
                Err(error) => {
                    assert!(
                        error.may_be_stored() || !first_seen.contains_key(id),
                        "record {id} of key {key} was reported as not stored: {error:?}"
                    );
                    seen.failed += 1;
                }
            }
        }
    }
    seen
}
