//! Crashes and faults of the store in memory.

use std::time::Duration;

use statefun_kinesis_store::{
    Commit, CommitFailure, CommitNumber, ErrorKind, Fate, MemoryDisk, MemoryStore, Result, Store, StoreExt, Table,
};

use crate::contents::{contents, puts};

/// A commit of two keys in different tables.
fn pair(value: &'static str) -> Commit {
    let mut commit = puts([("state", value)]);
    commit.put(Table::Positions, "position", value);
    commit
}

async fn found(store: &MemoryStore) -> (String, String) {
    let value = async |table| contents(store, table).await.pop().map(|(_, value)| value).unwrap_or_default();
    (value(Table::State).await, value(Table::Positions).await)
}

#[track_caller]
fn fails<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind) {
    assert_eq!(result.unwrap_err().kind(), kind);
}

#[tokio::test]
async fn a_commit_that_broke_off_is_there_as_a_whole_or_not_at_all() {
    for (fate, expect) in [(Fate::Kept, "2"), (Fate::Lost, "1")] {
        let disk = MemoryDisk::new();
        disk.set_fate(fate);
        let store = disk.open().unwrap();
        store.commit(pair("1")).await.unwrap();
        disk.fail_commits([CommitFailure::BreaksOff]);
        fails(store.commit(pair("2")).await, ErrorKind::Io);
        assert_eq!(found(&store).await, ("1".to_owned(), "1".to_owned()), "reads show what was before");

        disk.crash();
        fails(store.get(Table::State, Vec::new()).await, ErrorKind::Closed);
        fails(store.commit(pair("3")).await, ErrorKind::Closed);
        let store = disk.open().unwrap();
        assert_eq!(found(&store).await, (expect.to_owned(), expect.to_owned()), "{fate:?}");
    }
}

