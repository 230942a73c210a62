//! Checks the stream itself and its shards.

use std::num::NonZeroU16;

use statefun_kinesis_client::{
    ErrorKind, Operation, RecordDistribution, ShardFilter, ShardPageRequest, StreamStatus, StreamSummary,
};
use statefun_kinesis_types::{ShardId, StreamArn, StreamRef};

use super::{
    call::call,
    finding::{Problem, Verdict},
    probe::{CREDENTIALS_UNUSABLE, Probe},
};
use crate::failure::lines;

/// The first shard of every stream. If it has expired, the service says so after it has checked permissions.
const FIRST_SHARD: &str = "shardId-000000000000";

const STREAM_IS_MISSING: &str = "the stream does not exist";

impl Probe<'_> {
    /// Describes the stream. Returns false when the other calls make no sense.
    pub(super) async fn describe(&mut self) -> bool {
        const OPERATION: Operation = Operation::DescribeStreamSummary;
        let stream = self.answer.need.stream.clone();
        let described = call(OPERATION, async || self.client.describe_stream_summary(&stream).await).await;
        let error = match described {
            Ok(summary) => {
                self.answer.found(OPERATION, Verdict::Allowed);
                return self.judge(summary);
            }
            Err(error) => error,
        };
        if error.kind() == ErrorKind::NotFound {
            self.answer.found(OPERATION, Verdict::Allowed);
            let help = match self.elsewhere(&stream).await {
                Some(found) => format!("the credentials can access a stream of this name, {found}: correct the ARN"),
                None => "check the name, the region and the account, or create the stream".to_owned(),
            };
            let message = format!("the stream {stream} does not exist{}", self.place());
            self.answer.problems.push(Problem { message, because: lines(&error), help });
            self.answer.rest_untested(STREAM_IS_MISSING);
            return false;
        }
        let verdict = self.failed(OPERATION, &error);
        if verdict == Verdict::Denied {
            self.answer.found(OPERATION, verdict);
            if let Some(found) = self.elsewhere(&stream).await
                && let Some(problem) = self.answer.problems.last_mut()
            {
                problem.help = format!(
                    "the credentials can access a stream of this name, {found}: correct the ARN if this is the right one; {}",
                    problem.help
                );
            }
            return true;
        }
        let why = match self.answer.problems.is_empty() {
            true => {
                self.answer.problems.push(Problem {
                    message: format!("the service cannot be reached{}", self.place()),
                    because: lines(&error),
                    help: "check the region, the network, its proxies, and the endpoint if one is set".to_owned(),
                });
                "the service cannot be reached"
            }
            false => CREDENTIALS_UNUSABLE,
        };
        self.answer.rest_untested(why);
        false
    }

    /// The region that was called, for a message.
    fn place(&self) -> String {
        self.answer.need.region.id().map_or_else(String::new, |region| format!(" in {region}"))
    }

    /// The stream with the same name that the credentials can access, if its ARN is a different one.
    async fn elsewhere(&self, stream: &StreamRef) -> Option<StreamArn> {
        let asked = stream.arn()?;
        let by_name = StreamRef::Name(asked.name());
        let operation = Operation::DescribeStreamSummary;
        let described = call(operation, async || self.client.describe_stream_summary(&by_name).await).await;
        described.ok().map(|summary| summary.arn).filter(|arn| arn != asked)
    }

    /// Checks that the stream is the one of the ARN, and that it is usable.
    fn judge(&mut self, summary: StreamSummary) -> bool {
        let need = &self.answer.need;
        let mut goes_on = true;
        if let Some(asked) = need.stream.arn().filter(|asked| **asked != summary.arn) {
            let problem = Problem {
                message: format!("the service returned another stream than {asked}: {}", summary.arn),
                because: Vec::new(),
                help: "correct the account and the region in the ARN, or use credentials of its account".to_owned(),
            };
            self.answer.problems.push(problem);
        }
        if !summary.status.is_usable() {
            let help = match summary.status {
                StreamStatus::Creating => "wait until it is ACTIVE; a run also waits, for up to two minutes",
                StreamStatus::Active | StreamStatus::Updating | StreamStatus::Deleting => {
                    "it is being deleted: create it again, or use another stream"
                }
            };
            let message = format!("the stream is {}, not ACTIVE", summary.status);
            self.answer.problems.push(Problem { message, because: Vec::new(), help: help.to_owned() });
            self.answer.rest_untested("the stream is not ACTIVE");
            goes_on = false;
        }
        if summary.distribution == RecordDistribution::Auto {
            self.answer.notes.push(
                "the stream itself distributes its records over shards (AUTO): partition keys have no effect, and there \
                 is no order per key"
                    .to_owned(),
            );
        }
        self.answer.summary = Some(summary);
        goes_on
    }

    /// Lists the open shards, and returns one of them.
    pub(super) async fn list_shards(&mut self) -> ShardId {
        let stream = self.answer.need.stream.clone();
        let page = || ShardPageRequest::First { filter: ShardFilter::AtLatest, max_results: NonZeroU16::new(1) };
        let listed = call(Operation::ListShards, async || self.client.list_shards(&stream, page()).await).await;
        let first = FIRST_SHARD.parse().unwrap_or_else(|_| unreachable!("a constant"));
        match listed {
            Ok(page) => {
                self.answer.found(Operation::ListShards, Verdict::Allowed);
                page.shards.into_iter().next().map_or(first, |shard| shard.id)
            }
            Err(error) => {
                let verdict = self.failed(Operation::ListShards, &error);
                self.answer.found(Operation::ListShards, verdict);
                first
            }
        }
    }
}
