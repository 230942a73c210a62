//! Compares policies with the calls that a run makes.

use std::collections::BTreeSet;
use std::{sync::Arc, time::Duration};

use serde_json::{Value, json};
use statefun_kinesis_client::{FanOutClient, KinesisAdmin, KinesisClientExt, Operation};
use statefun_kinesis_consumer::{Consumer, FanOut};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_router::{Echo, Ingress, Router};
use statefun_kinesis_spec::{Module, Options, SourceFile, read_module};
use statefun_kinesis_types::{PutRecord, StartupPosition, StreamArn};
use tokio_util::sync::CancellationToken;

use super::{action, policies::Policies};

const WRITE: [&str; 3] = ["kinesis:DescribeStreamSummary", "kinesis:ListShards", "kinesis:PutRecords"];

fn module(text: &str) -> Module {
    let files = [SourceFile::new("module.yaml", text)];
    let checked = read_module(&files, &Options::default());
    let problems: Vec<_> = checked.diagnostics.iter().map(|found| found.to_line(&files)).collect();
    checked.module.unwrap_or_else(|| panic!("{problems:#?}"))
}

fn policies(text: &str) -> (Value, Vec<String>) {
    let policies = Policies::new(&module(text));
    (serde_json::from_str(&policies.render()).unwrap(), policies.notes)
}

fn ingress(id: &str, arn: &str, more: &str) -> String {
    format!(
        "kind: io.statefun.kinesis.v1/ingress\nspec:\n  id: example/{id}\n  startupPosition: {{type: trim-horizon}}\n\
         {more}  streams:\n    - streamArn: {arn}\n      valueType: example/Order\n      targets: [example/handler]\n---\n"
    )
}

fn egress(id: &str, stream: &str, more: &str) -> String {
    format!("kind: io.statefun.kinesis.v1/egress\nspec:\n  id: example/{id}\n  streamName: {stream}\n{more}---\n")
}

const ORDERS: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/orders";
const RETURNS: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/returns";
const POLL: [&str; 4] =
    ["kinesis:DescribeStreamSummary", "kinesis:ListShards", "kinesis:GetShardIterator", "kinesis:GetRecords"];

#[test]
fn streams_of_one_kind_share_a_statement_and_each_is_named_once() {
    let text = [
        ingress("a", RETURNS, ""),
        ingress("b", ORDERS, ""),
        ingress("c", ORDERS, ""),
        egress("d", "out", "  awsRegion: {type: specific, id: cn-north-1}\n"),
    ];
    let (policy, notes) = policies(&text.concat());
    let expected = json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "PollStreams", "Effect": "Allow", "Action": POLL, "Resource": [ORDERS, RETURNS]},
        {"Sid": "WriteStreams", "Effect": "Allow", "Action": WRITE,
         "Resource": ["arn:aws-cn:kinesis:cn-north-1:*:stream/out"]},
    ]});
    assert_eq!(policy, expected);
    assert!(notes[0].contains("without an ARN") && notes[0].ends_with(": out"), "{notes:?}");
    assert!(notes[1].contains("kms:Decrypt to read, kms:GenerateDataKey to write"), "{notes:?}");
}

#[test]
fn each_of_several_credentials_has_its_own_policy_including_those_that_assume_a_role() {
    let role = "arn:aws:iam::999999999999:role/writer";
    let text = [
        ingress("a", ORDERS, "  awsCredentials: {type: profile, profile: reader}\n"),
        egress("b", "out", &format!("  awsCredentials: {{type: assume-role, roleArn: \"{role}\"}}\n")),
    ];
    let (policies, notes) = policies(&text.concat());
    let principals = policies["principals"].as_array().unwrap();
    let who: Vec<_> = principals.iter().map(|principal| principal["credentials"].as_str().unwrap()).collect();
    assert_eq!(
        who,
        ["the profile reader", &format!("the role {role}, assumed by the AWS default chain"), "the AWS default chain"]
    );
    assert_eq!(principals[0]["usedBy"], json!(["ingress example/a"]));
    assert_eq!(principals[0]["policy"]["Statement"][0]["Action"], json!(POLL));
    assert_eq!(principals[1]["policy"]["Statement"][0]["Sid"], "WriteStreams");
    let assume = json!([{"Sid": "AssumeRoles", "Effect": "Allow", "Action": ["sts:AssumeRole"], "Resource": [role]}]);
    assert_eq!(principals[2]["policy"]["Statement"], assume);
    assert!(notes.iter().any(|note| note.contains("trust policy")), "{notes:?}");
}

