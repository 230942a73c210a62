//! [`Store::usage`].

use statefun_kinesis_store::{Store, Table};

use crate::contents::puts;

/// Every table has a usage, empty or not.
pub async fn every_table_has_a_usage(store: &dyn Store) {
    for commit in [puts([]), puts([("a", "1")])] {
        store.commit(commit).await.unwrap();
        for table in Table::ALL {
            store.usage(table).await.unwrap();
        }
    }
}
