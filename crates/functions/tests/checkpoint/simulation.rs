//! Random traffic, resharding, faults, full and failing disks, and crashes at any await and any write of the store;
//! each run repeatable from its seed. The same traffic also meets functions behind HTTP and a store on the machine's
//! own disk: what these do takes real time, so that a seed says there what happens to the world, and not in which order
//! its tasks go on.
//!
//! What is checked: whatever happened, the states, the messages between functions and the delayed ones are exactly
//! those of a run in which nothing did, and the egress has each record at least once, in order per key.
//!
//! `STATEFUN_KINESIS_RUNS` and `STATEFUN_KINESIS_SEED` in the environment make a longer run, or repeat one.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use statefun_kinesis_client::{ErrorKind, KinesisAdmin, KinesisClientExt, Operation, ShardFilter};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_functions::Limits;
use statefun_kinesis_store::{CommitFailure, MemoryDisk};
use statefun_kinesis_types::{HashKey, StreamRef};
use tokio::{task::yield_now, time::sleep};

use crate::{
    functions::PLACES,
    scene::{Ask, Engine, STREAMS, Setting, World, arn},
};

/// Runs of `cargo test`.
const RUNS: u64 = 200;
/// The same with functions behind HTTP, where a socket is waited for.
const RUNS_REMOTE: u64 = 40;
/// The same on the machine's own disk, which is waited for.
const RUNS_ON_DISK: u64 = 20;
const KEYS: u8 = 6;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Met {
    records: usize,
    kills: usize,
    /// Kills while a commit was in progress.
    torn: usize,
    stops: usize,
    reshards: usize,
    /// Records that the egress wrote again.
    repeats: usize,
    /// Times when a disk was full.
    full: usize,
}

impl Met {
    fn add(&mut self, other: Self) {
        self.records += other.records;
        self.kills += other.kills;
        self.torn += other.torn;
        self.stops += other.stops;
        self.reshards += other.reshards;
        self.repeats += other.repeats;
        self.full += other.full;
    }
}

/// Which parts of the world are real.
#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    is_remote: bool,
    is_on_disk: bool,
}

fn setting(kind: Kind, random: &mut Rng) -> Setting {
    let Kind { is_remote, is_on_disk } = kind;
    let few = random.bool();
    Setting {
        one_in: [0, 15, 60][random.usize(0..3)],
        interval: Duration::from_millis([20, 300, 1_000][random.usize(0..3)]),
        drain: Duration::from_millis([0, 200, 5_000][random.usize(0..3)]),
        max_batch_messages: [1, 3, 1_000][random.usize(0..3)],
        limits: if few {
            Limits { messages: 8, egress_records: 4, state_bytes: random.usize(0..2_000), ..Limits::default() }
        } else {
            Limits::default()
        },
        is_remote,
        is_on_disk,
    }
}

async fn simulate(kind: Kind, seed: u64) -> Met {
    let mut random = Rng::with_seed(seed);
    let mut met = Met::default();
    let mut world = World::new(setting(kind, &mut random), seed).await;
    let longest = [1, 60, 400][random.usize(0..3)];
    // The machine's own disk takes the time that it takes, and fails as it likes.
    let scripted = world.disk.in_memory().cloned();
    let script = |change: &dyn Fn(&MemoryDisk)| scripted.iter().for_each(change);
    let (commit_takes, read_takes) = (random.u64(0..longest), random.u64(0..longest));
    script(&|disk| disk.set_commit_takes(Duration::from_millis(commit_takes)));
    script(&|disk| disk.set_read_takes(Duration::from_millis(read_takes)));
    let mut engine = restart(&world).await;
    let mut tokens: Vec<(usize, u8, u32)> = Vec::new();

    met.records = random.usize(40..120);
    for number in 0..met.records as u32 {
        let (mut stream, mut key) = (random.usize(0..2), random.u8(0..KEYS));
        let place = random.u32(0..PLACES);
        let ask = match random.u8(0..20) {
            0..4 => Ask::Count,
            4..8 => Ask::Forward { place },
            8..11 => Ask::Hop { place, hops: random.u32(0..4) },
            11..14 => Ask::Late { place, millis: random.u64(0..8_000) },
            14 => Ask::Again,
            15 | 16 => {
                tokens.push((stream, key, number));
                Ask::Token { place }
            }
            17 if !tokens.is_empty() => {
                let number;
                (stream, key, number) = tokens.swap_remove(random.usize(0..tokens.len()));
                Ask::Cancel { number }
            }
            17 | 18 => Ask::Bad,
            _ => Ask::Poison,
        };
        if ask == Ask::Bad && random.bool() {
            // What is taken behind a dead letter that takes its time.
            delay_dead_letters(&world.kinesis, random.u64(..));
        }
        // Order is per key and stream: the key of one stream never comes from the other.
        let key = format!("{}-{key}", STREAMS[stream]);
        world.put(STREAMS[stream], &key, number, ask).await;

        match random.u8(0..100) {
            0..8 => {
                // At any await: so many steps of tasks after an instant at which something happened.
                for _ in 0..random.u8(0..40) {
                    yield_now().await;
                }
                met.kills += 1;
                met.torn += usize::from(scripted.as_ref().is_some_and(MemoryDisk::is_in_doubt));
                engine.kill(&world.disk).await;
                pause(&mut random).await;
                engine = restart(&world).await;
            }
            8..10 => {
                met.stops += 1;
                // It may be that the disk is full for the last checkpoint: that is said, and harmless.
                let _ = engine.stop().await;
                world.disk.crash();
                pause(&mut random).await;
                engine = restart(&world).await;
            }
            10..14 => met.reshards += usize::from(reshard(&world.kinesis, STREAMS[stream], &mut random).await),
            14..20 => disturb(&world.kinesis, &mut random),
            20..23 => {
                met.full += 1;
                script(&|disk| disk.set_full(true));
            }
            23..26 => script(&|disk| disk.fail_commits([CommitFailure::BreaksOff])),
            26..32 => script(&|disk| disk.set_full(false)),
            32..34 => {
                let ratio = random.f64() / 4.0;
                script(&|disk| disk.break_off_randomly(ratio));
            }
            34 => {
                let reads = random.usize(1..5);
                script(&|disk| disk.fail_reads(reads));
            }
            35..70 => sleep(Duration::from_millis(random.u64(0..1_500))).await,
            _ => {}
        }
        engine.check();
    }

    world.kinesis.faults().clear();
    world.calm();
    script(&|disk| {
        disk.set_full(false);
        disk.break_off_randomly(0.0);
        disk.fail_reads(0);
    });
    met.repeats = world.end(engine).await;
    met
}