/// The actions that a policy allows on resources that have this in their ARN.
fn allowed(policy: &Value, resource: &str) -> BTreeSet<String> {
    let statements = policy["Statement"].as_array().unwrap().iter();
    let is_meant = |arn: &Value| arn.as_str().unwrap().contains(resource);
    let meant = statements.filter(|statement| statement["Resource"].as_array().unwrap().iter().any(is_meant));
    let actions = meant.flat_map(|statement| statement["Action"].as_array().unwrap());
    actions.map(|action| action.as_str().unwrap().to_owned()).collect()
}

/// Counts the calls to a service from now on.
struct Calls {
    kinesis: FakeKinesis,
    before: Vec<u64>,
}

impl Calls {
    fn of(kinesis: &FakeKinesis) -> Self {
        let before = Operation::ALL.map(|operation| kinesis.calls(operation)).to_vec();
        Self { kinesis: kinesis.clone(), before }
    }

    fn actions(&self) -> BTreeSet<String> {
        let counts = Operation::ALL.into_iter().zip(&self.before);
        let called = counts.filter(|(operation, before)| self.kinesis.calls(*operation) > **before);
        called.map(|(operation, _)| action(operation)).collect()
    }
}

/// A service with one stream of its own, so that its calls show who made them.
async fn with_stream(name: &str) -> FakeKinesis {
    let kinesis = FakeKinesis::builder().account("123456789012").build();
    kinesis.create_stream(&name.parse().unwrap(), 2).await.unwrap();
    kinesis
}

/// An hour: long enough for everything that a run repeats, such as shard listings.
const A_WHILE: Duration = Duration::from_secs(3_600);

