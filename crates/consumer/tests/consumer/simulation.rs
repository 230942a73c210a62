//! Random streams, traffic, resharding, faults and restarts, each run repeatable from its seed.
//!
//! What is checked all the time: the next record of a shard comes, and no other; what was processed does not come
//! again after a restart; a child comes behind all of its parents; keys keep their order; the bounds hold; no position
//! is stored before its records are done and its dead letters are stored. At the end: everything was processed.
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

use statefun_kinesis_consumer::FileCheckpoints;
use tokio::time::{sleep, timeout};

use self::{
    met::Met,
    world::{OpenBatch, World, last_name, settle},
};

mod met;
mod slow_store;
mod world;

/// Runs of `cargo test`.
const RUNS: u64 = 20_000;
/// What happens in a run.
const STEPS: usize = 22;

async fn simulate(seed: u64, files: Option<FileCheckpoints>) -> Met {
    let mut world = World::new(seed, files).await;
    let mut met = Met::default();
    let mut consumer = world.consumer().await;
    world.inject_faults();
    let mut open: Vec<OpenBatch> = Vec::new();
    let (mut step, mut modes) = (0, Vec::new());
    // Reading is over when all is stored; until then faults and restarts go on, but for the last stretch.
    loop {
        let mut restart = false;
        let mut choice = world.random.usize(0..100);
        if step == STEPS {
            world.fake.faults().clear();
            if world.random.bool() {
                world.deregister(last_name()).await;
            }
            for open_batch in std::mem::take(&mut open) {
                world.acknowledge(open_batch);
            }
            restart = world.dropped;
            choice = usize::MAX;
        }
        if step > STEPS {
            choice = 70;
        }
        step += 1;
        match choice {
            0..35 => {
                for _ in 0..world.random.usize(1..8) {
                    world.put().await;
                }
            }
            35..45 => world.reshard().await,
            45..48 => world.fake.faults().expire_iterators(),
            48..52 => world.lose_consumer().await,
            52..54 => world.deregister(last_name()).await,
            54..60 => sleep(Duration::from_millis(world.random.u64(0..4_000))).await,
            60..62 => {
                if world.random.bool() {
                    world.deregister(last_name()).await;
                }
                sleep(Duration::from_secs(*world.random.choice(&[80, 301]).unwrap())).await;
            }
            62..82 => {
                let (batches, patience) = match step > STEPS {
                    true => (1, Duration::from_secs(200)),
                    false => (world.random.usize(1..6), Duration::from_millis(world.random.u64(0..1_500))),
                };
                for _ in 0..batches {
                    let Ok(batch) = timeout(patience, consumer.next()).await else {
                        let done = step <= STEPS || world.is_done().await;
                        assert!(done, "nothing comes, and not all was processed: {:?}", world.run);
                        break;
                    };
                    let received = match batch.expect("reading does not end by itself") {
                        Ok(batch) => {
                            met.records += batch.records().len();
                            world.received(&consumer, batch).await
                        }
                        Err(error) => Err(error),
                    };
                    match received {
                        Ok(open_batch) if step > STEPS => world.acknowledge(open_batch),
                        Ok(open_batch) => open.push(open_batch),
                        Err(error) => {
                            world.leave_out(&error);
                            restart = true;
                            break;
                        }
                    }
                }
            }
            82..92 => {
                for _ in 0..world.random.usize(0..=open.len()) {
                    let open_batch = open.swap_remove(world.random.usize(0..open.len()));
                    world.acknowledge(open_batch);
                }
            }
            92..93 if !open.is_empty() => {
                drop(open.swap_remove(world.random.usize(0..open.len())));
                world.dropped = true;
            }
            93..97 => restart = true,
            97..98 => world.store.fails.store(true, Ordering::Relaxed),
            98..100 => world.inject_faults(),
            _ => {}
        }
        met.look(&consumer, &mut modes);
        if restart {
            met.restarts += 1;
            met.count(&consumer);
            modes.clear();
            if world.random.usize(0..3) > 0 {
                // Killed at any instant: saved is what was saved.
                for _ in 0..world.random.usize(0..12) {
                    tokio::task::yield_now().await;
                }
                drop(consumer);
            } else {
                world.close(consumer).await;
            }
            open.clear();
            settle().await;
            world.check_stored().await;
            consumer = world.consumer().await;
        } else if step > STEPS && world.is_done().await {
            break;
        }
    }
    // Long enough for a stream that is polled to be pushed again where it has room, which must not repeat anything.
    let more = timeout(Duration::from_secs(100), consumer.next()).await;
    assert!(more.is_err(), "there is nothing more to come, and {more:?} came");
    met.look(&consumer, &mut modes);
    met.count(&consumer);
    world.close(consumer).await;
    world.check_stored().await;
    assert_eq!(world.seen, world.counts.into_iter().filter(|(_, count)| *count > 0).collect());
    met.repeated = met.records - world.written.values().map(Vec::len).sum::<usize>();
    met.shards = world.shards.len();
    met
}

fn run(seed: u64, files: Option<FileCheckpoints>) -> Met {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let met = catch_unwind(AssertUnwindSafe(|| runtime.block_on(simulate(seed, files))));
    met.unwrap_or_else(|_| {
        panic!(
            "the simulation of seed {seed} failed, for the reason above. To see it again: \
             STATEFUN_KINESIS_SEED={seed} STATEFUN_KINESIS_RUNS=1 cargo test -p statefun-kinesis-consumer simulation"
        )
    })
}

/// A number from the environment.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text}")))
}

#[test]
fn nothing_is_lost_and_order_holds_whatever_happens() {
    let runs = number("STATEFUN_KINESIS_RUNS").unwrap_or(RUNS);
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
            match catch_unwind(|| run(seed, None)) {
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
    let all = all.into_inner().unwrap();
    if runs >= 1_000 {
        let enough = all.records > 10 * runs as usize
            && all.shards > 2 * runs as usize
            && all.restarts > runs as usize / 2
            && all.repeated > runs as usize
            && all.aggregates > runs
            && all.out_of_range > runs / 4
            && all.invalid > runs / 10
            && all.dead_letters > runs / 50
            && all.subscriptions > runs
            && all.lost > runs as usize / 50
            && all.regained > runs as usize / 100;
        assert!(enough, "{all:?}");
    }
}

#[test]
fn the_same_holds_with_positions_in_files() {
    let directory = std::env::temp_dir().join(format!("statefun-kinesis-simulation-{}", std::process::id()));
    for seed in 1_000_000..1_000_040 {
        let _ = std::fs::remove_dir_all(&directory);
        run(seed, Some(FileCheckpoints::open(&directory).unwrap()));
    }
    std::fs::remove_dir_all(&directory).unwrap();
}
