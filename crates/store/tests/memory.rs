//! What the store takes of memory is bounded by its settings, however much it holds.

use peak_alloc::PeakAlloc;
use statefun_kinesis_store::{Commit, DiskSettings, DiskStore, Store, StoreExt, Table};
use tokio::sync::Mutex;

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

/// Tests take turns, so that nothing else takes memory meanwhile.
static TURN: Mutex<()> = Mutex::const_new(());

const MIB: u64 = 1024 * 1024;

/// What a program of the size of this test needs besides, and compaction.
const BESIDES_BYTES: usize = 24 * 1024 * 1024;

fn small() -> DiskSettings {
    let mut settings = DiskSettings::default();
    settings.cache_bytes = MIB;
    settings.write_buffer_bytes = MIB;
    settings
}

#[tokio::test]
async fn memory_does_not_grow_with_what_is_stored() {
    let _turn = TURN.lock().await;
    const VALUES: u32 = 12_000;
    const VALUES_PER_COMMIT: u32 = 100;
    const VALUE_BYTES: usize = 20_000;

    let settings = small();
    let directory = tempfile::tempdir().unwrap();
    let store = DiskStore::open(directory.path(), settings.clone()).await.unwrap();
    // One file holds them all, since a file may be 64 MiB long when they are compressed.
    let value = vec![7; VALUE_BYTES];
    // The keys of a commit lie far apart, so that its file has to be merged with those that are there.
    let key = |number: u32| number.wrapping_mul(0x9e37_79b1).to_be_bytes().to_vec();

    PeakAlloc.reset_peak_usage();
    let before = PeakAlloc.current_usage();
    for first in (0..VALUES).step_by(VALUES_PER_COMMIT as usize) {
        let mut commit = Commit::new();
        for number in first..first + VALUES_PER_COMMIT {
            commit.put(Table::State, key(number), value.clone());
        }
        store.commit(commit).await.unwrap();
    }
    assert_eq!(store.get_one(Table::State, key(VALUES - 1).into()).await.unwrap().unwrap(), value);
    store.close().await.unwrap();

    let peak = PeakAlloc.peak_usage() - before;
    let buffers = 3 * settings.write_buffer_bytes as usize;
    let bound = settings.cache_bytes as usize + buffers + BESIDES_BYTES;
    assert!(peak <= bound, "{peak} bytes at most in memory, of {} in the store", VALUES as usize * VALUE_BYTES);
}

/// A block of the disk has many entries. Whoever keeps one of them must not keep the block.
#[tokio::test]
async fn an_entry_that_is_kept_keeps_nothing_else_in_memory() {
    const VALUES: u32 = 100_000;
    const KEPT: u32 = 2_000;
    const VALUE_BYTES: usize = 200;
    /// Most bytes of memory for each entry, beside its key and its value.
    const OVERHEAD_BYTES: usize = 300;

    let _turn = TURN.lock().await;
    let directory = tempfile::tempdir().unwrap();
    let store = DiskStore::open(directory.path(), small()).await.unwrap();
    let key = |number: u32| number.to_be_bytes().to_vec();
    for first in (0..VALUES).step_by(1_000) {
        let mut commit = Commit::new();
        // Random bytes, which cannot be compressed.
        let mut random = fastrand::Rng::with_seed(u64::from(first));
        for number in first..first + 1_000 {
            let value: Vec<u8> = std::iter::repeat_with(|| random.u8(..)).take(VALUE_BYTES).collect();
            commit.put(Table::State, key(number), value);
        }
        store.commit(commit).await.unwrap();
    }
    drop(store);

    let store = DiskStore::open(directory.path(), small()).await.unwrap();
    let far_apart = (0..VALUES).step_by((VALUES / KEPT) as usize);
    let before = PeakAlloc.current_usage();
    let mut kept = Vec::with_capacity(2 * KEPT as usize);
    for number in far_apart {
        kept.push(store.get_one(Table::State, key(number).into()).await.unwrap().unwrap());
        let found = store.load(Table::State, vec![key(number + 1).into()]).await.unwrap();
        kept.extend(found.into_iter().flatten().map(|entry| entry.value));
    }
    let taken = PeakAlloc.current_usage() - before;
    assert_eq!(kept.len(), 2 * KEPT as usize);
    let bound = small().cache_bytes as usize + kept.len() * (VALUE_BYTES + OVERHEAD_BYTES);
    assert!(
        taken <= bound,
        "{taken} bytes are kept for {} values of {VALUE_BYTES} bytes, more than {bound}",
        kept.len()
    );
}
