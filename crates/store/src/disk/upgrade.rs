//! From an older format to the one of this program.

use std::fmt;

use bytes::Bytes;

use crate::{Commit, CommitNumber, Entry, Error, ErrorKind, KeyRange, Result, Table};

use super::{
    DiskSettings, FORMAT_VERSION,
    directory::Directory,
    engine::{Engine, Failure, Opening},
};

/// An entry of format 1, of one of the tables whose keys have changed since.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OldEntry {
    /// Its table: [`Table::Mailboxes`], [`Table::Timers`] or [`Table::Egress`].
    pub table: Table,
    /// Its number, which was the whole key.
    pub number: u64,
    /// Its value. Values have not changed.
    pub value: Bytes,
}

/// The entries of a store of format 1 that need new keys: messages, delayed messages and records for egresses, table by
/// table and in the order of their numbers.
///
/// Format 1 has them under their numbers alone. The store does not know what values mean. So the caller of
/// [`DiskStore::upgrade`](crate::DiskStore::upgrade) puts each of them into a [`Commit`] again, under the keys that
/// [`key`](crate::key) has for them.
pub struct OldEntries(Box<dyn Iterator<Item = Result<(Table, Entry)>>>);

impl OldEntries {
    pub(super) const TABLES: [Table; 3] = [Table::Mailboxes, Table::Timers, Table::Egress];

    pub(super) fn new(entries: impl Iterator<Item = Result<(Table, Entry)>> + 'static) -> Self {
        Self(Box::new(entries))
    }
}

/// For tests of what an upgrade makes of certain entries.
impl FromIterator<OldEntry> for OldEntries {
    fn from_iter<T: IntoIterator<Item = OldEntry>>(entries: T) -> Self {
        let entries: Vec<OldEntry> = entries.into_iter().collect();
        let entry = |OldEntry { table, number, value }: OldEntry| {
            Ok((table, Entry { key: Bytes::copy_from_slice(&number.to_be_bytes()), value }))
        };
        Self::new(entries.into_iter().map(entry))
    }
}

impl Iterator for OldEntries {
    type Item = Result<OldEntry>;

    fn next(&mut self) -> Option<Self::Item> {
        let parse = |(table, Entry { key, value }): (Table, Entry)| match key[..].try_into() {
            Ok(number) => Ok(OldEntry { table, number: u64::from_be_bytes(number), value }),
            Err(_) => {
                let message = format!("the key `{}` of the table `{table}` is not a number", key.escape_ascii());
                Err(Error::new(ErrorKind::Damaged, message))
            }
        };
        self.0.next().map(|entry| entry.and_then(parse))
    }
}

impl fmt::Debug for OldEntries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OldEntries").finish_non_exhaustive()
    }
}

/// Brings data to the format of this program.
pub(super) fn upgrade(
    directory: &Directory,
    settings: &DiskSettings,
    opening: Opening,
    convert: impl FnOnce(OldEntries) -> Result<Commit>,
) -> Result<(Engine, CommitNumber)> {
    let store = directory.store();
    let from = opening.format();
    let converted = convert(opening.old_entries(&store)?)?;
    let mut commit = Commit::new();
    for table in OldEntries::TABLES {
        commit.delete_range(table, KeyRange::ALL);
    }
    commit.append(converted);
    let changes = commit.into_changes()?;
    // Before anything is changed: an older program would not find its entries, and would take the store for its own.
    directory.mark_format()?;
    opening.add_tables(&store, settings)?;
    let (engine, last) = opening.into_engine(&store, settings)?;
    let number = CommitNumber(last.0 + 1);
    engine.upgrade(&store, &changes, number).map_err(|failure| match failure {
        Failure::Other(error) => error,
        Failure::Poisoned => {
            let root = directory.root().display();
            Error::new(ErrorKind::Io, format!("the store in {root} cannot be written to"))
        }
    })?;
    tracing::info!(directory = %directory.root().display(), from, to = FORMAT_VERSION, "the store was upgraded");
    Ok((engine, number))
}

#[cfg(test)]
#[path = "../../tests/format_1/mod.rs"]
mod format_1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DiskStore, Store, StoreExt, disk::engine::LastCommit, key};

    fn convert(entries: OldEntries) -> Result<Commit> {
        let mut commit = Commit::new();
        for entry in entries {
            let OldEntry { table, number, value } = entry?;
            commit.put(table, key::numbered("", number), value);
        }
        Ok(commit)
    }

    async fn entries(store: &DiskStore) -> Vec<(Table, Entry)> {
        let mut found = Vec::new();
        for table in Table::ALL {
            let mut entries = store.entries(table, KeyRange::ALL);
            while let Some(entry) = entries.next().await.unwrap() {
                found.push((table, entry));
            }
        }
        found
    }

    /// The steps of an upgrade before its commit.
    const STEPS: [fn(&Directory, &Opening, &DiskSettings); 2] = [
        |directory, _, _| directory.mark_format().unwrap(),
        |directory, opening, settings| opening.add_tables(&directory.store(), settings).unwrap(),
    ];

    #[tokio::test]
    async fn an_upgrade_that_ends_after_any_step_is_made_again() {
        let settings = DiskSettings::default();
        let mut found = Vec::new();
        for steps in 0..=STEPS.len() {
            let root = tempfile::tempdir().unwrap();
            format_1::unpack(root.path());
            let directory = Directory::lock(root.path(), false).unwrap();
            let opening = Opening::open(&directory.store(), &settings, CommitNumber(3), LastCommit::Unknown).unwrap();
            convert(opening.old_entries(&directory.store()).unwrap()).unwrap();
            STEPS[..steps].iter().for_each(|step| step(&directory, &opening, &settings));
            drop((opening, directory));
            let error = DiskStore::open(root.path(), settings.clone()).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Older, "after {steps} steps");
            assert_eq!(DiskStore::upgrade(root.path(), settings.clone(), convert).await.unwrap(), 1);
            let store = DiskStore::open(root.path(), settings.clone()).await.unwrap();
            assert_eq!(store.last_commit().await.unwrap(), CommitNumber(4));
            found.push(entries(&store).await);
        }
        assert_eq!(found[0].len(), 2 + 2 + 6 + 5 + 8 + 8);
        assert!(found.iter().all(|entries| *entries == found[0]));
    }
}
