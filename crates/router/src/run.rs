use std::sync::{Arc, Mutex, PoisonError};

use statefun_kinesis_client::Clock;
use statefun_kinesis_consumer::Positions;
use statefun_kinesis_types::{ShardId, StreamArn, TypeName};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{EgressError, Egresses, Progress, RunError};

/// What all parts of a run share.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) egresses: Egresses,
    pub(crate) clock: Arc<dyn Clock>,
    /// Of each lane.
    pub(crate) positions: Vec<(TypeName, Positions)>,
    pub(crate) progress: Arc<Progress>,
    /// Deliveries that were accepted and are not done.
    pub(crate) in_hand: TaskTracker,
    /// Ends reading; what is in hand is finished.
    pub(crate) stop_reading: CancellationToken,
    /// Ends waiting for functions that take nothing more.
    pub(crate) give_up: CancellationToken,
    error: Mutex<Option<RunError>>,
}

impl Run {
    pub(crate) fn new(
        egresses: Egresses,
        clock: Arc<dyn Clock>,
        positions: Vec<(TypeName, Positions)>,
        stop_reading: CancellationToken,
    ) -> Self {
        Self {
            egresses,
            clock,
            positions,
            progress: Arc::new(Progress::new()),
            in_hand: TaskTracker::new(),
            stop_reading,
            give_up: CancellationToken::new(),
            error: Mutex::new(None),
        }
    }

    /// Ends the run with an error; the first one counts.
    pub(crate) fn fail(&self, error: RunError) {
        let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever fails drops what it had in hand before it can say why.
        if matches!(*first, None | Some(RunError::Dropped { .. })) {
            *first = Some(error);
        }
        drop(first);
        self.stop_reading.cancel();
    }

    /// Ends the run because a record cannot be stored. One that was not sent before its egress was closed ends nothing:
    /// the run is over already, and what it came of is not done.
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

    /// The error that ended the run, if one did.
    pub(crate) fn take_error(&self) -> Option<RunError> {
        self.error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}
