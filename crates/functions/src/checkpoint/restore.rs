//! Reads what a start needs from the store.

use std::collections::HashMap;

use statefun_kinesis_store::{Error, ErrorKind, KeyRange, Result, Store, StoreExt, Table, key, key::StoredKey};
use statefun_kinesis_types::{FunctionType, HashKey};

use super::format::{NumberedEntry, SPECS, TOTALS, decode_specs, decode_totals};
use crate::{Restored, StateSpec};

/// Reads what a start needs: the states that functions declared, the totals, cancellations, and records for egresses.
/// Messages, delayed messages and states are read later, when they are needed.
pub(crate) async fn restore(store: &dyn Store) -> Result<Restored> {
    let mut restored = Restored::default();
    let mut entries = store.entries(Table::Meta, KeyRange::prefix(SPECS));
    while let Some(entry) = entries.next().await? {
        let name = entry.key.strip_prefix(SPECS.as_bytes()).and_then(|name| std::str::from_utf8(name).ok());
        let function: Option<FunctionType> = name.and_then(|name| name.parse().ok());
        let specs = function.zip(decode_specs(entry.value));
        let (function, specs) = specs.ok_or_else(|| damaged(Table::Meta, &entry.key))?;
        restored.specs.extend(specs.into_iter().map(|spec| (function.clone(), spec)));
    }
    if let Some(totals) = store.get_one(Table::Meta, key::meta(TOTALS)).await? {
        restored.totals = decode_totals(totals).ok_or_else(|| damaged(Table::Meta, TOTALS.as_bytes()))?;
    }
    restored.cancellations = numbered(store, Table::Cancellations).await?;
    restored.egress = numbered(store, Table::Egress).await?;
    // Their keys are sorted by the senders' ids, but they have to be sent in the order of their numbers.
    restored.egress.sort_unstable_by_key(|record| record.id);
    restored.has_states = !store.scan(Table::State, KeyRange::ALL, 1).await?.entries.is_empty();
    Ok(restored)
}

/// The declared states, by function.
pub(crate) fn specs_by_function(restored: &Restored) -> HashMap<FunctionType, Vec<StateSpec>> {
    let mut specs: HashMap<FunctionType, Vec<StateSpec>> = HashMap::new();
    for (function, spec) in &restored.specs {
        specs.entry(function.clone()).or_default().push(spec.clone());
    }
    specs
}

async fn numbered<T: NumberedEntry>(store: &dyn Store, table: Table) -> Result<Vec<T>> {
    let mut all = Vec::new();
    let mut entries = store.entries(table, KeyRange::ALL);
    while let Some(entry) = entries.next().await? {
        all.push(decode(table, &entry.key, entry.value)?);
    }
    Ok(all)
}

/// Decodes an entry of a table whose keys end with numbers.
pub(crate) fn decode<T: NumberedEntry>(table: Table, key: &[u8], value: bytes::Bytes) -> Result<T> {
    let (_, number) = place(table, key)?;
    T::decode(number, value).ok_or_else(|| damaged(table, key))
}

/// Parses a key of such a table into its hash and its number.
pub(crate) fn place(table: Table, key: &[u8]) -> Result<(HashKey, u64)> {
    let Some(StoredKey::Numbered { hash, number }) = StoredKey::parse(table, key) else {
        return Err(damaged(table, key));
    };
    Ok((hash, number))
}

pub(crate) fn damaged(table: Table, key: &[u8]) -> Error {
    let key = key.escape_ascii();
    Error::new(ErrorKind::Damaged, format!("cannot decode the entry `{key}` of the table `{table}`"))
}
