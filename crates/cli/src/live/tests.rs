//! The questions of `--live`, put to a Kinesis in memory that is told what to refuse.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use statefun_kinesis_client::{ErrorKind, FanOutClient, KinesisAdmin, Operation, RecordDistribution};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_spec::ClientSpec;
use statefun_kinesis_types::{AwsCredentials, AwsRegion, Secret, StreamArn, StreamName, StreamRef};

use super::{
    finding::{Permission, Verdict},
    *,
};
use crate::{
    clients::StreamClient,
    needs::{Document, DocumentKind, Purpose},
};

const ACCOUNT: &str = "123456789012";
const REGION: &str = "eu-west-1";

/// Gives everybody the same service, or nobody any.
struct Here {
    kinesis: Option<FakeKinesis>,
    is_aws: bool,
}

#[async_trait]
impl Connect for Here {
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
    let here = Here { kinesis: Some(kinesis.clone()), is_aws: true };
    Findings::gather(needs, &here).await
}

/// What is found out about one need: the answer, and all of it as people read it.
async fn one(kinesis: &FakeKinesis, need: Need) -> (Answer, String) {
    let mut findings = gather(kinesis, vec![need]).await;
    let text = findings.for_people(false);
    (findings.answers.remove(0), text)
}

#[track_caller]
fn said(text: &str, parts: &[&str]) {
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
async fn what_is_there_and_allowed_is_no_problem_and_nothing_is_left_behind() {
    let kinesis = kinesis().await;
    let needs = vec![
        need(Purpose::Poll, arn("orders")),
        need(Purpose::Write, name("orders")),
        need(Purpose::DeadLetter, arn("orders")),
    ];
    let findings = gather(&kinesis, needs).await;
    let text = findings.for_people(false);
    assert!(findings.passed(), "{text}");
    said(&text, &["orders  eu-west-1  ingress example/orders  poll         ACTIVE  2 provisioned  1 MiB   4 allowed"]);
    said(&text, &["egress example/orders   write        ACTIVE  2 provisioned  1 MiB   3 allowed"]);
    assert_eq!(findings.verdict(), "3 uses of streams asked about: nothing is missing");
    assert!(kinesis.records(&arn("orders").into()).is_empty(), "a record was stored");
    assert_eq!(kinesis.calls(Operation::PutRecords), 2, "writing was tried");
}

#[tokio::test(start_paused = true)]
async fn each_call_that_is_not_allowed_is_named_with_its_resource_and_a_remedy() {
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
        said(
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
        // What does not hang on the call is tried all the same.
        for (other, verdict) in verdicts.into_iter().filter(|(other, _)| *other != operation) {
            let hangs = (operation, other) == (GetShardIterator, GetRecords)
                || (operation, other) == (DescribeStreamSummary, PutRecords);
            assert_eq!(verdict, if hangs { "untested" } else { "allowed" }, "{operation}, {other}");
        }
        assert!(kinesis.records(&arn("orders").into()).is_empty(), "a record was stored");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_missing_or_elsewhere_is_told() {
    let kinesis = kinesis().await;
    let (answer, text) = one(&kinesis, need(Purpose::Poll, arn("order"))).await;
    said(&text, &["the stream arn:aws:kinesis:eu-west-1:123456789012:stream/order does not exist in eu-west-1"]);
    said(&text, &["make the stream", "3 not tried", "there is no such stream"]);
    assert_eq!(verdicts(&answer)[0], (Operation::DescribeStreamSummary, "allowed"));

    let other = StreamArn::new(REGION, "999999999999", &name("orders")).unwrap();
    let (_, text) = one(&kinesis, need(Purpose::Poll, other)).await;
    let here = arn("orders");
    said(&text, &[&format!("the credentials see a stream of this name as {here}")]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_not_active_yet_is_told_and_not_written_to() {
    let kinesis = FakeKinesis::builder().region(REGION).account(ACCOUNT).status_delay(Duration::from_secs(60)).build();
    kinesis.create_stream(&name("orders"), 1).await.unwrap();
    let (_, text) = one(&kinesis, need(Purpose::Write, arn("orders"))).await;
    said(&text, &["the stream is CREATING, not ACTIVE", "a run waits for it too", "1 allowed, 2 not tried"]);
    tokio::time::sleep(Duration::from_secs(61)).await;
    let (answer, text) = one(&kinesis, need(Purpose::Write, arn("orders"))).await;
    assert!(answer.problems.is_empty(), "{text}");
}

#[tokio::test(start_paused = true)]
async fn writing_is_tried_by_a_byte_over_the_streams_own_limit_as_long_as_there_is_room_for_it() {
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
async fn a_server_that_is_not_aws_is_offered_no_record() {
    let kinesis = kinesis().await;
    let here = Here { kinesis: Some(kinesis.clone()), is_aws: false };
    let findings = Findings::gather(vec![need(Purpose::Write, arn("orders"))], &here).await;
    assert!(findings.passed());
    said(&findings.for_people(false), &["2 allowed, 1 not tried", "the server is not AWS", "kinesis:PutRecords"]);
    assert_eq!(kinesis.calls(Operation::PutRecords), 0);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_reached_is_one_problem_and_not_one_per_call() {
    for kind in [ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::Unexpected] {
        let kinesis = kinesis().await;
        kinesis.faults().fail_next_n(Operation::DescribeStreamSummary, kind, usize::MAX);
        let (answer, text) = one(&kinesis, need(Purpose::Poll, arn("orders"))).await;
        assert_eq!(answer.problems.len(), 1, "{text}");
        said(&text, &["the service cannot be reached in eu-west-1", "4 not tried"]);
        assert_eq!(kinesis.calls(Operation::ListShards), 0);
    }
    let here = Here { kinesis: None, is_aws: true };
    let findings = Findings::gather(vec![need(Purpose::Poll, arn("orders"))], &here).await;
    let text = findings.for_people(false);
    said(
        &text,
        &[
            "nobody can be asked",
            "the profile orders-reader",
            "no profile `orders`",
            "no such file",
            "`awsCredentials`",
        ],
    );
    assert!(!findings.passed());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_busy_is_asked_again_and_one_that_hangs_is_left() {
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
    said(&findings.for_people(false), &["no answer within 30 s"]);
    assert!(!findings.passed());
}

#[tokio::test(start_paused = true)]
async fn streams_are_asked_side_by_side_and_told_in_the_order_of_the_module() {
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
async fn a_stream_that_spreads_its_records_itself_has_a_note() {
    let kinesis = kinesis().await;
    kinesis.set_distribution(&arn("orders").into(), RecordDistribution::Auto).unwrap();
    let (answer, text) = one(&kinesis, need(Purpose::Write, arn("orders"))).await;
    assert!(answer.problems.is_empty(), "{text}");
    said(&text, &["AUTO", "2 on-demand"]);
}

#[tokio::test(start_paused = true)]
async fn a_consumer_is_looked_for_and_nobodys_subscription_ends() {
    let kinesis = kinesis().await;
    let (answer, text) = one(&kinesis, need(fan_out(true), arn("orders"))).await;
    assert!(answer.problems.is_empty(), "{text}");
    said(&text, &["0 of 20", "5 allowed, 2 not tried", "does not exist yet; a run registers it", "it would register"]);

    let (_, text) = one(&kinesis, need(fan_out(false), arn("orders"))).await;
    said(&text, &["the stream has no consumer billing", "lifecycle: managed"]);

    kinesis.register_stream_consumer(&arn("orders"), &"billing".parse().unwrap()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    for managed in [true, false] {
        let (answer, text) = one(&kinesis, need(fan_out(managed), arn("orders"))).await;
        assert!(answer.problems.is_empty(), "{text}");
        let allowed = if managed { "6 allowed, 1 not tried" } else { "4 allowed" };
        said(&text, &["1 of 20", "the consumer billing is ACTIVE", allowed]);
    }
    assert_eq!(kinesis.calls(Operation::RegisterStreamConsumer), 1, "only the test registers");
    assert_eq!(kinesis.calls(Operation::DeregisterStreamConsumer), 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_a_free_place_for_a_consumer_is_told() {
    let kinesis = kinesis().await;
    for number in 0..20 {
        let consumer = format!("other-{number}").parse().unwrap();
        kinesis.register_stream_consumer(&arn("orders"), &consumer).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let (_, text) = one(&kinesis, need(fan_out(true), arn("orders"))).await;
    said(&text, &["20 of 20", "the stream has 20 consumers and takes no more: a run polls it", "5 allowed"]);
}

#[tokio::test(start_paused = true)]
async fn each_call_on_a_consumer_that_is_not_allowed_is_named_with_both_resources() {
    use Operation::{DescribeStreamConsumer, ListStreamConsumers, SubscribeToShard};
    for operation in [DescribeStreamConsumer, SubscribeToShard, ListStreamConsumers] {
        let kinesis = kinesis().await;
        kinesis.register_stream_consumer(&arn("orders"), &"billing".parse().unwrap()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
        kinesis.faults().fail_next_n(operation, ErrorKind::AccessDenied, usize::MAX);
        let (answer, text) = one(&kinesis, need(fan_out(true), arn("orders"))).await;
        if operation == ListStreamConsumers {
            assert!(answer.problems.is_empty(), "a run never lists them: {text}");
            said(&text, &["how many consumers the stream has is not known"]);
            continue;
        }
        let stream = arn("orders");
        let resources = format!("{stream}/consumer/billing:* and {stream}");
        said(&text, &[&format!("kinesis:{operation} is not allowed on {resources}")]);
        assert_eq!(verdicts(&answer).len(), 7, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_key_is_told() {
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
    let told = [findings.for_people(true), findings.for_github(), findings.verdict(), json].concat();
    said(&told, &["the keys of the module file"]);
    for secret in ["AKIAIOSFODNN7", "wJalrXUtnFEMI", "FwoGZXIvYXdzEJr"] {
        assert!(!told.contains(secret), "{told}");
    }
}

/// Reports in which each field has something to say, and has nothing to say where that can be.
pub(crate) async fn examples() -> [LiveJson; 2] {
    let kinesis = kinesis().await;
    kinesis.faults().fail_next_n(Operation::GetRecords, ErrorKind::AccessDenied, usize::MAX);
    let mut elsewhere = need(Purpose::Write, name("missing"));
    elsewhere.region = AwsRegion::Default;
    let needs = vec![need(Purpose::Poll, arn("orders")), need(fan_out(true), arn("orders")), elsewhere];
    let found = gather(&kinesis, needs).await;
    let here = Here { kinesis: None, is_aws: true };
    let nobody = Findings::gather(vec![need(Purpose::Write, arn("orders"))], &here).await;
    [found.for_programs(), nobody.for_programs()]
}
