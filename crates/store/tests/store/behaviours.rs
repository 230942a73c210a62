//! The behaviours of every store, as plain functions; each is given an empty one.

use bytes::Bytes;
use statefun_kinesis_store::{
    Commit, CommitNumber, Entry, ErrorKind, KEY_MAX_BYTES, KeyRange, Page, Store, StoreExt, Table,
};

/// A commit of puts into the state table.
pub(crate) fn puts<'a>(puts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Commit {
    let mut commit = Commit::new();
    for (key, value) in puts {
        commit.put(Table::State, key.to_owned(), value.to_owned());
    }
    commit
}

fn entry(key: &str, value: &str) -> Entry {
    Entry { key: key.to_owned().into(), value: value.to_owned().into() }
}

/// All of a table, as text.
pub(crate) async fn contents(store: &(impl Store + ?Sized), table: Table) -> Vec<(String, String)> {
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let mut entries = store.entries(table, KeyRange::ALL);
    let mut found = Vec::new();
    while let Some(entry) = entries.next().await.unwrap() {
        found.push((text(entry.key), text(entry.value)));
    }
    found
}

fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

pub(crate) async fn a_new_store_is_empty(store: &dyn Store) {
    for table in Table::ALL {
        assert_eq!(contents(store, table).await, []);
        store.usage(table).await.unwrap();
    }
    assert_eq!(store.last_commit().await.unwrap(), CommitNumber(0));
    assert_eq!(store.get_one(Table::State, "a".into()).await.unwrap(), None);
}

pub(crate) async fn a_commit_changes_every_table_at_once(store: &dyn Store) {
    let mut commit = Commit::new();
    for table in Table::ALL {
        commit.put(table, "key", table.name());
    }
    store.commit(commit).await.unwrap();
    for table in Table::ALL {
        assert_eq!(contents(store, table).await, owned(&[("key", table.name())]), "{table}");
    }
}

pub(crate) async fn commits_are_counted(store: &dyn Store) {
    for number in 1..4 {
        // The second one is empty.
        let commit = if number == 2 { Commit::new() } else { puts([("a", "1")]) };
        assert_eq!(store.commit(commit).await.unwrap(), CommitNumber(number));
        assert_eq!(store.last_commit().await.unwrap(), CommitNumber(number));
    }
}

pub(crate) async fn the_last_change_of_a_key_counts(store: &dyn Store) {
    let mut commit = puts([("a", "1"), ("a", "2"), ("b", "1"), ("c", "1")]);
    commit.delete(Table::State, "b");
    commit.delete(Table::State, "c");
    commit.put(Table::State, "c", "3");
    commit.delete(Table::State, "never there");
    store.commit(commit).await.unwrap();
    assert_eq!(contents(store, Table::State).await, owned(&[("a", "2"), ("c", "3")]));
}

