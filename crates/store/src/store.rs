use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Commit, CommitNumber, KeyRange, Result, Table};

/// A key and its value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The key.
    pub key: Bytes,
    /// The value.
    pub value: Bytes,
}

/// A part of a range.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The entries, in the order of their keys.
    pub entries: Vec<Entry>,
    /// What is left of the range; none when this was all of it.
    pub rest: Option<KeyRange>,
}

impl Page {
    /// Takes entries of `range`, in the order of their keys, until they reach `max_bytes`: for implementations of
    /// [`Store::scan`].
    ///
    /// # Errors
    ///
    /// The first error that an entry is.
    pub fn fill(range: KeyRange, max_bytes: usize, entries: impl IntoIterator<Item = Result<Entry>>) -> Result<Self> {
        let mut entries_of_page: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        for entry in entries {
            if bytes >= max_bytes
                && let Some(last) = entries_of_page.last()
            {
                let rest = Some(range.after(&last.key));
                return Ok(Self { entries: entries_of_page, rest });
            }
            let entry = entry?;
            bytes += entry.key.len() + entry.value.len();
            entries_of_page.push(entry);
        }
        Ok(Self { entries: entries_of_page, rest: None })
    }
}

/// How much a table takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Bytes on disk, or in memory for a store in memory: roughly, and without what was written last.
    pub bytes: u64,
}

/// The durable checkpoint of one worker.
///
/// A store holds ordered keys in [tables](Table) and has one writer. All changes go through [`commit`](Self::commit).
/// The functions of [`key`](crate::key) make the keys.
///
/// Each bullet under *Behavior* has a function in the package `statefun-kinesis-store-conformance`: whoever implements
/// the trait runs them against the implementation.
///
/// Futures may be dropped at any await. A commit that was dropped so happens as a whole or not at all, and before any
/// commit that is made later.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Makes changes durable, in all tables or in none, and gives them a number.
    ///
    /// # Behavior
    ///
    /// * When it returns, a crash of the process or of the machine cannot take the changes away.
    /// * Reads see all of the changes as soon as it returns, and none of them before it began.
    /// * Of several changes to a key the last one counts; a range that is deleted keeps what the same commit puts into
    ///   it afterwards.
    /// * The number is one more than that of the last commit, also across restarts, unless a commit failed in between.
    /// * One commit is made at a time, in the order in which the futures were first polled.
    /// * A commit without changes is one too.
    /// * A commit with a key or a value that no store takes fails as a whole, and changes nothing.
    /// * Once another writer has taken the store over, every commit of this one fails as
    ///   [`ErrorKind::Fenced`](crate::ErrorKind::Fenced) and changes nothing.
    ///
    /// # Errors
    ///
    /// Reads show what they showed before. After [`ErrorKind::Full`](crate::ErrorKind::Full) and
    /// [`ErrorKind::Io`](crate::ErrorKind::Io) the changes may appear at the next commit or at the next start, all of
    /// them: whoever goes on repeats them in the next commit, together with what has changed since. After
    /// [`ErrorKind::Fenced`](crate::ErrorKind::Fenced) a commit that was under way is in the store of the other writer or
    /// not; reads may fail or show an older state.
    async fn commit(&self, commit: Commit) -> Result<CommitNumber>;

    /// Gives the value of each key, in the order asked for; none where there is no such key.
    ///
    /// # Behavior
    ///
    /// * A value is there for each key, in the order asked for.
    /// * All values are of one moment, between two commits.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn get(&self, table: Table, keys: Vec<Bytes>) -> Result<Vec<Option<Bytes>>>;

    /// Gives the entries that begin with each prefix, in the order asked for: such as the values of many addresses.
    ///
    /// # Behavior
    ///
    /// * There is a list for each prefix, in the order asked for; one without entries is empty.
    /// * All entries are of one moment, between two commits.
    /// * The entries of a prefix are in the order of their keys.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn load(&self, table: Table, prefixes: Vec<Bytes>) -> Result<Vec<Vec<Entry>>>;

    /// Gives the first entries of a range.
    ///
    /// # Behavior
    ///
    /// * Entries are in the order of their keys, and none is left out before the rest.
    /// * A page ends with the entry with which keys and values reach `max_bytes`, or with the range. It has an entry
    ///   at least when the range has one.
    /// * A page is of one moment, between two commits; the next page may be of a later one.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn scan(&self, table: Table, range: KeyRange, max_bytes: usize) -> Result<Page>;

    /// Gives the number of the last commit.
    ///
    /// # Behavior
    ///
    /// * It is 0 in a new store, and then what the last commit returned, also after a restart.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn last_commit(&self) -> Result<CommitNumber>;

    /// Tells roughly how much a table takes, without reading it.
    ///
    /// # Behavior
    ///
    /// * There is an answer for every table, also for an empty one.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn usage(&self, table: Table) -> Result<Usage>;
}

/// Bytes of keys and values that [`StoreExt::entries`] asks for at a time.
const PAGE_BYTES: usize = 1024 * 1024;

/// What callers of a [`Store`] have besides.
#[async_trait]
pub trait StoreExt: Store {
    /// Gives the value of one key.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn get_one(&self, table: Table, key: Bytes) -> Result<Option<Bytes>> {
        Ok(self.get(table, vec![key]).await?.pop().flatten())
    }

    /// Reads a range from its start to its end, a page at a time.
    fn entries(&self, table: Table, range: KeyRange) -> Entries<'_, Self> {
        Entries { store: self, table, rest: Some(range), page: Vec::new().into_iter() }
    }
}

impl<S: Store + ?Sized> StoreExt for S {}

/// The entries of a range, one after the other; made by [`StoreExt::entries`].
#[derive(Debug)]
pub struct Entries<'a, S: Store + ?Sized> {
    store: &'a S,
    table: Table,
    rest: Option<KeyRange>,
    page: std::vec::IntoIter<Entry>,
}

impl<S: Store + ?Sized> Entries<'_, S> {
    /// Gives the next entry; none at the end of the range.
    ///
    /// # Errors
    ///
    /// When the store cannot be read. The next call tries the same page again.
    pub async fn next(&mut self) -> Result<Option<Entry>> {
        loop {
            if let Some(entry) = self.page.next() {
                return Ok(Some(entry));
            }
            let Some(range) = &self.rest else { return Ok(None) };
            let page = self.store.scan(self.table, range.clone(), PAGE_BYTES).await?;
            self.page = page.entries.into_iter();
            self.rest = page.rest;
        }
    }
}

macro_rules! forward {
    ($pointer:ident) => {
        #[deny(clippy::missing_trait_methods)]
        #[async_trait]
        impl<S: Store + ?Sized> Store for $pointer<S> {
            async fn commit(&self, commit: Commit) -> Result<CommitNumber> {
                (**self).commit(commit).await
            }

            async fn get(&self, table: Table, keys: Vec<Bytes>) -> Result<Vec<Option<Bytes>>> {
                (**self).get(table, keys).await
            }

            async fn load(&self, table: Table, prefixes: Vec<Bytes>) -> Result<Vec<Vec<Entry>>> {
                (**self).load(table, prefixes).await
            }

            async fn scan(&self, table: Table, range: KeyRange, max_bytes: usize) -> Result<Page> {
                (**self).scan(table, range, max_bytes).await
            }

            async fn last_commit(&self) -> Result<CommitNumber> {
                (**self).last_commit().await
            }

            async fn usage(&self, table: Table) -> Result<Usage> {
                (**self).usage(table).await
            }
        }
    };
}

forward!(Arc);
forward!(Box);
