//! Enhanced fan-out.

use std::{sync::Arc, time::Duration};

use statefun_kinesis_client::{
    ConsumerPageRequest, ConsumerStatus, ErrorKind, FanOutClient, KinesisAdmin, Operation, StreamConsumer,
};
use statefun_kinesis_consumer::{Consumer, ConsumerBuilder, ConsumerError, FanOut, ReadingMode, Settings};
use statefun_kinesis_fake::{FakeKinesis, SubscriptionFault};
use statefun_kinesis_types::{ConsumerName, StartupPosition};
use tokio::time::{Instant, sleep, timeout};

use crate::log::Warnings;
use crate::scene::{LONG, Scene, failure, next, nothing_more, settings, take, texts};

fn name() -> ConsumerName {
    "billing".parse().unwrap()
}

fn builder(scene: &Scene, fan_out: FanOut) -> ConsumerBuilder {
    scene.builder(StartupPosition::TrimHorizon).fan_out(Arc::new(scene.fake.clone()), fan_out)
}

async fn managed(scene: &Scene) -> Consumer {
    builder(scene, FanOut::managed(name())).build().await.unwrap()
}

async fn consumers(scene: &Scene) -> Vec<StreamConsumer> {
    let arn = scene.arn().await;
    scene.fake.list_stream_consumers(&arn, ConsumerPageRequest::default()).await.unwrap().consumers
}

#[tokio::test(start_paused = true)]
async fn records_are_pushed_and_never_polled() {
    let scene = Scene::with_shards(2).await;
    scene.put("before").await;
    let mut consumer = managed(&scene).await;
    assert_eq!(take(&mut consumer, 1).await, ["before"]);
    sleep(Duration::from_secs(3_000)).await;
    let put = Instant::now();
    scene.put("after").await;
    assert_eq!(take(&mut consumer, 1).await, ["after"]);
    assert_eq!(put.elapsed(), Duration::ZERO, "no wait between arrival and batch");
    assert_eq!(scene.fake.calls(Operation::GetRecords), 0);
    let metrics = &consumer.metrics().snapshot()[0];
    assert_eq!((metrics.mode, metrics.records, metrics.retries.len()), (ReadingMode::FanOut, 2, 0));
    assert_eq!(metrics.shards[0].behind_latest, Some(Duration::ZERO));
    // Fifty minutes of two shards, each subscribed to again before its five minutes are over.
    let subscribed = scene.fake.calls(Operation::SubscribeToShard);
    assert!((2 * 10..=2 * 14).contains(&subscribed), "{subscribed} subscriptions");
}

#[tokio::test(start_paused = true)]
async fn a_managed_consumer_is_registered_once_and_stays_unless_told_otherwise() {
    let scene = Scene::on(FakeKinesis::builder().status_delay(Duration::from_secs(20)).build(), 1).await;
    sleep(LONG).await;
    for _ in 0..2 {
        managed(&scene).await.close().await.unwrap();
    }
    assert_eq!(scene.fake.calls(Operation::RegisterStreamConsumer), 1);
    assert_eq!(consumers(&scene).await[0].name, name());

    let once = builder(&scene, FanOut::managed(name()).deregister_on_close()).build().await.unwrap();
    once.close().await.unwrap();
    sleep(LONG).await;
    assert_eq!(consumers(&scene).await, []);
}

