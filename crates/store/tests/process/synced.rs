//! What is on the disk and not only in the memory of the operating system.
//!
//! Linux accounts for bytes that a process has written, and that never had to reach the disk because the file was cut
//! before: `cancelled_write_bytes`. So cutting a file tells how much of it was not synced.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
};

use statefun_kinesis_store::{Commit, DiskStore, Store as _, Table};

use crate::{child, format_1, upgrade};

/// A directory whose file system keeps the account; none where neither the temporary files nor the build's do.
pub(crate) fn directory() -> Option<tempfile::TempDir> {
    let places = [std::env::temp_dir(), PathBuf::from(env!("CARGO_TARGET_TMPDIR"))];
    places.into_iter().find_map(|place| {
        let directory = tempfile::tempdir_in(place).ok()?;
        let path = directory.path().join("not synced");
        fs::write(&path, [1; 10_000]).ok()?;
        let told = unsynced_bytes(&path)? > 0;
        fs::write(&path, [1; 10_000]).ok()?;
        File::open(&path).and_then(|file| file.sync_data()).ok()?;
        let told_apart = unsynced_bytes(&path)? == 0;
        fs::remove_file(path).ok()?;
        (told && told_apart).then_some(directory)
    })
}

/// How many bytes of a file were not synced. The file is empty afterwards.
fn unsynced_bytes(path: &Path) -> Option<u64> {
    let before = cancelled_bytes()?;
    File::options().write(true).open(path).and_then(|file| file.set_len(0)).ok()?;
    Some(cancelled_bytes()? - before)
}

fn cancelled_bytes() -> Option<u64> {
    let account = fs::read_to_string("/proc/thread-self/io").ok()?;
    account.lines().find_map(|line| line.strip_prefix("cancelled_write_bytes: ")?.parse().ok())
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
    }
    files
}

/// Checks that all files of a store are on the disk, but for the mark of the last commit, which may lag behind.
fn check(directory: &Path, when: &str) {
    let files = files(&directory.join("store"));
    assert!(files.iter().any(|path| path.extension().is_some_and(|it| it == "jnl")), "{files:?}");
    for path in files.iter().filter(|path| !path.ends_with("HIGH_WATER")) {
        let bytes = unsynced_bytes(path).unwrap();
        assert_eq!(bytes, 0, "{when}: {} bytes of {} are not on the disk", bytes, path.display());
    }
}

pub(crate) fn run() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let made = directory().expect("it was there before");
        // The store goes on having its files open: nothing is synced because it is closed.
        let new = DiskStore::open(made.path(), child::settings()).await.unwrap();
        check(made.path(), "a new store");
        drop(new);

        let committed = directory().expect("it was there before");
        let store = DiskStore::open(committed.path(), child::settings()).await.unwrap();
        let mut commit = Commit::new();
        commit.put(Table::State, "key", vec![1; 100_000]);
        store.commit(commit).await.unwrap();
        check(committed.path(), "after a commit");
        drop(store);

        let upgraded = directory().expect("it was there before");
        format_1::unpack(upgraded.path());
        for path in files(upgraded.path()) {
            File::open(path).and_then(|file| file.sync_all()).unwrap();
        }
        let store = DiskStore::open_upgrading(upgraded.path(), child::settings(), upgrade::convert).await.unwrap();
        check(upgraded.path(), "after an upgrade");
        drop(store);
    });
}
