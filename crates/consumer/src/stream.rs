use std::time::Duration;

use statefun_kinesis_types::{StreamArn, StreamRef, Timestamp};

/// A stream that is read.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The stream's place among the streams of the consumer.
    pub(crate) index: usize,
    /// The stream as the caller names it. Calls use this name, because some emulators do not know ARNs.
    pub(crate) reference: StreamRef,
    pub(crate) arn: StreamArn,
    /// Tells the stream from a later one of the same name.
    pub(crate) created: Timestamp,
    /// How long records are kept.
    pub(crate) retention: Duration,
    /// Whether partition keys decide on a record's shard. Where they do not, every user record of an aggregate belongs
    /// to the shard that it is in.
    pub(crate) keys_decide: bool,
}