#[tokio::test(start_paused = true)]
async fn a_given_consumer_has_to_exist_and_is_never_changed() {
    let scene = Scene::with_shards(1).await;
    let given = || builder(&scene, FanOut::given(name()).deregister_on_close()).build();
    let error = given().await.unwrap_err();
    assert!(matches!(error, ConsumerError::NoFanOutConsumer { .. }), "{error:?}");
    assert!(error.to_string().contains("has no consumer billing: register it"), "{error}");

    scene.fake.register_stream_consumer(&scene.arn().await, &name()).await.unwrap();
    scene.put("one").await;
    let mut consumer = given().await.unwrap();
    assert_eq!(take(&mut consumer, 1).await, ["one"]);
    consumer.close().await.unwrap();
    assert_eq!(consumers(&scene).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stream_without_room_for_another_consumer_is_polled() {
    let scene = Scene::with_shards(1).await;
    for number in 0..20 {
        let other = format!("other-{number}").parse().unwrap();
        scene.fake.register_stream_consumer(&scene.arn().await, &other).await.unwrap();
    }
    scene.put("one").await;
    let mut consumer = managed(&scene).await;
    assert_eq!(take(&mut consumer, 1).await, ["one"]);
    assert_eq!(consumer.metrics().snapshot()[0].mode, ReadingMode::Polling);
    assert_eq!(scene.fake.calls(Operation::SubscribeToShard), 0);
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_reported_with_the_remedy() {
    let scene = Scene::with_shards(2).await;
    for operation in [Operation::DescribeStreamConsumer, Operation::RegisterStreamConsumer] {
        scene.fake.faults().fail_next(operation, ErrorKind::AccessDenied);
        let error = builder(&scene, FanOut::managed(name())).build().await.unwrap_err();
        assert!(error.to_string().contains("allow kinesis:RegisterStreamConsumer"), "{error}");
    }
    scene.fake.faults().randomly(1, 1.0, &[Operation::SubscribeToShard], &[ErrorKind::AccessDenied]);
    let mut consumer = managed(&scene).await;
    let error = failure(&mut consumer).await;
    assert!(matches!(error, ConsumerError::FanOut { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn whatever_ends_a_subscription_reading_goes_on_without_a_gap_or_a_repetition() {
    let scene = Scene::with_shards(1).await;
    let mut consumer = managed(&scene).await;
    let mut number = 0;
    for fault in [
        SubscriptionFault::Close,
        SubscriptionFault::Drop,
        SubscriptionFault::Stall,
        SubscriptionFault::Fail(ErrorKind::InUse),
        SubscriptionFault::Fail(ErrorKind::Unavailable),
        SubscriptionFault::Fail(ErrorKind::LimitExceeded),
    ] {
        sleep(Duration::from_secs(70)).await;
        scene.put(&number.to_string()).await;
        assert_eq!(take(&mut consumer, 1).await, [number.to_string()], "{fault:?}");
        scene.fake.faults().fault_subscriptions(fault);
        for _ in 0..3 {
            number += 1;
            scene.put(&number.to_string()).await;
        }
        let began = Instant::now();
        let expected: Vec<_> = (number - 2..=number).map(|number| number.to_string()).collect();
        assert_eq!(take(&mut consumer, 3).await, expected, "{fault:?}");
        let most = if fault == SubscriptionFault::Stall { 50 } else { 12 };
        assert!(began.elapsed() <= Duration::from_secs(most), "{fault:?}: {:?}", began.elapsed());
        number += 1;
    }
    nothing_more(&mut consumer).await;
}

#[tokio::test(start_paused = true)]
async fn a_newer_reader_of_the_same_name_takes_over_within_seconds() {
    let scene = Scene::with_shards(1).await;
    let mut old = managed(&scene).await;
    sleep(Duration::from_secs(60)).await;
    scene.put("one").await;
    assert_eq!(take(&mut old, 1).await, ["one"]);
    sleep(Duration::from_secs(1)).await;
    let mut new = managed(&scene).await;
    sleep(Duration::from_secs(1)).await;
    scene.put("two").await;
    let began = Instant::now();
    assert_eq!(take(&mut new, 1).await, ["two"]);
    assert!(began.elapsed() <= Duration::from_secs(1), "{:?}", began.elapsed());
    // The old one waits longer than the new one needs to be closed and started again.
    assert!(timeout(Duration::from_secs(4), old.next()).await.is_err());
    let retries = &old.metrics().snapshot()[0].retries;
    assert_eq!(retries.as_slice(), [(ErrorKind::InUse, 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_restart_within_five_seconds_waits_for_the_subscription_before_it() {
    let scene = Scene::with_shards(1).await;
    let first = managed(&scene).await;
    sleep(Duration::from_secs(1)).await;
    drop(first);
    scene.put("one").await;
    let began = Instant::now();
    let mut second = managed(&scene).await;
    assert_eq!(take(&mut second, 1).await, ["one"]);
    assert!(began.elapsed() <= Duration::from_secs(7), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_managed_consumer_that_is_removed_is_registered_again_and_a_given_one_is_an_error() {
    let scene = Scene::with_shards(2).await;
    let mut consumer = managed(&scene).await;
    sleep(Duration::from_secs(10)).await;
    scene.fake.deregister_stream_consumer(&consumers(&scene).await[0].arn).await.unwrap();
    scene.put("one").await;
    assert_eq!(take(&mut consumer, 1).await, ["one"]);
    consumer.close().await.unwrap();
    assert_eq!(scene.fake.calls(Operation::RegisterStreamConsumer), 2);

    let mut consumer = builder(&scene, FanOut::given(name())).build().await.unwrap();
    sleep(Duration::from_secs(10)).await;
    scene.fake.deregister_stream_consumer(&consumers(&scene).await[0].arn).await.unwrap();
    let error = failure(&mut consumer).await;
    assert!(matches!(error, ConsumerError::NoFanOutConsumer { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn children_start_behind_their_parents() {
    let scene = Scene::with_shards(1).await;
    scene.put("parent").await;
    let mut settings = settings();
    settings.discovery_interval = Duration::from_secs(3_600);
    let fan_out = FanOut::managed(name());
    let mut consumer = builder(&scene, fan_out).settings(settings).build().await.unwrap();
    scene.split(0).await;
    scene.put_into(1, "left").await;
    scene.put_into(2, "right").await;
    scene.merge(1, 2).await;
    scene.put("merged").await;
    let batch = next(&mut consumer).await;
    assert_eq!(texts(&batch), ["parent"]);
    nothing_more(&mut consumer).await;
    batch.done();
    let mut children = take(&mut consumer, 2).await;
    children.sort();
    assert_eq!(children, ["left", "right"]);
    assert_eq!(take(&mut consumer, 1).await, ["merged"]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_stream_is_a_clear_error() {
    let scene = Scene::with_shards(2).await;
    let mut consumer = managed(&scene).await;
    sleep(Duration::from_secs(10)).await;
    // The service does not remove a stream that has consumers.
    scene.fake.deregister_stream_consumer(&consumers(&scene).await[0].arn).await.unwrap();
    scene.fake.delete_stream(&scene.stream).await.unwrap();
    let error = failure(&mut consumer).await;
    assert!(matches!(error, ConsumerError::StreamDeleted { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_holds_the_service_back() {
    let scene = Scene::with_shards(1).await;
    let texts_put: Vec<String> = (0..500).map(|number| number.to_string()).collect();
    let settings = Settings { prefetch_records: 3, ..settings() };
    let mut consumer = builder(&scene, FanOut::managed(name())).settings(settings).build().await.unwrap();
    let mut taken = Vec::new();
    for text in &texts_put {
        scene.put(text).await;
        sleep(Duration::from_millis(20)).await;
    }
    while taken.len() < texts_put.len() {
        // Longer than a subscription lives.
        sleep(Duration::from_secs(400)).await;
        let read_ahead = consumer.metrics().snapshot()[0].records as usize - taken.len();
        assert!((1..=3).contains(&read_ahead), "{read_ahead} records read ahead");
        let batch = next(&mut consumer).await;
        taken.extend(texts(&batch));
        batch.done();
    }
    assert_eq!(taken, texts_put);
}

/// Others take all the room that the stream has for consumers.
async fn crowd(scene: &Scene) {
    for number in 0.. {
        let other = format!("other-{number}").parse().unwrap();
        match scene.fake.register_stream_consumer(&scene.arn().await, &other).await {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::LimitExceeded => break,
            Err(error) => panic!("{error}"),
        }
    }
}

async fn deregister(scene: &Scene, name: &ConsumerName) {
    let consumer = scene.fake.describe_stream_consumer(&scene.arn().await, name).await.unwrap();
    scene.fake.deregister_stream_consumer(&consumer.arn).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_is_lost_to_a_full_stream_is_replaced_by_polling_until_there_is_room() {
    let scene = Scene::with_shards(2).await;
    let mut consumer = managed(&scene).await;
    let mode = |consumer: &Consumer| consumer.metrics().snapshot()[0].mode;
    let mut put = 0;
    let mut all_come = async |consumer: &mut Consumer, count: usize| {
        let mut expected = Vec::new();
        for _ in 0..count {
            scene.put(&put.to_string()).await;
            expected.push(put.to_string());
            put += 1;
        }
        assert_eq!(take(consumer, count).await, expected);
    };
    all_come(&mut consumer, 3).await;
    assert_eq!(mode(&consumer), ReadingMode::FanOut);

    crowd(&scene).await;
    for _ in 0..3 {
        sleep(Duration::from_secs(10)).await;
        deregister(&scene, &name()).await;
        scene.fake.register_stream_consumer(&scene.arn().await, &"faster".parse().unwrap()).await.unwrap();
        let lost = Instant::now();
        all_come(&mut consumer, 3).await;
        assert_eq!(mode(&consumer), ReadingMode::Polling);
        assert!(lost.elapsed() < Duration::from_secs(30), "{:?}", lost.elapsed());
        sleep(Duration::from_secs(200)).await;
        all_come(&mut consumer, 3).await;
        assert_eq!(mode(&consumer), ReadingMode::Polling);

        deregister(&scene, &"faster".parse().unwrap()).await;
        sleep(Duration::from_secs(80)).await;
        let polled = scene.fake.calls(Operation::GetRecords);
        assert_eq!(mode(&consumer), ReadingMode::FanOut);
        all_come(&mut consumer, 3).await;
        sleep(Duration::from_secs(80)).await;
        assert_eq!(scene.fake.calls(Operation::GetRecords), polled, "polled no more");
    }
    nothing_more(&mut consumer).await;
    consumer.close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_is_full_at_the_start_is_pushed_when_it_has_room() {
    let scene = Scene::with_shards(1).await;
    crowd(&scene).await;
    scene.put("one").await;
    let mut consumer = managed(&scene).await;
    assert_eq!(take(&mut consumer, 1).await, ["one"]);
    assert_eq!(consumer.metrics().snapshot()[0].mode, ReadingMode::Polling);
    let asked = scene.fake.calls(Operation::RegisterStreamConsumer);
    sleep(Duration::from_secs(600)).await;
    let asked = scene.fake.calls(Operation::RegisterStreamConsumer) - asked;
    assert!((8..=14).contains(&asked), "{asked} questions in ten minutes");
    let mut last = None;
    for _ in 0..20 {
        let asked = scene.fake.calls(Operation::RegisterStreamConsumer);
        while scene.fake.calls(Operation::RegisterStreamConsumer) == asked {
            sleep(Duration::from_secs(1)).await;
        }
        let between = last.replace(Instant::now()).map_or(60, |last: Instant| last.elapsed().as_secs());
        assert!((44..=76).contains(&between), "{between} s between two questions");
    }

    deregister(&scene, &"other-0".parse().unwrap()).await;
    sleep(Duration::from_secs(80)).await;
    assert_eq!(consumer.metrics().snapshot()[0].mode, ReadingMode::FanOut);
    let put = Instant::now();
    scene.put("two").await;
    assert_eq!(take(&mut consumer, 1).await, ["two"]);
    assert_eq!(put.elapsed(), Duration::ZERO, "pushed");
}

#[tokio::test(start_paused = true)]
async fn a_polled_stream_warns_once_that_its_consumer_cannot_be_registered_and_again_after_it_was() {
    let scene = Scene::with_shards(1).await;
    crowd(&scene).await;
    let warnings = Warnings::collect();
    let mut consumer = managed(&scene).await;
    let mode = |consumer: &Consumer| consumer.metrics().snapshot()[0].mode;
    let told = || {
        let says = "the consumer of enhanced fan-out cannot be registered; the stream is still polled";
        warnings.lines().iter().filter(|line| line.contains(says)).count()
    };
    assert_eq!((mode(&consumer), told()), (ReadingMode::Polling, 0));
    for warned in 1..=2 {
        scene.fake.faults().fail_next_n(Operation::DescribeStreamConsumer, ErrorKind::AccessDenied, 3);
        sleep(Duration::from_secs(300)).await;
        assert_eq!(told(), warned);
        scene.put("polled").await;
        assert_eq!(take(&mut consumer, 1).await, ["polled"]);

        let other: ConsumerName = "other-0".parse().unwrap();
        deregister(&scene, &other).await;
        sleep(Duration::from_secs(80)).await;
        assert_eq!((mode(&consumer), told()), (ReadingMode::FanOut, warned));
        deregister(&scene, &name()).await;
        scene.fake.register_stream_consumer(&scene.arn().await, &other).await.unwrap();
        sleep(Duration::from_secs(30)).await;
        assert_eq!(mode(&consumer), ReadingMode::Polling);
    }
}

#[tokio::test(start_paused = true)]
async fn a_consumer_that_may_not_be_described_is_reported_with_the_remedy() {
    let scene = Scene::with_shards(1).await;
    let mut consumer = managed(&scene).await;
    sleep(Duration::from_secs(10)).await;
    scene.fake.faults().randomly(1, 1.0, &[Operation::DescribeStreamConsumer], &[ErrorKind::AccessDenied]);
    scene.fake.deregister_stream_consumer(&consumers(&scene).await[0].arn).await.unwrap();
    let error = failure(&mut consumer).await;
    assert!(matches!(error, ConsumerError::FanOut { .. }), "{error:?}");
    assert!(error.to_string().contains("DescribeStreamConsumer and SubscribeToShard"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn closing_succeeds_when_another_process_has_removed_the_consumer() {
    for status_delay in [Duration::ZERO, Duration::from_secs(20)] {
        let scene = Scene::on(FakeKinesis::builder().status_delay(status_delay).build(), 1).await;
        sleep(LONG).await;
        let warnings = Warnings::collect();
        let once = builder(&scene, FanOut::managed(name()).deregister_on_close()).build().await.unwrap();
        deregister(&scene, &name()).await;
        once.close().await.unwrap();
        assert_eq!(warnings.lines(), [""; 0], "{status_delay:?}");
        sleep(LONG).await;
        assert_eq!(consumers(&scene).await, []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_the_end_interrupts_is_undone_where_that_was_asked_for() {
    let scene = Scene::on(FakeKinesis::builder().status_delay(Duration::from_secs(20)).build(), 1).await;
    sleep(LONG).await;
    let once = builder(&scene, FanOut::managed(name()).deregister_on_close()).build().await.unwrap();
    deregister(&scene, &name()).await;
    // Gone, and asked for again: half way to ACTIVE.
    sleep(Duration::from_secs(35)).await;
    assert_eq!(consumers(&scene).await[0].status, ConsumerStatus::Creating);
    once.close().await.unwrap();
    sleep(LONG).await;
    assert_eq!(consumers(&scene).await, []);
}
