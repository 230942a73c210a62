//! From format 1 to the one of this program.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use statefun_kinesis_store::{
    Commit, CommitNumber, DiskSettings, DiskStore, Error, ErrorKind, FORMAT_VERSION, KeyRange, OldEntries, OldEntry,
    Result, Store, StoreExt, Table, key, positions, values_of,
};
use statefun_kinesis_types::Address;

use crate::format_1;

fn settings() -> DiskSettings {
    DiskSettings::default()
}

fn format_1() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    format_1::unpack(directory.path());
    directory
}

/// Puts every entry under the hash of an id that has the name of its table.
fn convert(entries: OldEntries) -> Result<Commit> {
    let mut commit = Commit::new();
    for entry in entries {
        let OldEntry { table, number, value, .. } = entry?;
        commit.put(table, key::numbered(table.name(), number), value);
    }
    commit.put(Table::Meta, "converted", "yes");
    Ok(commit)
}

fn refuse(_: OldEntries) -> Result<Commit> {
    panic!("there is nothing to convert");
}

async fn keys(store: &DiskStore, table: Table) -> Vec<bytes::Bytes> {
    let mut entries = store.entries(table, KeyRange::ALL);
    let mut keys = Vec::new();
    while let Some(entry) = entries.next().await.unwrap() {
        keys.push(entry.key);
    }
    keys
}

/// Checks that a store has all of the directory of format 1, and the new keys.
async fn check(store: &DiskStore) {
    for (table, numbers) in
        [(Table::Mailboxes, vec![3, 5, 6, 7, 8]), (Table::Timers, (0..8).collect()), (Table::Egress, (0..8).collect())]
    {
        let expected: Vec<_> = numbers.into_iter().map(|number| key::numbered(table.name(), number)).collect();
        assert_eq!(keys(store, table).await, expected, "{table}");
    }
    for table in [Table::Due, Table::Cancellations] {
        assert_eq!(keys(store, table).await, [] as [&[u8]; 0]);
    }
    let meta: Vec<_> = keys(store, Table::Meta).await;
    assert_eq!(meta, [&b"converted"[..], b"module", b"states/example/counter"]);
    let anna = Address { function: "example/counter".parse().unwrap(), id: "anna".into() };
    let values = values_of(store, &anna).await.unwrap();
    assert_eq!(values.keys().collect::<Vec<_>>(), ["name", "total"]);
    let positions = positions::load_all(store).await.unwrap();
    let [checkpoint] = positions.values().collect::<Vec<_>>()[..] else { panic!("{positions:?}") };
    assert_eq!(checkpoint.shards.len(), 1);
    assert_eq!(store.last_commit().await.unwrap(), CommitNumber(4));
}

/// All files of a directory, but for who holds it.
fn files(directory: &Path) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(self::files(&path));
        } else if !path.ends_with("LOCK") {
            files.push((path.clone(), fs::read(path).unwrap()));
        }
    }
    files.sort();
    files
}

#[tokio::test]
async fn a_store_of_format_1_is_refused_and_left_alone() {
    let directory = format_1();
    let before = files(directory.path());
    for opened in [
        DiskStore::open(directory.path(), settings()).await,
        DiskStore::open_existing(directory.path(), settings()).await,
    ] {
        let error = opened.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Older);
        assert!(error.to_string().contains("format 1"), "{error}");
    }
    assert!(files(directory.path()) == before, "it was changed");
}

#[tokio::test]
async fn an_upgraded_store_has_everything_under_its_new_keys() {
    let directory = format_1();
    assert_eq!(DiskStore::upgrade(directory.path(), settings(), convert).await.unwrap(), 1);
    for _ in 0..2 {
        let store = DiskStore::open_existing(directory.path(), settings()).await.unwrap();
        check(&store).await;
        store.close().await.unwrap();
        // There is nothing to do any more.
        assert_eq!(DiskStore::upgrade(directory.path(), settings(), refuse).await.unwrap(), FORMAT_VERSION);
    }
}

#[tokio::test]
async fn opening_upgrades_what_is_there_and_makes_what_is_not() {
    let directory = format_1();
    for _ in 0..2 {
        let store = DiskStore::open_upgrading(directory.path(), settings(), convert).await.unwrap();
        check(&store).await;
        store.close().await.unwrap();
    }
    let nothing = tempfile::tempdir().unwrap();
    let missing = DiskStore::upgrade(nothing.path(), settings(), refuse).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Missing);
    let store = DiskStore::open_upgrading(nothing.path(), settings(), refuse).await.unwrap();
    assert_eq!(store.last_commit().await.unwrap(), CommitNumber(0));
}

#[tokio::test]
async fn entries_come_with_their_numbers_and_values() {
    let directory = format_1();
    let found = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&found);
    let convert = move |entries: OldEntries| {
        *seen.lock().unwrap() = entries.collect::<Result<Vec<_>>>()?;
        Ok(Commit::new())
    };
    let store = DiskStore::open_upgrading(directory.path(), settings(), convert).await.unwrap();
    let found = std::mem::take(&mut *found.lock().unwrap());
    let numbers: Vec<_> = found.iter().map(|entry| (entry.table, entry.number)).collect();
    let of = |table, numbers: &[u64]| numbers.iter().map(|number| (table, *number)).collect::<Vec<_>>();
    let all: Vec<u64> = (0..8).collect();
    let expected = [of(Table::Mailboxes, &[3, 5, 6, 7, 8]), of(Table::Timers, &all), of(Table::Egress, &all)].concat();
    assert_eq!(numbers, expected);
    assert!(found.iter().all(|entry| entry.value.len() > 30), "{found:?}");
    // What is not put again is gone.
    assert_eq!(keys(&store, Table::Timers).await, [] as [&[u8]; 0]);
}

#[tokio::test]
async fn a_conversion_that_fails_changes_nothing() {
    let directory = format_1();
    let format = directory.path().join("store/FORMAT");
    let before = fs::read(&format).unwrap();
    let fail = |_: OldEntries| Err(Error::new(ErrorKind::Damaged, "what is this?"));
    let error = DiskStore::upgrade(directory.path(), settings(), fail).await.unwrap_err();
    assert_eq!(error.to_string(), "what is this?");
    assert_eq!(fs::read(&format).unwrap(), before, "an older program can still use it");
    assert_eq!(DiskStore::upgrade(directory.path(), settings(), convert).await.unwrap(), 1);
}

#[tokio::test]
async fn an_upgrade_that_was_cut_short_is_refused_until_it_is_made_again() {
    let directory = format_1();
    // An older program refuses it from the first step on.
    fs::write(directory.path().join("store/FORMAT"), "statefun-kinesis-store\nformat: 2\n").unwrap();
    let error = DiskStore::open(directory.path(), settings()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Older, "{error}");
    let store = DiskStore::open_upgrading(directory.path(), settings(), convert).await.unwrap();
    check(&store).await;
}

#[tokio::test]
async fn data_that_are_newer_than_their_mark_are_damaged() {
    let directory = format_1();
    DiskStore::upgrade(directory.path(), settings(), convert).await.unwrap();
    fs::write(directory.path().join("store/FORMAT"), "statefun-kinesis-store\nformat: 1\n").unwrap();
    let error = DiskStore::open_upgrading(directory.path(), settings(), refuse).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Damaged, "{error}");
}
