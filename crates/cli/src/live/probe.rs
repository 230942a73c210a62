//! Checks one need of a module by calls. Each is a call that a run makes too, or one that the service rejects without
//! any effect.

use std::sync::Arc;

use statefun_kinesis_client::{Error, ErrorKind, Operation};

use super::{
    finding::{Answer, Problem, Verdict},
    refusal::Refusal,
};
use crate::{
    clients::StreamClient,
    failure::lines,
    needs::{self, Purpose},
    policy::action,
};

pub(super) const CREDENTIALS_UNUSABLE: &str = "the credentials cannot be used";

/// The calls for one need, and what they showed so far.
pub(super) struct Probe<'a> {
    pub(super) client: Arc<dyn StreamClient>,
    pub(super) is_aws: bool,
    pub(super) answer: &'a mut Answer,
}

impl Probe<'_> {
    /// Makes all calls that the need asks for.
    pub(super) async fn all(mut self) {
        if !self.describe().await {
            return;
        }
        match self.answer.need.purpose.clone() {
            Purpose::Poll => {
                let shard = self.list_shards().await;
                self.read(&shard).await;
            }
            Purpose::FanOut { consumer, managed } => {
                let shard = self.list_shards().await;
                self.consumer(&consumer, managed).await;
                if managed {
                    self.read(&shard).await;
                }
            }
            Purpose::Write | Purpose::DeadLetter => {
                if self.answer.need.operations().any(|operation| operation == Operation::ListShards) {
                    self.list_shards().await;
                }
                self.write().await;
            }
        }
    }

    /// Judges a failed call, and adds the problem that it shows.
    pub(super) fn failed(&mut self, operation: Operation, error: &Error) -> Verdict {
        let need = &self.answer.need;
        let who = needs::describe(&need.credentials);
        let because = lines(error);
        match Refusal::of(error) {
            Refusal::Denied => {
                let resource = need.resources(operation).join(" and ");
                self.answer.problems.push(Problem {
                    message: format!("{} is not allowed on {resource}", action(operation)),
                    because,
                    help: format!(
                        "allow the action on this resource in the policy of the user or role: {who}; \
                         `statefun-kinesis check --iam-policy` prints the policy that the module needs"
                    ),
                });
                Verdict::Denied
            }
            Refusal::Credentials => {
                // An error without a code comes from this machine: no request was sent.
                let (message, help) = match error.code() {
                    Some(_) => (
                        format!("the service rejected the credentials: {who}"),
                        "check that the keys are correct and have not expired, and that this machine's clock is correct",
                    ),
                    None => (
                        format!("no usable credentials were found: {who}"),
                        "check `awsCredentials` in the module file, and that this machine has the profile or keys that it names",
                    ),
                };
                self.problem_once(Problem { message, because, help: help.to_owned() });
                Verdict::untested(CREDENTIALS_UNUSABLE)
            }
            Refusal::Later => {
                if error.kind() == ErrorKind::Encryption {
                    let verb = match need.purpose {
                        Purpose::Poll | Purpose::FanOut { .. } => "kms:Decrypt",
                        Purpose::Write | Purpose::DeadLetter => "kms:GenerateDataKey",
                    };
                    let message = "the stream's KMS key cannot be used".to_owned();
                    let help = format!("enable the key, and allow {verb} on it to the user or role: {who}");
                    self.problem_once(Problem { message, because, help });
                }
                Verdict::Allowed
            }
            Refusal::Unknown => Verdict::untested(because.first().cloned().unwrap_or_default()),
        }
    }

    fn problem_once(&mut self, problem: Problem) {
        if !self.answer.problems.iter().any(|other| other.message == problem.message) {
            self.answer.problems.push(problem);
        }
    }
}
