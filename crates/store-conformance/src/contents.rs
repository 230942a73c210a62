//! The test data of behaviours, and functions that read them.

use bytes::Bytes;
use futures::future::BoxFuture;
use statefun_kinesis_store::{Commit, Entry, KeyRange, Store, StoreExt, Table};

/// Builds a commit of puts into the state table.
pub(crate) fn puts<'a>(puts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Commit {
    let mut commit = Commit::new();
    for (key, value) in puts {
        commit.put(Table::State, key.to_owned(), value.to_owned());
    }
    commit
}

/// Builds a commit that sets all test keys, in two tables, to a number.
pub(crate) fn all_set_to(number: u32) -> Commit {
    let number = number.to_string();
    let mut commit = Commit::new();
    for key in keys() {
        commit.put(Table::State, key, number.clone());
    }
    commit.put(Table::Positions, "position", number);
    commit
}

/// The number of keys that [`all_set_to`] sets in the state table. With that many, reading them takes as long as a
/// commit.
pub(crate) const KEYS: usize = 300;

/// The keys that [`all_set_to`] sets in the state table. No key is a prefix of another one.
pub(crate) fn keys() -> Vec<Bytes> {
    (0..KEYS).map(|key| format!("{key:03}").into()).collect()
}

pub(crate) fn entry(key: &str, value: &str) -> Entry {
    Entry { key: key.to_owned().into(), value: value.to_owned().into() }
}

/// Reads all entries of a table, as text.
pub(crate) async fn contents(store: &dyn Store, table: Table) -> Vec<(String, String)> {
    let text = |bytes: Bytes| String::from_utf8(bytes.to_vec()).expect("behaviours store texts");
    let mut entries = store.entries(table, KeyRange::ALL);
    let mut found = Vec::new();
    while let Some(entry) = entries.next().await.unwrap() {
        found.push((text(entry.key), text(entry.value)));
    }
    found
}

pub(crate) fn owned(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Reads entries and returns the number of the commit that wrote them; `None` while there are none.
pub(crate) type Read = for<'a> fn(&'a dyn Store) -> BoxFuture<'a, Option<u32>>;

/// Makes a few dozen commits, each of which sets all keys to its number, and reads at the same time. `read` checks that
/// the entries are of one commit and returns its number.
pub(crate) async fn read_while_committing(store: &dyn Store, read: Read) {
    let mut last_read = None;
    let writes = async {
        for number in 0..40 {
            store.commit(all_set_to(number)).await.unwrap();
            assert!(read(store).await.is_some_and(|found| found >= number), "commit {number} is not seen");
        }
    };
    let reads = async {
        for _ in 0..40 {
            let found = read(store).await;
            assert!(found >= last_read, "{found:?} was read after {last_read:?}");
            last_read = found;
        }
    };
    futures::join!(writes, reads);
}

/// The number that all values have; `None` without values. Panics if they differ.
#[track_caller]
pub(crate) fn number_of<'a>(values: impl IntoIterator<Item = &'a Bytes>) -> Option<u32> {
    let numbers: Vec<u32> =
        values.into_iter().map(|value| std::str::from_utf8(value).unwrap().parse().unwrap()).collect();
    let first = numbers.first().copied();
    assert!(numbers.iter().all(|number| Some(*number) == first), "these are of different commits: {numbers:?}");
    first
}
