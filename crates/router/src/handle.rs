use std::sync::Arc;

use statefun_kinesis_consumer::Positions;
use statefun_kinesis_types::{Timestamp, TypeName};

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

    /// The positions of what is read, each with its ingress, for functions that make them durable together with what
    /// came of the records. An ingress whose streams are in several places is there several times.
    pub fn positions(&self) -> &[(TypeName, Positions)] {
        &self.0.positions
    }

    /// Counts records that an egress has stored, for those who wait for receipts themselves.
    pub fn count_stored(&self, records: u64, bytes: u64) {
        self.0.progress.stored(records, bytes);
    }

    /// Ends the run because functions have failed for good. Deliveries that are not completed count as not processed.
    pub fn fail(&self, error: FunctionError) {
        self.0.fail(RunError::Functions(error));
    }

    /// Ends the run because a record cannot be stored. One whose egress was closed before, at the end of the run, ends
    /// nothing.
    pub fn fail_egress(&self, error: EgressError) {
        self.0.fail_egress(error);
    }
}
