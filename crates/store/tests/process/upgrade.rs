//! A process that is killed while it upgrades a store.

use std::time::Duration;

use statefun_kinesis_store::{Commit, DiskStore, KeyRange, OldEntries, Result, StoreExt, Table, key};

use crate::{
    child::{self, Running},
    format_1,
};

const ROUNDS: usize = 25;

/// Longest time that a child may live: about as long as an upgrade takes.
const LIFE_MAX_MICROS: u64 = 60_000;

pub(crate) fn convert(entries: OldEntries) -> Result<Commit> {
    let mut commit = Commit::new();
    for entry in entries {
        let entry = entry?;
        commit.put(entry.table, key::numbered(entry.table.name(), entry.number), entry.value);
        commit.put(Table::Meta, "converted", "yes");
    }
    Ok(commit)
}

pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for round in 0..ROUNDS {
        let when = format!("seed {seed}, round {round}");
        let directory = tempfile::tempdir().unwrap();
        format_1::unpack(directory.path());
        // More than once: an upgrade that was cut short is made again, and may be cut short again.
        for _ in 0..1 + round % 3 {
            let child = Running::start(child::command("upgrade", directory.path()));
            // This is no wait for something to happen: the kill is to come at any instant.
            std::thread::sleep(Duration::from_micros(random.u64(..LIFE_MAX_MICROS)));
            child.kill();
        }
        runtime.block_on(async {
            let store = DiskStore::open_upgrading(directory.path(), child::settings(), convert).await;
            let store = store.unwrap_or_else(|error| panic!("{when}: {error}: {error:?}"));
            for (table, expected) in [
                (Table::Meta, 3),
                (Table::Positions, 2),
                (Table::State, 6),
                (Table::Mailboxes, 5),
                (Table::Timers, 8),
                (Table::Egress, 8),
            ] {
                let mut entries = store.entries(table, KeyRange::ALL);
                let mut found = 0;
                while let Some(entry) = entries.next().await.unwrap() {
                    found += 1;
                    let is_new = entry.key.len() == key::numbered("", 0).len();
                    assert!(is_new || entry.key.len() != 8, "{when}: {table}: {}", entry.key.escape_ascii());
                }
                assert_eq!(found, expected, "{when}: {table}");
            }
        });
    }
}
