//! [`Store::commit`].

use statefun_kinesis_store::{Commit, CommitNumber, ErrorKind, KEY_MAX_BYTES, KeyRange, Store, StoreExt, Table};

use crate::{
    Backend,
    contents::{Read, contents, keys, number_of, owned, puts, read_while_committing},
};

/// Changes of commits survive a restart, including removals.
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

/// A commit may change any number of tables.
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

/// A reader that has seen a part of a commit sees all of it, in every table.
pub async fn reads_see_a_commit_as_a_whole(store: &dyn Store) {
    let read: Read = |store| {
        Box::pin(async move {
            let position = store.get_one(Table::Positions, "position".into()).await.unwrap();
            let state = store.get(Table::State, keys()).await.unwrap();
            // The state is read after the position, so it is of the same commit or of a later one.
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

/// Deleting a range removes stored entries and earlier puts of the same commit, only in the given table.
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

/// Changes that are added when the store takes the commit come after the others.
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

/// The first commit has the number 1, and each further one the next number.
pub async fn commits_are_counted(store: &dyn Store) {
    for number in 1..4 {
        assert_eq!(store.commit(puts([("a", "1")])).await.unwrap(), CommitNumber(number));
    }
}

/// A restart continues the count of commits.
pub async fn numbers_go_on_after_a_restart(backend: &dyn Backend) {
    let mut store = backend.open().await;
    for number in 1..4 {
        assert_eq!(store.commit(puts([("a", "1")])).await.unwrap(), CommitNumber(number));
        store = backend.restart(store).await;
    }
}

/// The commit that was polled first is made first, even if its future was dropped.
pub async fn commits_come_in_the_order_of_asking(store: &dyn Store) {
    let mut first = std::pin::pin!(store.commit(puts([("a", "1"), ("b", "1")])));
    // Polled once, so that it is in progress, and then dropped, done or not.
    let waker = std::task::Waker::noop();
    let done = first.as_mut().poll(&mut std::task::Context::from_waker(waker)).is_ready();
    let second = store.commit(puts([("a", "2")]));
    if !done {
        // The future of the first one is dropped here.
        first.set(store.commit(Commit::new()));
    }
    second.await.unwrap();
    let found = contents(store, Table::State).await;
    let (all, without_first) = (owned(&[("a", "2"), ("b", "1")]), owned(&[("a", "2")]));
    assert!(found == all || !done && found == without_first, "{found:?}");
}

/// Commits that start while another one is in progress are all made, one after the other.
pub async fn commits_that_overlap_are_all_made(store: &dyn Store) {
    let commits = (1..6).map(|number| {
        let number = number.to_string();
        store.commit(puts([("last", &*number), (&*number, "made")]))
    });
    let numbers = futures::future::join_all(commits).await;
    let numbers: Vec<_> = numbers.into_iter().map(|number| number.unwrap().0).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    let mut expected = owned(&["1", "2", "3", "4", "5"].map(|number| (number, "made")));
    expected.extend(owned(&[("last", "5")]));
    assert_eq!(contents(store, Table::State).await, expected);
}

/// A commit without changes gets a number and changes nothing.
pub async fn an_empty_commit_is_counted(store: &dyn Store) {
    store.commit(puts([("a", "1")])).await.unwrap();
    assert_eq!(store.commit(Commit::new()).await.unwrap(), CommitNumber(2));
    assert_eq!(store.commit(puts([("b", "2")])).await.unwrap(), CommitNumber(3));
    assert_eq!(contents(store, Table::State).await, owned(&[("a", "1"), ("b", "2")]));
}

/// A commit with an empty or too long key fails as a whole with [`ErrorKind::Invalid`].
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

/// A key may have [`KEY_MAX_BYTES`] bytes.
pub async fn the_longest_key_is_taken(store: &dyn Store) {
    let mut commit = Commit::new();
    commit.put(Table::State, vec![b'k'; KEY_MAX_BYTES], "longest");
    store.commit(commit).await.unwrap();
    assert_eq!(contents(store, Table::State).await[0].1, "longest");
}

/// After another writer has taken over, commits of the first one fail with [`ErrorKind::Fenced`] and change nothing.
///
/// Not checked for stores whose data cannot be opened twice.
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
