//! What building a producer needs and waits for.

use std::{error::Error as _, sync::Arc, time::Duration};

use statefun_kinesis_client::{Backoff, ErrorKind, KinesisAdmin, Operation, RecordDistribution};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_producer::{Aggregation, Producer, ProducerError, Settings};
use tokio::time::{Instant, timeout};

use crate::scene::{SECOND, is_closed, kinesis, name, orders, producer, record, settings};

#[tokio::test(start_paused = true)]
async fn a_stream_that_does_not_exist_is_named() {
    let client = Arc::new(FakeKinesis::new());
    let error = Producer::builder(client, name()).build().await.unwrap_err();
    assert!(matches!(error, ProducerError::NotFound { .. }), "{error:?}");
    assert!(error.to_string().contains("orders"), "{error}");
    assert!(error.source().is_some());
}

#[tokio::test(start_paused = true)]
async fn building_waits_for_a_stream_that_is_being_created() {
    let kinesis = FakeKinesis::builder().status_delay(60 * SECOND).build();
    kinesis.create_stream(&name(), 1).await.unwrap();
    let start = Instant::now();
    let producer = producer(&kinesis, settings()).await;
    assert!((60 * SECOND..63 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
    producer.send(record("a", "1")).await.unwrap().await.unwrap();

    kinesis.delete_stream(&orders()).await.unwrap();
    let error = Producer::builder(Arc::new(kinesis), name()).build().await.unwrap_err();
    assert_eq!(error.to_string(), "stream orders is still DELETING after 0ns");
}

#[tokio::test(start_paused = true)]
async fn building_does_not_wait_for_ever() {
    let kinesis = FakeKinesis::builder().status_delay(1_000 * SECOND).build();
    kinesis.create_stream(&name(), 1).await.unwrap();
    let start = Instant::now();
    let error = Producer::builder(Arc::new(kinesis), name()).build().await.unwrap_err();
    assert!(matches!(error, ProducerError::NotReady { .. }), "{error:?}");
    assert!(start.elapsed() <= 120 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn building_outlasts_a_throttled_description_and_not_a_forbidden_one() {
    let kinesis = kinesis(1).await;
    kinesis.faults().fail_next_n(Operation::DescribeStreamSummary, ErrorKind::LimitExceeded, 5);
    producer(&kinesis, settings()).await;
    kinesis.faults().fail_next(Operation::DescribeStreamSummary, ErrorKind::AccessDenied);
    let error = Producer::builder(Arc::new(kinesis), name()).build().await.unwrap_err();
    assert!(matches!(error, ProducerError::Describe { .. }), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn no_setting_is_too_long_for_a_producer() {
    let kinesis = kinesis(1).await;
    let forever = Settings {
        linger: Duration::MAX,
        request_timeout: Duration::MAX,
        give_up_after: Duration::MAX,
        backoff: Backoff::new(Duration::MAX, Duration::MAX),
        ..settings()
    };
    kinesis.faults().fail_next(Operation::DescribeStreamSummary, ErrorKind::LimitExceeded);
    let build = Producer::builder(Arc::new(kinesis.clone()), name()).settings(forever.clone()).build();
    assert!(timeout(SECOND, build).await.is_err(), "it waits for its backoff");
    let producer = producer(&kinesis, forever).await;
    let stored_at_once = producer.send(record("a", "1")).await.unwrap();
    producer.flush().await;
    stored_at_once.await.unwrap();
    kinesis.faults().fail_next(Operation::PutRecords, ErrorKind::Unavailable);
    let waits = producer.send(record("a", "2")).await.unwrap();
    assert_eq!(producer.close_within(SECOND).await, 1);
    assert!(is_closed(&waits.await, true));
    assert_eq!(producer.close_within(Duration::MAX).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_distributes_by_itself_has_no_order_to_pay_for_and_takes_no_aggregates() {
    let kinesis = kinesis(2).await;
    kinesis.set_distribution(&orders(), RecordDistribution::Auto).unwrap();
    let producer = producer(&kinesis, settings()).await;
    kinesis.faults().delay(Operation::PutRecords, SECOND);
    let start = Instant::now();
    let batch = (0..400).map(|_| record("hot", "x")).collect();
    producer.send_all(batch).await.unwrap().await.unwrap();
    assert!(start.elapsed() < 2 * SECOND, "{:?}", start.elapsed());

    let aggregated = Settings { aggregation: Some(Aggregation::default()), ..settings() };
    let error = Producer::builder(Arc::new(kinesis), name()).settings(aggregated).build().await.unwrap_err();
    assert!(matches!(error, ProducerError::AggregationUnderAuto { .. }), "{error:?}");
    assert!(error.to_string().contains("USER_PARTITION_KEY"), "{error}");
}
