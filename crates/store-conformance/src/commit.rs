//! [`Store::commit`].

use bytes::Bytes;
use statefun_kinesis_store::{Commit, CommitNumber, ErrorKind, KEY_MAX_BYTES, KeyRange, Store, StoreExt, Table};

use crate::{
    Backend,
    contents::{KEYS, Read, contents, number_of, owned, puts, read_while_committing},
};

/// What commits have changed is there after a restart, also what they have removed.
pub async fn commits_outlive_a_restart(backend: &dyn Backend) {
    let mut store = backend.open().await;
    store.commit(puts([("a", "1"), ("b", "1")])).await.unwrap();
    let mut commit = puts([("b", "2")]);
    commit.delete(Table::State, "a");
    commit.put(Table::Positions, "position", "2");
    store.commit(commit).await.unwrap();
    for _ in 0..2 {
        store = backend.restart(store).await;
        assert_eq!(contents(&*store, Table::State).await, owned(&[("b", "2")]));
        assert_eq!(contents(&*store, Table::Positions).await, owned(&[("position", "2")]));
    }
}

/// A commit changes any number of tables.
pub async fn a_commit_changes_every_table_at_once(store: &dyn Store) {
    let mut commit = Commit::new();
    for table in Table::ALL {
        assert_eq!(contents(store, table).await, [], "{table}");
        commit.put(table, "key", table.name());
    }
    store.commit(commit).await.unwrap();
    for table in Table::ALL {
        assert_eq!(contents(store, table).await, owned(&[("key", table.name())]), "{table}");
    }
}

/// Whoever has seen a part of a commit sees all of it, in every table.
pub async fn reads_see_a_commit_as_a_whole(store: &dyn Store) {
    let read: Read = |store| {
        Box::pin(async move {
            let position = store.get_one(Table::Positions, "position".into()).await.unwrap();
            let state = store.get(Table::State, KEYS.map(Bytes::from).to_vec()).await.unwrap();
            // Read afterwards, it is of the same commit or of a later one.
            let (position, state) = (number_of(&position), number_of(state.iter().flatten()));
            assert!(position <= state, "the position of commit {position:?} is there, and the state of {state:?}");
            state
        })
    };
    read_while_committing(store, read).await;
}

/// A commit may change a key more than once.
pub async fn the_last_change_of_a_key_counts(store: &dyn Store) {
    let mut commit = puts([("a", "1"), ("a", "2"), ("b", "1"), ("c", "1")]);
    commit.delete(Table::State, "b");
    commit.delete(Table::State, "c");
    commit.put(Table::State, "c", "3");
    commit.delete(Table::State, "never there");
    store.commit(commit).await.unwrap();
    assert_eq!(contents(store, Table::State).await, owned(&[("a", "2"), ("c", "3")]));
}

/// A range that is deleted loses what was stored and what the commit has put before, in its own table only.
pub async fn a_deleted_range_keeps_what_is_put_afterwards(store: &dyn Store) {
    store.commit(puts([("a", "1"), ("a1", "1"), ("a2", "1"), ("b", "1")])).await.unwrap();
    let mut commit = puts([("a3", "2"), ("b1", "2")]);
    commit.put(Table::Meta, "a1", "other table");
    commit.delete_prefix(Table::State, "a");
    commit.put(Table::State, "a2", "3");
    commit.put(Table::State, "a4", "3");
    store.commit(commit).await.unwrap();
    let expect = [("a2", "3"), ("a4", "3"), ("b", "1"), ("b1", "2")];
    assert_eq!(contents(store, Table::State).await, owned(&expect));
    assert_eq!(contents(store, Table::Meta).await, owned(&[("a1", "other table")]));

    let mut commit = Commit::new();
    commit.delete_range(Table::State, KeyRange::new("a4", Some("b1".into())));
    commit.delete_range(Table::State, KeyRange::new("b1", Some("a".into())));
    store.commit(commit).await.unwrap();
    assert_eq!(contents(store, Table::State).await, owned(&[("a2", "3"), ("b1", "2")]));
}

/// Changes that are added when the store takes the commit stand behind the others.
pub async fn changes_that_are_added_later_count_too(store: &dyn Store) {
    let mut commit = Commit::new();
    commit.later(|commit| {
        commit.put(Table::State, "a", "later");
        commit.put(Table::Mailboxes, "b", "later");
    });
    commit.put(Table::State, "a", "at once");
    store.commit(commit).await.unwrap();
    assert_eq!(contents(store, Table::State).await, owned(&[("a", "later")]));
    assert_eq!(contents(store, Table::Mailboxes).await, owned(&[("b", "later")]));
}

