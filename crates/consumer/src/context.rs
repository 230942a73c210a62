//! What both ways of reading a shard share: the settings and clients they need, and the result they give.
//!
//! [`Poller`](crate::poller) and [`Subscriber`](crate::subscriber) import this module, and [`Pages`](crate::pages)
//! imports them. Nothing here names any of the three, so that imports have one direction.

use std::sync::Arc;

use statefun_kinesis_client::{ChildShard, Clock, Error, ErrorKind, KinesisClient, Operation};
use statefun_kinesis_types::{ErrorChain, ShardId, StreamRef};
use tokio_util::sync::CancellationToken;

use crate::{
    Settings,
    cursor::Page,
    hold::MovedPositions,
    metrics::{ShardCounters, StreamCounters},
    prefetch::{Prefetch, Reservation},
};

/// What all streams of a consumer share.
#[derive(Debug)]
pub(crate) struct ReadContext {
    pub(crate) client: Arc<dyn KinesisClient>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) settings: Settings,
    pub(crate) prefetch: Arc<Prefetch>,
    pub(crate) moved: Arc<MovedPositions>,
    /// Cancelled when reading stops: by the caller's token, by `close`, by an error, or because the consumer was dropped.
    pub(crate) stop: CancellationToken,
}

/// One shard, and what reading it needs.
#[derive(Debug)]
pub(crate) struct ShardContext {
    pub(crate) shared: Arc<ReadContext>,
    pub(crate) stream: StreamRef,
    pub(crate) shard: ShardId,
    pub(crate) stream_counters: Arc<StreamCounters>,
    pub(crate) counters: Arc<ShardCounters>,
}

/// Failures in a row before a shard's failures are logged as a warning. From then on each doubling of their number is,
/// so that an outage of hours fills no log.
const FAILURES_WARN: u32 = 4;

impl ShardContext {
    /// Counts and logs a failure that is retried, the `failures`th in a row.
    pub(crate) fn failed(&self, error: &Error, failures: u32) {
        self.stream_counters.retried(error);
        let Self { stream, shard, .. } = self;
        if failures >= FAILURES_WARN && failures.is_power_of_two() {
            tracing::warn!(%stream, %shard, error = %ErrorChain(&error), failures, "reading a shard fails; retrying");
        } else {
            tracing::debug!(%stream, %shard, error = %ErrorChain(&error), "a call failed and is retried");
        }
    }

    /// Counts a call, and logs it if it failed.
    pub(crate) fn called<T>(&self, operation: Operation, result: &Result<T, Error>, failures_before: u32) {
        self.stream_counters.called(operation);
        if let Err(error) = result {
            self.failed(error, failures_before + 1);
        }
    }
}

/// The error for an answer with neither a way to go on nor child shards. It does not prove the end of the shard.
pub(crate) fn no_continuation(operation: Operation) -> Error {
    Error::new(operation, ErrorKind::Incomplete, "the answer has neither a next position nor child shards")
}

/// What reading a shard gives.
#[derive(Debug)]
pub(crate) enum Read {
    /// Records, with a reservation for at least their bytes.
    Page(Page, Reservation),
    /// The shard was read to its end, and continues in these.
    End(Vec<ChildShard>),
}
