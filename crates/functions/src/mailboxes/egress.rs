//! Records on their way to egresses.

use std::collections::HashMap;

use super::{change::StoredEgress, lineage::Lineage};

/// Records that were sent and that their egress has not stored yet.
#[derive(Debug)]
pub(super) struct Outgoing<T> {
    outstanding: HashMap<u64, (usize, Lineage<T>)>,
    outbox: Vec<StoredEgress>,
    bytes: usize,
}

impl<T> Outgoing<T> {
    pub(super) fn new() -> Self {
        Self { outstanding: HashMap::new(), outbox: Vec::new(), bytes: 0 }
    }

    pub(super) fn push(&mut self, record: StoredEgress, lineage: Lineage<T>) {
        let size = record.message.record.size();
        self.bytes += size;
        self.outstanding.insert(record.id, (size, lineage));
        self.outbox.push(record);
    }

    pub(super) fn take(&mut self) -> Vec<StoredEgress> {
        std::mem::take(&mut self.outbox)
    }

    /// Whether the record was outstanding.
    pub(super) fn stored(&mut self, id: u64) -> bool {
        let Some((size, _)) = self.outstanding.remove(&id) else { return false };
        self.bytes -= size;
        true
    }

    pub(super) fn len(&self) -> usize {
        self.outstanding.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }
}
