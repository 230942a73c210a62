//! What one call reads is of one moment, while the background work writes tables too.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use statefun_kinesis_store::{Commit, DiskSettings, DiskStore, Store, Table};

/// So many that applying a commit takes a while.
const KEYS: u32 = 1_000;
const COMMITS: u32 = 300;

/// The background work of the disk store moves on while a commit is being applied. It must not uncover half of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn half_a_commit_is_never_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut settings = DiskSettings::default();
    // Small, so that there is background work at each commit.
    settings.write_buffer_bytes = 64 * 1024;
    let store = Arc::new(DiskStore::open(directory.path(), settings).await.unwrap());
    let done = Arc::new(AtomicBool::new(false));
    let readers = [0, 1].map(|_| tokio::spawn(read_all(Arc::clone(&store), Arc::clone(&done))));
    for number in 0..COMMITS {
        store.commit(all_set_to(number)).await.unwrap();
    }
    done.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.unwrap() > 0, "nothing was read meanwhile");
    }
}

/// Reads until it is done, and tells how often.
async fn read_all(store: Arc<DiskStore>, done: Arc<AtomicBool>) -> usize {
    let mut reads = 0;
    while !done.load(Ordering::Relaxed) {
        let values = store.get(Table::State, keys().collect()).await.unwrap();
        let (first, last) = (values.first(), values.last());
        assert!(values.iter().all(|value| Some(value) == first), "of two commits: {first:?} and {last:?}");
        reads += 1;
    }
    reads
}

fn keys() -> impl Iterator<Item = Bytes> {
    (0..KEYS).map(|key| Bytes::copy_from_slice(&key.to_be_bytes()))
}

fn all_set_to(number: u32) -> Commit {
    let mut commit = Commit::new();
    for key in keys() {
        commit.put(Table::State, key, Bytes::copy_from_slice(&number.to_be_bytes()));
    }
    commit
}
