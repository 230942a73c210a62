//! [`Store::last_commit`].

use statefun_kinesis_store::{Commit, CommitNumber, Store};

use crate::{Backend, contents::puts};

/// It is the number of the last commit, also of one without changes.
pub async fn the_last_commit_is_told(store: &dyn Store) {
    assert_eq!(store.last_commit().await.unwrap(), CommitNumber(0));
    for commit in [puts([("a", "1")]), Commit::new(), puts([("a", "2")])] {
        let number = store.commit(commit).await.unwrap();
        assert_eq!(store.last_commit().await.unwrap(), number);
    }
}

/// It survives a restart.
pub async fn the_last_commit_is_told_after_a_restart(backend: &dyn Backend) {
    let mut store = backend.open().await;
    for number in 0..3 {
        assert_eq!(store.last_commit().await.unwrap(), CommitNumber(number));
        store.commit(puts([("a", "1")])).await.unwrap();
        store = backend.restart(store).await;
    }
}
