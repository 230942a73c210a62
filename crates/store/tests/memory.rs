//! What the store takes of memory is bounded by its settings, however much it holds.

use peak_alloc::PeakAlloc;
use statefun_kinesis_store::{Commit, DiskSettings, DiskStore, Store, StoreExt, Table};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const MIB: u64 = 1024 * 1024;

/// What a program of the size of this test needs besides, and compaction.
const BESIDES_BYTES: usize = 24 * 1024 * 1024;

#[tokio::test]
async fn memory_does_not_grow_with_what_is_stored() {
    const VALUES: u32 = 12_000;
    const VALUES_PER_COMMIT: u32 = 100;
    const VALUE_BYTES: usize = 20_000;

    let settings = {
        let mut settings = DiskSettings::default();
        settings.cache_bytes = MIB;
        settings.write_buffer_bytes = MIB;
        settings
    };
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
