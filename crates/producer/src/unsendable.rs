use std::sync::Arc;

use bytes::Bytes;
use statefun_kinesis_types::{PutRecord, TypeName};

/// Something that its sender sent to an egress, but that cannot be sent to any stream. No retry changes it.
///
/// [`Producers::give_up`](crate::Producers::give_up) handles it. `Display` says what is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// A record that names no stream, and there is no default stream.
    #[error("the record of key {:?} ({} bytes) names no stream, and there is no default stream", .0.partition_key, .0.size())]
    NoStream(PutRecord),
    /// Something that is not a record, for example because its partition key is too long.
    #[error("{error}")]
    Invalid {
        /// The type of the value, if it is of the form `<namespace>/<name>`.
        value_type: Option<TypeName>,
        /// What was sent; `None` if it was sent without a value.
        value: Option<Bytes>,
        /// Who sent it, and what is wrong with it.
        error: Arc<str>,
    },
}

/// Numbers of records that were given up, by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GivenUp {
    /// Records whose error was returned to their sender.
    pub failed: u64,
    /// Records that were skipped.
    pub skipped: u64,
    /// Records that are in the dead-letter stream.
    pub dead_lettered: u64,
}
