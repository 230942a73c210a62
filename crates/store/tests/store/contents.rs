//! What tests put into a store and find there.

use bytes::Bytes;
use statefun_kinesis_store::{Commit, KeyRange, Store, StoreExt, Table};

/// A commit of puts into the state table.
pub(crate) fn puts<'a>(puts: impl IntoIterator<Item = (&'a str, &'a str)>) -> Commit {
    let mut commit = Commit::new();
    for (key, value) in puts {
        commit.put(Table::State, key.to_owned(), value.to_owned());
    }
    commit
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
