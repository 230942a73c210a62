//! Where reading starts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use statefun_kinesis_client::{Backoff, Clock, ErrorKind, KinesisAdmin, Operation};
use statefun_kinesis_consumer::{
    CheckpointChanges, CheckpointError, CheckpointStore, Consumer, ConsumerError, PositionStore, Settings,
    ShardPosition, StreamCheckpoint,
};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_types::{StartPosition, StartupPosition, StreamArn, StreamRef, Timestamp};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::{
    log::Warnings,
    scene::{LONG, Scene, next, nothing_more, settings, shard_id, take, texts},
    tap::Tap,
};

const TICK: Duration = Duration::from_millis(10);

#[tokio::test(start_paused = true)]
async fn trim_horizon_starts_with_the_oldest_record() {
    let scene = Scene::with_shards(1).await;
    scene.put("before").await;
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    scene.put("after").await;
    assert_eq!(take(&mut consumer, 2).await, ["before", "after"]);
}

#[tokio::test(start_paused = true)]
async fn latest_starts_with_what_arrives_from_the_start_on() {
    let scene = Scene::with_shards(2).await;
    scene.put("before").await;
    sleep(TICK).await;
    let mut consumer = scene.consumer(StartupPosition::Latest).await;
    scene.put("after").await;
    assert_eq!(take(&mut consumer, 1).await, ["after"]);
    nothing_more(&mut consumer).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_before_the_first_checkpoint_does_not_move_latest() {
    let scene = Scene::with_shards(1).await;
    scene.put("before").await;
    sleep(TICK).await;
    let first = scene.consumer(StartupPosition::Latest).await;
    scene.put("while the first ran").await;
    drop(first);
    sleep(TICK).await;
    scene.put("while nothing ran").await;
    sleep(TICK).await;
    let mut second = scene.consumer(StartupPosition::Latest).await;
    scene.put("while the second ran").await;
    assert_eq!(take(&mut second, 3).await, ["while the first ran", "while nothing ran", "while the second ran"]);
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_clock_is_ahead_waits_for_the_service() {
    #[derive(Debug)]
    struct Ahead(Arc<dyn Clock>);

    impl Clock for Ahead {
        fn now(&self) -> Timestamp {
            self.0.now().after(Duration::from_secs(3))
        }
    }

    let scene = Scene::with_shards(1).await;
    let clock = Arc::new(Ahead(scene.fake.clock()));
    let mut consumer = scene.builder(StartupPosition::Latest).clock(clock).build().await.unwrap();
    sleep(Duration::from_secs(4)).await;
    scene.put("after").await;
    assert_eq!(take(&mut consumer, 1).await, ["after"]);
}

#[tokio::test(start_paused = true)]
async fn at_timestamp_is_inclusive() {
    let scene = Scene::with_shards(1).await;
    scene.put("earlier").await;
    sleep(TICK).await;
    let time = scene.fake.clock().now();
    scene.put("at that millisecond").await;
    sleep(TICK).await;
    scene.put("later").await;
    let mut consumer = scene.consumer(StartupPosition::AtTimestamp(time)).await;
    assert_eq!(take(&mut consumer, 2).await, ["at that millisecond", "later"]);
    nothing_more(&mut consumer).await;
}

#[tokio::test(start_paused = true)]
async fn a_timestamp_older_than_retention_means_trim_horizon() {
    let scene = Scene::with_shards(1).await;
    let time = scene.fake.clock().now();
    scene.put("retention overtakes this").await;
    sleep(Duration::from_secs(25 * 60 * 60)).await;
    scene.put("kept").await;
    let mut consumer = scene.consumer(StartupPosition::AtTimestamp(time)).await;
    assert_eq!(take(&mut consumer, 1).await, ["kept"]);
    let stored = scene.checkpoints.get(&scene.arn().await).unwrap();
    assert_eq!(stored.start, StartPosition::TrimHorizon);
}

#[tokio::test(start_paused = true)]
async fn a_timestamp_to_come_is_waited_for() {
    let scene = Scene::with_shards(1).await;
    let time = scene.fake.clock().now().after(Duration::from_secs(60));
    let mut consumer = scene.consumer(StartupPosition::AtTimestamp(time)).await;
    scene.put("too early").await;
    sleep(Duration::from_secs(61)).await;
    scene.put("in time").await;
    assert_eq!(take(&mut consumer, 1).await, ["in time"]);
    nothing_more(&mut consumer).await;
}

#[tokio::test(start_paused = true)]
async fn a_stored_position_wins_and_reading_resumes_behind_it() {
    let scene = Scene::with_shards(1).await;
    for text in ["one", "two"] {
        scene.put(text).await;
    }
    let mut first = scene.consumer(StartupPosition::TrimHorizon).await;
    assert_eq!(take(&mut first, 2).await, ["one", "two"]);
    first.close().await.unwrap();
    scene.put("three").await;
    sleep(TICK).await;
    for start in [StartupPosition::TrimHorizon, StartupPosition::Latest] {
        let mut second = scene.consumer(start).await;
        let batch = next(&mut second).await;
        assert_eq!(texts(&batch), ["three"], "{start}");
    }
}

/// A store that keeps nothing; its beginning waits, or fails.
#[derive(Debug, Default)]
struct SlowStore {
    begun: AtomicUsize,
    may_begin: tokio::sync::Notify,
    fails: AtomicBool,
}

#[async_trait]
impl PositionStore for SlowStore {
    async fn load(&self, _: &StreamArn) -> Result<Option<StreamCheckpoint>, CheckpointError> {
        Ok(None)
    }

    async fn begin(&self, _: &StreamArn, checkpoint: StreamCheckpoint) -> Result<(), CheckpointError> {
        assert!(matches!(checkpoint.start, StartPosition::AtTimestamp(_)));
        assert_eq!(checkpoint.shards, [(shard_id(0), ShardPosition::Unread)].into());
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.may_begin.notified().await;
        if self.fails.load(Ordering::Relaxed) { Err(CheckpointError::new("the disk is full")) } else { Ok(()) }
    }
}

#[async_trait]
impl CheckpointStore for SlowStore {
    async fn save(&self, _: &StreamArn, _: &CheckpointChanges) -> Result<(), CheckpointError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn where_reading_starts_is_stored_before_anything_is_read() {
    let scene = Scene::with_shards(1).await;
    let store = Arc::<SlowStore>::default();
    let mut build = Box::pin(scene.builder(StartupPosition::Latest).checkpoints(store.clone()).build());
    assert!(timeout(LONG, &mut build).await.is_err(), "the consumer must wait for its store");
    assert_eq!(store.begun.load(Ordering::Relaxed), 1);
    assert_eq!(scene.fake.calls(Operation::GetShardIterator), 0);
    store.may_begin.notify_one();
    let mut consumer = build.await.unwrap();
    scene.put("after").await;
    assert_eq!(take(&mut consumer, 1).await, ["after"]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_cannot_begin_is_an_error_with_its_cause() {
    let scene = Scene::with_shards(1).await;
    let store = Arc::<SlowStore>::default();
    store.fails.store(true, Ordering::Relaxed);
    store.may_begin.notify_one();
    let error = scene.builder(StartupPosition::Latest).checkpoints(store).build().await.unwrap_err();
    assert!(matches!(error, ConsumerError::Checkpoint { .. }), "{error}");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "the disk is full");
}

#[tokio::test(start_paused = true)]
async fn old_closed_shards_do_no_harm_when_filters_are_ignored() {
    let scene = Scene::with_shards(1).await;
    scene.put_into(0, "old").await;
    scene.split(0).await;
    sleep(TICK).await;
    let tap = Tap::new(&scene.fake);
    tap.ignores_filters.store(true, Ordering::Relaxed);
    let mut consumer = scene.builder_on(tap, StartupPosition::Latest).build().await.unwrap();
    scene.put_into(1, "one").await;
    assert_eq!(take(&mut consumer, 1).await, ["one"]);
    scene.put_into(2, "two").await;
    assert_eq!(take(&mut consumer, 1).await, ["two"]);
    nothing_more(&mut consumer).await;
}

#[tokio::test(start_paused = true)]
async fn a_time_filter_that_the_service_rejects_is_left_out() {
    let scene = Scene::with_shards(1).await;
    scene.fake.faults().fail_next(Operation::ListShards, ErrorKind::InvalidArgument);
    let mut consumer = scene.consumer(StartupPosition::Latest).await;
    scene.put("after").await;
    assert_eq!(take(&mut consumer, 1).await, ["after"]);
}

#[tokio::test(start_paused = true)]
async fn a_time_filter_that_an_emulator_makes_nothing_of_does_no_harm() {
    let scene = Scene::with_shards(1).await;
    scene.put("before").await;
    sleep(TICK).await;
    let tap = Tap::new(&scene.fake);
    tap.knows_no_time.store(true, Ordering::Relaxed);
    let mut consumer = scene.builder_on(tap, StartupPosition::Latest).build().await.unwrap();
    scene.put("after").await;
    assert_eq!(take(&mut consumer, 1).await, ["after"]);
}

#[tokio::test(start_paused = true)]
async fn shards_that_closed_before_the_first_start_are_not_read_after_a_restart_either() {
    let scene = Scene::with_shards(1).await;
    scene.put_into(0, "old").await;
    scene.split(0).await;
    sleep(TICK).await;
    for _ in 0..2 {
        let mut consumer = scene.consumer(StartupPosition::Latest).await;
        // Complete listings come now and then, and name the old shard.
        if let Ok(came) = timeout(Duration::from_secs(1_000), consumer.next()).await {
            panic!("{came:?} came, where nothing should");
        }
        consumer.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_being_created_is_waited_for() {
    let fake = FakeKinesis::builder().status_delay(Duration::from_secs(30)).build();
    let scene = Scene::on(fake, 1).await;
    let mut consumer = scene.consumer(StartupPosition::Latest).await;
    scene.put("first").await;
    assert_eq!(take(&mut consumer, 1).await, ["first"]);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_takes_too_long_is_an_error() {
    let fake = FakeKinesis::builder().status_delay(Duration::from_secs(3_000)).build();
    let scene = Scene::on(fake, 1).await;
    let error = scene.builder(StartupPosition::Latest).build().await.unwrap_err();
    assert!(error.to_string().contains("orders is still CREATING"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_named_with_a_remedy() {
    let scene = Scene::with_shards(1).await;
    let build = |stream: &str| {
        let client = Arc::new(scene.fake.clone());
        Consumer::builder(client).stream(stream.parse::<StreamRef>().unwrap()).settings(settings()).build()
    };
    let missing = build("invoices").await.unwrap_err();
    assert!(matches!(missing, ConsumerError::StreamNotFound { .. }), "{missing:?}");
    assert!(missing.to_string().contains("stream invoices does not exist: check its name"), "{missing}");

    let elsewhere = build("arn:aws:kinesis:us-east-1:111111111111:stream/orders").await.unwrap_err();
    assert!(matches!(elsewhere, ConsumerError::AccessDenied { .. }), "{elsewhere:?}");

    scene.fake.faults().fail_next_n(Operation::DescribeStreamSummary, ErrorKind::Unavailable, 1_000);
    let away = build("orders").await.unwrap_err();
    assert!(matches!(away, ConsumerError::Unavailable { .. }), "{away:?}");
    assert!(away.to_string().contains("stream orders could not be reached for 120 s"), "{away}");
    scene.fake.faults().clear();

    let none = Consumer::builder(Arc::new(scene.fake.clone())).build().await.unwrap_err();
    assert!(matches!(none, ConsumerError::NoStreams), "{none:?}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_answers_for_another_stream_is_not_read() {
    let scene = Scene::with_shards(1).await;
    let tap = Tap::new(&scene.fake);
    let arn = scene.arn().await;
    tap.is_of_other_account.store(true, Ordering::Relaxed);
    let build = Consumer::builder(tap).stream(arn.clone()).settings(settings()).build().await;
    let error = build.unwrap_err();
    assert!(matches!(&error, ConsumerError::OtherStream { asked, .. } if *asked == arn), "{error:?}");
    assert!(error.to_string().contains(":999999999999:stream/orders"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn failures_that_pass_do_not_keep_a_consumer_from_starting() {
    let scene = Scene::with_shards(1).await;
    scene.put("one").await;
    for operation in [Operation::DescribeStreamSummary, Operation::ListShards, Operation::GetShardIterator] {
        scene.fake.faults().fail_next_n(operation, ErrorKind::Throttled, 3);
        scene.fake.faults().fail_next_n(operation, ErrorKind::Unavailable, 2);
    }
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    assert_eq!(take(&mut consumer, 1).await, ["one"]);
}

#[tokio::test(start_paused = true)]
async fn several_streams_are_read_side_by_side_and_one_named_twice_once() {
    let scene = Scene::with_shards(2).await;
    let invoices: StreamRef = "invoices".parse().unwrap();
    scene.fake.create_stream(&invoices.name(), 1).await.unwrap();
    let other = Scene { fake: scene.fake.clone(), stream: invoices.clone(), checkpoints: scene.checkpoints.clone() };
    let arns = [scene.arn().await, other.arn().await];
    let builder = scene.builder(StartupPosition::TrimHorizon).stream(invoices).stream(arns[0].clone());
    let mut consumer = builder.build().await.unwrap();
    assert_eq!(consumer.streams(), arns);
    scene.put("an order").await;
    other.put("an invoice").await;
    for _ in 0..2 {
        let batch = next(&mut consumer).await;
        let expected = if *batch.stream() == arns[0] { "an order" } else { "an invoice" };
        assert_eq!(texts(&batch), [expected]);
        batch.done();
    }
    nothing_more(&mut consumer).await;
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_replaced_between_two_runs_is_read_from_its_oldest_record() {
    let scene = Scene::with_shards(1).await;
    scene.put("old").await;
    let mut first = scene.consumer(StartupPosition::TrimHorizon).await;
    assert_eq!(take(&mut first, 1).await, ["old"]);
    first.close().await.unwrap();
    scene.fake.delete_stream(&scene.stream).await.unwrap();
    sleep(TICK).await;
    scene.fake.create_stream(&scene.stream.name(), 1).await.unwrap();
    scene.put("new").await;
    sleep(TICK).await;
    let mut second = scene.consumer(StartupPosition::Latest).await;
    assert_eq!(take(&mut second, 1).await, ["new"]);
}

#[tokio::test(start_paused = true)]
async fn a_listing_whose_token_expires_between_two_pages_starts_over() {
    for start in [StartupPosition::TrimHorizon, StartupPosition::Latest] {
        let scene = Scene::with_shards(5).await;
        let tap = Tap::new(&scene.fake);
        tap.shards_per_page.store(2, Ordering::Relaxed);
        // The service gives a token five minutes.
        tap.late_pages.store(1, Ordering::Relaxed);
        let mut consumer = scene.builder_on(tap, start).build().await.unwrap();
        let stored = scene.checkpoints.get(&scene.arn().await).unwrap();
        assert_eq!(stored.shards.keys().cloned().collect::<Vec<_>>(), (0..5).map(shard_id).collect::<Vec<_>>());
        let mut expected = Vec::new();
        for number in 0..5 {
            let text = format!("shard {number}");
            scene.put_into(number, &text).await;
            expected.push(text);
        }
        let mut taken = take(&mut consumer, 5).await;
        taken.sort();
        assert_eq!(taken, expected);
        nothing_more(&mut consumer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn tokens_that_expire_at_once_end_a_start_in_time_and_make_no_hot_loop() {
    let scene = Scene::with_shards(1).await;
    scene.fake.faults().fail_next_n(Operation::ListShards, ErrorKind::ExpiredToken, 1_000_000);
    let build = scene.builder(StartupPosition::TrimHorizon).build();
    let error = timeout(2 * LONG, build).await.expect("the start has a deadline").unwrap_err();
    assert!(matches!(error, ConsumerError::Refused { .. }), "{error:?}");
    let calls = scene.fake.calls(Operation::ListShards);
    assert!((3..60).contains(&calls), "{calls} calls");
}

#[tokio::test(start_paused = true)]
async fn a_timestamp_counts_as_older_than_retention_when_it_is() {
    const RETENTION: Duration = Duration::from_secs(24 * 3_600);
    let millisecond = Duration::from_millis(1);
    for (age, expected) in [
        (RETENTION, None),
        (RETENTION - millisecond, None),
        (RETENTION + millisecond, Some(StartPosition::TrimHorizon)),
    ] {
        let scene = Scene::with_shards(1).await;
        let time = scene.fake.clock().now().before(age);
        let consumer = scene.consumer(StartupPosition::AtTimestamp(time)).await;
        let stored = scene.checkpoints.get(&scene.arn().await).unwrap();
        assert_eq!(stored.start, expected.unwrap_or(StartPosition::AtTimestamp(time)), "{age:?}");
        consumer.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn shards_that_retention_removed_between_two_runs_are_forgotten_later_and_only_a_loss_is_logged() {
    let scene = Scene::with_shards(2).await;
    for number in [0, 1] {
        scene.put_into(number, "read").await;
    }
    let mut first = scene.consumer(StartupPosition::TrimHorizon).await;
    take(&mut first, 2).await;
    scene.split(0).await;
    sleep(Duration::from_secs(60)).await;
    let arn = scene.arn().await;
    let stored = || scene.checkpoints.get(&arn).unwrap().shards;
    assert_eq!(stored()[&shard_id(0)], ShardPosition::Finished);
    first.close().await.unwrap();

    scene.put_into(1, "lost").await;
    scene.split(1).await;
    sleep(Duration::from_secs(25 * 3_600)).await;
    let warnings = Warnings::collect();
    let second = scene.consumer(StartupPosition::TrimHorizon).await;
    sleep(Duration::from_secs(60)).await;
    let lines = warnings.lines();
    assert_eq!(lines.len(), 1, "{lines:#?}");
    assert!(lines[0].contains(shard_id(1).as_str()) && lines[0].contains(arn.as_str()), "{lines:#?}");
    // Complete listings come every ten minutes.
    sleep(Duration::from_secs(1_300)).await;
    assert!(!stored().contains_key(&shard_id(0)), "finished, and its children are listed: {:?}", stored());
    assert!(stored().contains_key(&shard_id(1)), "a listing may be wrong: {:?}", stored());
    sleep(Duration::from_secs(25 * 3_600)).await;
    assert!(!stored().contains_key(&shard_id(1)), "{:?}", stored());
    second.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn settings_of_any_length_do_not_overflow() {
    let scene = Scene::with_shards(1).await;
    let longest = Duration::MAX;
    let patient = Settings {
        poll_idle_max: longest,
        discovery_interval: longest,
        backoff: Backoff::new(longest, longest),
        checkpoint_interval: longest,
        startup_timeout: longest,
        ..settings()
    };
    scene.put("one").await;
    let builder = scene.builder(StartupPosition::TrimHorizon).settings(patient.clone());
    let mut consumer = builder.build().await.unwrap();
    assert_eq!(take(&mut consumer, 1).await, ["one"]);
    nothing_more(&mut consumer).await;
    consumer.close().await.unwrap();

    let shutdown = CancellationToken::new();
    scene.fake.faults().fail_next_n(Operation::DescribeStreamSummary, ErrorKind::Unavailable, 2);
    let builder = scene.builder(StartupPosition::TrimHorizon).settings(patient).shutdown(shutdown.clone());
    let (built, ()) = tokio::join!(builder.build(), async {
        sleep(LONG).await;
        shutdown.cancel();
    });
    assert!(matches!(built, Err(ConsumerError::ShutDown)), "{built:?}");
}
