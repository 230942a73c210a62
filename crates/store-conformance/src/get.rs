//! [`Store::get`].

use bytes::Bytes;
use statefun_kinesis_store::{Store, StoreExt, Table};

use crate::contents::{KEYS, Read, keys, number_of, puts, read_while_committing};

/// Each key gets its own result, also a key that is requested twice and a key that does not exist.
pub async fn values_come_in_the_order_asked_for(store: &dyn Store) {
    store.commit(puts([("a", "1"), ("b", "2"), ("empty", "")])).await.unwrap();
    let keys = ["b", "none", "a", "empty", "b"].map(Bytes::from).to_vec();
    let expect = [Some("2"), None, Some("1"), Some(""), Some("2")].map(|value| value.map(Bytes::from));
    assert_eq!(store.get(Table::State, keys).await.unwrap(), expect);
    assert_eq!(store.get_one(Table::Meta, "a".into()).await.unwrap(), None);
    assert_eq!(store.get(Table::Meta, Vec::new()).await.unwrap(), []);
}

/// All values are of the same commit.
pub async fn values_are_of_one_moment(store: &dyn Store) {
    let read: Read = |store| {
        Box::pin(async move {
            let values = store.get(Table::State, keys()).await.unwrap();
            let there = values.iter().flatten().count();
            assert!([0, KEYS].contains(&there), "{there} of {KEYS} keys are there");
            number_of(values.iter().flatten())
        })
    };
    read_while_committing(store, read).await;
}
