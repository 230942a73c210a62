//! The checks of `--live` on an in-memory Kinesis that fails as the test says.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use statefun_kinesis_client::{ErrorKind, FanOutClient, KinesisAdmin, Operation, RecordDistribution};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_spec::ClientSpec;
use statefun_kinesis_types::{AwsCredentials, AwsRegion, Secret, StreamArn, StreamName, StreamRef};

use super::{
    connect::Connect,
    endpoint::EndpointAnswer,
    finding::{Answer, Permission, Verdict},
    findings::Findings,
    json::LiveJson,
};
use crate::{
    clients::StreamClient,
    needs::{Document, DocumentKind, Need, Purpose},
};

const ACCOUNT: &str = "123456789012";
const REGION: &str = "eu-west-1";

/// Provides the same service for every need, or none.
struct Connection {
    kinesis: Option<FakeKinesis>,
    is_aws: bool,
}

#[async_trait]
impl Connect for Connection {
    async fn connect(&self, _: &Need) -> Result<Arc<dyn StreamClient>, Vec<String>> {
        let kinesis = self.kinesis.clone().ok_or(vec!["no profile `orders`".to_owned(), "no such file".to_owned()])?;
        Ok(Arc::new(kinesis))
    }

    fn is_aws(&self, _: &Need) -> bool {
        self.is_aws
    }
}

fn name(name: &str) -> StreamName {
    name.parse().unwrap()
}

fn arn(stream: &str) -> StreamArn {
    StreamArn::new(REGION, ACCOUNT, &name(stream)).unwrap()
}

fn need(purpose: Purpose, stream: impl Into<StreamRef>) -> Need {
    let kind = match purpose {
        Purpose::Write => DocumentKind::Egress,
        _ => DocumentKind::Ingress,
    };
    Need {
        document: Document { kind, id: "example/orders".to_owned() },
        purpose,
        stream: stream.into(),
        region: AwsRegion::Specific { id: REGION.to_owned() },
        credentials: AwsCredentials::Profile { name: "orders-reader".to_owned(), path: None },
        client: ClientSpec::default(),
    }
}

fn fan_out(managed: bool) -> Purpose {
    Purpose::FanOut { consumer: "billing".parse().unwrap(), managed }
}

async fn kinesis() -> FakeKinesis {
    let kinesis = FakeKinesis::builder().region(REGION).account(ACCOUNT).build();
    kinesis.create_stream(&name("orders"), 2).await.unwrap();
    kinesis
}

async fn gather(kinesis: &FakeKinesis, needs: Vec<Need>) -> Findings {
    let connection = Connection { kinesis: Some(kinesis.clone()), is_aws: true };
    Findings::gather(needs, &connection).await
}

/// The results for one need, and their text.
async fn one(kinesis: &FakeKinesis, need: Need) -> (Answer, String) {
    let mut findings = gather(kinesis, vec![need]).await;
    let text = findings.as_text(false);
    (findings.answers.remove(0), text)
}

#[track_caller]
fn contains(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "`{part}` is missing in\n{text}");
    }
}

fn verdicts(answer: &Answer) -> Vec<(Operation, &'static str)> {
    let verdict = |permission: &Permission| {
        let verdict = match permission.verdict {
            Verdict::Allowed => "allowed",
            Verdict::Denied => "denied",
            Verdict::Untested(_) => "untested",
        };
        (permission.operation, verdict)
    };
    answer.permissions.iter().map(verdict).collect()
}

#[tokio::test(start_paused = true)]
async fn existing_streams_and_permissions_are_no_problem_and_nothing_is_stored() {
    let kinesis = kinesis().await;
    let needs = vec![
        need(Purpose::Poll, arn("orders")),
        need(Purpose::Write, name("orders")),
        need(Purpose::DeadLetter, arn("orders")),
    ];
    let findings = gather(&kinesis, needs).await;
    let text = findings.as_text(false);
    assert!(findings.passed(), "{text}");
    contains(
        &text,
        &["orders  eu-west-1  ingress example/orders  poll         ACTIVE  2 provisioned  1 MiB   4 allowed"],
    );
    contains(&text, &["egress example/orders   write        ACTIVE  2 provisioned  1 MiB   3 allowed"]);
    assert_eq!(findings.verdict(), "3 uses of streams checked: no problems");
    assert!(kinesis.records(&arn("orders").into()).is_empty(), "a record was stored");
    assert_eq!(kinesis.calls(Operation::PutRecords), 2, "writing was tested");
}

