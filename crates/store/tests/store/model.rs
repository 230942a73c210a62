//! Random commits, reads, faults and restarts, beside a map.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::prelude::*;
use statefun_kinesis_store::{
    Commit, CommitFailure, DiskSettings, DiskStore, Entry, KeyRange, MemoryDisk, Page, Store, Table,
};

type Model = BTreeMap<(Table, Bytes), Bytes>;

#[derive(Clone, Debug)]
enum Change {
    Put(Table, Bytes, Bytes),
    Delete(Table, Bytes),
    DeletePrefix(Table, Bytes),
}

#[derive(Clone, Debug)]
enum Operation {
    Commit(Vec<Change>),
    /// A commit that breaks off, after which the same is tried again.
    BreakOff(Vec<Change>),
    Get(Table, Vec<Bytes>),
    Load(Table, Vec<Bytes>),
    Scan(Table, KeyRange, usize),
    Restart,
}

fn key() -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(proptest::sample::select(vec![0_u8, 1, b'a', 255]), 1..4).prop_map(Bytes::from)
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let table = || proptest::sample::select(Table::ALL.to_vec());
    // Long values fill buffers, so that tables are written.
    let value = prop_oneof![3 => 0..20_usize, 1 => Just(30_000)].prop_map(|size| Bytes::from(vec![7; size]));
    let change = prop_oneof![
        6 => (table(), key(), value).prop_map(|(table, key, value)| Change::Put(table, key, value)),
        2 => (table(), key()).prop_map(|(table, key)| Change::Delete(table, key)),
        1 => (table(), key()).prop_map(|(table, prefix)| Change::DeletePrefix(table, prefix)),
    ];
    proptest::collection::vec(change, 0..10)
}

fn operations() -> impl Strategy<Value = Vec<Operation>> {
    let table = || proptest::sample::select(Table::ALL.to_vec());
    let keys = || proptest::collection::vec(key(), 0..4);
    let range = (key(), proptest::option::of(key())).prop_map(|(start, end)| KeyRange::new(start, end));
    let operation = prop_oneof![
        5 => changes().prop_map(Operation::Commit),
        1 => changes().prop_map(Operation::BreakOff),
        1 => (table(), keys()).prop_map(|(table, keys)| Operation::Get(table, keys)),
        1 => (table(), keys()).prop_map(|(table, prefixes)| Operation::Load(table, prefixes)),
        1 => (table(), range, 0..100_usize).prop_map(|(table, range, bytes)| Operation::Scan(table, range, bytes)),
        1 => Just(Operation::Restart),
    ];
    proptest::collection::vec(operation, 1..25)
}

fn commit(changes: &[Change]) -> Commit {
    let mut commit = Commit::new();
    for change in changes.iter().cloned() {
        match change {
            Change::Put(table, key, value) => commit.put(table, key, value),
            Change::Delete(table, key) => commit.delete(table, key),
            Change::DeletePrefix(table, prefix) => commit.delete_prefix(table, prefix),
        }
    }
    commit
}

fn apply(model: &mut Model, changes: &[Change]) {
    for change in changes.iter().cloned() {
        match change {
            Change::Put(table, key, value) => drop(model.insert((table, key), value)),
            Change::Delete(table, key) => drop(model.remove(&(table, key))),
            Change::DeletePrefix(of, prefix) => {
                model.retain(|(table, key), _| *table != of || !key.starts_with(&prefix));
            }
        }
    }
}

fn in_range(model: &Model, of: Table, range: &KeyRange) -> Vec<Entry> {
    let inside = model.iter().filter(|((table, key), _)| *table == of && range.contains(key));
    inside.map(|((_, key), value)| Entry { key: key.clone(), value: value.clone() }).collect()
}

async fn check_all(store: &dyn Store, model: &Model) {
    for table in Table::ALL {
        let page = store.scan(table, KeyRange::ALL, usize::MAX).await.unwrap();
        assert_eq!(page, Page { entries: in_range(model, table, &KeyRange::ALL), rest: None });
    }
}

async fn check_read(store: &dyn Store, model: &Model, operation: &Operation) {
    match operation.clone() {
        Operation::Get(table, keys) => {
            let expect: Vec<_> = keys.iter().map(|key| model.get(&(table, key.clone())).cloned()).collect();
            assert_eq!(store.get(table, keys).await.unwrap(), expect);
        }
        Operation::Load(table, prefixes) => {
            let all = |prefix: &Bytes| in_range(model, table, &KeyRange::prefix(prefix.clone()));
            let expect: Vec<_> = prefixes.iter().map(all).collect();
            assert_eq!(store.load(table, prefixes).await.unwrap(), expect);
        }
        Operation::Scan(table, range, max_bytes) => {
            let expect = in_range(model, table, &range);
            let (mut found, mut rest) = (Vec::new(), Some(range));
            while let Some(range) = rest {
                let page = store.scan(table, range, max_bytes).await.unwrap();
                let full = |entry: &Entry| entry.key.len() + entry.value.len();
                let before_last: usize = page.entries.iter().rev().skip(1).map(full).sum();
                assert!(page.entries.len() <= 1 || before_last < max_bytes, "the page goes on when it is full");
                found.extend(page.entries);
                rest = page.rest;
            }
            assert_eq!(found, expect);
        }
        _ => {}
    }
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn memory_does_what_a_map_does(operations in operations(), seed: u64) {
        block_on(async {
            let disk = MemoryDisk::seeded(seed);
            let mut store = disk.open().unwrap();
            let mut model = Model::new();
            for operation in &operations {
                match operation {
                    Operation::Commit(changes) => {
                        store.commit(commit(changes)).await.unwrap();
                        apply(&mut model, changes);
                    }
                    Operation::BreakOff(changes) => {
                        disk.fail_commits([CommitFailure::BreaksOff]);
                        store.commit(commit(changes)).await.unwrap_err();
                        check_all(&store, &model).await;
                        store.commit(commit(changes)).await.unwrap();
                        apply(&mut model, changes);
                    }
                    Operation::Restart => {
                        disk.crash();
                        store = disk.open().unwrap();
                    }
                    read => check_read(&store, &model, read).await,
                }
            }
            check_all(&store, &model).await;
        });
    }
}

proptest! {
    // Each restart opens files.
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn the_disk_does_what_a_map_does(operations in operations()) {
        block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let mut settings = DiskSettings::default();
            settings.write_buffer_bytes = 64 * 1024;
            let open = async || DiskStore::open(directory.path(), settings.clone()).await.unwrap();
            let mut store = open().await;
            let mut model = Model::new();
            for operation in &operations {
                match operation {
                    Operation::Commit(changes) | Operation::BreakOff(changes) => {
                        store.commit(commit(changes)).await.unwrap();
                        apply(&mut model, changes);
                    }
                    Operation::Restart => {
                        store.close().await.unwrap();
                        store = open().await;
                    }
                    read => check_read(&store, &model, read).await,
                }
            }
            check_all(&store, &model).await;
            store.close().await.unwrap();
            check_all(&open().await, &model).await;
        });
    }
}
