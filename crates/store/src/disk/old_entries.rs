//! The entries of an older format.

use std::fmt;

use bytes::Bytes;

use crate::{Entry, Error, ErrorKind, Result, Table};

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
/// [`DiskStore::upgrade`](crate::DiskStore::upgrade) puts each of them into a [`Commit`](crate::Commit) again, under the keys that
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
