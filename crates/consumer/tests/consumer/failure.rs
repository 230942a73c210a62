//! What fails permanently, and what is retried.

use std::{sync::atomic::Ordering, time::Duration};

use statefun_kinesis_client::{ErrorKind, KinesisAdmin, Operation, Retry};
use statefun_kinesis_consumer::ConsumerError;
use statefun_kinesis_types::StartupPosition;
use tokio::time::{sleep, timeout};

use crate::{
    scene::{LONG, Scene, failure, take},
    tap::Tap,
};

#[tokio::test(start_paused = true)]
async fn an_expired_iterator_is_invisible() {
    let scene = Scene::with_shards(2).await;
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    for round in 0..10 {
        scene.fake.faults().expire_iterators();
        let text = format!("round {round}");
        scene.put(&text).await;
        assert_eq!(take(&mut consumer, 1).await, [text]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_permanent_failure_is_reported_once_with_place_and_remedy() {
    for (operation, kind, says) in [
        (Operation::GetRecords, ErrorKind::AccessDenied, "allow kinesis:"),
        (Operation::GetShardIterator, ErrorKind::AccessDenied, "allow kinesis:"),
        (Operation::GetRecords, ErrorKind::Encryption, "KMS key"),
        (Operation::GetRecords, ErrorKind::InvalidArgument, "rejected"),
        (Operation::GetShardIterator, ErrorKind::InvalidArgument, "rejected"),
    ] {
        let scene = Scene::with_shards(3).await;
        scene.fake.faults().randomly(1, 1.0, &[operation], &[kind]);
        let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
        let error = failure(&mut consumer).await;
        let text = error.to_string();
        assert!(
            text.contains("shardId-00000000000") && text.contains("stream orders") && text.contains(says),
            "{text}"
        );

        let calls = scene.fake.calls(Operation::GetRecords);
        sleep(LONG).await;
        assert_eq!(scene.fake.calls(Operation::GetRecords), calls, "reading must stop");
        consumer.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_is_not_permitted_is_reported_too() {
    let scene = Scene::with_shards(1).await;
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    scene.fake.faults().randomly(1, 1.0, &[Operation::ListShards], &[ErrorKind::AccessDenied]);
    let error = failure(&mut consumer).await;
    assert!(matches!(error, ConsumerError::AccessDenied { shard: None, .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_stream_is_a_clear_error() {
    let scene = Scene::with_shards(2).await;
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    scene.fake.delete_stream(&scene.stream).await.unwrap();
    let error = failure(&mut consumer).await;
    assert!(matches!(error, ConsumerError::StreamDeleted { .. }), "{error:?}");
    assert!(error.to_string().contains("stream/orders was deleted while it was read"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_deleted_and_created_again_is_a_clear_error() {
    let scene = Scene::with_shards(2).await;
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    scene.put("old").await;
    assert_eq!(take(&mut consumer, 1).await, ["old"]);
    scene.fake.delete_stream(&scene.stream).await.unwrap();
    sleep(Duration::from_millis(5)).await;
    scene.fake.create_stream(&scene.stream.name(), 2).await.unwrap();
    scene.put("new").await;
    let error = failure(&mut consumer).await;
    assert!(matches!(error, ConsumerError::StreamReplaced { .. }), "{error:?}");
    assert!(error.to_string().contains("deleted and created again"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_service_that_is_away_for_an_hour_is_waited_for() {
    let scene = Scene::with_shards(1).await;
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    let operations = [Operation::GetRecords, Operation::GetShardIterator, Operation::ListShards];
    scene.fake.faults().randomly(1, 1.0, &operations, &[ErrorKind::Unavailable]);
    assert!(timeout(Duration::from_secs(3_600), consumer.next()).await.is_err());
    scene.fake.faults().clear();
    scene.put("after").await;
    assert_eq!(take(&mut consumer, 1).await, ["after"]);
}

#[tokio::test(start_paused = true)]
async fn whatever_is_not_the_reader_s_fault_may_last_a_minute_in_any_call() {
    let operations = [Operation::GetRecords, Operation::GetShardIterator, Operation::ListShards];
    for kind in ErrorKind::ALL.into_iter().filter(|kind| kind.treatment().retry != Retry::Never) {
        for operation in operations {
            let scene = Scene::with_shards(2).await;
            let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
            scene.put("before").await;
            assert_eq!(take(&mut consumer, 1).await, ["before"]);
            scene.fake.faults().randomly(1, 1.0, &[operation], &[kind]);
            // New iterators are needed meanwhile, too.
            scene.fake.faults().expire_iterators();
            let came = timeout(Duration::from_secs(60), consumer.next()).await;
            assert!(came.is_err(), "{operation}, {kind}: {came:?}");
            scene.fake.faults().clear();
            scene.put("after").await;
            assert_eq!(take(&mut consumer, 1).await, ["after"], "{operation}, {kind}");
            consumer.close().await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn batches_that_were_read_come_before_the_error_and_can_be_acknowledged_after_it() {
    let scene = Scene::with_shards(1).await;
    let place = scene.put("read before").await;
    let mut consumer = scene.consumer(StartupPosition::TrimHorizon).await;
    sleep(Duration::from_secs(2)).await;
    scene.fake.faults().fail_next(Operation::GetRecords, ErrorKind::InvalidArgument);
    sleep(Duration::from_secs(2)).await;
    let batch = consumer.next().await.unwrap().unwrap();
    assert!(consumer.next().await.unwrap().is_err());
    batch.done();
    consumer.close().await.unwrap();
    let arn = scene.arn().await;
    let reached = scene.checkpoints.reached(&arn, &place.shard, place.sequence_number);
    timeout(Duration::ZERO, reached).await.expect("the position was saved");
}

#[tokio::test(start_paused = true)]
async fn a_panic_of_the_client_is_an_error_and_not_a_silent_end() {
    let scene = Scene::with_shards(2).await;
    let tap = Tap::new(&scene.fake);
    let mut consumer = scene.builder_on(tap.clone(), StartupPosition::TrimHorizon).build().await.unwrap();
    tap.panics.store(true, Ordering::Relaxed);
    let error = failure(&mut consumer).await;
    assert!(matches!(error, ConsumerError::Panicked { .. }), "{error:?}");
    consumer.close().await.unwrap();
}