async fn put_order(kinesis: &FakeKinesis) {
    let record = PutRecord::new("customer-17".parse().unwrap(), "one espresso");
    kinesis.put_record(&"orders".parse().unwrap(), record).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_run_that_polls_makes_the_calls_that_the_policy_allows_and_no_others() {
    let text = [ingress("a", ORDERS, ""), egress("b", "out", "")].concat();
    let (from, to) = (with_stream("orders").await, with_stream("out").await);
    put_order(&from).await;
    let (reading, writing) = (Calls::of(&from), Calls::of(&to));
    // The producer lists shards only after throttling.
    to.faults().fail_next_entries(|_, _| true);

    let module = module(&text);
    let mut builder = Router::builder(Arc::new(Echo)).clock(from.clock());
    for ingress in module.ingresses {
        builder = builder.ingress(Ingress::new(ingress, Arc::new(from.clone())));
    }
    for egress in module.egresses {
        builder = builder.egress(egress, Arc::new(to.clone()));
    }
    let router = builder.build().await.unwrap();
    let stop = CancellationToken::new();
    let (progress, running) = (router.progress(), tokio::spawn(router.run(stop.clone())));
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(progress.counts().records_out, 1);
    stop.cancel();
    running.await.unwrap().unwrap();

    let (policy, _) = policies(&text);
    assert_eq!(reading.actions(), allowed(&policy, "stream/orders"));
    assert_eq!(writing.actions(), allowed(&policy, "stream/out"));
}

/// The calls of a consumer that reads one record by enhanced fan-out, or by polling at the limit of consumers.
async fn fan_out(kinesis: &FakeKinesis, fan_out: FanOut) -> BTreeSet<String> {
    put_order(kinesis).await;
    let calls = Calls::of(kinesis);
    let builder = Consumer::builder(Arc::new(kinesis.clone())).stream(ORDERS.parse::<StreamArn>().unwrap());
    let builder = builder.start(StartupPosition::TrimHorizon).clock(kinesis.clock());
    let mut consumer = builder.fan_out(Arc::new(kinesis.clone()), fan_out).build().await.unwrap();
    let (_, records, done) = consumer.next().await.unwrap().unwrap().into_parts();
    assert_eq!(records.len(), 1);
    done.done();
    tokio::time::sleep(A_WHILE).await;
    consumer.close().await.unwrap();
    calls.actions()
}

#[tokio::test(start_paused = true)]
async fn a_run_by_enhanced_fan_out_makes_the_calls_that_the_policy_allows_and_no_others() {
    let policy = |lifecycle: &str| {
        let consumer = format!("  consumer: {{type: enhanced-fan-out, name: billing, lifecycle: {lifecycle}}}\n");
        allowed(&policies(&ingress("a", ORDERS, &consumer)).0, "stream/orders")
    };
    let (with_room, without_room) = (with_stream("orders").await, with_stream("orders").await);
    for number in 0..20 {
        let other = format!("other-{number}").parse().unwrap();
        without_room.register_stream_consumer(&ORDERS.parse().unwrap(), &other).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    let mut calls = fan_out(&with_room, FanOut::managed("billing".parse().unwrap())).await;
    calls.append(&mut fan_out(&without_room, FanOut::managed("billing".parse().unwrap())).await);
    assert_eq!(calls, policy("managed"));

    let given = with_stream("orders").await;
    given.register_stream_consumer(&ORDERS.parse().unwrap(), &"billing".parse().unwrap()).await.unwrap();
    let calls = fan_out(&given, FanOut::given("billing".parse().unwrap())).await;
    assert_eq!(calls, policy("given"));
}

#[test]
fn calls_on_a_consumer_are_allowed_on_it_and_on_its_stream() {
    let consumer = "  consumer: {type: enhanced-fan-out, name: billing, lifecycle: given}\n";
    let (policy, _) = policies(&ingress("a", ORDERS, consumer));
    let both = json!([ORDERS, format!("{ORDERS}/consumer/billing:*")]);
    let expected = json!({"Version": "2012-10-17", "Statement": [
        {"Sid": "DescribeStreams", "Effect": "Allow", "Resource": [ORDERS],
         "Action": ["kinesis:DescribeStreamSummary", "kinesis:ListShards"]},
        {"Sid": "SubscribeToShards", "Effect": "Allow", "Resource": both,
         "Action": ["kinesis:DescribeStreamConsumer", "kinesis:SubscribeToShard"]},
    ]});
    assert_eq!(policy, expected);
}

#[test]
fn streams_for_dead_letters_are_written_to() {
    let letters = "  invalidRecordHandling: {type: dead-letter, stream: invalid}\n";
    let failed = "  failedRecordHandling: {type: dead-letter, stream: failed}\n  allowedStreams: [more]\n";
    let (policy, notes) = policies(&[ingress("a", ORDERS, letters), egress("b", "out", failed)].concat());
    let short = ["kinesis:DescribeStreamSummary", "kinesis:PutRecords"];
    let expected = json!([
        {"Sid": "PollStreams", "Effect": "Allow", "Action": POLL, "Resource": [ORDERS]},
        {"Sid": "WriteDeadLetters", "Effect": "Allow", "Action": short,
         "Resource": ["arn:aws:kinesis:us-east-1:*:stream/invalid"]},
        {"Sid": "WriteStreams", "Effect": "Allow", "Action": WRITE, "Resource": [
            "arn:aws:kinesis:*:*:stream/failed", "arn:aws:kinesis:*:*:stream/more", "arn:aws:kinesis:*:*:stream/out"]},
    ]);
    assert_eq!(policy["Statement"], expected);
    assert!(!notes.iter().any(|note| note.contains("allowedStreams")), "{notes:?}");
    let (_, notes) = policies(&egress("b", "out", ""));
    assert!(notes.iter().any(|note| note.contains("`allowedStreams`")), "{notes:?}");
}
