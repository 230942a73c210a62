use std::{any::Any, sync::OnceLock};

use statefun_kinesis_types::{HashKey, PartitionKey, PutRecord, StreamRef};

use crate::{Reason, SendError};

/// What errors say about a producer: its stream, and whether one of its tasks has failed.
///
/// Receipts share it with the producer, so that they know why their answer does not come.
#[derive(Debug)]
pub(crate) struct Status {
    pub(crate) stream: StreamRef,
    failure: OnceLock<TaskFailure>,
}

/// A task of a producer that ended with a panic. Everything that it was to do fails with this error.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the task `{task}` panicked: {message}")]
pub struct TaskFailure {
    task: &'static str,
    message: String,
}

impl TaskFailure {
    /// The name of the task, such as `driver`.
    pub fn task(&self) -> &'static str {
        self.task
    }

    /// What the panic said.
    pub fn message(&self) -> &str {
        &self.message
    }

    pub(crate) fn panicked(task: &'static str, panic: &(dyn Any + Send)) -> Self {
        Self { task, message: panic_message(panic).to_owned() }
    }

    /// A panic under the lock of the queue, in whichever task.
    pub(crate) fn of_queue() -> Self {
        Self { task: "queue", message: "it was interrupted in the middle of a change".to_owned() }
    }
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message")
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
