//! Damaged files: what is wrong is said, and nothing wrong is ever given.

use std::{
    fs,
    path::{Path, PathBuf},
};

use statefun_kinesis_store::{Commit, DiskSettings, DiskStore, ErrorKind, KeyRange, Result, Store, Table};

use crate::contents::{contents, puts};

type Contents = Vec<Vec<(String, String)>>;

fn settings() -> DiskSettings {
    let mut settings = DiskSettings::default();
    // Small, so that there are tables beside the journal.
    settings.write_buffer_bytes = 64 * 1024;
    settings
}

async fn open(directory: &Path) -> Result<DiskStore> {
    DiskStore::open(directory, settings()).await
}

async fn all(store: &DiskStore) -> Contents {
    let mut all = Vec::new();
    for table in Table::ALL {
        all.push(contents(store, table).await);
    }
    all
}

/// A store whose journal has no reserve, and what it holds.
async fn filled() -> (tempfile::TempDir, Contents) {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path()).await.unwrap();
    for number in 0..30 {
        let mut commit = Commit::new();
        for table in Table::ALL {
            commit.put(table, format!("key-{number}"), format!("{number}-").repeat(1_500));
            commit.put(table, "counter", number.to_string());
        }
        store.commit(commit).await.unwrap();
    }
    let expected = all(&store).await;
    store.close().await.unwrap();
    open(directory.path()).await.unwrap().close().await.unwrap();
    (directory, expected)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn journal(directory: &Path) -> PathBuf {
    let mut journals = files(directory).into_iter().filter(|path| path.extension().is_some_and(|it| it == "jnl"));
    journals.next_back().expect("a store has a journal")
}

/// What is found in a damaged store: nothing but an error that says so, or all that was there.
async fn outcome(directory: &Path) -> Result<Contents> {
    let store = open(directory).await?;
    let mut all = Vec::new();
    for table in Table::ALL {
        let page = store.scan(table, KeyRange::ALL, usize::MAX).await?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        all.push(page.entries.iter().map(|entry| (text(&entry.key), text(&entry.value))).collect());
    }
    Ok(all)
}

#[tokio::test]
async fn a_damaged_file_is_noticed() {
    type Damage = fn(Vec<u8>) -> Option<Vec<u8>>;
    let damages: [(&str, Damage); 4] = [
        ("gone", |_| None),
        ("half", |bytes| Some(bytes[..bytes.len() / 2].to_vec())),
        ("a byte in the middle", |mut bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x10;
            Some(bytes)
        }),
        ("zeros in the middle", |mut bytes| {
            let (start, end) = (bytes.len() / 3, bytes.len() / 2);
            bytes[start..end].fill(0);
            Some(bytes)
        }),
    ];
    let (origin, expected) = filled().await;
    let mut noticed = 0;
    for file in files(&origin.path().join("store/data")) {
        for (name, damage) in damages {
            let bytes = fs::read(&file).unwrap();
            // An empty journal, which was just begun, and a lock say nothing.
            if bytes.is_empty() || file.ends_with("lock") {
                continue;
            }
            let directory = tempfile::tempdir().unwrap();
            copy(origin.path(), directory.path());
            let file = directory.path().join(file.strip_prefix(origin.path()).unwrap());
            match damage(bytes) {
                Some(bytes) => fs::write(&file, bytes).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            match outcome(directory.path()).await {
                // Not every byte means something.
                Ok(found) => assert!(found == expected, "{}: {name}: something else was found", file.display()),
                Err(error) => {
                    noticed += 1;
                    assert_eq!(error.kind(), ErrorKind::Damaged, "{}: {name}: {error:?}", file.display());
                }
            }
        }
    }
    assert!(noticed > 20, "only {noticed} damages were noticed");
}

#[tokio::test]
async fn a_broken_commit_before_whole_ones_is_noticed_and_left() {
    let (origin, _) = filled().await;
    // Without it, nothing but the journal itself tells.
    fs::remove_file(origin.path().join("store/HIGH_WATER")).unwrap();
    let journal = journal(origin.path());
    let mut bytes = fs::read(&journal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&journal, &bytes).unwrap();
    for _ in 0..2 {
        let error = open(origin.path()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Damaged);
        assert!(error.to_string().contains("commits behind it"), "{error}");
    }
    assert!(fs::read(&journal).unwrap() == bytes, "it was changed");
}

/// A machine that loses power leaves any part of the last commit on its disk.
#[tokio::test]
async fn a_last_commit_that_is_cut_is_not_there_at_all() {
    let (origin, _) = filled().await;
    let journal = journal(origin.path());
    let before = fs::metadata(&journal).unwrap().len();
    let store = open(origin.path()).await.unwrap();
    let expected = all(&store).await;
    let mut commit = puts([("counter", "last"), ("long", &"x".repeat(9_000))]);
    commit.put(Table::Positions, "counter", "last");
    store.commit(commit).await.unwrap();
    store.close().await.unwrap();
    let after = fs::metadata(&journal).unwrap().len();
    assert!(before < after, "the last commit lies at the end of the journal");

    for step in 0..16 {
        let cut = before + (after - before) * step / 16;
        for torn in ["cut", "zeros behind", "a hole"] {
            let directory = tempfile::tempdir().unwrap();
            copy(origin.path(), directory.path());
            let path = directory.path().join(journal.strip_prefix(origin.path()).unwrap());
            let mut bytes = fs::read(&path).unwrap();
            let at = usize::try_from(cut).unwrap();
            match torn {
                "a hole" => {
                    let end = bytes.len().min(at + 600);
                    bytes[at..end].fill(0);
                }
                "zeros behind" => {
                    bytes[at..].fill(0);
                    bytes.resize(bytes.len() + 4096, 0);
                }
                _ => bytes.truncate(at),
            }
            fs::write(&path, bytes).unwrap();

            // It was acknowledged: its loss is noticed.
            let error = outcome(directory.path()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Damaged);
            assert!(error.to_string().contains("commit 31 was acknowledged"), "{error}");

            // It was not: the store is what it was before.
            fs::remove_file(directory.path().join("store/HIGH_WATER")).unwrap();
            let found = outcome(directory.path()).await.unwrap();
            assert!(found == expected, "{torn} at {cut} of {before}–{after}");
        }
    }
}
