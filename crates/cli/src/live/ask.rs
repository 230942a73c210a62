//! Checks one need of a module by calls. Each is a call that a run makes too, or one that the service rejects without
//! any effect.

use std::{num::NonZeroU16, sync::Arc, time::Duration};

use statefun_kinesis_client::{
    Backoff, ConsumerPageRequest, ConsumerStatus, Error, ErrorKind, Operation, RecordDistribution, Result, ShardFilter,
    ShardPageRequest, StreamMode, StreamStatus, StreamSummary,
};
use statefun_kinesis_types::{
    ConsumerName, PUT_RECORDS_MAX_BYTES, PartitionKey, PutRecord, ShardId, StartPosition, StreamArn, StreamRef,
};
use tokio::time::{sleep, timeout};

use super::{
    connect::Connect,
    finding::{Answer, Problem, Verdict},
};
use crate::{
    clients::StreamClient,
    failure::lines,
    needs::{self, Need, Purpose},
    policy::action,
};

/// How long one call may take: the credentials that it fetches first may take 22 s of it (`statefun-kinesis-aws`).
const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long all calls for one need may take together.
const NEED_TIMEOUT: Duration = Duration::from_secs(90);

/// Attempts of a throttled call.
const ATTEMPTS: u32 = 6;

/// Consumers of a stream, provisioned or on-demand. On-demand Advantage gives 50 (Quotas and limits, November 2026).
pub(super) const CONSUMERS_MAX: usize = 20;

/// The first shard of every stream. If it has expired, the service says so after it has checked permissions.
const FIRST_SHARD: &str = "shardId-000000000000";

/// A shard that no stream has: shards are numbered from 0.
const NO_SHARD: &str = "shardId-999999999999";

const STREAM_IS_MISSING: &str = "the stream does not exist";
const CREDENTIALS_UNUSABLE: &str = "the credentials cannot be used";

/// Checks one need.
pub(super) async fn ask(need: Need, connect: &dyn Connect) -> Answer {
    let mut answer = Answer::new(need);
    let is_aws = connect.is_aws(&answer.need);
    let connected = connect.connect(&answer.need);
    match timeout(CALL_TIMEOUT, connected).await {
        Ok(Ok(client)) => {
            // Results from before the time limit are kept.
            let asking = async { Asking { client, is_aws, answer: &mut answer }.all().await };
            if timeout(NEED_TIMEOUT, asking).await.is_err() {
                answer.problems.push(Problem {
                    message: format!("the calls for this stream took longer than {} s", NEED_TIMEOUT.as_secs()),
                    because: Vec::new(),
                    help:
                        "try again; if it happens again, check the network path to the service: proxies, firewalls, VPC endpoints"
                            .to_owned(),
                });
                answer.rest_untested("the time limit was reached");
            }
        }
        Ok(Err(because)) => {
            let who = needs::describe(&answer.need.credentials);
            let message =
                format!("cannot create an AWS client with the region and the credentials of the module: {who}");
            let help =
                "check `awsRegion` and `awsCredentials`, and that this machine has the profile or keys that they name";
            answer.problems.push(Problem { message, because, help: help.to_owned() });
            answer.rest_untested("the client could not be created");
        }
        Err(_) => {
            answer.problems.push(Problem {
                message: format!("could not determine the region within {} s", CALL_TIMEOUT.as_secs()),
                because: Vec::new(),
                help: "set `awsRegion` in the module file, or set AWS_REGION".to_owned(),
            });
            answer.rest_untested("the client could not be created");
        }
    }
    answer
}

/// What a call that failed says about permissions.
enum Refusal {
    /// The credentials may not make the call.
    Denied,
    /// There are no credentials, or the service rejects them.
    Credentials,
    /// The call was allowed, but failed for another reason.
    Later,
    /// The service cannot be reached, or is overloaded.
    Unknown,
}

