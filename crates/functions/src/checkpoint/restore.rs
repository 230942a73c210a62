//! What a restart reads.

use std::collections::HashMap;

use bytes::Bytes;
use statefun_kinesis_store::{Error, ErrorKind, KeyRange, Result, Store, StoreExt, Table, key::StoredKey};
use statefun_kinesis_types::FunctionType;

use super::format::{SPECS, decode_specs};
use crate::{Image, StateSpec, StoredEgress, StoredMessage, StoredTimer};

/// What a store holds of functions.
#[derive(Debug, Default)]
pub(crate) struct Restored {
    pub(crate) image: Image,
    pub(crate) specs: HashMap<FunctionType, Vec<StateSpec>>,
}

/// Reads what functions had at the last commit, states apart: these are read when they are needed.
pub(crate) async fn restore(store: &dyn Store) -> Result<Restored> {
    let mut restored = Restored::default();
    for table in [Table::Meta, Table::Mailboxes, Table::Timers, Table::Egress] {
        let range = if table == Table::Meta { KeyRange::prefix(SPECS) } else { KeyRange::ALL };
        let mut entries = store.entries(table, range);
        while let Some(entry) = entries.next().await? {
            let added = StoredKey::parse(table, &entry.key).and_then(|key| restored.add(table, key, entry.value));
            added.ok_or_else(|| {
                let key = entry.key.escape_ascii();
                Error::new(ErrorKind::Damaged, format!("the entry `{key}` of the table `{table}` cannot be read"))
            })?;
        }
    }
    Ok(restored)
}

impl Restored {
    fn add(&mut self, table: Table, key: StoredKey, value: Bytes) -> Option<()> {
        match (table, key) {
            (Table::Meta, StoredKey::Meta { name }) => {
                let function: FunctionType = name.strip_prefix(SPECS)?.parse().ok()?;
                let specs = decode_specs(value)?;
                specs.iter().for_each(|spec| self.image.declare(function.clone(), spec.clone()));
                self.specs.insert(function, specs);
            }
            (Table::Mailboxes, StoredKey::Numbered { number, .. }) => {
                self.image.add_message(StoredMessage::decode(number, value)?);
            }
            (Table::Timers, StoredKey::Numbered { number, .. }) => {
                self.image.add_timer(StoredTimer::decode(number, value)?);
            }
            (Table::Egress, StoredKey::Numbered { number, .. }) => {
                self.image.add_egress(StoredEgress::decode(number, value)?);
            }
            _ => return None,
        }
        Some(())
    }
}
