//! Records that fail permanently: skipped, dead-lettered, alone.

use std::sync::Arc;

use statefun_kinesis_client::{KinesisAdmin, Operation};
use statefun_kinesis_producer::{Handling, OnFailure, Producer, Reason, Settings};
use statefun_kinesis_types::{HashKey, LogLevel, PutRecord, StreamName};

use crate::scene::{
    SECOND, count, dead_letters, egress_origin, kinesis, name, orders, producer, record, settings, stored,
};

#[tokio::test(start_paused = true)]
async fn a_record_that_is_too_large_goes_to_the_dead_letter_stream_in_parts_and_the_next_goes_on() {
    let kinesis = kinesis(1).await;
    let letters: StreamName = "letters".parse().unwrap();
    kinesis.create_stream(&letters, 1).await.unwrap();
    let client = Arc::new(kinesis.clone());
    let to = Producer::builder(client.clone(), letters.clone()).settings(settings()).build().await.unwrap();
    let on_failure = OnFailure::DeadLetter { to: to.clone(), log: LogLevel::Debug };
    let producer = Producer::builder(client, name()).settings(settings()).on_failure(on_failure).build().await.unwrap();

    let large = PutRecord::new("a".parse().unwrap(), vec![7; 2 << 20]).with_explicit_hash_key(HashKey::new(5));
    let batch = vec![record("a", "before"), large, record("a", "after")];
    let delivered = producer.send_all(batch).await.unwrap().await.unwrap();
    assert_eq!(stored(&kinesis), ["before", "after"]);
    assert!(delivered.get(0).is_some() && delivered.get(1).is_none() && delivered.get(2).is_some());
    let [(1, error)] = delivered.handled() else { panic!("{delivered:?}") };
    assert_eq!(error.handling(), Handling::DeadLettered);
    assert_eq!(kinesis.records(&letters.clone().into()).len(), 3, "parts");
    let [letter] = &dead_letters(&kinesis, &letters)[..] else { panic!("one letter") };
    assert_eq!((letter.reason(), letter.partition_key().unwrap().as_str()), ("too-large", "a"));
    assert_eq!(letter.data().unwrap(), &vec![7; 2 << 20]);
    let origin = egress_origin(letter);
    assert_eq!((&origin.stream, origin.attempts, origin.may_be_stored), (&Some(orders()), 0, false));
    assert_eq!((origin.explicit_hash_key, &origin.egress), (Some(HashKey::new(5)), &None));
    let metrics = producer.metrics();
    assert_eq!((metrics.stored_records, metrics.dead_lettered_records, metrics.failed_records), (2, 1, 0));

    // When the dead-letter stream takes nothing either, the sender is told.
    kinesis.delete_stream(&letters.into()).await.unwrap();
    let large = PutRecord::new("a".parse().unwrap(), vec![7; 2 << 20]);
    let error = producer.send(large).await.unwrap().await.unwrap_err();
    assert!(matches!(error.reason(), Reason::TooLarge { .. }), "{error:?}");
    assert_eq!(error.handling(), Handling::Failed);
}

#[tokio::test(start_paused = true)]
async fn records_that_are_skipped_fail_no_batch() {
    let kinesis = kinesis(1).await;
    let skip = OnFailure::Skip { log: LogLevel::Debug };
    let fast = Settings { max_attempts: Some(count(2)), ..settings() };
    let builder = Producer::builder(Arc::new(kinesis.clone()), name()).settings(fast).on_failure(skip);
    let producer = builder.build().await.unwrap();
    kinesis.faults().fail_entries(|_, record| record.data.starts_with(b"bad"));
    let batch = ["good 1", "bad", "good 2"].map(|data| record("a", data));
    let delivered = producer.send_all(batch.to_vec()).await.unwrap().await.unwrap();
    let [(1, error)] = delivered.handled() else { panic!("{delivered:?}") };
    assert_eq!((error.handling(), error.attempts()), (Handling::Skipped, 2));
    assert_eq!(stored(&kinesis), ["good 1", "good 2"]);
    let single = producer.send(record("a", "bad")).await.unwrap().await.unwrap_err();
    assert_eq!(single.handling(), Handling::Skipped);
}

#[tokio::test(start_paused = true)]
async fn a_record_that_the_service_rejects_fails_alone() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, Settings { linger: SECOND, ..settings() }).await;
    // The producer does not know of it.
    kinesis.set_max_record_bytes(&orders(), 1_000).unwrap();
    let mut receipts = Vec::new();
    for number in 0..100 {
        let bytes = if number == 42 { 1_001 } else { 10 };
        let key = number.to_string().parse().unwrap();
        receipts.push(producer.send(PutRecord::new(key, vec![0; bytes])).await.unwrap());
    }
    for (number, receipt) in receipts.into_iter().enumerate() {
        match receipt.await {
            Ok(_) => assert_ne!(number, 42),
            Err(error) => {
                assert_eq!((number, error.size()), (42, 1_003));
                assert!(matches!(error.reason(), Reason::Rejected { .. }), "{error:?}");
            }
        }
    }
    assert!(kinesis.calls(Operation::PutRecords) <= 17, "{}", kinesis.calls(Operation::PutRecords));
}
