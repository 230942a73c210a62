//! Which failures of calls end a run, when, and with which exit code: generated from the table of the crate `client`.

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use async_trait::async_trait;
use clap::Parser as _;
use statefun_kinesis_client::{ErrorKind, Fault, KinesisAdmin as _, KinesisClientExt as _, Operation, PATIENCE, Retry};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_functions::{BoxError, Context, Function, GroupSettings, Message, Registry, StatefulFunctions};
use statefun_kinesis_router::{BuildError, Echo, Handler, Ingress, Router, RunError, Stateless};
use statefun_kinesis_spec::{EgressSpec, FailureHandling, GiveUp, IngressSpec, StartupPosition, StreamRoute};
use statefun_kinesis_types::{InvalidRecordHandling, LogLevel, PutRecord, StreamArn};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{not_started, run_failure};
use crate::{
    ExitCode,
    args::{Arguments, Command},
};

/// Longer than any failure may last without ending a run.
const HOUR: Duration = Duration::from_secs(3_600);

/// How much earlier or later than the table says: retries that would come too late are not made, and work in flight is
/// finished.
const ABOUT: Duration = Duration::from_secs(30);

#[track_caller]
fn assert_about(elapsed: Duration, expected: Duration, what: &str) {
    assert!(elapsed.abs_diff(expected) <= ABOUT, "{what}: {elapsed:?}, but {expected:?} expected");
}

struct Scene {
    kinesis: FakeKinesis,
    handler: Handler,
    egress: EgressSpec,
}

impl Scene {
    async fn new() -> Self {
        let kinesis = FakeKinesis::new();
        for name in ["orders", "results"] {
            kinesis.create_stream(&name.parse().unwrap(), 1).await.unwrap();
        }
        let record = PutRecord::new("k".parse().unwrap(), "v");
        kinesis.put_record(&"orders".parse().unwrap(), record).await.unwrap();
        let egress = EgressSpec::new("example/results".parse().unwrap(), "results".parse().unwrap());
        Self { kinesis, handler: Stateless::new(Arc::new(Echo)).into(), egress }
    }

    async fn build(&mut self) -> Result<Router, BuildError> {
        let orders: StreamArn = "arn:aws:kinesis:us-east-1:000000000000:stream/orders".parse().unwrap();
        let route = StreamRoute::new(orders, "example/Order".parse().unwrap(), vec!["example/a".parse().unwrap()]);
        let mut ingress = IngressSpec::new("example/orders".parse().unwrap(), vec![route]);
        ingress.startup = StartupPosition::TrimHorizon;
        let client = Arc::new(self.kinesis.clone());
        Router::builder(self.handler.clone())
            .ingress(Ingress::new(ingress, client.clone()))
            .egress(self.egress.clone(), client)
            .clock(self.kinesis.clock())
            .build()
            .await
    }

