use std::time::Duration;

use statefun_kinesis_store::{DiskStore, Store as _};

use crate::{
    child::{self, Running},
    history::{self, History},
};

const ROUNDS: usize = 40;

/// Rounds in which the child is killed while it opens or makes the store.
const EARLY_ROUNDS: usize = 14;

/// Longest time that a child may live: to open, or to commit.
const LIFE_MAX_MICROS: u64 = 40_000;

pub(crate) fn run() {
    let directory = tempfile::tempdir().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut history = History::default();
    let (mut acknowledged, mut killed_early) = (0, 0);
    for round in 0..ROUNDS {
        let when = format!("seed {seed}, round {round}");
        let child = Running::start(child::command("commit", directory.path()));
        let mut lines = Vec::new();
        let mut life = random.u64(..LIFE_MAX_MICROS);
        if round < EARLY_ROUNDS {
            // Some are killed before they have even begun.
            life >>= round % 6;
        } else {
            lines.extend((0..random.usize(1..6)).map_while(|_| child.line()));
        }
        // This is no wait for something to happen: the kill is to come at any instant.
        std::thread::sleep(Duration::from_micros(life));
        lines.extend(child.kill());
        killed_early += usize::from(lines.is_empty());
        if let Some(last) = lines.last() {
            acknowledged = last.parse().unwrap();
        }
        acknowledged = runtime.block_on(async {
            let store = DiskStore::open(directory.path(), child::settings()).await;
            let store = store.unwrap_or_else(|error| panic!("{when}: {error}: {error:?}"));
            let last = history::verify(&store, &mut history, acknowledged, &when).await;
            // What comes back after a crash takes further commits.
            if round % 4 == 3 {
                store.commit(history::commit(last + 1)).await.unwrap_or_else(|error| panic!("{when}: {error:?}"));
                return last + 1;
            }
            last
        });
    }
    assert!(acknowledged >= (ROUNDS - EARLY_ROUNDS) as u64, "seed {seed}: {acknowledged} commits are too few");
    assert!(killed_early > 0, "seed {seed}: no child was killed before its first commit");
}