#[tokio::test(start_paused = true)]
async fn each_denied_call_is_named_with_its_resource_and_a_remedy() {
    use Operation::{DescribeStreamSummary, GetRecords, GetShardIterator, ListShards, PutRecords};
    for (purpose, operation) in [
        (Purpose::Poll, DescribeStreamSummary),
        (Purpose::Poll, ListShards),
        (Purpose::Poll, GetShardIterator),
        (Purpose::Poll, GetRecords),
        (Purpose::Write, DescribeStreamSummary),
        (Purpose::Write, ListShards),
        (Purpose::Write, PutRecords),
        (Purpose::DeadLetter, PutRecords),
    ] {
        let kinesis = kinesis().await;
        kinesis.faults().fail_next_n(operation, ErrorKind::AccessDenied, usize::MAX);
        let (answer, text) = one(&kinesis, need(purpose, arn("orders"))).await;
        assert_eq!(answer.problems.len(), 1, "{text}");
        let resource = arn("orders");
        contains(
            &text,
            &[
                &format!("kinesis:{operation} is not allowed on {resource}"),
                "the profile orders-reader",
                "AccessDeniedException",
                "1 missing",
                "--iam-policy",
            ],
        );
        let verdicts = verdicts(&answer);
        let needed: Vec<_> = answer.need.operations().collect();
        assert_eq!(verdicts.iter().map(|(operation, _)| *operation).collect::<Vec<_>>(), needed);
        assert!(verdicts.contains(&(operation, "denied")), "{verdicts:?}");
        // Calls that do not depend on the denied one are still tested.
        for (other, verdict) in verdicts.into_iter().filter(|(other, _)| *other != operation) {
            let depends = (operation, other) == (GetShardIterator, GetRecords)
                || (operation, other) == (DescribeStreamSummary, PutRecords);
            assert_eq!(verdict, if depends { "untested" } else { "allowed" }, "{operation}, {other}");
        }
        assert!(kinesis.records(&arn("orders").into()).is_empty(), "a record was stored");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_missing_or_in_another_account_is_reported() {
    let kinesis = kinesis().await;
    let (answer, text) = one(&kinesis, need(Purpose::Poll, arn("order"))).await;
    contains(&text, &["the stream arn:aws:kinesis:eu-west-1:123456789012:stream/order does not exist in eu-west-1"]);
    contains(&text, &["create the stream", "3 not tested", "the stream does not exist"]);
    assert_eq!(verdicts(&answer)[0], (Operation::DescribeStreamSummary, "allowed"));

    let other = StreamArn::new(REGION, "999999999999", &name("orders")).unwrap();
    let (_, text) = one(&kinesis, need(Purpose::Poll, other)).await;
    let here = arn("orders");
    contains(&text, &[&format!("the credentials can access a stream of this name, {here}")]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_active_yet_is_reported_and_not_written_to() {
    let kinesis = FakeKinesis::builder().region(REGION).account(ACCOUNT).status_delay(Duration::from_secs(60)).build();
    kinesis.create_stream(&name("orders"), 1).await.unwrap();
    let (_, text) = one(&kinesis, need(Purpose::Write, arn("orders"))).await;
    contains(&text, &["the stream is CREATING, not ACTIVE", "a run also waits", "1 allowed, 2 not tested"]);
    tokio::time::sleep(Duration::from_secs(61)).await;
    let (answer, text) = one(&kinesis, need(Purpose::Write, arn("orders"))).await;
    assert!(answer.problems.is_empty(), "{text}");
}

#[tokio::test(start_paused = true)]
async fn writing_is_tested_with_a_byte_above_the_streams_limit_if_a_request_can_hold_it() {
    let stream = StreamRef::from(arn("orders"));
    for (bytes, tried) in [(1 << 20, true), (5 << 20, true), ((10 << 20) - 1024, true), (10 << 20, false)] {
        let kinesis = kinesis().await;
        kinesis.set_max_record_bytes(&stream, bytes).unwrap();
        let (answer, text) = one(&kinesis, need(Purpose::Write, arn("orders"))).await;
        assert!(answer.problems.is_empty(), "{text}");
        let verdict = if tried { "allowed" } else { "untested" };
        assert_eq!(verdicts(&answer)[2], (Operation::PutRecords, verdict), "{bytes}");
        assert_eq!(kinesis.calls(Operation::PutRecords), u64::from(tried));
        assert!(kinesis.records(&stream).is_empty(), "a record was stored");
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_not_aws_gets_no_test_record() {
    let kinesis = kinesis().await;
    let connection = Connection { kinesis: Some(kinesis.clone()), is_aws: false };
    let findings = Findings::gather(vec![need(Purpose::Write, arn("orders"))], &connection).await;
    assert!(findings.passed());
    contains(&findings.as_text(false), &["2 allowed, 1 not tested", "the server is not AWS", "kinesis:PutRecords"]);
    assert_eq!(kinesis.calls(Operation::PutRecords), 0);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_service_is_one_problem_and_not_one_per_call() {
    for kind in [ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::Unexpected] {
        let kinesis = kinesis().await;
        kinesis.faults().fail_next_n(Operation::DescribeStreamSummary, kind, usize::MAX);
        let (answer, text) = one(&kinesis, need(Purpose::Poll, arn("orders"))).await;
        assert_eq!(answer.problems.len(), 1, "{text}");
        contains(&text, &["the service cannot be reached in eu-west-1", "4 not tested"]);
        assert_eq!(kinesis.calls(Operation::ListShards), 0);
    }
    let connection = Connection { kinesis: None, is_aws: true };
    let findings = Findings::gather(vec![need(Purpose::Poll, arn("orders"))], &connection).await;
    let text = findings.as_text(false);
    contains(
        &text,
        &[
            "cannot create an AWS client",
            "the profile orders-reader",
            "no profile `orders`",
            "no such file",
            "`awsCredentials`",
        ],
    );
    assert!(!findings.passed());
}

#[tokio::test(start_paused = true)]
async fn a_throttled_call_is_retried_and_a_hanging_one_times_out() {
    let kinesis = kinesis().await;
    kinesis.faults().fail_next_n(Operation::DescribeStreamSummary, ErrorKind::LimitExceeded, 3);
    kinesis.faults().fail_next(Operation::GetRecords, ErrorKind::Throttled);
    let (answer, text) = one(&kinesis, need(Purpose::Poll, arn("orders"))).await;
    assert!(answer.problems.is_empty() && answer.count(|verdict| *verdict == Verdict::Allowed) == 4, "{text}");

    kinesis.faults().delay(Operation::DescribeStreamSummary, Duration::from_secs(3_600));
    let began = tokio::time::Instant::now();
    let needs = (0..20).map(|_| need(Purpose::Poll, arn("orders"))).collect();
    let findings = gather(&kinesis, needs).await;
    assert!(began.elapsed() < Duration::from_secs(300), "{:?}", began.elapsed());
    contains(&findings.as_text(false), &["no answer within 30 s"]);
    assert!(!findings.passed());
}

#[tokio::test(start_paused = true)]
async fn streams_are_checked_concurrently_and_reported_in_the_order_of_the_module() {
    let kinesis = FakeKinesis::builder().region(REGION).account(ACCOUNT).build();
    let names: Vec<String> = (0..40).map(|number| format!("s{number}")).collect();
    for stream in &names {
        kinesis.create_stream(&name(stream), 1).await.unwrap();
    }
    kinesis.faults().delay(Operation::DescribeStreamSummary, Duration::from_secs(1));
    let began = tokio::time::Instant::now();
    let findings = gather(&kinesis, names.iter().map(|stream| need(Purpose::Write, arn(stream))).collect()).await;
    assert_eq!(began.elapsed(), Duration::from_secs(5), "40 streams, 8 at a time");
    let told: Vec<String> = findings.answers.iter().map(|answer| answer.need.stream.name().to_string()).collect();
    assert_eq!(told, names);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_distributes_its_records_itself_has_a_note() {
    let kinesis = kinesis().await;
    kinesis.set_distribution(&arn("orders").into(), RecordDistribution::Auto).unwrap();
    let (answer, text) = one(&kinesis, need(Purpose::Write, arn("orders"))).await;
    assert!(answer.problems.is_empty(), "{text}");
    contains(&text, &["AUTO", "2 on-demand"]);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_checked_and_no_subscription_ends() {
    let kinesis = kinesis().await;
    let (answer, text) = one(&kinesis, need(fan_out(true), arn("orders"))).await;
    assert!(answer.problems.is_empty(), "{text}");
    contains(
        &text,
        &["0 of 20", "5 allowed, 2 not tested", "does not exist yet; a run registers it", "a test would register"],
    );

    let (_, text) = one(&kinesis, need(fan_out(false), arn("orders"))).await;
    contains(&text, &["the stream has no consumer billing", "lifecycle: managed"]);

    kinesis.register_stream_consumer(&arn("orders"), &"billing".parse().unwrap()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    for managed in [true, false] {
        let (answer, text) = one(&kinesis, need(fan_out(managed), arn("orders"))).await;
        assert!(answer.problems.is_empty(), "{text}");
        let allowed = if managed { "6 allowed, 1 not tested" } else { "4 allowed" };
        contains(&text, &["1 of 20", "the consumer billing is ACTIVE", allowed]);
    }
    assert_eq!(kinesis.calls(Operation::RegisterStreamConsumer), 1, "only the test registers");
    assert_eq!(kinesis.calls(Operation::DeregisterStreamConsumer), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_at_its_limit_of_consumers_is_reported() {
    let kinesis = kinesis().await;
    for number in 0..20 {
        let consumer = format!("other-{number}").parse().unwrap();
        kinesis.register_stream_consumer(&arn("orders"), &consumer).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let (_, text) = one(&kinesis, need(fan_out(true), arn("orders"))).await;
    contains(&text, &["20 of 20", "the stream has 20 consumers, which is the limit: a run polls it", "5 allowed"]);
}

#[tokio::test(start_paused = true)]
async fn each_denied_call_on_a_consumer_is_named_with_both_resources() {
    use Operation::{DescribeStreamConsumer, ListStreamConsumers, SubscribeToShard};
    for operation in [DescribeStreamConsumer, SubscribeToShard, ListStreamConsumers] {
        let kinesis = kinesis().await;
        kinesis.register_stream_consumer(&arn("orders"), &"billing".parse().unwrap()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        kinesis.faults().fail_next_n(operation, ErrorKind::AccessDenied, usize::MAX);
        let (answer, text) = one(&kinesis, need(fan_out(true), arn("orders"))).await;
        if operation == ListStreamConsumers {
            assert!(answer.problems.is_empty(), "a run never lists them: {text}");
            contains(&text, &["cannot count the stream's consumers"]);
            continue;
        }
        let stream = arn("orders");
        let resources = format!("{stream}/consumer/billing:* and {stream}");
        contains(&text, &[&format!("kinesis:{operation} is not allowed on {resources}")]);
        assert_eq!(verdicts(&answer).len(), 7, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn secrets_are_never_printed() {
    let kinesis = kinesis().await;
    kinesis.faults().fail_next_n(Operation::GetRecords, ErrorKind::AccessDenied, usize::MAX);
    let mut need = need(Purpose::Poll, arn("orders"));
    need.credentials = AwsCredentials::Basic {
        access_key_id: Secret::new("AKIAIOSFODNN7"),
        secret_access_key: Secret::new("wJalrXUtnFEMI"),
        session_token: Some(Secret::new("FwoGZXIvYXdzEJr")),
    };
    let findings = gather(&kinesis, vec![need]).await;
    let json = serde_json::to_string(&findings.for_programs()).unwrap();
    let told = [findings.as_text(true), findings.for_github(), findings.verdict(), json].concat();
    contains(&told, &["the keys in the module file"]);
    for secret in ["AKIAIOSFODNN7", "wJalrXUtnFEMI", "FwoGZXIvYXdzEJr"] {
        assert!(!told.contains(secret), "{told}");
    }
}

/// Reports in which each field has a value, and is null where that is possible.
pub(crate) async fn examples() -> [LiveJson; 2] {
    let kinesis = kinesis().await;
    kinesis.faults().fail_next_n(Operation::GetRecords, ErrorKind::AccessDenied, usize::MAX);
    let mut elsewhere = need(Purpose::Write, name("missing"));
    elsewhere.region = AwsRegion::Default;
    let needs = vec![need(Purpose::Poll, arn("orders")), need(fan_out(true), arn("orders")), elsewhere];
    let mut found = gather(&kinesis, needs).await;
    let answer = |problem, note: Option<&str>| EndpointAnswer {
        functions: "example/*".parse().unwrap(),
        function: "example/orders".parse().unwrap(),
        address: "http://localhost:8000/statefun".to_owned(),
        found: "served".to_owned(),
        problem,
        note: note.map(str::to_owned),
    };
    let problem = found.answers.iter().flat_map(|answer| &answer.problems).find(|problem| !problem.because.is_empty());
    found.endpoints = vec![answer(problem.cloned(), None), answer(None, Some("requests become smaller"))];
    let connection = Connection { kinesis: None, is_aws: true };
    let unconnected = Findings::gather(vec![need(Purpose::Write, arn("orders"))], &connection).await;
    [found.for_programs(), unconnected.for_programs()]
}
