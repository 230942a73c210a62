//! A few hundred runs of the whole engine against an unruly Kinesis, each of them repeatable by its seed.
//!
//! Streams are written while they are read. Shards split and merge. Calls fail, or time out after they took effect, and
//! single records are rejected. Iterators expire. Again and again the engine is killed at any await, and started again
//! from the stored positions. In every case each record is written to the egress, in order per key, and a record is
//! written twice only after a fault.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::Arc,
    time::Duration,
};

use fastrand::Rng;
use statefun_kinesis_client::{ErrorKind, KinesisAdmin, KinesisClient, KinesisClientExt, Operation, ShardFilter};
use statefun_kinesis_consumer::{CheckpointStore, MemoryCheckpoints};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_module::{EgressSpec, IngressSpec, StartupPosition, StreamRoute};
use statefun_kinesis_router::{Echo, Ingress, Router, Stateless, Unfinished};
use statefun_kinesis_types::{HashKey, PutRecord, StreamArn, StreamRef};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

const SEEDS: std::ops::Range<u64> = 0..200;

#[test]
fn every_record_comes_out_in_order_per_key_whatever_happens() {
    let mut total = Seen::default();
    for seed in SEEDS {
        let run = || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            runtime.block_on(simulate(seed))
        };
        match catch_unwind(AssertUnwindSafe(run)) {
            Ok(seen) => total.add(seen),
            Err(cause) => match cause.downcast_ref::<String>() {
                Some(text) => panic!("seed {seed}: {text}"),
                None => resume_unwind(cause),
            },
        }
    }
    // A simulation in which nothing goes wrong would prove nothing.
    assert!(total.kills > 300 && total.reshards > 300 && total.repeats > 300, "{total:?}");
}

#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    kills: usize,
    reshards: usize,
    /// Records that came out more than once.
    repeats: usize,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.reshards += other.reshards;
        self.repeats += other.repeats;
    }
}

const STREAMS: [&str; 2] = ["orders", "returns"];

fn arn(name: &str) -> StreamArn {
    format!("arn:aws:kinesis:us-east-1:000000000000:stream/{name}").parse().unwrap()
}

async fn simulate(seed: u64) -> Seen {
    let mut random = Rng::with_seed(seed);
    let mut seen = Seen::default();
    let kinesis = FakeKinesis::new();
    for name in [STREAMS[0], STREAMS[1], "out"] {
        kinesis.create_stream(&name.parse().unwrap(), random.usize(1..=3)).await.unwrap();
    }
    let checkpoints: Arc<dyn CheckpointStore> = Arc::new(MemoryCheckpoints::default());
    let mut engine = Engine::start(&kinesis, &checkpoints).await;

    let mut put = BTreeMap::<String, Vec<u32>>::new();
    for number in 0..random.u32(100..400) {
        let stream = STREAMS[random.usize(0..2)];
        // Order is per key and stream: the key of one stream never comes from the other.
        let key = format!("{stream}-{}", random.u8(0..12));
        put_one(&kinesis, stream, &key, number).await;
        put.entry(key).or_default().push(number);
        match random.u8(0..100) {
            0..3 => {
                engine.kill();
                seen.kills += 1;
                kinesis.faults().clear();
                sleep(Duration::from_millis(random.u64(0..2_000))).await;
                engine = Engine::start(&kinesis, &checkpoints).await;
            }
            3..7 => seen.reshards += usize::from(reshard(&kinesis, stream, &mut random).await),
            7..12 => disturb(&kinesis, &mut random),
            12..40 => sleep(Duration::from_millis(random.u64(0..400))).await,
            _ => {}
        }
        engine.check();
    }

    kinesis.faults().clear();
    let expected: usize = put.values().map(Vec::len).sum();
    let mut came_out = came_out_of(&kinesis);
    for _ in 0..10_000 {
        if came_out.values().map(|numbers| first_times(numbers).len()).sum::<usize>() >= expected {
            break;
        }
        engine.check();
        sleep(Duration::from_millis(100)).await;
        came_out = came_out_of(&kinesis);
    }
    engine.stop().await;

    seen.repeats = came_out.values().map(|numbers| numbers.len() - first_times(numbers).len()).sum();
    let came_out: BTreeMap<String, Vec<u32>> =
        came_out.into_iter().map(|(key, numbers)| (key, first_times(&numbers))).collect();
    assert_eq!(came_out, put);
    seen
}

/// A running router.
struct Engine {
    shutdown: CancellationToken,
    running: tokio::task::JoinHandle<Result<Unfinished, statefun_kinesis_router::RunError>>,
}

