//! Closing, dropping, and the end of the runtime.

use std::{task::Poll, time::Duration};

use statefun_kinesis_client::Operation;
use statefun_kinesis_producer::{Reason, Settings};
use tokio::time::{Instant, sleep, timeout};

use crate::scene::{MILLI, SECOND, count, is_closed, is_open, kinesis, producer, record, settings, stored};

#[tokio::test(start_paused = true)]
async fn closing_stores_what_is_queued_and_rejects_what_comes_later() {
    let kinesis = kinesis(1).await;
    let full = Settings { max_outstanding_records: count(2), linger: 3_600 * SECOND, ..settings() };
    let producer = producer(&kinesis, full).await;
    kinesis.faults().delay(Operation::PutRecords, SECOND);
    let queued = [producer.send(record("a", "1")).await.unwrap(), producer.send(record("a", "2")).await.unwrap()];
    let waiting = tokio::spawn({
        let producer = producer.clone();
        async move { producer.send(record("a", "3")).await.map(drop) }
    });
    let waiting_too = tokio::spawn({
        let producer = producer.clone();
        async move { producer.send_all(vec![record("a", "4"), record("a", "5")]).await.map(drop) }
    });
    tokio::task::yield_now().await;
    producer.close().await;
    for receipt in queued {
        receipt.await.unwrap();
    }
    assert_eq!(stored(&kinesis), ["1", "2"]);
    for refused in [waiting.await.unwrap(), waiting_too.await.unwrap()] {
        assert!(is_closed(&refused, false), "{refused:?}");
    }
    let error = producer.clone().send(record("a", "6")).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the record of key \"a\" (2 bytes) was not stored: the producer of stream orders is closed"
    );
    producer.close().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_closing_cuts_in_two_says_so_in_its_receipt() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, Settings { max_outstanding_records: count(2), ..settings() }).await;
    kinesis.faults().delay(Operation::PutRecords, SECOND);
    let batch = ["a1", "b1", "c1"].map(|data| record(&data[..1], data));
    let all = producer.send_all(batch.to_vec());
    let close = async {
        tokio::task::yield_now().await;
        producer.close().await;
    };
    let (receipt, ()) = tokio::join!(all, close);
    let error = receipt.unwrap().await.unwrap_err();
    assert!(matches!(error.reason(), Reason::Closed), "{error:?}");
    assert_eq!(error.key().as_str(), "c");
    assert_eq!(stored(&kinesis), ["a1", "b1"]);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_producer_reports_what_is_queued_and_ends_what_is_in_flight() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, Settings { linger: Duration::ZERO, ..settings() }).await;
    kinesis.faults().delay(Operation::PutRecords, SECOND);
    kinesis.faults().fail_entries(|_, record| record.partition_key.as_str() == "throttled");
    let mut stored_later = producer.send(record("a", "in flight")).await.unwrap();
    let mut failed_later = producer.send(record("throttled", "in flight")).await.unwrap();
    assert!(is_open(&mut stored_later).await && is_open(&mut failed_later).await);
    let mut queued = producer.send(record("a", "queued")).await.unwrap();
    let clone = producer.clone();
    drop(producer);
    assert!(is_open(&mut queued).await);
    let start = Instant::now();
    drop(clone);

    let error = queued.await.unwrap_err();
    assert!(matches!(error.reason(), Reason::Closed) && !error.may_be_stored(), "{error:?}");
    assert_eq!(start.elapsed(), Duration::ZERO);
    stored_later.await.unwrap();
    assert!(is_closed(&failed_later.await, false));
    assert_eq!(stored(&kinesis), ["in flight"]);
    assert_eq!(kinesis.calls(Operation::PutRecords), 1);
}

#[test]
fn receipts_resolve_when_the_runtime_ends() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let first = runtime();
    let (producer, in_flight, queued, batch) = first.block_on(async {
        let kinesis = kinesis(1).await;
        let producer = producer(&kinesis, Settings { linger: Duration::ZERO, ..settings() }).await;
        kinesis.faults().delay(Operation::PutRecords, SECOND);
        let mut in_flight = producer.send(record("a", "1")).await.unwrap();
        assert!(is_open(&mut in_flight).await);
        let queued = producer.send(record("a", "2")).await.unwrap();
        let batch = producer.send_all(vec![record("a", "3"), record("b", "4")]).await.unwrap();
        (producer, in_flight, queued, batch)
    });
    drop(first);
    runtime().block_on(async {
        let in_flight = timeout(SECOND, in_flight).await.expect("the receipt must resolve");
        assert!(is_closed(&in_flight, true));
        assert!(is_closed(&queued.await, false));
        assert!(is_closed(&batch.await, false));
        assert!(is_closed(&producer.send(record("a", "5")).await, false));
        producer.close().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_batch_is_cut_in_two_by_closing_even_if_all_that_was_queued_is_stored_before_its_sender_looks() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, Settings { max_outstanding_records: count(10_000), ..settings() }).await;
    let batch = (0..1_200).map(|key| record(&key.to_string(), "")).collect();
    let mut many = Box::pin(producer.send_all(batch));
    assert!(std::future::poll_fn(|context| Poll::Ready(many.as_mut().poll(context))).await.is_pending());
    producer.close().await;
    // Long enough for the producer's task to end.
    sleep(SECOND).await;
    assert_eq!(stored(&kinesis).len(), 500);
    let error = many.await.unwrap().await.unwrap_err();
    assert_eq!((error.key().as_str(), error.may_be_stored()), ("500", false), "{error}");
}

#[test]
fn a_batch_that_is_queued_in_part_when_the_runtime_ends_is_cut_off() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let first = runtime();
    let producer = first.block_on(async {
        let kinesis = kinesis(1).await;
        kinesis.faults().delay(Operation::PutRecords, SECOND);
        producer(&kinesis, Settings { max_outstanding_records: count(1), ..settings() }).await
    });
    let batch = || ["a", "b"].map(|data| record(data, data)).to_vec();
    let mut waits = Box::pin(producer.send_all(batch()));
    first.block_on(async { assert!(timeout(MILLI, &mut waits).await.is_err()) });
    drop(first);
    runtime().block_on(async {
        let receipt = waits.await.unwrap();
        assert!(is_closed(&receipt.await, true), "the first record was in flight");
        assert!(is_closed(&producer.send_all(batch()).await, false));
    });
}

#[tokio::test(start_paused = true)]
async fn closing_within_a_deadline_says_how_much_was_given_up() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, Settings { linger: Duration::ZERO, ..settings() }).await;
    kinesis.faults().delay(Operation::PutRecords, 10 * SECOND);
    let mut in_flight = producer.send(record("a", "1")).await.unwrap();
    assert!(is_open(&mut in_flight).await);
    let queued = [producer.send(record("a", "2")).await.unwrap(), producer.send(record("a", "3")).await.unwrap()];
    let start = Instant::now();
    assert_eq!(producer.close_within(SECOND).await, 2);
    assert_eq!(start.elapsed(), SECOND);
    for receipt in queued {
        assert!(is_closed(&receipt.await, false));
    }
    in_flight.await.unwrap();
    assert_eq!(producer.close_within(SECOND).await, 0);
}
