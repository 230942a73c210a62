//! The part of `check --format json` that `--live` adds.

use serde::Serialize;
use statefun_kinesis_client::{StreamMode, StreamSummary};

use super::{
    consumer::CONSUMERS_MAX,
    endpoint::EndpointAnswer,
    finding::{Answer, Problem, Verdict},
    findings::Findings,
};
use crate::{needs, policy};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LiveJson {
    passed: bool,
    uses: Vec<UseJson>,
    endpoints: Vec<EndpointJson>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct EndpointJson {
    functions: String,
    function: String,
    address: String,
    found: String,
    problem: Option<ProblemJson>,
    note: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct UseJson {
    document: &'static str,
    id: String,
    purpose: &'static str,
    stream: String,
    region: Option<String>,
    credentials: String,
    found: Option<StreamJson>,
    consumers: Option<ConsumersJson>,
    permissions: Vec<PermissionJson>,
    problems: Vec<ProblemJson>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct StreamJson {
    arn: String,
    status: String,
    mode: &'static str,
    open_shards: usize,
    max_record_bytes: usize,
    retention_hours: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConsumersJson {
    registered: usize,
    limit: usize,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PermissionJson {
    action: String,
    resources: Vec<String>,
    verdict: &'static str,
    why: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProblemJson {
    message: String,
    because: Vec<String>,
    help: String,
}

impl Findings {
    /// The results for the JSON report.
    pub(crate) fn for_programs(&self) -> LiveJson {
        LiveJson {
            passed: self.passed(),
            uses: self.answers.iter().map(UseJson::new).collect(),
            endpoints: self.endpoints.iter().map(EndpointJson::new).collect(),
        }
    }
}

impl EndpointJson {
    fn new(answer: &EndpointAnswer) -> Self {
        Self {
            functions: answer.functions.to_string(),
            function: answer.function.to_string(),
            address: answer.address.clone(),
            found: answer.found.clone(),
            problem: answer.problem.clone().map(ProblemJson::new),
            note: answer.note.clone(),
        }
    }
}

impl ProblemJson {
    fn new(problem: Problem) -> Self {
        Self { message: problem.message, because: problem.because, help: problem.help }
    }
}

impl UseJson {
    fn new(answer: &Answer) -> Self {
        let need = &answer.need;
        let permission = |permission: &super::finding::Permission| {
            let (verdict, why) = match &permission.verdict {
                Verdict::Allowed => ("allowed", None),
                Verdict::Denied => ("denied", None),
                Verdict::Untested(why) => ("untested", Some(why.clone())),
            };
            let resources = need.resources(permission.operation);
            PermissionJson { action: policy::action(permission.operation), resources, verdict, why }
        };
        Self {
            document: need.document.kind.as_str(),
            id: need.document.id.clone(),
            purpose: need.purpose.as_str(),
            stream: need.stream.to_string(),
            region: need.region.id().map(str::to_owned),
            credentials: needs::describe(&need.credentials),
            found: answer.summary.as_ref().map(StreamJson::new),
            consumers: answer.consumers.map(|registered| ConsumersJson { registered, limit: CONSUMERS_MAX }),
            permissions: answer.permissions.iter().map(permission).collect(),
            problems: answer.problems.iter().cloned().map(ProblemJson::new).collect(),
            notes: answer.notes.clone(),
        }
    }
}

impl StreamJson {
    fn new(summary: &StreamSummary) -> Self {
        Self {
            arn: summary.arn.to_string(),
            status: summary.status.to_string(),
            mode: mode(summary.mode),
            open_shards: summary.open_shards,
            max_record_bytes: summary.max_record_bytes,
            retention_hours: summary.retention.as_secs() / 3_600,
        }
    }
}

pub(super) const fn mode(mode: StreamMode) -> &'static str {
    match mode {
        StreamMode::Provisioned => "provisioned",
        StreamMode::OnDemand => "on-demand",
    }
}
