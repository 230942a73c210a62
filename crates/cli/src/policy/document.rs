//! A policy as JSON.

use std::collections::BTreeSet;

use serde::Serialize;
use statefun_kinesis_client::Operation;

/// A policy document in the form that IAM accepts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Policy {
    version: &'static str,
    statement: Vec<Statement>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Statement {
    sid: &'static str,
    effect: &'static str,
    action: Vec<String>,
    resource: BTreeSet<String>,
}

impl Policy {
    /// A policy that allows nothing.
    pub(super) fn empty() -> Self {
        Self { version: "2012-10-17", statement: Vec::new() }
    }

    /// Allows actions on resources, in the statement of this name.
    pub(super) fn allow(
        &mut self,
        sid: &'static str,
        action: Vec<String>,
        resources: impl IntoIterator<Item = String>,
    ) {
        let at = match self.statement.iter().position(|statement| statement.sid == sid) {
            Some(at) => at,
            None => {
                self.statement.push(Statement { sid, effect: "Allow", action, resource: BTreeSet::new() });
                self.statement.len() - 1
            }
        };
        self.statement[at].resource.extend(resources);
    }
}

/// The IAM action that allows a call.
pub(crate) fn action(operation: Operation) -> String {
    format!("kinesis:{operation}")
}
