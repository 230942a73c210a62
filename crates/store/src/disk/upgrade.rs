//! From an older format to the one of this program.

use crate::{Commit, CommitNumber, Error, ErrorKind, KeyRange, Result};

use super::{
    DiskSettings, FORMAT_VERSION,
    directory::Directory,
    engine::{Engine, Failure, Opening},
    old_entries::OldEntries,
};

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
    use crate::{
        DiskStore, Entry, Store, StoreExt, Table,
        disk::{engine::LastCommit, old_entries::OldEntry},
        key,
    };

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
