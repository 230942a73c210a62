use std::sync::{Arc, Mutex, PoisonError};

use statefun_kinesis_client::Clock;
use statefun_kinesis_types::{ShardId, StreamArn};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{EgressError, Egresses, Progress, RunError, router::AT_ONCE};

/// What all parts of a run share.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) egresses: Egresses,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) progress: Arc<Progress>,
    /// Deliveries that were accepted and are not done.
    pub(crate) in_flight: TaskTracker,
    /// Ends reading.
    pub(crate) stop_reading: CancellationToken,
    /// Ends handing out what was read already.
    pub(crate) stop_delivering: CancellationToken,
    /// An error ends the run.
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

    /// Ends the run with an error; the first one counts.
    pub(crate) fn fail(&self, error: RunError) {
        let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        // A task that fails drops its deliveries before it can say why.
        if matches!(*first, None | Some(RunError::Dropped { .. })) {
            *first = Some(error);
        }
        drop(first);
        self.failed.cancel();
        self.stop_reading.cancel();
    }

    /// Ends the run because a record cannot be stored. A record that was not sent before its egress was closed
    /// is no error: the run is over already, and the delivery that the record belongs to is not completed.
    pub(crate) fn fail_egress(&self, error: EgressError) {
        if !error.is_closed() {
            self.fail(RunError::Egress(error));
        }
    }

    /// Ends the run because a delivery was dropped; nothing new when the run is ending anyway.
    pub(crate) fn dropped(&self, stream: &StreamArn, shard: &ShardId) {
        if !self.stop_reading.is_cancelled() {
            self.fail(RunError::Dropped { stream: stream.clone(), shard: shard.clone() });
        }
    }

    /// Waits for work until the deadline, or until a second after the run has failed. Gives what came of it in time.
    pub(crate) async fn within<T>(&self, deadline: Instant, work: impl Future<Output = T>) -> Option<T> {
        let failed = async {
            self.failed.cancelled().await;
            sleep(AT_ONCE).await;
        };
        tokio::select! {
            biased;
            done = work => Some(done),
            () = sleep_until(deadline) => None,
            () = failed => None,
        }
    }

    /// The deadline, or a second from now when the run has failed.
    pub(crate) fn shortened(&self, deadline: Instant) -> Instant {
        if self.failed.is_cancelled() { deadline.min(Instant::now() + AT_ONCE) } else { deadline }
    }

    /// The error that ended the run, if one did.
    pub(crate) fn take_error(&self) -> Option<RunError> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
