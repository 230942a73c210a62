use std::sync::OnceLock;

use statefun_kinesis_types::{HashKey, PartitionKey, PutRecord, StreamRef};

use crate::{Reason, SendError, TaskFailure};

/// What errors say about a producer: its stream, and whether one of its tasks has failed.
///
/// Receipts share it with the producer, so that they know why their answer does not come.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) stream: StreamRef,
    failure: OnceLock<TaskFailure>,
}

impl Status {
    pub(crate) fn new(stream: StreamRef) -> Self {
        Self { stream, failure: OnceLock::new() }
    }

    /// Takes note that a task has failed. The first failure counts.
    pub(crate) fn fail(&self, failure: TaskFailure) {
        _ = self.failure.set(failure);
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// Why nothing is sent any more.
    fn ended(&self) -> Reason {
        self.failure.get().cloned().map_or(Reason::Closed, Reason::TaskFailed)
    }

    /// The error of a record that comes when nothing is sent any more.
    pub(crate) fn closed(&self, record: &PutRecord) -> SendError {
        SendError::new(&self.stream, record, self.ended())
    }

    /// The error of a record whose answer never comes. It may be stored: it may have been in flight.
    pub(crate) fn unanswered(&self, key: &PartitionKey, explicit_hash_key: Option<HashKey>, size: usize) -> SendError {
        SendError::about(&self.stream, key, explicit_hash_key, size, self.ended()).tried(0, true)
    }
}