/// Starts the engine. If a fault makes the start fail, it is retried without faults.
async fn restart(world: &World) -> Engine {
    world.kinesis.faults().clear();
    loop {
        match world.start().await {
            Ok(engine) => return engine,
            Err(_) => {
                world.disk.crash();
                if let Some(disk) = world.disk.in_memory() {
                    disk.set_full(false);
                }
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Waits without a running engine, mostly for a short time and sometimes until delayed messages become due.
async fn pause(random: &mut Rng) {
    let most = if random.u8(0..4) == 0 { 30_000 } else { 500 };
    sleep(Duration::from_millis(random.u64(0..most))).await;
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
        shards.len() < 6 && kinesis.split_shard(&stream, &shards[index].id, middle).await.is_ok()
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

/// Retries a few times to write dead letters.
fn delay_dead_letters(kinesis: &FakeKinesis, seed: u64) {
    let mut random = Rng::with_seed(seed);
    kinesis.faults().fail_entries(move |_, record| record.data.starts_with(b"{") && random.u8(0..4) > 0);
}

/// Makes one run, which depends only on its seed and on the real parts of its world.
fn run(kind: Kind, seed: u64) -> Met {
    // Seeds the generator of this thread, which everything without its own seed uses.
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let met = catch_unwind(AssertUnwindSafe(|| runtime.block_on(simulate(kind, seed))));
    met.unwrap_or_else(|_| {
        panic!(
            "the simulation of seed {seed} ({kind:?}) failed, for the reason above. To see it again: \
             STATEFUN_KINESIS_SEED={seed} STATEFUN_KINESIS_RUNS=1 cargo test -p statefun-kinesis-functions \
             --test checkpoint simulation"
        )
    })
}

/// A number from the environment.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text}")))
}

/// Makes the given number of runs, or that of the environment. Returns the number of runs and the totals of events.
fn run_all(kind: Kind, usual: u64) -> (usize, Met) {
    let runs = number("STATEFUN_KINESIS_RUNS").unwrap_or(usual);
    let first = number("STATEFUN_KINESIS_SEED").unwrap_or(0);
    let next = AtomicU64::new(first);
    let (all, failed) = (Mutex::new(Met::default()), AtomicBool::new(false));
    let work = || {
        let mut mine = Met::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + runs || failed.load(Ordering::Relaxed) {
                break;
            }
            match catch_unwind(|| run(kind, seed)) {
                Ok(met) => mine.add(met),
                Err(panic) => {
                    failed.store(true, Ordering::Relaxed);
                    std::panic::resume_unwind(panic);
                }
            }
        }
        all.lock().unwrap().add(mine);
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    (runs as usize, all.into_inner().unwrap())
}

#[test]
fn everything_takes_effect_once_whatever_happens() {
    let (runs, all) = run_all(Kind::default(), RUNS);
    // A simulation in which nothing goes wrong would prove nothing.
    let enough = all.records > 50 * runs
        && all.kills > 3 * runs
        && all.torn > runs / 10
        && all.stops > runs / 2
        && all.reshards > runs
        && all.repeats > runs
        && all.full > runs / 2;
    assert!(enough || runs < 100, "{all:?}");
}

#[test]
fn everything_takes_effect_once_with_remote_functions() {
    let (runs, all) = run_all(Kind { is_remote: true, ..Kind::default() }, RUNS_REMOTE);
    assert!(all.kills > 3 * runs && all.repeats > runs || runs < 10, "{all:?}");
}

#[test]
fn everything_takes_effect_once_on_disk() {
    let (runs, all) = run_all(Kind { is_on_disk: true, ..Kind::default() }, RUNS_ON_DISK);
    assert!(all.kills > 3 * runs && all.repeats > 0 || runs < 10, "{all:?}");
}

#[test]
fn everything_takes_effect_once_with_remote_functions_on_disk() {
    let kind = Kind { is_remote: true, is_on_disk: true };
    let (runs, all) = run_all(kind, RUNS_ON_DISK / 2);
    assert!(all.kills > 3 * runs || runs < 10, "{all:?}");
}

#[test]
fn a_run_follows_from_its_seed() {
    for seed in 0..10 {
        assert_eq!(run(Kind::default(), seed), run(Kind::default(), seed), "seed {seed}");
    }
}