impl Engine {
    async fn start(kinesis: &FakeKinesis, checkpoints: &Arc<dyn CheckpointStore>) -> Self {
        let client = Arc::new(kinesis.clone());
        let route = |name: &str| {
            StreamRoute::new(arn(name), "example/Value".parse().unwrap(), vec!["example/fn".parse().unwrap()])
        };
        let mut ingress = IngressSpec::new("example/in".parse().unwrap(), STREAMS.map(route).into());
        ingress.startup = StartupPosition::Latest;
        let kept = Arc::clone(checkpoints);
        let router = Router::builder(Stateless::new(Arc::new(Echo)).checkpoints(move |_| Arc::clone(&kept)))
            .ingress(Ingress::new(ingress, client.clone()))
            .egress(EgressSpec::new("example/out".parse().unwrap(), "out".parse().unwrap()), client)
            .clock(kinesis.clock());
        let router = router.build().await.expect("a start meets no fault that is final");
        let shutdown = CancellationToken::new();
        Self { running: tokio::spawn(router.run(shutdown.clone())), shutdown }
    }

    /// A crash: nothing is finished, flushed or saved.
    fn kill(self) {
        self.running.abort();
    }

    fn check(&self) {
        assert!(!self.running.is_finished(), "the engine has ended by itself");
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.expect("the engine does not panic").expect("the engine ends in order");
    }
}

async fn put_one(kinesis: &FakeKinesis, stream: &str, key: &str, number: u32) {
    let stream = StreamRef::from(arn(stream));
    let record = [PutRecord::new(key.parse().unwrap(), number.to_string())];
    // The faults are meant for the engine, so the writer retries until the record is stored.
    loop {
        let stored = kinesis.put_records(&stream, &record).await;
        let repeated = || kinesis.records(&stream).iter().any(|(_, found)| found.data == record[0].data);
        match stored {
            Ok(outcomes) if outcomes[0].is_ok() => return,
            Err(_) if repeated() => return,
            _ => sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Splits a shard, or merges it with its neighbour. Returns whether that was possible.
async fn reshard(kinesis: &FakeKinesis, stream: &str, random: &mut Rng) -> bool {
    let stream = StreamRef::from(arn(stream));
    let Ok(mut shards) = kinesis.all_shards(&stream, ShardFilter::AtLatest).await else { return false };
    shards.sort_by_key(|shard| shard.hash_range.start());
    let index = random.usize(0..shards.len());
    let range = shards[index].hash_range;
    if shards.len() > 1 && index + 1 < shards.len() && random.bool() {
        kinesis.merge_shards(&stream, &shards[index].id, &shards[index + 1].id).await.is_ok()
    } else {
        let middle = HashKey::new(range.start().get() / 2 + range.end().get() / 2);
        shards.len() < 8 && kinesis.split_shard(&stream, &shards[index].id, middle).await.is_ok()
    }
}

/// Causes a fault that the engine has to tolerate.
fn disturb(kinesis: &FakeKinesis, random: &mut Rng) {
    const KINDS: [ErrorKind; 3] = [ErrorKind::Throttled, ErrorKind::Unavailable, ErrorKind::Timeout];
    const CALLS: [Operation; 4] =
        [Operation::GetRecords, Operation::PutRecords, Operation::ListShards, Operation::GetShardIterator];
    let faults = kinesis.faults();
    match random.u8(0..6) {
        0 => faults.expire_iterators(),
        1 => faults.store_then_fail(Operation::PutRecords),
        2 => faults.randomly(random.u64(..), 0.1, &CALLS, &KINDS),
        3 => faults.randomly_entries(random.u64(..), 0.2),
        4 => faults.delay(CALLS[random.usize(0..4)], Duration::from_millis(random.u64(1..300))),
        _ => faults.clear(),
    }
}

/// The numbers that were written, by key and in the order in which a reader gets them.
fn came_out_of(kinesis: &FakeKinesis) -> BTreeMap<String, Vec<u32>> {
    let mut by_key = BTreeMap::<String, Vec<u32>>::new();
    for (_, record) in kinesis.records(&arn("out").into()) {
        let number = std::str::from_utf8(&record.data).unwrap().parse().unwrap();
        by_key.entry(record.partition_key.unwrap().to_string()).or_default().push(number);
    }
    by_key
}

/// The numbers without their repeats.
fn first_times(numbers: &[u32]) -> Vec<u32> {
    let mut seen = std::collections::BTreeSet::new();
    numbers.iter().copied().filter(|number| seen.insert(*number)).collect()
}
