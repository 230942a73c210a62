//! Records for egresses.

use std::{collections::HashMap, sync::Arc};

use crate::{
    StoredEgress,
    entry::StoredKey,
    journal::{Journal, NumberHashing},
};

/// Records that were sent and that their egress has not stored yet.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    /// The size and the sender's id of each record, by number.
    outstanding: HashMap<u64, (usize, Arc<str>), NumberHashing>,
    outbox: Vec<StoredEgress>,
    bytes: usize,
}

impl Outgoing {
    pub(crate) fn push(&mut self, record: StoredEgress) {
        let size = record.message.size();
        self.bytes += size;
        self.outstanding.insert(record.id, (size, Arc::clone(&record.sender)));
        self.outbox.push(record);
    }

    pub(crate) fn take(&mut self) -> Vec<StoredEgress> {
        std::mem::take(&mut self.outbox)
    }

    /// Removes a record that its egress has stored.
    pub(crate) fn stored(&mut self, number: u64, journal: &mut Journal) {
        if let Some((size, owner)) = self.outstanding.remove(&number) {
            self.bytes -= size;
            journal.egress.remove(number, || StoredKey { owner, number });
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.outstanding.len()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}