/// The first commit is the first, and each has the next number.
pub async fn commits_are_counted(store: &dyn Store) {
    for number in 1..4 {
        assert_eq!(store.commit(puts([("a", "1")])).await.unwrap(), CommitNumber(number));
    }
}

/// A restart begins no new count.
pub async fn numbers_go_on_after_a_restart(backend: &dyn Backend) {
    let mut store = backend.open().await;
    for number in 1..4 {
        assert_eq!(store.commit(puts([("a", "1")])).await.unwrap(), CommitNumber(number));
        store = backend.restart(store).await;
    }
}

/// A commit that was asked for first is made first, also when nobody waits for it any more.
pub async fn commits_come_in_the_order_of_asking(store: &dyn Store) {
    let mut first = std::pin::pin!(store.commit(puts([("a", "1"), ("b", "1")])));
    // Polled once: it is under way, and dropped before it is done or not.
    let waker = std::task::Waker::noop();
    let done = first.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_ready();
    let second = store.commit(puts([("a", "2")]));
    if !done {
        // Nobody waits for the first one any more.
        first.set(store.commit(Commit::new()));
    }
    second.await.unwrap();
    let found = contents(store, Table::State).await;
    let (all, without_first) = (owned(&[("a", "2"), ("b", "1")]), owned(&[("a", "2")]));
    assert!(found == all || !done && found == without_first, "{found:?}");
}

/// A commit without changes has a number, and changes nothing.
pub async fn an_empty_commit_is_counted(store: &dyn Store) {
    store.commit(puts([("a", "1")])).await.unwrap();
    assert_eq!(store.commit(Commit::new()).await.unwrap(), CommitNumber(2));
    assert_eq!(store.commit(puts([("b", "2")])).await.unwrap(), CommitNumber(3));
    assert_eq!(contents(store, Table::State).await, owned(&[("a", "1"), ("b", "2")]));
}

/// Keys that are empty or too long fail as [`ErrorKind::Invalid`], and so does whatever else their commit has.
pub async fn an_impossible_key_is_refused_with_its_whole_commit(store: &dyn Store) {
    for key in [0, KEY_MAX_BYTES + 1] {
        let mut commit = puts([("a", "1")]);
        commit.put(Table::State, vec![b'k'; key], "");
        commit.put(Table::Positions, "position", "1");
        assert_eq!(store.commit(commit).await.unwrap_err().kind(), ErrorKind::Invalid, "{key}");
    }
    assert_eq!(contents(store, Table::State).await, []);
    assert_eq!(contents(store, Table::Positions).await, []);
    assert_eq!(store.commit(Commit::new()).await.unwrap(), CommitNumber(1));
}

/// A key may have as many bytes as [`KEY_MAX_BYTES`] says.
pub async fn the_longest_key_is_taken(store: &dyn Store) {
    let mut commit = Commit::new();
    commit.put(Table::State, vec![b'k'; KEY_MAX_BYTES], "longest");
    store.commit(commit).await.unwrap();
    assert_eq!(contents(store, Table::State).await[0].1, "longest");
}

/// After another writer has taken over, commits of the first one fail as [`ErrorKind::Fenced`] and do nothing.
///
/// There is nothing to show where data that are open cannot be opened again.
pub async fn a_fenced_writer_changes_nothing(backend: &dyn Backend) {
    let first = backend.open().await;
    first.commit(puts([("a", "1")])).await.unwrap();
    let Some(second) = backend.take_over().await else { return };
    for _ in 0..2 {
        let error = first.commit(puts([("a", "2"), ("b", "2")])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Fenced, "{error}");
        assert!(!error.kind().is_retryable());
    }
    assert_eq!(contents(&*second, Table::State).await, owned(&[("a", "1")]));
    assert_eq!(second.commit(puts([("c", "3")])).await.unwrap(), CommitNumber(2));
    assert_eq!(first.commit(Commit::new()).await.unwrap_err().kind(), ErrorKind::Fenced);
    assert_eq!(contents(&*second, Table::State).await, owned(&[("a", "1"), ("c", "3")]));
}
