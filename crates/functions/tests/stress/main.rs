//! The whole runtime on real threads: Kinesis in memory, a router, functions in process and a store. Records are
//! written while runs are cut off at random moments and started again on the same store, and the results have to be
//! exact.
//!
//! No two runs are the same, since the threads decide what happens when. `STATEFUN_KINESIS_RUNS` in the environment is
//! how many worlds are made of each kind of store, and `STATEFUN_KINESIS_SEED` the first seed of what they are made of.

mod functions;
mod results;
mod watched;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use fastrand::Rng;
use world::{Disk, World};

/// Worlds of `cargo test` on a store in memory, and on one on disk: each takes about ten seconds.
const WORLDS_IN_MEMORY: u64 = 12;
const WORLDS_ON_DISK: u64 = 4;
/// Runs of each world, all but the last one cut off or stopped before their work is done.
const RUNS: usize = 8;
/// Records that are written for each run, while it reads.
const RECORDS: usize = 400;

/// A number from the environment.
fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text}")))
}

fn run_worlds(usual: u64, disk: impl Fn(u64) -> Disk) {
    let first = number("STATEFUN_KINESIS_SEED").unwrap_or_else(|| fastrand::u64(..u64::MAX / 2));
    let worlds = number("STATEFUN_KINESIS_RUNS").unwrap_or(usual);
    let mut repeats = 0;
    for seed in first..first + worlds {
        let world = || run_world(World::new(disk(seed), seed), Rng::with_seed(seed));
        // The seed says which limits, intervals and ends of runs these were. The threads may do otherwise the next
        // time.
        repeats += catch_unwind(AssertUnwindSafe(world)).unwrap_or_else(|_| {
            panic!(
                "the world of seed {seed} failed, for the reason above. To run worlds like it: \
                 STATEFUN_KINESIS_SEED={seed} cargo test -p statefun-kinesis-functions --test stress"
            )
        });
    }
    // A world in which nothing is done again had no crash to speak of.
    assert!(repeats > 0 || worlds < usual, "no record came out twice");
}

/// Runs a world to its end, and gives how many records came out again.
fn run_world(mut world: World, mut random: Rng) -> usize {
    for _ in 1..RUNS {
        let engine = world.start();
        let writing = world.write(RECORDS);
        // A record makes two messages at least, so that the run comes to this moment.
        engine.wait_for_messages(random.u64(0..2 * RECORDS as u64));
        if random.u8(0..5) == 0 {
            engine.stop();
        } else {
            engine.kill();
        }
        writing.join().unwrap();
        world.check_moment();
    }
    let engine = world.start();
    world.write(RECORDS).join().unwrap();
    engine.wait_for("all records are handled and came out", |usage| world.is_done(usage));
    engine.stop();
    world.check_results()
}

#[test]
fn results_are_exact_on_a_store_in_memory() {
    run_worlds(WORLDS_IN_MEMORY, Disk::in_memory);
}

#[test]
fn results_are_exact_on_a_store_on_disk() {
    run_worlds(WORLDS_ON_DISK, |_| Disk::in_a_directory());
}
