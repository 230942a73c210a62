use serde::Serialize;
use statefun_kinesis_spec::Module;
use statefun_kinesis_types::AwsCredentials;

use super::{
    document::{Policy, action},
    notes::notes,
};
use crate::needs::{self, Need};

/// The policies of a module, one for each of the credentials that it uses.
#[derive(Debug)]
pub(crate) struct Policies {
    principals: Vec<Principal>,
    /// What the policies cannot express.
    pub(crate) notes: Vec<String>,
}

/// Credentials that need a policy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Principal {
    #[serde(skip)]
    key: AwsCredentials,
    credentials: String,
    used_by: Vec<String>,
    policy: Policy,
}

impl Policies {
    /// The policies for all needs of a module.
    pub(crate) fn new(module: &Module) -> Self {
        let mut policies = Self { principals: Vec::new(), notes: Vec::new() };
        let needs = needs::of(module);
        for need in &needs {
            policies.add(need);
        }
        policies.notes = notes(module, &needs, policies.principals.len());
        policies
    }

    fn add(&mut self, need: &Need) {
        let used_by = need.document.to_string();
        let policy = self.principal(&need.credentials, &used_by);
        for (sid, operations) in need.grants() {
            let resources = operations.iter().flat_map(|&operation| need.resources(operation));
            policy.allow(sid, operations.iter().copied().map(action).collect(), resources);
        }
        if let AwsCredentials::AssumeRole { role_arn, .. } = &need.credentials {
            let policy = self.principal(&AwsCredentials::Default, &used_by);
            policy.allow("AssumeRoles", vec!["sts:AssumeRole".to_owned()], [role_arn.clone()]);
        }
    }

    fn principal(&mut self, key: &AwsCredentials, used_by: &str) -> &mut Policy {
        let at = match self.principals.iter().position(|principal| principal.key == *key) {
            Some(at) => at,
            None => {
                self.principals.push(Principal {
                    key: key.clone(),
                    credentials: needs::describe(key),
                    used_by: Vec::new(),
                    policy: Policy::empty(),
                });
                self.principals.len() - 1
            }
        };
        let principal = &mut self.principals[at];
        if !principal.used_by.iter().any(|other| other == used_by) {
            principal.used_by.push(used_by.to_owned());
        }
        &mut principal.policy
    }

    /// One policy document if there is one set of credentials, else an object with `principals`.
    pub(crate) fn render(&self) -> String {
        #[derive(Serialize)]
        struct Several<'a> {
            principals: &'a [Principal],
        }
        let text = match &self.principals[..] {
            [only] => serde_json::to_string_pretty(&only.policy),
            [] => serde_json::to_string_pretty(&Policy::empty()),
            principals => serde_json::to_string_pretty(&Several { principals }),
        };
        text.unwrap_or_default()
    }
}