impl Refusal {
    fn of(error: &Error) -> Self {
        match (error.kind(), error.code()) {
            (
                ErrorKind::AccessDenied,
                Some("AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "NotAuthorized"),
            ) => Self::Denied,
            (ErrorKind::AccessDenied, _) => Self::Credentials,
            // Requests that violate the API's model may be rejected before permissions are checked.
            (ErrorKind::InvalidArgument, None | Some("ValidationException" | "SerializationException")) => {
                Self::Unknown
            }
            // The service checks limits of a shard after permissions, and limits of an account before them.
            (ErrorKind::Throttled, Some("ProvisionedThroughputExceededException")) => Self::Later,
            (
                ErrorKind::NotFound
                | ErrorKind::InUse
                | ErrorKind::ExpiredIterator
                | ErrorKind::InvalidArgument
                | ErrorKind::Encryption,
                _,
            ) => Self::Later,
            (
                ErrorKind::ExpiredToken
                | ErrorKind::Throttled
                | ErrorKind::LimitExceeded
                | ErrorKind::Unavailable
                | ErrorKind::Timeout
                | ErrorKind::Unexpected,
                _,
            ) => Self::Unknown,
        }
    }
}

/// Makes one call. Retries it while it is throttled, and once when the connection fails.
async fn call<T>(operation: Operation, make: impl AsyncFn() -> Result<T>) -> Result<T> {
    let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(3));
    let mut random = fastrand::Rng::new();
    let mut failures = 0;
    loop {
        let made = timeout(CALL_TIMEOUT, make()).await;
        let error = match made {
            Ok(Ok(made)) => return Ok(made),
            Ok(Err(error)) => error,
            Err(_) => {
                let message = format!("no answer within {} s", CALL_TIMEOUT.as_secs());
                return Err(Error::new(operation, ErrorKind::Timeout, message));
            }
        };
        let attempts = match error.kind() {
            ErrorKind::Throttled | ErrorKind::LimitExceeded => ATTEMPTS,
            ErrorKind::Unavailable => 2,
            ErrorKind::NotFound
            | ErrorKind::InUse
            | ErrorKind::ExpiredIterator
            | ErrorKind::ExpiredToken
            | ErrorKind::AccessDenied
            | ErrorKind::Encryption
            | ErrorKind::InvalidArgument
            | ErrorKind::Timeout
            | ErrorKind::Unexpected => 1,
        };
        failures += 1;
        if failures >= attempts {
            return Err(error);
        }
        sleep(backoff.delay(failures - 1, &mut random)).await;
    }
}

struct Asking<'a> {
    client: Arc<dyn StreamClient>,
    is_aws: bool,
    answer: &'a mut Answer,
}

