//! [`Store::scan`].

use statefun_kinesis_store::{Commit, KeyRange, Page, Store, StoreExt, Table};

use crate::contents::{KEYS, Read, entry, number_of, puts, read_while_committing};

async fn scan(store: &dyn Store, range: KeyRange, max_bytes: usize) -> Page {
    store.scan(Table::State, range, max_bytes).await.unwrap()
}

/// Keys are compared byte by byte, as unsigned bytes. A prefix that consists of bytes 255 has an end too.
pub async fn keys_are_ordered_byte_by_byte(store: &dyn Store) {
    let keys: [&[u8]; 7] = [&[0], &[0, 0], &[0, 255], &[1], b"a", &[255], &[255, 255]];
    let mut commit = Commit::new();
    for key in keys.iter().rev() {
        commit.put(Table::State, key.to_vec(), "");
    }
    store.commit(commit).await.unwrap();
    let page = scan(store, KeyRange::ALL, usize::MAX).await;
    assert_eq!(page.entries.iter().map(|entry| &entry.key[..]).collect::<Vec<_>>(), keys);
    assert_eq!(scan(store, KeyRange::prefix(vec![255]), usize::MAX).await.entries.len(), 2);
}

/// Pages of any size cover the whole range: the rest of a page begins directly after it.
pub async fn pages_joined_are_the_whole_range(store: &dyn Store) {
    // Three megabytes are more than a page of `StoreExt::entries`.
    let mut commit = Commit::new();
    for number in 0_u32..300 {
        commit.put(Table::State, number.to_be_bytes().to_vec(), vec![7; 10_000]);
    }
    store.commit(commit).await.unwrap();
    let mut entries = store.entries(Table::State, KeyRange::ALL);
    for number in 0_u32..300 {
        let entry = entries.next().await.unwrap().expect("an entry per number");
        assert_eq!((&entry.key[..], entry.value.len()), (&number.to_be_bytes()[..], 10_000));
    }
    assert_eq!(entries.next().await.unwrap(), None);
    assert_eq!(entries.next().await.unwrap(), None);
}

/// A page ends with the entry that reaches or exceeds its limit of bytes.
pub async fn a_page_ends_with_the_entry_that_fills_it(store: &dyn Store) {
    store.commit(puts([("a", "1"), ("b", "22"), ("c", "333"), ("d", "4"), ("e", "5")])).await.unwrap();
    let range = KeyRange::new("b", Some("e".into()));
    // The first page reaches the limit exactly, the second exceeds it.
    let Page { entries, rest } = scan(store, range.clone(), 3).await;
    assert_eq!((entries, rest), (vec![entry("b", "22")], Some(range.after(b"b"))));
    let Page { entries, rest } = scan(store, range, 4).await;
    assert_eq!(entries, [entry("b", "22"), entry("c", "333")]);
    let Page { entries, rest } = scan(store, rest.expect("there is more"), 100).await;
    assert_eq!((entries, rest), (vec![entry("d", "4")], None));
}

/// A page with a limit of 0 bytes has one entry.
pub async fn a_page_has_an_entry_at_least(store: &dyn Store) {
    store.commit(puts([("a", "1"), ("b", "2")])).await.unwrap();
    let Page { entries, rest } = scan(store, KeyRange::ALL, 0).await;
    assert_eq!(entries, [entry("a", "1")]);
    let Page { entries, .. } = scan(store, rest.expect("there is more"), 0).await;
    assert_eq!(entries, [entry("b", "2")]);
}

/// A range without entries, or an impossible range, is one empty page.
pub async fn a_range_without_keys_is_empty(store: &dyn Store) {
    store.commit(puts([("a", "1"), ("b", "2"), ("c", "3")])).await.unwrap();
    let empty = Page { entries: Vec::new(), rest: None };
    for range in [KeyRange::new("x", None), KeyRange::new("c", Some("a".into())), KeyRange::new("b", Some("b".into()))]
    {
        assert_eq!(scan(store, range, 0).await, empty);
    }
}

/// All entries of a page are of the same commit.
pub async fn a_page_is_of_one_moment(store: &dyn Store) {
    let read: Read = |store| {
        Box::pin(async move {
            let page = scan(store, KeyRange::ALL, usize::MAX).await;
            assert!([0, KEYS].contains(&page.entries.len()), "{} entries are there", page.entries.len());
            number_of(page.entries.iter().map(|entry| &entry.value))
        })
    };
    read_while_committing(store, read).await;
}
