//! The directory of the store on disk.

use std::{fs, path::Path};

use statefun_kinesis_store::{DiskSettings, DiskStore, ErrorKind, Result, Store};

use crate::contents::{contents, puts};
use statefun_kinesis_store::Table;

async fn open(directory: &Path) -> Result<DiskStore> {
    DiskStore::open(directory, DiskSettings::default()).await
}

async fn refused(directory: &Path, kind: ErrorKind, says: &str) {
    let error = open(directory).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
    let text = error.to_string();
    assert!(text.contains(says) && text.contains(&*directory.to_string_lossy()), "{text}");
}

async fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await.unwrap();
    store.commit(puts([("a", "1")])).await.unwrap();
    store.close().await.unwrap();
    directory
}

#[tokio::test]
async fn a_store_is_created_where_there_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let nested = directory.path().join("some/where");
    let missing = DiskStore::open_existing(&nested, DiskSettings::default()).await.unwrap_err();
    assert_eq!(missing.kind(), ErrorKind::Missing);
    assert!(!nested.exists(), "looking for a store makes nothing");
    let store = open(&nested).await.unwrap();
    assert_eq!(store.directory(), nested);
    store.close().await.unwrap();
    DiskStore::open_existing(&nested, DiskSettings::default()).await.unwrap();
}

#[tokio::test]
async fn two_handles_in_one_process_are_refused_too() {
    let directory = tempfile::tempdir().unwrap();
    let first = open(directory.path()).await.unwrap();
    refused(directory.path(), ErrorKind::Locked, "held by another process").await;
    drop(first);
    open(directory.path()).await.unwrap();
}

#[tokio::test]
async fn a_directory_that_is_used_for_something_else_is_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("letters.txt"), "Dear …").unwrap();
    refused(directory.path(), ErrorKind::NotAStore, "`letters.txt`").await;
    assert_eq!(DiskStore::remove(directory.path()).await.unwrap_err().kind(), ErrorKind::NotAStore);
    let names: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["letters.txt"]);
    let file = directory.path().join("letters.txt");
    refused(&file, ErrorKind::Io, "cannot make the directory").await;
    let existing = DiskStore::open_existing(&file, DiskSettings::default()).await.unwrap_err();
    assert_eq!(existing.kind(), ErrorKind::NotAStore);
}

#[tokio::test]
async fn a_store_of_another_format_is_left_alone() {
    let directory = filled().await;
    let format = directory.path().join("store/FORMAT");
    let text = fs::read_to_string(&format).unwrap();
    for (version, kind, says) in [(7, ErrorKind::Newer, "format 7"), (1, ErrorKind::Older, "format 1")] {
        fs::write(&format, text.replace("format: 2", &format!("format: {version}"))).unwrap();
        refused(directory.path(), kind, says).await;
    }
    fs::write(&format, text).unwrap();
    assert_eq!(contents(&open(directory.path()).await.unwrap(), Table::State).await.len(), 1);
}

#[tokio::test]
async fn a_store_without_its_files_is_damaged() {
    for gone in ["store/FORMAT", "store/data"] {
        let directory = filled().await;
        let path = directory.path().join(gone);
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap()
        } else {
            fs::remove_file(path).unwrap()
        }
        refused(directory.path(), ErrorKind::Damaged, "is damaged").await;
    }
}

#[tokio::test]
async fn what_a_crash_left_of_a_new_store_is_cleared() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir_all(directory.path().join("store.new/data")).unwrap();
    fs::write(directory.path().join("store.new/data/0.jnl"), "half").unwrap();
    open(directory.path()).await.unwrap().close().await.unwrap();
    assert!(!directory.path().join("store.new").exists());
}

#[tokio::test]
async fn a_removed_store_is_gone_whatever_was_wrong_with_it() {
    let directory = filled().await;
    fs::write(directory.path().join("store/FORMAT"), "nonsense").unwrap();
    refused(directory.path(), ErrorKind::Damaged, "FORMAT").await;
    DiskStore::remove(directory.path()).await.unwrap();
    DiskStore::remove(directory.path()).await.unwrap();
    assert_eq!(contents(&open(directory.path()).await.unwrap(), Table::State).await, []);
    DiskStore::remove(directory.path().join("never there")).await.unwrap();
}

#[tokio::test]
async fn a_closed_store_gives_its_directory_free() {
    let directory = tempfile::tempdir().unwrap();
    for number in 1..5 {
        let store = open(directory.path()).await.unwrap();
        assert_eq!(store.commit(puts([("a", "1")])).await.unwrap().0, number);
        store.close().await.unwrap();
    }
}
