//! Upgrades a store of format 1. Its keys of messages, delayed messages and records are numbers alone; today's begin
//! with the address.

use std::cmp::max;

use bytes::Bytes;
use statefun_kinesis_store::{Commit, Error, ErrorKind, OldEntries, OldEntry, Result, Table, key};
use statefun_kinesis_types::FunctionType;

use super::format::{NumberedEntry, TOTALS, encode_totals};
use crate::{FunctionTotals, StoredEgress, StoredMessage, StoredTimer, Totals};

/// Builds the commit that gives the messages, delayed messages and records of a store of format 1 their new keys. For
/// [`DiskStore::open_upgrading`](statefun_kinesis_store::DiskStore::open_upgrading) and
/// [`DiskStore::upgrade`](statefun_kinesis_store::DiskStore::upgrade).
///
/// Values and numbers do not change. The key of a message begins with its target. The key of a delayed message begins
/// with its sender, who can cancel it, and it gets an entry in [`Table::Due`]. Format 1 does not store the sender of a
/// record for an egress, so the record gets the empty id. The commit also writes the [totals](Totals).
///
/// # Errors
///
/// [`ErrorKind::Damaged`] when a value cannot be decoded, and any error of `entries`.
pub fn upgrade_entries(entries: OldEntries) -> Result<Commit> {
    let mut commit = Commit::new();
    let mut totals = Totals::default();
    for entry in entries {
        add(&mut commit, &mut totals, entry?)?;
    }
    commit.put(Table::Meta, key::meta(TOTALS), encode_totals(&totals));
    Ok(commit)
}

fn add(commit: &mut Commit, totals: &mut Totals, entry: OldEntry) -> Result<()> {
    let OldEntry { table, number, value, .. } = entry;
    let unreadable = || {
        let message = format!("cannot decode the entry {number} of the table `{table}`");
        Error::new(ErrorKind::Damaged, message)
    };
    let (next, id) = match table {
        Table::Mailboxes => {
            let message = StoredMessage::decode(number, value.clone()).ok_or_else(unreadable)?;
            of_function(totals, &message.to.function).messages += 1;
            (&mut totals.next_message, message.to.id)
        }
        Table::Timers => {
            let timer = StoredTimer::decode(number, value.clone()).ok_or_else(unreadable)?;
            // Only functions send delayed messages, so each has a caller.
            let sender = timer.message.caller.ok_or_else(unreadable)?.id;
            commit.put(Table::Due, key::due(timer.at, &sender, number), Bytes::new());
            of_function(totals, &timer.to.function).timers += 1;
            (&mut totals.next_timer, sender)
        }
        Table::Egress => {
            let record = StoredEgress::decode(number, value.clone()).ok_or_else(unreadable)?;
            (&mut totals.next_record, record.sender)
        }
        // Keys of other tables have not changed.
        Table::Meta | Table::Positions | Table::State | Table::Due | Table::Cancellations => return Err(unreadable()),
    };
    commit.put(table, key::numbered(&id, number), value);
    *next = max(*next, number.saturating_add(1));
    Ok(())
}

/// The totals of a function, added with zeros when it has none yet.
fn of_function<'a>(totals: &'a mut Totals, function: &FunctionType) -> &'a mut FunctionTotals {
    let place = totals.functions.iter().position(|of| of.function == *function).unwrap_or_else(|| {
        totals.functions.push(FunctionTotals { function: function.clone(), messages: 0, timers: 0 });
        totals.functions.len() - 1
    });
    &mut totals.functions[place]
}
