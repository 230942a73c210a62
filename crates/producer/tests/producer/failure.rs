//! What is sent again, and what fails.

use std::{
    error::Error as _,
    sync::{Arc, Mutex},
};

use statefun_kinesis_client::{
    ErrorKind, Operation, PutFailure, PutOutcome, Result as ClientResult, ShardPage, ShardPageRequest, forward_client,
};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_producer::{Producer, Reason};
use statefun_kinesis_types::{PutRecord, StreamRef};
use tokio::time::{Instant, sleep};

use crate::scene::{SECOND, kinesis, name, orders, producer, record, settings, stored};

#[tokio::test(start_paused = true)]
async fn a_record_over_the_streams_limit_fails_at_once_with_stream_key_and_size() {
    let kinesis = kinesis(1).await;
    kinesis.set_max_record_bytes(&orders(), 2 << 20).unwrap();
    let producer = producer(&kinesis, settings()).await;
    let of = |size: usize| PutRecord::new("key".parse().unwrap(), vec![0; size - 3]);

    producer.send(of(2 << 20)).await.unwrap().await.unwrap();
    let error = producer.send(of((2 << 20) + 1)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the record of key \"key\" has 2097153 bytes with its key; stream orders takes 2097152 bytes at most"
    );
    let batch = vec![of(10), of((2 << 20) + 1), of(10)];
    let error = producer.send_all(batch).await.unwrap_err();
    assert!(matches!(error.reason(), Reason::TooLarge { limit: 2_097_152 }) && error.size() == 2_097_153, "{error:?}");
    producer.close().await;
    assert_eq!(kinesis.records(&orders()).len(), 1, "nothing of the batch may be stored");
}

#[tokio::test(start_paused = true)]
async fn only_the_failed_entries_are_sent_again_and_their_keys_keep_their_order() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, settings()).await;
    kinesis.faults().fail_next_entries(|_, record| record.partition_key.as_str() == "a");
    let batch = ["a1", "b1", "a2", "c1", "b2", "a3"].map(|data| record(&data[..1], data));
    let placements = producer.send_all(batch.to_vec()).await.unwrap().await.unwrap();
    assert_eq!(stored(&kinesis), ["b1", "c1", "b2", "a1", "a2", "a3"]);
    let numbers: Vec<_> = placements.stored().map(|placement| placement.sequence_number).collect();
    let records = kinesis.records(&orders());
    let found = [3, 0, 4, 1, 2, 5].map(|index: usize| records[index].1.sequence_number);
    assert_eq!(numbers, found, "placements are in the order of the batch");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_stored_without_an_answer_is_repeated_in_order() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, settings()).await;
    kinesis.faults().store_then_fail(Operation::PutRecords);
    let receipt = producer.send_all(vec![record("a", "a1"), record("a", "a2")]).await.unwrap();
    receipt.await.unwrap();
    assert_eq!(stored(&kinesis), ["a1", "a1", "a2"]);
}

