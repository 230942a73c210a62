//! What a restart reads.

use std::collections::HashMap;

use statefun_kinesis_store::{Error, ErrorKind, KeyRange, Result, Store, StoreExt, Table, key, key::StoredKey};
use statefun_kinesis_types::FunctionType;

use super::format::{NumberedEntry, SPECS, TOTALS, decode_specs, decode_totals};
use crate::{Restored, StateSpec};

/// Reads what a start needs: what functions declared, what there is in all, and records for egresses. Messages, delayed
/// messages and states are read later, when they are needed.
pub(crate) async fn restore(store: &dyn Store) -> Result<Restored> {
    let mut restored = Restored::default();
    let mut entries = store.entries(Table::Meta, KeyRange::prefix(SPECS));
    while let Some(entry) = entries.next().await? {
        let function: Option<FunctionType> = match StoredKey::parse(Table::Meta, &entry.key) {
            Some(StoredKey::Meta { name }) => name.strip_prefix(SPECS).and_then(|name| name.parse().ok()),
            _ => None,
        };
        let specs = function.zip(decode_specs(entry.value)).ok_or_else(|| damaged(Table::Meta, &entry.key))?;
        let (function, specs) = specs;
        restored.specs.extend(specs.into_iter().map(|spec| (function.clone(), spec)));
    }
    if let Some(totals) = store.get_one(Table::Meta, key::meta(TOTALS)).await? {
        restored.totals = decode_totals(totals).ok_or_else(|| damaged(Table::Meta, TOTALS.as_bytes()))?;
    }
    restored.cancellations = numbered(store, Table::Cancellations).await?;
    restored.egress = numbered(store, Table::Egress).await?;
    // They lie by the ids of their senders, and are sent in the order in which they came.
    restored.egress.sort_unstable_by_key(|record| record.id);
    restored.has_states = !store.scan(Table::State, KeyRange::ALL, 1).await?.entries.is_empty();
    Ok(restored)
}

/// What functions declared, by function.
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

/// Reads an entry of a table whose keys end with numbers.
pub(crate) fn decode<T: NumberedEntry>(table: Table, key: &[u8], value: bytes::Bytes) -> Result<T> {
    let decoded = match StoredKey::parse(table, key) {
        Some(StoredKey::Numbered { number, .. }) => T::decode(number, value),
        _ => None,
    };
    decoded.ok_or_else(|| damaged(table, key))
}

pub(crate) fn damaged(table: Table, key: &[u8]) -> Error {
    let key = key.escape_ascii();
    Error::new(ErrorKind::Damaged, format!("the entry `{key}` of the table `{table}` cannot be read"))
}
