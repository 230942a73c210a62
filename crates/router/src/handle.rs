use std::sync::Arc;

use statefun_kinesis_types::Timestamp;

use crate::{EgressError, Egresses, FunctionError, RunError, run::Run};

/// A handle of a run, for functions that process messages in the background. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RunHandle(Arc<Run>);

impl RunHandle {
    pub(crate) fn new(run: Arc<Run>) -> Self {
        Self(run)
    }

    /// The module's egresses.
    pub fn egresses(&self) -> &Egresses {
        &self.0.egresses
    }

    /// The time of day, by the clock of the run.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Counts records of ingresses whose messages were handled. `arrivals` has the arrival time of each.
    pub fn count_done(&self, arrivals: &[Timestamp]) {
        self.0.progress.done(arrivals, self.0.clock.now());
    }

    /// Counts records that an egress has stored. For functions that wait for receipts themselves.
    pub fn count_stored(&self, records: u64, bytes: u64) {
        self.0.progress.stored(records, bytes);
    }

    /// Ends the run because functions failed permanently. Deliveries that are not completed count as not processed.
    pub fn fail(&self, error: FunctionError) {
        self.0.fail(RunError::Functions(error));
    }

    /// Ends the run because a record cannot be stored. Ignored if the egress was closed before, at the end of the run.
    pub fn fail_egress(&self, error: EgressError) {
        self.0.fail_egress(error);
    }
}