#[tokio::test(start_paused = true)]
async fn a_permission_that_is_missing_for_a_minute_costs_no_record_and_one_that_stays_away_is_an_error() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, settings()).await;
    let denied = || kinesis.faults().randomly(1, 1.0, &[Operation::PutRecords], &[ErrorKind::AccessDenied]);
    denied();
    let receipt = producer.send(record("a", "1")).await.unwrap();
    sleep(60 * SECOND).await;
    kinesis.faults().clear();
    receipt.await.unwrap();
    assert_eq!(stored(&kinesis), ["1"]);

    denied();
    let start = Instant::now();
    let error = producer.send(record("a", "2")).await.unwrap().await.unwrap_err();
    assert!((115 * SECOND..=121 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert!(matches!(error.reason(), Reason::GaveUp { .. }), "{error:?}");
    let source = error.source().unwrap().to_string();
    assert!(source.starts_with("PutRecords failed: access denied"), "{source}");
    assert!(!error.may_be_stored());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_never_answers_does_not_keep_a_receipt_for_ever() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, settings()).await;
    kinesis.faults().delay(Operation::PutRecords, 24 * 3_600 * SECOND);
    let start = Instant::now();
    let error = producer.send(record("a", "1")).await.unwrap().await.unwrap_err();
    let Reason::GaveUp { elapsed, last } = error.reason() else { panic!("{error:?}") };
    assert_eq!((error.attempts(), error.may_be_stored()), (4, true));
    assert_eq!(last.kind(), ErrorKind::Timeout);
    assert_eq!(last.to_string(), "PutRecords failed: timed out: no answer within 30s");
    assert!(start.elapsed() - *elapsed < SECOND && *elapsed < 130 * SECOND, "{elapsed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_stays_throttled_is_given_up_in_time() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, settings()).await;
    kinesis.faults().fail_entries(|_, record| record.partition_key.as_str() == "hot");
    let hot = producer.send(record("hot", "1")).await.unwrap();
    let next = producer.send(record("hot", "2")).await.unwrap();
    for _ in 0..10 {
        producer.send(record("cold", "3")).await.unwrap().await.unwrap();
    }
    let start = Instant::now();
    let error = hot.await.unwrap_err();
    assert!((110 * SECOND..=120 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert!(matches!(error.reason(), Reason::GaveUp { .. }) && !error.may_be_stored(), "{error:?}");
    assert!(matches!(next.await.unwrap_err().reason(), Reason::PredecessorFailed));
    assert_eq!(stored(&kinesis), ["3"; 10]);
}

#[tokio::test(start_paused = true)]
async fn the_receipt_of_a_batch_names_the_first_failure_and_the_others_go_on() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, settings()).await;
    kinesis.faults().delay(Operation::PutRecords, SECOND);
    kinesis.faults().fail_entries_with(|_, record| {
        let refused = || PutFailure::new(ErrorKind::InvalidArgument, "InvalidArgumentException", "the key is invalid");
        (record.partition_key.as_str() == "b").then(refused)
    });
    let batch = ["a1", "b1", "c1", "a2", "b2"].map(|data| record(&data[..1], data));
    let receipt = producer.send_all(batch.to_vec()).await.unwrap();
    let error = receipt.await.unwrap_err();
    assert!(matches!(error.reason(), Reason::Rejected { .. }), "{error:?}");
    assert_eq!(error.key().as_str(), "b");
    assert_eq!(error.source().unwrap().to_string(), "invalid argument: the key is invalid (InvalidArgumentException)");
    assert_eq!(stored(&kinesis), ["a1", "c1"], "the receipt does not wait for the rest");
    producer.flush().await;
    assert_eq!(stored(&kinesis), ["a1", "c1", "a2"]);
    assert!(producer.send_all(Vec::new()).await.unwrap().await.unwrap().is_empty());
}

/// A client that panics in place of the first call of an operation.
#[derive(Debug)]
struct Panics(FakeKinesis, Mutex<Option<Operation>>);

impl Panics {
    fn call(&self, operation: Operation) {
        let panics = self.1.lock().unwrap().take_if(|panics| *panics == operation);
        assert!(panics.is_none(), "this client panics once");
    }
}

forward_client! {
    impl KinesisClient for Panics {
        |this| this.0 => describe_stream_summary, get_shard_iterator, get_records;

        async fn list_shards(&self, stream: &StreamRef, page: ShardPageRequest) -> ClientResult<ShardPage> {
            self.call(Operation::ListShards);
            self.0.list_shards(stream, page).await
        }

        async fn put_records(&self, stream: &StreamRef, records: &[PutRecord]) -> ClientResult<Vec<PutOutcome>> {
            self.call(Operation::PutRecords);
            self.0.put_records(stream, records).await
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_panics_once_costs_no_record() {
    let client = Arc::new(Panics(kinesis(1).await, Mutex::new(Some(Operation::PutRecords))));
    let producer = Producer::builder(client.clone(), name()).settings(settings()).build().await.unwrap();
    producer.send(record("a", "1")).await.unwrap().await.unwrap();
    producer.send(record("a", "2")).await.unwrap().await.unwrap();
    assert_eq!(stored(&client.0), ["1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_panics_while_it_lists_the_shards_holds_up_no_record() {
    let client = Arc::new(Panics(kinesis(1).await, Mutex::new(Some(Operation::ListShards))));
    let producer = Producer::builder(client.clone(), name()).settings(settings()).build().await.unwrap();
    // The shards are listed when a record is throttled.
    client.0.faults().fail_next_entries(|_, _| true);
    producer.send(record("a", "1")).await.unwrap().await.unwrap();
    assert!(client.1.lock().unwrap().is_none(), "it has panicked");
    client.0.faults().fail_next_entries(|_, _| true);
    sleep(2 * SECOND).await;
    producer.send(record("a", "2")).await.unwrap().await.unwrap();
    assert_eq!(producer.metrics().paced_shards, 1, "the shards were listed again");
}
