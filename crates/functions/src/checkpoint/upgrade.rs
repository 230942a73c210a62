//! From a store of format 1, which keys what waits by numbers alone, to one that keys it by addresses.

use std::cmp::max;

use bytes::Bytes;
use statefun_kinesis_store::{Commit, Error, ErrorKind, OldEntries, OldEntry, Result, Table, key};

use super::NextNumbers;
use crate::{StoredEgress, StoredMessage, StoredTimer};

/// Puts the messages, delayed messages and records of a store of format 1 under the keys that they have now: for
/// [`DiskStore::open_upgrading`](statefun_kinesis_store::DiskStore::open_upgrading) and
/// [`DiskStore::upgrade`](statefun_kinesis_store::DiskStore::upgrade).
///
/// Values and numbers stay as they are. Messages belong to the address that they are for, and delayed messages to the
/// one that sent them, under which they can be cancelled; each gets its entry in [`Table::Due`]. Format 1 does not tell
/// who sent a record for an egress: it belongs to the id that its partition key is, so that records of one key stay
/// together. The [numbers](NextNumbers) that come next are written down.
///
/// # Errors
///
/// [`ErrorKind::Damaged`] when a value cannot be read, and what `entries` fails with.
pub fn upgrade_entries(entries: OldEntries) -> Result<Commit> {
    let mut commit = Commit::new();
    let mut next = NextNumbers::default();
    for entry in entries {
        add(&mut commit, &mut next, entry?)?;
    }
    commit.put(Table::Meta, key::meta(NextNumbers::NAME), next.encode());
    Ok(commit)
}

fn add(commit: &mut Commit, next: &mut NextNumbers, entry: OldEntry) -> Result<()> {
    let OldEntry { table, number, value, .. } = entry;
    let unreadable = || {
        let message = format!("the entry {number} of the table `{table}` cannot be read");
        Error::new(ErrorKind::Damaged, message)
    };
    let (next, id) = match table {
        Table::Mailboxes => {
            let message = StoredMessage::decode(number, value.clone()).ok_or_else(unreadable)?;
            (&mut next.message, message.to.id)
        }
        Table::Timers => {
            let timer = StoredTimer::decode(number, value.clone()).ok_or_else(unreadable)?;
            // Only functions delay messages, so that there is a sender.
            let sender = timer.message.caller.ok_or_else(unreadable)?.id;
            commit.put(Table::Due, key::due(timer.at, &sender, number), Bytes::new());
            (&mut next.timer, sender)
        }
        Table::Egress => {
            let record = StoredEgress::decode(number, value.clone()).ok_or_else(unreadable)?;
            (&mut next.egress, record.message.record.partition_key.as_str().into())
        }
        // Keys of other tables have not changed.
        Table::Meta | Table::Positions | Table::State | Table::Due | Table::Cancellations => return Err(unreadable()),
    };
    commit.put(table, key::numbered(&id, number), value);
    *next = max(*next, number.saturating_add(1));
    Ok(())
}
