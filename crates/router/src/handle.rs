use std::sync::Arc;

use statefun_kinesis_types::Timestamp;

use crate::{EgressError, Egresses, FunctionError, RunError, run::Run};

/// A run, for functions that go on with messages after they have taken a delivery over. Cheap to clone.
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

    /// The time, by the clock of the run.
    pub fn now(&self) -> Timestamp {
        self.0.clock.now()
    }

    /// Counts records of ingresses whose messages were handled, by when the service took each of them.
    pub fn count_done(&self, arrivals: &[Timestamp]) {
        self.0.progress.done(arrivals, self.0.clock.now());
    }

    /// Counts records that an egress has stored, for those who wait for receipts themselves.
    pub fn count_stored(&self, records: u64, bytes: u64) {
        self.0.progress.stored(records, bytes);
    }

    /// Ends the run because functions have failed permanently. Deliveries that are not completed count as not processed.
    pub fn fail(&self, error: FunctionError) {
        self.0.fail(RunError::Functions(error));
    }

    /// Ends the run because a record cannot be stored. One whose egress was closed before, at the end of the run, ends
    /// nothing.
    pub fn fail_egress(&self, error: EgressError) {
        self.0.fail_egress(error);
    }
}
