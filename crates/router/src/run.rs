use std::sync::{Arc, Mutex, PoisonError};

use statefun_kinesis_client::Clock;
use statefun_kinesis_types::{ShardId, StreamArn};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{EgressError, Egresses, Progress, RunError, router::FAST_STOP};

/// The shared parts of a run.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) egresses: Egresses,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) progress: Arc<Progress>,
    /// Deliveries that were accepted but are not completed.
    pub(crate) in_flight: TaskTracker,
    /// Ends reading.
    pub(crate) stop_reading: CancellationToken,
    /// Ends the delivery of records that were read already.
    pub(crate) stop_delivering: CancellationToken,
    /// Cancelled when an error ends the run.
    pub(crate) failed: CancellationToken,
    error: Mutex<Option<RunError>>,
}

impl Run {
    pub(crate) fn new(egresses: Egresses, clock: Arc<dyn Clock>, stop_reading: CancellationToken) -> Self {
        Self {
            egresses,
            clock,
            progress: Arc::new(Progress::new()),
            in_flight: TaskTracker::new(),
            stop_reading,
            stop_delivering: CancellationToken::new(),
            failed: CancellationToken::new(),
            error: Mutex::new(None),
        }
    }

    /// Ends the run with an error. The first error counts.
    pub(crate) fn fail(&self, error: RunError) {
        let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        // A task that fails drops its deliveries before it can report its error, which is the real cause.
        if matches!(*first, None | Some(RunError::Dropped { .. })) {
            *first = Some(error);
        }
        drop(first);
        self.failed.cancel();
        self.stop_reading.cancel();
    }

    /// Ends the run because a record cannot be stored. It is not an error if the egress was closed before the record
    /// was sent: the run is ending anyway, and the record's delivery stays incomplete.
    pub(crate) fn fail_egress(&self, error: EgressError) {
        if !error.is_closed() {
            self.fail(RunError::Egress(error));
        }
    }

    /// Ends the run because a delivery was dropped. Ignored when the run is ending anyway.
    pub(crate) fn dropped(&self, stream: &StreamArn, shard: &ShardId) {
        if !self.stop_reading.is_cancelled() {
            self.fail(RunError::Dropped { stream: stream.clone(), shard: shard.clone() });
        }
    }

    /// Waits for work until the deadline, or until a second after the run has failed. Returns `None` after that.
    pub(crate) async fn within<T>(&self, deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
        let failed = async {
            self.failed.cancelled().await;
            sleep(FAST_STOP).await;
        };
        tokio::select! {
            biased;
            done = work => Some(done),
            () = sleep_until(deadline) => None,
            () = failed => None,
        }
    }

    /// The deadline, or one second from now if the run has failed and that is earlier.
    pub(crate) fn shortened(&self, deadline: Instant) -> Instant {
        if self.failed.is_cancelled() { deadline.min(Instant::now() + FAST_STOP) } else { deadline }
    }

    /// The error that ended the run, if one did.
    pub(crate) fn take_error(&self) -> Option<RunError> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