    /// Lets a run handle a record while all of these calls fail. Returns why the run ended and after which time, or
    /// `None` if it goes on for an hour.
    async fn ends(mut self, failing: Option<(Operation, ErrorKind)>) -> Option<(RunError, Duration)> {
        let router = self.build().await.unwrap();
        if let Some((operation, kind)) = failing {
            self.kinesis.faults().randomly(1, 1.0, &[operation], &[kind]);
        }
        let began = Instant::now();
        let ended = timeout(HOUR, router.run(CancellationToken::new())).await.ok()?;
        Some((ended.unwrap_err(), began.elapsed()))
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_call_ends_a_run_when_the_table_says_so_with_exit_code_4() {
    for (operation, is_write) in [(Operation::GetRecords, false), (Operation::PutRecords, true)] {
        for kind in ErrorKind::ALL {
            let ended = Scene::new().await.ends(Some((operation, kind))).await;
            // A writer gives up on a record after its own time, which is as long by default.
            let after = match kind.treatment().retry {
                Retry::Renewed | Retry::Unlimited => is_write.then_some(PATIENCE),
                Retry::For(time) => Some(time),
                Retry::Never => Some(Duration::ZERO),
            };
            match (&ended, after) {
                (None, None) => {}
                (Some((error, elapsed)), Some(after)) => {
                    assert_about(*elapsed, after, &format!("{operation}, {kind}"));
                    let failure = run_failure(error);
                    assert_eq!(failure.exit_code(), ExitCode::Kinesis, "{operation}, {kind}");
                    let said = failure.to_string();
                    let hint = if is_write { "failedRecordHandling" } else { "check --live" };
                    assert!(said.contains("hint: ") && said.contains(hint), "{operation}, {kind}: {said}");
                }
                _ => panic!("{operation}, {kind}: {ended:?}, and not after {after:?}"),
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_policy_for_records_keeps_a_run_alive_only_when_the_record_is_at_fault() {
    for kind in ErrorKind::ALL {
        let mut scene = Scene::new().await;
        scene.egress.failed_records.given_up = InvalidRecordHandling::Skip { log: LogLevel::Debug };
        let ended = scene.ends(Some((Operation::PutRecords, kind))).await;
        let is_about_record = kind.treatment_of_single_record().fault == Fault::Record;
        assert_eq!(ended.is_none(), is_about_record, "{kind}: {ended:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_start_waits_for_what_passes_and_then_fails_with_exit_code_3() {
    let line = ["statefun-kinesis", "run", "module.yaml", "--functions", "log", "--client", "aws"];
    let Command::Run(arguments) = Arguments::parse_from(line).command else { panic!("it is a run") };
    // A page token that expired is replaced, which is no failure.
    let kinds = || ErrorKind::ALL.into_iter().filter(|kind| kind.treatment().retry != Retry::Renewed);
    for operation in [Operation::DescribeStreamSummary, Operation::ListShards] {
        for kind in kinds() {
            let mut scene = Scene::new().await;
            scene.kinesis.faults().randomly(1, 1.0, &[operation], &[kind]);
            let began = Instant::now();
            let error = timeout(HOUR, scene.build()).await.expect("a start ends").unwrap_err();
            // A stream that was described a moment ago exists, whatever a listing says.
            let contradicts = (operation, kind) == (Operation::ListShards, ErrorKind::NotFound);
            let waits = kind.treatment().start_waits || contradicts;
            let expected = if waits { PATIENCE } else { Duration::ZERO };
            assert_about(began.elapsed(), expected, &format!("{operation}, {kind}: {error:?}"));
            let failure = not_started(&error, &arguments);
            assert_eq!(failure.exit_code(), ExitCode::Setup, "{operation}, {kind}");
            assert!(failure.to_string().contains("hint: `statefun-kinesis check --live`"), "{failure}");
        }
    }
}

/// A function that always fails.
struct Failing;

#[async_trait]
impl Function for Failing {
    async fn handle(&self, _: &mut Context, _: &Message) -> Result<(), BoxError> {
        Err("it is broken".into())
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_keeps_failing_ends_the_run_with_exit_code_5_and_a_hint_to_the_setting() {
    let mut scene = Scene::new().await;
    let registry = Arc::new(Registry::new().function("example/a".parse().unwrap(), Failing));
    let failures = FailureHandling::Fail { after: GiveUp { max_attempts: NonZeroU32::new(3), ..GiveUp::default() } };
    let functions = StatefulFunctions::builder()
        .functions("example/a".parse().unwrap(), GroupSettings::default(), failures, registry)
        .build();
    scene.handler = Handler::stateful(Arc::new(functions.await.unwrap()));
    let (error, _) = scene.ends(None).await.unwrap();
    let failure = run_failure(&error);
    assert_eq!(failure.exit_code(), ExitCode::Functions);
    let said = failure.to_string();
    assert!(said.contains("it is broken") && said.contains("hint: `failureHandling`"), "{said}");
}