pub(crate) async fn a_deleted_range_keeps_what_is_put_afterwards(store: &dyn Store) {
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

pub(crate) async fn values_come_in_the_order_asked_for(store: &dyn Store) {
    store.commit(puts([("a", "1"), ("b", "2"), ("empty", "")])).await.unwrap();
    let keys = ["b", "none", "a", "empty", "b"].map(Bytes::from).to_vec();
    let expect = [Some("2"), None, Some("1"), Some(""), Some("2")].map(|value| value.map(Bytes::from));
    assert_eq!(store.get(Table::State, keys).await.unwrap(), expect);
    assert_eq!(store.get(Table::Meta, vec!["a".into()]).await.unwrap(), [None]);
    assert_eq!(store.get(Table::Meta, Vec::new()).await.unwrap(), []);
}

pub(crate) async fn prefixes_are_loaded_in_the_order_asked_for(store: &dyn Store) {
    store.commit(puts([("a", "0"), ("a2", "2"), ("a1", "1"), ("b1", "3")])).await.unwrap();
    let prefixes = ["b", "a", "c", "a1"].map(Bytes::from).to_vec();
    let expect = [
        vec![entry("b1", "3")],
        vec![entry("a", "0"), entry("a1", "1"), entry("a2", "2")],
        Vec::new(),
        vec![entry("a1", "1")],
    ];
    assert_eq!(store.load(Table::State, prefixes).await.unwrap(), expect);
}

pub(crate) async fn keys_are_ordered_byte_by_byte(store: &dyn Store) {
    let keys: [&[u8]; 7] = [&[0], &[0, 0], &[0, 255], &[1], b"a", &[255], &[255, 255]];
    let mut commit = Commit::new();
    for key in keys.iter().rev() {
        commit.put(Table::Timers, key.to_vec(), "");
    }
    store.commit(commit).await.unwrap();
    let page = store.scan(Table::Timers, KeyRange::ALL, usize::MAX).await.unwrap();
    assert_eq!(page.entries.iter().map(|entry| &entry.key[..]).collect::<Vec<_>>(), keys);
    let page = store.scan(Table::Timers, KeyRange::prefix(vec![255]), usize::MAX).await.unwrap();
    assert_eq!(page.entries.len(), 2);
}

pub(crate) async fn a_range_comes_in_pages(store: &dyn Store) {
    store.commit(puts([("a", "1"), ("b", "22"), ("c", "333"), ("d", "4"), ("e", "5")])).await.unwrap();
    let range = KeyRange::new("b", Some("e".into()));
    let scan = async |range, max_bytes| store.scan(Table::State, range, max_bytes).await.unwrap();

    let Page { entries, rest } = scan(range.clone(), 4).await;
    assert_eq!(entries, [entry("b", "22"), entry("c", "333")]);
    let Page { entries, rest } = scan(rest.expect("there is more"), 100).await;
    assert_eq!((entries, rest), (vec![entry("d", "4")], None));

    // A page has an entry at least, and a range without entries has no page behind it.
    let Page { entries, rest } = scan(range, 0).await;
    assert_eq!((entries.len(), rest.is_some()), (1, true));
    assert_eq!(scan(KeyRange::new("x", None), 0).await, Page { entries: Vec::new(), rest: None });
    assert_eq!(scan(KeyRange::new("c", Some("a".into())), 9).await, Page { entries: Vec::new(), rest: None });
}

pub(crate) async fn all_entries_come_page_by_page(store: &dyn Store) {
    // Three megabytes are more than a page.
    let mut commit = Commit::new();
    for number in 0_u32..300 {
        commit.put(Table::Egress, number.to_be_bytes().to_vec(), vec![7; 10_000]);
    }
    store.commit(commit).await.unwrap();
    let mut entries = store.entries(Table::Egress, KeyRange::ALL);
    for number in 0_u32..300 {
        let entry = entries.next().await.unwrap().expect("an entry per number");
        assert_eq!((&entry.key[..], entry.value.len()), (&number.to_be_bytes()[..], 10_000));
    }
    assert_eq!(entries.next().await.unwrap(), None);
    assert_eq!(entries.next().await.unwrap(), None);
}

pub(crate) async fn an_impossible_key_is_refused_and_nothing_of_its_commit_happens(store: &dyn Store) {
    for key in [0, KEY_MAX_BYTES + 1] {
        let mut commit = puts([("a", "1")]);
        commit.put(Table::State, vec![b'k'; key], "");
        assert_eq!(store.commit(commit).await.unwrap_err().kind(), ErrorKind::Invalid, "{key}");
    }
    assert_eq!(contents(store, Table::State).await, []);
    let mut commit = Commit::new();
    commit.put(Table::State, vec![b'k'; KEY_MAX_BYTES], "longest");
    assert_eq!(store.commit(commit).await.unwrap(), CommitNumber(1));
    assert_eq!(contents(store, Table::State).await[0].1, "longest");
}

pub(crate) async fn commits_come_in_the_order_of_asking(store: &dyn Store) {
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