#[tokio::test]
async fn a_commit_that_broke_off_is_decided_before_the_next_one() {
    for (fate, expect) in [(Fate::Kept, CommitNumber(2)), (Fate::Lost, CommitNumber(1))] {
        let disk = MemoryDisk::new();
        disk.set_fate(fate);
        let store = disk.open().unwrap();
        disk.fail_commits([CommitFailure::BreaksOff]);
        fails(store.commit(puts([("a", "1"), ("b", "1")])).await, ErrorKind::Io);
        assert_eq!(store.commit(puts([("a", "2")])).await.unwrap(), expect);
        let b = store.get_one(Table::State, "b".into()).await.unwrap();
        assert_eq!(b.is_some(), fate == Fate::Kept);
        assert_eq!(store.get_one(Table::State, "a".into()).await.unwrap(), Some("2".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_crash_meets_a_commit_that_is_under_way() {
    for (fate, expect) in [(Fate::Kept, "2"), (Fate::Lost, "1")] {
        let disk = MemoryDisk::new();
        disk.set_fate(fate);
        let store = disk.open().unwrap();
        store.commit(pair("1")).await.unwrap();
        disk.set_commit_takes(Duration::from_secs(10));
        let crash = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            disk.crash();
        };
        let (result, ()) = tokio::join!(store.commit(pair("2")), crash);
        fails(result, ErrorKind::Closed);
        assert_eq!(found(&disk.open().unwrap()).await, (expect.to_owned(), expect.to_owned()), "{fate:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_commit_is_decided_by_the_next_one() {
    for (fate, expect) in [(Fate::Kept, CommitNumber(2)), (Fate::Lost, CommitNumber(1))] {
        let disk = MemoryDisk::new();
        disk.set_fate(fate);
        let store = disk.open().unwrap();
        disk.set_commit_takes(Duration::from_secs(10));
        let dropped = tokio::time::timeout(Duration::from_secs(1), store.commit(pair("1"))).await;
        assert!(dropped.is_err());
        assert_eq!(store.commit(pair("2")).await.unwrap(), expect);
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_disk_takes_its_time() {
    let disk = MemoryDisk::new();
    disk.set_commit_takes(Duration::from_secs(3));
    disk.set_read_takes(Duration::from_secs(1));
    let store = disk.open().unwrap();
    let start = tokio::time::Instant::now();
    store.commit(pair("1")).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 3);
    found(&store).await;
    assert_eq!(start.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn a_full_disk_takes_nothing_until_there_is_room() {
    let disk = MemoryDisk::new();
    let store = disk.open().unwrap();
    store.commit(pair("1")).await.unwrap();
    disk.set_full(true);
    for _ in 0..3 {
        let error = store.commit(pair("2")).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Full && error.kind().is_retryable());
        assert_eq!(found(&store).await, ("1".to_owned(), "1".to_owned()));
    }
    disk.set_full(false);
    assert_eq!(store.commit(pair("2")).await.unwrap(), CommitNumber(2));
    assert_eq!(found(&store).await, ("2".to_owned(), "2".to_owned()));
}

#[tokio::test]
async fn one_handle_at_a_time_holds_the_disk() {
    let disk = MemoryDisk::new();
    let store = disk.open().unwrap();
    fails(disk.open(), ErrorKind::Locked);
    drop(store);
    let store = disk.open().unwrap();
    disk.crash();
    let next = disk.open().unwrap();
    // The handle from before the crash takes nothing with it when it goes.
    drop(store);
    fails(disk.open(), ErrorKind::Locked);
    next.commit(pair("1")).await.unwrap();
}

#[tokio::test]
async fn a_handle_whose_store_was_taken_over_writes_nothing_any_more() {
    let disk = MemoryDisk::new();
    let stalled = disk.open().unwrap();
    stalled.commit(pair("1")).await.unwrap();
    let store = disk.take_over();
    for _ in 0..2 {
        let error = stalled.commit(pair("2")).await.unwrap_err();
        assert!(error.kind() == ErrorKind::Fenced && !error.kind().is_retryable(), "{error}");
        fails(stalled.get(Table::State, Vec::new()).await, ErrorKind::Fenced);
    }
    assert_eq!(found(&store).await, ("1".to_owned(), "1".to_owned()));
    assert_eq!(store.commit(pair("3")).await.unwrap(), CommitNumber(2));

    // A crash of the second one makes the first one no less fenced, and its end gives nothing free.
    disk.crash();
    fails(store.commit(pair("4")).await, ErrorKind::Closed);
    fails(stalled.commit(pair("4")).await, ErrorKind::Fenced);
    let third = disk.open().unwrap();
    drop(stalled);
    fails(disk.open(), ErrorKind::Locked);
    drop(third);
    drop(disk.take_over());
}

#[tokio::test(start_paused = true)]
async fn a_commit_that_is_under_way_at_a_take_over_is_there_or_not_for_the_next_writer() {
    for (fate, expect) in [(Fate::Kept, "2"), (Fate::Lost, "1")] {
        let disk = MemoryDisk::new();
        disk.set_fate(fate);
        let stalled = disk.open().unwrap();
        stalled.commit(pair("1")).await.unwrap();
        disk.set_commit_takes(Duration::from_secs(10));
        let take_over = async {
            tokio::time::sleep(Duration::from_secs(5)).await;
            let store = disk.take_over();
            let first = found(&store).await;
            // When the old commit would have been done.
            tokio::time::sleep(Duration::from_secs(10)).await;
            assert_eq!(found(&store).await, first);
            first
        };
        let (result, found) = tokio::join!(stalled.commit(pair("2")), take_over);
        fails(result, ErrorKind::Fenced);
        assert_eq!(found, (expect.to_owned(), expect.to_owned()), "{fate:?}");
    }
}

#[tokio::test]
async fn reads_fail_as_often_as_asked() {
    let disk = MemoryDisk::new();
    let store = disk.open().unwrap();
    disk.fail_reads(2);
    fails(store.get(Table::State, Vec::new()).await, ErrorKind::Io);
    fails(store.last_commit().await, ErrorKind::Io);
    store.last_commit().await.unwrap();
}

#[tokio::test]
async fn fates_and_faults_follow_from_the_seed() {
    let run = async |seed| {
        let disk = MemoryDisk::seeded(seed);
        disk.break_off_randomly(0.5);
        let mut history = Vec::new();
        for number in 0..40 {
            let store = disk.open().unwrap();
            let failed = store.commit(puts([("a", "1")])).await.is_err();
            if number % 3 == 0 {
                disk.crash();
            }
            drop(store);
            history.push((failed, disk.open().unwrap().last_commit().await.unwrap()));
        }
        history
    };
    let history = run(1).await;
    assert_eq!(history, run(1).await);
    assert_ne!(history, run(2).await);
    let failed = history.iter().filter(|(failed, _)| *failed).count();
    assert!((5..35).contains(&failed), "{failed} of 40 failed");
}
