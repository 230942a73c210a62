//! [`Store::load`].

use bytes::Bytes;
use statefun_kinesis_store::{Store, Table};

use crate::contents::{KEYS, Read, entry, keys, number_of, puts, read_while_committing};

/// Each prefix gets its own entries, also when one prefix begins with another one.
pub async fn prefixes_are_loaded_in_the_order_asked_for(store: &dyn Store) {
    store.commit(puts([("a", "0"), ("a2", "2"), ("a1", "1"), ("b1", "3")])).await.unwrap();
    let prefixes = ["b", "a", "c", "a1"].map(Bytes::from).to_vec();
    let expect = [
        vec![entry("b1", "3")],
        vec![entry("a", "0"), entry("a1", "1"), entry("a2", "2")],
        Vec::new(),
        vec![entry("a1", "1")],
    ];
    assert_eq!(store.load(Table::State, prefixes).await.unwrap(), expect);
    assert_eq!(store.load(Table::Meta, vec!["a".into()]).await.unwrap(), [Vec::new()]);
}

/// All entries are of the same commit.
pub async fn loaded_entries_are_of_one_moment(store: &dyn Store) {
    let read: Read = |store| {
        Box::pin(async move {
            let loaded = store.load(Table::State, keys()).await.unwrap();
            let there = loaded.iter().flatten().count();
            assert!([0, KEYS].contains(&there), "{there} of {KEYS} entries are there");
            number_of(loaded.iter().flatten().map(|entry| &entry.value))
        })
    };
    read_while_committing(store, read).await;
}

/// Keys are compared byte by byte, as unsigned bytes.
pub async fn entries_of_a_prefix_are_in_order(store: &dyn Store) {
    let keys: [&[u8]; 6] = [b"p", b"p\0", b"p\0\xff", b"p\x01", b"pa", b"p\xff"];
    let mut commit = puts([("o", ""), ("q", "")]);
    for key in keys.iter().rev() {
        commit.put(Table::State, key.to_vec(), "");
    }
    store.commit(commit).await.unwrap();
    let loaded = store.load(Table::State, vec!["p".into()]).await.unwrap();
    assert_eq!(loaded[0].iter().map(|entry| &entry.key[..]).collect::<Vec<_>>(), keys);
}
