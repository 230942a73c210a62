use statefun_kinesis_client::{Operation, StreamSummary};

use crate::needs::Need;

/// The results for one need.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) need: Need,
    /// The description of the stream, if the service returned one.
    pub(super) summary: Option<StreamSummary>,
    /// The number of registered consumers, if it could be listed.
    pub(super) consumers: Option<usize>,
    /// Each call that a run makes, in the order of [`Need::operations`].
    pub(super) permissions: Vec<Permission>,
    pub(super) problems: Vec<Problem>,
    /// Remarks that are not problems.
    pub(super) notes: Vec<String>,
}

/// Whether a call is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Permission {
    pub(super) operation: Operation,
    pub(super) verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// The call succeeded, or failed for a reason that the service checks after permissions.
    Allowed,
    /// The credentials may not make the call.
    Denied,
    /// The call was not made, with the reason.
    Untested(String),
}

impl Verdict {
    pub(super) fn untested(why: impl Into<String>) -> Self {
        Self::Untested(why.into())
    }
}

/// Something that prevents the module from running, with a remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) message: String,
    /// The messages of the service, outermost first.
    pub(super) because: Vec<String>,
    pub(super) help: String,
}

impl Answer {
    pub(super) fn new(need: Need) -> Self {
        let (summary, consumers) = (None, None);
        Self { need, summary, consumers, permissions: Vec::new(), problems: Vec::new(), notes: Vec::new() }
    }

    pub(super) fn found(&mut self, operation: Operation, verdict: Verdict) {
        self.permissions.push(Permission { operation, verdict });
    }

    /// Marks all calls without a verdict as untested, with one reason.
    pub(super) fn rest_untested(&mut self, why: &str) {
        let has_verdict = |operation| self.permissions.iter().any(|permission| permission.operation == operation);
        let rest: Vec<Operation> = self.need.operations().filter(|&operation| !has_verdict(operation)).collect();
        for operation in rest {
            self.found(operation, Verdict::untested(why));
        }
    }

    pub(super) fn count(&self, wanted: impl Fn(&Verdict) -> bool) -> usize {
        self.permissions.iter().filter(|permission| wanted(&permission.verdict)).count()
    }
}
