//! What a durable commit costs beside appending the same bytes to a file and syncing it, and what a start costs.

use std::{
    fs::File,
    io::Write,
    sync::atomic::{AtomicU64, Ordering},
};

use divan::{Bencher, counter::BytesCount, counter::ItemsCount};
use statefun_kinesis_store::{Commit, DiskSettings, DiskStore, KeyRange, MemoryStore, Store, StoreExt, Table, key};
use statefun_kinesis_types::Address;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Addresses in the store whose state the commits change.
const ADDRESSES: u64 = 100_000;

/// Bytes of each value.
const VALUE_BYTES: usize = 200;

/// Changed addresses per commit.
const CHANGED: [usize; 4] = [10, 500, 5_000, 50_000];

/// Bytes of state that a start finds.
const STATE_BYTES: u64 = 256 * 1024 * 1024;

fn main() {
    divan::main();
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

fn address(number: u64) -> Address {
    Address { function: "example/counter".parse().unwrap(), id: format!("customer-{number}").into() }
}

/// Commits, each of other addresses than the one before.
struct Commits {
    keys: Vec<bytes::Bytes>,
    random: fastrand::Rng,
}

impl Commits {
    fn new() -> Self {
        let keys = (0..ADDRESSES).map(|number| key::state(&address(number), "total")).collect();
        Self { keys, random: fastrand::Rng::with_seed(1) }
    }

    fn next(&mut self, changed: usize) -> Commit {
        let mut commit = Commit::with_capacity(changed);
        for _ in 0..changed {
            let key = self.keys[self.random.usize(..self.keys.len())].clone();
            let value: Vec<u8> = std::iter::repeat_with(|| self.random.u8(..)).take(VALUE_BYTES).collect();
            commit.put(Table::State, key, value);
        }
        commit
    }
}

async fn open(directory: &TempDir) -> DiskStore {
    DiskStore::open(directory.path(), DiskSettings::default()).await.unwrap()
}

#[divan::bench(args = CHANGED, sample_count = 50, sample_size = 1)]
fn floor_append_and_sync(bencher: Bencher, changed: usize) {
    let directory = tempfile::tempdir().unwrap();
    let mut file = File::create(directory.path().join("log")).unwrap();
    let key_bytes = key::state(&address(0), "total").len();
    let bytes = vec![7; changed * (key_bytes + VALUE_BYTES)];
    bencher.counter(ItemsCount::new(changed)).bench_local(|| {
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
    });
}

#[divan::bench(args = CHANGED, sample_count = 50, sample_size = 1)]
fn disk(bencher: Bencher, changed: usize) {
    let (runtime, directory) = (runtime(), tempfile::tempdir().unwrap());
    let store = runtime.block_on(open(&directory));
    let mut commits = Commits::new();
    bencher
        .counter(ItemsCount::new(changed))
        .with_inputs(|| commits.next(changed))
        .bench_local_values(|commit| runtime.block_on(store.commit(commit)).unwrap());
}

#[divan::bench(args = CHANGED, sample_count = 50, sample_size = 1)]
fn memory(bencher: Bencher, changed: usize) {
    let runtime = runtime();
    let store = MemoryStore::new();
    let mut commits = Commits::new();
    bencher
        .counter(ItemsCount::new(changed))
        .with_inputs(|| commits.next(changed))
        .bench_local_values(|commit| runtime.block_on(store.commit(commit)).unwrap());
}

/// A directory with a store of [`STATE_BYTES`].
fn filled(runtime: &Runtime) -> (TempDir, u64) {
    let directory = tempfile::tempdir().unwrap();
    let bytes = runtime.block_on(async {
        let store = open(&directory).await;
        let (mut bytes, mut number) = (0, 0);
        while bytes < STATE_BYTES {
            let mut commit = Commit::new();
            for _ in 0..10_000 {
                let key = key::state(&address(number), "total");
                bytes += (key.len() + VALUE_BYTES) as u64;
                number += 1;
                commit.put(Table::State, key, vec![number as u8; VALUE_BYTES]);
            }
            store.commit(commit).await.unwrap();
        }
        store.close().await.unwrap();
        bytes
    });
    (directory, bytes)
}

#[divan::bench(sample_count = 5, sample_size = 1)]
fn floor_read_files(bencher: Bencher) {
    let (directory, _) = filled(&runtime());
    let store = directory.path().join("store");
    bencher.counter(BytesCount::new(STATE_BYTES)).bench_local(|| read_all(&store));
}

fn read_all(directory: &std::path::Path) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        bytes += if path.is_dir() { read_all(&path) } else { std::fs::read(path).unwrap().len() as u64 };
    }
    bytes
}

/// Opens a store and reads nothing: what a worker waits that loads the state of an address when it needs it.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn start(bencher: Bencher) {
    let runtime = runtime();
    let (directory, bytes) = filled(&runtime);
    bencher.counter(BytesCount::new(bytes)).bench_local(|| runtime.block_on(open(&directory)));
}

/// Opens a store and reads all of its state: what a worker waits that keeps it in memory.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn start_and_read_all(bencher: Bencher) {
    let runtime = runtime();
    let (directory, bytes) = filled(&runtime);
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        runtime.block_on(async {
            let store = open(&directory).await;
            let mut entries = store.entries(Table::State, KeyRange::ALL);
            let mut found = 0;
            while entries.next().await.unwrap().is_some() {
                found += 1;
            }
            found
        })
    });
}

/// Loads the state of addresses that are not in memory, as many at a time.
#[divan::bench(args = [1, 100], sample_count = 200, sample_size = 1)]
fn load_addresses(bencher: Bencher, at_a_time: usize) {
    let runtime = runtime();
    let (directory, bytes) = filled(&runtime);
    let store = runtime.block_on(open(&directory));
    let addresses = bytes / (key::state(&address(100_000), "total").len() + VALUE_BYTES) as u64;
    let next = AtomicU64::new(1);
    bencher
        .counter(ItemsCount::new(at_a_time))
        .with_inputs(|| {
            let number = || next.fetch_add(7_919, Ordering::Relaxed) % addresses;
            (0..at_a_time).map(|_| key::address(&address(number()))).collect::<Vec<_>>()
        })
        .bench_local_values(|prefixes| runtime.block_on(store.load(Table::State, prefixes)).unwrap());
}
