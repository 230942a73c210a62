use std::collections::BTreeMap;

use bytes::Bytes;
use statefun_kinesis_types::{Address, StreamArn, StreamCheckpoint, TypeName};

use crate::{
    CommitNumber, Entries, KeyRange, ModuleRecord, Result, Store, StoreExt, Table,
    key::{self, StoredKey},
    positions,
};

/// A summary of what a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Overview {
    /// The last commit.
    pub last_commit: CommitNumber,
    /// What the module was; none in a new store.
    pub module: Option<ModuleRecord>,
    /// How far each ingress read each of its streams.
    pub positions: BTreeMap<(TypeName, StreamArn), StreamCheckpoint>,
    /// Sizes of the tables, in the order of [`Table::ALL`].
    pub tables: Vec<TableSize>,
}

/// How much is in a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableSize {
    /// The table.
    pub table: Table,
    /// Entries.
    pub entries: u64,
    /// Bytes of all keys.
    pub key_bytes: u64,
    /// Bytes of all values.
    pub value_bytes: u64,
    /// Bytes that the table takes on disk, roughly; see [`Usage`](crate::Usage).
    pub stored_bytes: u64,
}

/// Reads what a store holds. It counts entries by reading all of them.
///
/// # Errors
///
/// When the store cannot be read, or holds what it should not.
pub async fn overview(store: &(impl Store + ?Sized)) -> Result<Overview> {
    let mut tables = Vec::with_capacity(Table::ALL.len());
    for table in Table::ALL {
        let stored_bytes = store.usage(table).await?.bytes;
        let mut size = TableSize { table, entries: 0, key_bytes: 0, value_bytes: 0, stored_bytes };
        let mut entries = store.entries(table, KeyRange::ALL);
        while let Some(entry) = entries.next().await? {
            size.entries += 1;
            size.key_bytes += entry.key.len() as u64;
            size.value_bytes += entry.value.len() as u64;
        }
        tables.push(size);
    }
    Ok(Overview {
        last_commit: store.last_commit().await?,
        module: ModuleRecord::load(store).await?,
        positions: positions::load_all(store).await?,
        tables,
    })
}

/// Reads the values of one address, by their names, as they are stored.
///
/// # Errors
///
/// When the store cannot be read.
pub async fn values_of(store: &(impl Store + ?Sized), address: &Address) -> Result<BTreeMap<String, Bytes>> {
    let loaded = store.load(Table::State, vec![key::address(address)]).await?;
    let values = loaded.into_iter().flatten().filter_map(|entry| {
        let Some(StoredKey::State { name, .. }) = StoredKey::parse(Table::State, &entry.key) else { return None };
        Some((name, entry.value))
    });
    Ok(values.collect())
}

/// An entry of a store, with its parsed key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Exported {
    /// Its table.
    pub table: Table,
    /// Its key.
    pub key: Bytes,
    /// What the key means; none when it is none of [`key`](crate::key).
    pub meaning: Option<StoredKey>,
    /// Its value, as it is stored.
    pub value: Bytes,
}

/// Everything in a store, table by table, in the order of keys; a page at a time is in memory.
///
/// ```
/// use statefun_kinesis_store::{Commit, Export, MemoryStore, Store, Table, key};
///
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store = MemoryStore::new();
/// let mut commit = Commit::new();
/// commit.put(Table::Mailboxes, key::numbered("anna", 7), "hello");
/// store.commit(commit).await?;
///
/// let mut export = Export::new(&store);
/// while let Some(entry) = export.next().await? {
///     assert_eq!(entry.meaning, Some(key::StoredKey::Numbered { hash: key::hash("anna"), number: 7 }));
/// }
/// # Ok::<(), statefun_kinesis_store::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Export<'a, S: Store + ?Sized> {
    store: &'a S,
    tables: std::array::IntoIter<Table, { Table::ALL.len() }>,
    current: Option<(Table, Entries<'a, S>)>,
}

impl<'a, S: Store + ?Sized> Export<'a, S> {
    /// Begins with the first table.
    pub fn new(store: &'a S) -> Self {
        Self { store, tables: Table::ALL.into_iter(), current: None }
    }

    /// Gives the next entry; none when that was all.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub async fn next(&mut self) -> Result<Option<Exported>> {
        loop {
            if let Some((table, entries)) = &mut self.current {
                let table = *table;
                if let Some(entry) = entries.next().await? {
                    let meaning = StoredKey::parse(table, &entry.key);
                    return Ok(Some(Exported { table, key: entry.key, meaning, value: entry.value }));
                }
            }
            let Some(table) = self.tables.next() else { return Ok(None) };
            self.current = Some((table, self.store.entries(table, KeyRange::ALL)));
        }
    }
}

#[cfg(test)]
mod tests {
    use statefun_kinesis_types::{ShardPosition, StartPosition, Timestamp};

    use super::*;
    use crate::{Commit, MemoryStore};

    fn at(id: &str) -> Address {
        Address { function: "f/counter".parse().unwrap(), id: id.into() }
    }

    async fn filled() -> MemoryStore {
        let store = MemoryStore::new();
        let mut commit = Commit::new();
        for (id, name, value) in [("a", "seen", "1"), ("a", "total", "22"), ("ab", "seen", "3")] {
            commit.put(Table::State, key::state(&at(id), name), value);
        }
        let stream = "arn:aws:kinesis:us-east-1:123456789012:stream/orders".parse().unwrap();
        let mut checkpoint = StreamCheckpoint::new(Timestamp::EPOCH, StartPosition::TrimHorizon);
        checkpoint.shards.insert("shardId-000000000000".parse().unwrap(), ShardPosition::Finished);
        positions::put_begin(&mut commit, &"example/in".parse().unwrap(), &stream, &checkpoint);
        ModuleRecord::default().put(&mut commit);
        commit.put(Table::Egress, "what is this?", "");
        store.commit(commit).await.unwrap();
        store
    }

    #[tokio::test]
    async fn an_overview_counts_and_tells() {
        let overview = overview(&filled().await).await.unwrap();
        assert_eq!(overview.last_commit, CommitNumber(1));
        assert_eq!(overview.module, Some(ModuleRecord::default()));
        assert_eq!(overview.positions.len(), 1);
        let sizes: Vec<_> = overview.tables.iter().map(|size| (size.table, size.entries)).collect();
        let expect = [1, 2, 3, 0, 0, 1, 0, 0];
        assert_eq!(sizes, Table::ALL.into_iter().zip(expect).collect::<Vec<_>>());
        assert_eq!(overview.tables[Table::State.index()].value_bytes, 4);
    }

    #[tokio::test]
    async fn values_are_those_of_one_address() {
        let store = filled().await;
        let values = values_of(&store, &at("a")).await.unwrap();
        assert_eq!(values, [("seen".to_owned(), "1".into()), ("total".to_owned(), "22".into())].into());
        assert_eq!(values_of(&store, &at("nobody")).await.unwrap(), BTreeMap::new());
    }

    #[tokio::test]
    async fn an_export_has_everything_with_its_meaning() {
        let store = filled().await;
        let mut export = Export::new(&store);
        let mut meant = 0;
        let mut tables = Vec::new();
        while let Some(entry) = export.next().await.unwrap() {
            tables.push(entry.table);
            meant += usize::from(entry.meaning.is_some());
        }
        assert_eq!((tables.len(), meant), (7, 6));
        assert!(tables.is_sorted());
    }
}
