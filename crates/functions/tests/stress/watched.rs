//! A store that is checked after each commit.

use async_trait::async_trait;
use bytes::Bytes;
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_store::{Commit, CommitNumber, Entry, KeyRange, Page, Result, Store, Table, Usage};
use statefun_kinesis_types::StreamArn;

use crate::results::Stored;

/// A store that checks that every commit is of one moment. A crash would show only one of hundreds of commits, and
/// races are rare.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    pub(crate) store: S,
    pub(crate) kinesis: FakeKinesis,
    pub(crate) stream: StreamArn,
}

#[async_trait]
impl<S: Store> Store for Watched<S> {
    async fn commit(&self, commit: Commit) -> Result<CommitNumber> {
        let number = self.store.commit(commit).await?;
        Stored::read(&self.store, &self.kinesis, &self.stream).await.check_moment();
        Ok(number)
    }

    async fn get(&self, table: Table, keys: Vec<Bytes>) -> Result<Vec<Option<Bytes>>> {
        self.store.get(table, keys).await
    }

    async fn load(&self, table: Table, prefixes: Vec<Bytes>) -> Result<Vec<Vec<Entry>>> {
        self.store.load(table, prefixes).await
    }

    async fn scan(&self, table: Table, range: KeyRange, max_bytes: usize) -> Result<Page> {
        self.store.scan(table, range, max_bytes).await
    }

    async fn last_commit(&self) -> Result<CommitNumber> {
        self.store.last_commit().await
    }

    async fn usage(&self, table: Table) -> Result<Usage> {
        self.store.usage(table).await
    }
}
