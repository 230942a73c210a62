use statefun_kinesis_client::{Operation, StreamSummary};

use crate::needs::Need;

/// What was found out about one need.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) need: Need,
    /// What the stream says of itself, if it answered.
    pub(super) summary: Option<StreamSummary>,
    /// Consumers with enhanced fan-out that the stream has, if that was asked and told.
    pub(super) consumers: Option<usize>,
    /// Each call that a run makes, in the order of [`Need::operations`].
    pub(super) permissions: Vec<Permission>,
    pub(super) problems: Vec<Problem>,
    /// What is as it should be, and good to know.
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
    /// The service carried the call out, or refused it for another reason that it looks at later.
    Allowed,
    /// The service says that the credentials may not make it.
    Denied,
    /// Nobody knows, and why.
    Untested(String),
}

impl Verdict {
    pub(super) fn untested(why: impl Into<String>) -> Self {
        Self::Untested(why.into())
    }
}

/// Something that keeps the module from running, with a remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) message: String,
    /// The service's own words, outermost first.
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

    /// Everything that has no verdict yet stays untried, for one reason.
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