impl Asking<'_> {
    async fn all(mut self) {
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
    fn failed(&mut self, operation: Operation, error: &Error) -> Verdict {
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

    /// Describes the stream. Returns false when the other calls make no sense.
    async fn describe(&mut self) -> bool {
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
    async fn list_shards(&mut self) -> ShardId {
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

    /// Reads after the latest record of a shard. This takes one of the shard's five calls per second.
    async fn read(&mut self, shard: &ShardId) {
        let stream = self.answer.need.stream.clone();
        let operation = Operation::GetShardIterator;
        let place = async || self.client.get_shard_iterator(&stream, shard, StartPosition::Latest).await;
        let iterator = match call(operation, place).await {
            Ok(iterator) => {
                self.answer.found(operation, Verdict::Allowed);
                iterator
            }
            Err(error) => {
                let verdict = self.failed(operation, &error);
                self.answer.found(operation, verdict);
                let why = "it needs an iterator, but GetShardIterator failed";
                self.answer.found(Operation::GetRecords, Verdict::untested(why));
                return;
            }
        };
        let operation = Operation::GetRecords;
        let read = call(operation, async || self.client.get_records(&iterator, 1).await).await;
        let verdict = match read {
            Ok(_) => Verdict::Allowed,
            Err(error) => self.failed(operation, &error),
        };
        self.answer.found(operation, verdict);
    }

    /// Puts a record that is one byte too large for the stream. The service checks the stream's limit after permissions,
    /// so the error shows whether the call is allowed, and nothing is stored.
    async fn write(&mut self) {
        const OPERATION: Operation = Operation::PutRecords;
        let Some(summary) = &self.answer.summary else {
            return self.answer.rest_untested(
                "without DescribeStreamSummary the stream's record limit is unknown, so a test record could be stored",
            );
        };
        // LocalStack and others store records above their own limit. No AWS account has the number of zeros.
        if !self.is_aws || summary.arn.account() == "000000000000" {
            return self.answer.rest_untested("the server is not AWS and might store the oversized test record");
        }
        if summary.status != StreamStatus::Active {
            // The update may change its record limit.
            return self.answer.rest_untested("the stream is being updated, so a test record could be stored");
        }
        let limit = summary.max_record_bytes;
        if limit >= PUT_RECORDS_MAX_BYTES {
            return self.answer.rest_untested(
                "the stream's record limit is the limit of a request, so no record is too large for the stream only",
            );
        }
        let key: PartitionKey =
            "statefun-kinesis check --live".parse().unwrap_or_else(|_| unreachable!("a constant of valid length"));
        let stream = self.answer.need.stream.clone();
        let record = [PutRecord::new(key.clone(), vec![0; limit + 1 - key.size()])];
        let put = call(OPERATION, async || self.client.put_records(&stream, &record).await).await;
        let verdict = match put {
            Err(error) => self.failed(OPERATION, &error),
            Ok(outcomes) => {
                if outcomes.iter().any(std::result::Result::is_ok) {
                    self.answer.problems.push(Problem {
                        message: format!(
                            "the service stored a test record of {} bytes, one byte above the stream's limit",
                            limit + 1
                        ),
                        because: Vec::new(),
                        help:
                            "the record has the partition key `statefun-kinesis check --live` and contains only zero \
                               bytes; readers of the stream will see it"
                                .to_owned(),
                    });
                }
                Verdict::Allowed
            }
        };
        self.answer.found(OPERATION, verdict);
    }

    /// Checks the consumer, and whether the stream can have another one.
    async fn consumer(&mut self, name: &ConsumerName, managed: bool) {
        let described = self.answer.summary.as_ref().map(|summary| summary.arn.clone());
        let Some(stream) = described.or_else(|| self.answer.need.stream.arn().cloned()) else {
            let why = "it needs the stream's ARN, but DescribeStreamSummary failed";
            let of_consumers =
                [Operation::DescribeStreamConsumer, Operation::SubscribeToShard, Operation::RegisterStreamConsumer];
            for operation in of_consumers.into_iter().take(if managed { 3 } else { 2 }) {
                self.answer.found(operation, Verdict::untested(why));
            }
            return;
        };
        let operation = Operation::DescribeStreamConsumer;
        let described = call(operation, async || self.client.describe_stream_consumer(&stream, name).await).await;
        match described {
            Ok(consumer) => {
                self.answer.found(operation, Verdict::Allowed);
                self.answer.notes.push(format!("the consumer {name} is {}", consumer.status));
                if consumer.status == ConsumerStatus::Active {
                    // A subscription to a real shard would end the subscription of a running reader.
                    let shard = NO_SHARD.parse().unwrap_or_else(|_| unreachable!("a constant"));
                    let subscribe = async || {
                        let from = StartPosition::Latest;
                        self.client.subscribe_to_shard(&consumer.arn, &shard, from).await.map(drop)
                    };
                    let operation = Operation::SubscribeToShard;
                    let verdict = match call(operation, subscribe).await {
                        Ok(()) => Verdict::Allowed,
                        Err(error) => self.failed(operation, &error),
                    };
                    self.answer.found(operation, verdict);
                } else {
                    self.answer.found(
                        Operation::SubscribeToShard,
                        Verdict::untested(format!("the consumer is {}", consumer.status)),
                    );
                }
                self.count_consumers(&stream, true, managed).await;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.answer.found(operation, Verdict::Allowed);
                if managed {
                    self.answer.notes.push(format!("the consumer {name} does not exist yet; a run registers it"));
                } else {
                    self.answer.problems.push(Problem {
                        message: format!("the stream has no consumer {name}"),
                        because: lines(&error),
                        help: "register it, or set `lifecycle: managed` so that a run registers it".to_owned(),
                    });
                }
                self.answer.found(Operation::SubscribeToShard, Verdict::untested("the consumer is not registered"));
                self.count_consumers(&stream, false, managed).await;
            }
            Err(error) => {
                let verdict = self.failed(operation, &error);
                self.answer.found(operation, verdict);
                self.answer.found(
                    Operation::SubscribeToShard,
                    Verdict::untested("it needs the consumer's ARN, but DescribeStreamConsumer failed"),
                );
                self.count_consumers(&stream, false, managed).await;
            }
        }
        if managed {
            self.answer.found(
                Operation::RegisterStreamConsumer,
                Verdict::untested("a test would register a consumer, which costs money until it is deregistered"),
            );
        }
    }

    /// Counts the stream's consumers. A run never lists them, so a missing permission is not a problem.
    async fn count_consumers(&mut self, stream: &StreamArn, registered: bool, managed: bool) {
        let operation = Operation::ListStreamConsumers;
        let mut count = 0;
        let mut page = ConsumerPageRequest::default();
        loop {
            let listed = call(operation, async || self.client.list_stream_consumers(stream, page.clone()).await).await;
            match listed {
                Ok(found) => {
                    count += found.consumers.len();
                    match found.next {
                        Some(token) => page.token = Some(token),
                        None => break,
                    }
                }
                Err(error) => {
                    let why = lines(&error).into_iter().next().unwrap_or_default();
                    self.answer.notes.push(format!("cannot count the stream's consumers: {why}"));
                    return;
                }
            }
        }
        self.answer.consumers = Some(count);
        if count < CONSUMERS_MAX || registered || !managed {
            return;
        }
        let on_demand = self.answer.summary.as_ref().is_some_and(|summary| summary.mode == StreamMode::OnDemand);
        let unless = if on_demand { ", unless its account is in the on-demand Advantage mode" } else { "" };
        self.answer.notes.push(format!("the stream has {count} consumers, which is the limit{unless}: a run polls it"));
    }
}
