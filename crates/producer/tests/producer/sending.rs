//! Room, batches and pace.

use std::{
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use statefun_kinesis_aggregation::{Decoded, decode};
use statefun_kinesis_client::{KinesisAdmin, KinesisClient, Operation};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_producer::{Aggregation, Settings};
use statefun_kinesis_types::{HashKey, PutRecord, ShardId, StartPosition};
use tokio::time::{Instant, timeout};

use crate::scene::{SECOND, count, is_open, kinesis, name, orders, producer, record, settings, stored};

#[tokio::test(start_paused = true)]
async fn a_receipt_says_where_the_record_is() {
    let kinesis = kinesis(4).await;
    let producer = producer(&kinesis, settings()).await;
    for key in ["a", "b", "c", "d"] {
        let placed = producer.send(record(key, key)).await.unwrap().await.unwrap();
        let at = StartPosition::AtSequenceNumber(placed.sequence_number);
        let iterator = kinesis.get_shard_iterator(&orders(), &placed.shard, at).await.unwrap();
        let page = kinesis.get_records(&iterator, 1).await.unwrap();
        assert_eq!(page.records[0].data, key);
    }
    let explicit = record("a", "explicit").with_explicit_hash_key(HashKey::MAX);
    let placed = producer.send(explicit).await.unwrap().await.unwrap();
    assert_eq!(placed.shard.as_str(), "shardId-000000000003");
}

#[tokio::test(start_paused = true)]
async fn a_full_producer_makes_its_callers_wait_and_lets_them_in_in_their_order() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, Settings { max_outstanding_records: count(3), ..settings() }).await;
    kinesis.faults().delay(Operation::PutRecords, SECOND);
    let start = Instant::now();
    let mut receipts = Vec::new();
    for number in 0..3 {
        receipts.push(producer.send(record(&number.to_string(), "first")).await.unwrap());
    }
    assert_eq!(start.elapsed(), Duration::ZERO);
    let entered = Arc::new(Mutex::new(Vec::new()));
    let waiting: Vec<_> = (0..9)
        .map(|number| {
            let (producer, entered) = (producer.clone(), Arc::clone(&entered));
            tokio::spawn(async move {
                let receipt = producer.send(record(&format!("w{number}"), "then")).await.unwrap();
                entered.lock().unwrap().push(number);
                receipt.await.unwrap();
            })
        })
        .collect();
    assert!(is_open(&mut receipts[2]).await);
    assert!(entered.lock().unwrap().is_empty());
    for task in waiting {
        task.await.unwrap();
    }
    assert_eq!(*entered.lock().unwrap(), (0..9).collect::<Vec<_>>());
    let linger = settings().linger;
    assert_eq!(start.elapsed(), 4 * SECOND + linger, "four round trips of three, the last of which may linger");
}

#[tokio::test(start_paused = true)]
async fn a_batch_may_be_larger_than_the_queue_and_no_other_record_comes_in_between() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, Settings { max_outstanding_records: count(7), ..settings() }).await;
    let batch: Vec<_> = (0..100).map(|number| record("a", &format!("batch {number}"))).collect();
    let other = {
        let producer = producer.clone();
        async move {
            tokio::task::yield_now().await;
            producer.send(record("a", "other")).await.unwrap().await.unwrap();
        }
    };
    let all = async { producer.send_all(batch).await.unwrap().await.unwrap() };
    let (placements, ()) = tokio::join!(all, other);
    assert_eq!(placements.len(), 100);
    let expected: Vec<_> = (0..100).map(|number| format!("batch {number}")).chain(["other".to_owned()]).collect();
    assert_eq!(stored(&kinesis), expected);
}

#[tokio::test(start_paused = true)]
async fn a_full_request_of_a_large_batch_leaves_before_the_rest_is_queued() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, Settings { max_outstanding_records: count(10_000), ..settings() }).await;
    let batch = |records: u32| (0..records).map(|key| record(&key.to_string(), "")).collect();
    let receipt = producer.send_all(batch(1_200)).await.unwrap();
    assert!(stored(&kinesis).len() >= 500, "{}", stored(&kinesis).len());
    assert_eq!(receipt.await.unwrap().stored().count(), 1_200);
    // A sender does not wait when its batch fits into one request.
    let mut few = Box::pin(producer.send_all(batch(500)));
    assert!(std::future::poll_fn(|context| Poll::Ready(few.as_mut().poll(context))).await.is_ready());
    producer.flush().await;
    // When a sender is dropped, the records that it has queued are sent, and no others.
    let mut many = Box::pin(producer.send_all(batch(1_200)));
    assert!(std::future::poll_fn(|context| Poll::Ready(many.as_mut().poll(context))).await.is_pending());
    drop(many);
    producer.close().await;
    assert_eq!(stored(&kinesis).len(), 1_200 + 500 + 500);
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_what_was_sent_before_it_and_for_nothing_else() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, Settings { linger: 3_600 * SECOND, ..settings() }).await;
    producer.flush().await;
    kinesis.faults().delay(Operation::PutRecords, SECOND);
    let first = producer.send(record("c", "first")).await.unwrap();
    tokio::time::sleep(SECOND / 10).await;
    // The first one is in flight, so that this one would wait for others.
    let mut before = producer.send(record("a", "before")).await.unwrap();
    assert!(is_open(&mut before).await);
    let start = Instant::now();
    let flush = producer.flush();
    let after = async {
        tokio::task::yield_now().await;
        producer.send(record("b", "after")).await
    };
    let ((), after) = tokio::join!(flush, after);
    let mut after = after.unwrap();
    assert_eq!(start.elapsed(), SECOND);
    assert!(!is_open(&mut before).await);
    assert!(is_open(&mut after).await);
    assert_eq!(stored(&kinesis), ["first", "before"]);
    first.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_send_that_is_dropped_while_it_waits_has_queued_nothing() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, Settings { max_outstanding_records: count(1), ..settings() }).await;
    kinesis.faults().delay(Operation::PutRecords, SECOND);
    let first = producer.send(record("a", "first")).await.unwrap();
    assert!(timeout(SECOND / 2, producer.send(record("a", "dropped"))).await.is_err());
    let batch = vec![record("a", "dropped"), record("a", "dropped")];
    assert!(timeout(SECOND / 4, producer.send_all(batch)).await.is_err());
    first.await.unwrap();
    producer.send(record("a", "last")).await.unwrap().await.unwrap();
    producer.close().await;
    assert_eq!(stored(&kinesis), ["first", "last"]);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_dropped_while_it_waits_is_sent_as_far_as_it_was_queued() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, Settings { max_outstanding_records: count(2), ..settings() }).await;
    kinesis.faults().delay(Operation::PutRecords, SECOND);
    let batch = ["a", "b", "c"].map(|data| record(data, data));
    assert!(timeout(SECOND / 2, producer.send_all(batch.to_vec())).await.is_err());
    producer.send_all(vec![record("d", "d")]).await.unwrap().await.unwrap();
    producer.close().await;
    assert_eq!(stored(&kinesis), ["a", "b", "d"]);
}

#[tokio::test(start_paused = true)]
async fn records_go_on_through_a_split() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, settings()).await;
    let shard: ShardId = "shardId-000000000000".parse().unwrap();
    let send = async |data: &str| {
        let batch = ["a", "b", "c", "d"].map(|key| record(key, data));
        producer.send_all(batch.to_vec()).await.unwrap().await.unwrap()
    };
    let before = send("before").await;
    kinesis.split_shard(&orders(), &shard, HashKey::new(1 << 127)).await.unwrap();
    let after = send("after").await;
    assert!(before.stored().all(|placement| placement.shard == shard));
    assert!(after.stored().all(|placement| placement.shard != shard));
}

#[tokio::test(start_paused = true)]
async fn a_shard_that_is_written_too_fast_is_paced_and_all_is_stored_at_its_limit() {
    let kinesis = FakeKinesis::builder().enforce_throughput(true).build();
    kinesis.create_stream(&name(), 2).await.unwrap();
    let many = Settings { max_outstanding_records: count(20_000), ..settings() };
    let producer = producer(&kinesis, many).await;
    let to = |hash| {
        move |number: u32| {
            PutRecord::new(number.to_string().parse().unwrap(), "x").with_explicit_hash_key(HashKey::new(hash))
        }
    };
    let start = Instant::now();
    let hot = producer.send_all((0..10_000).map(to(0)).collect()).await.unwrap();
    let cold = producer.send_all((10_000..10_500).map(to(u128::MAX)).collect()).await.unwrap();
    cold.await.unwrap();
    assert!(start.elapsed() < SECOND, "another shard is held up: {:?}", start.elapsed());
    hot.await.unwrap();
    // A second's worth is saved up; the other 9 000 take 9 s at the limit.
    assert!((9 * SECOND..12 * SECOND).contains(&start.elapsed()), "{:?}", start.elapsed());
    let metrics = producer.metrics();
    assert!(metrics.throttled_records < 10_500, "{metrics:?}");
    assert_eq!(metrics.stored_records, 10_500);
}

#[tokio::test(start_paused = true)]
async fn a_hot_key_goes_in_order_at_many_records_per_round_trip_when_aggregated() {
    let kinesis = kinesis(1).await;
    let many = count(10_000);
    let aggregated =
        Settings { aggregation: Some(Aggregation::default()), max_outstanding_records: many, ..settings() };
    let producer = producer(&kinesis, aggregated).await;
    kinesis.faults().delay(Operation::PutRecords, SECOND / 10);
    let start = Instant::now();
    let batch = (0..4_000).map(|number| record("hot", &format!("{number:0100}"))).collect();
    let delivered = producer.send_all(batch).await.unwrap().await.unwrap();
    assert!(start.elapsed() < SECOND + SECOND / 10, "{:?}", start.elapsed());
    let places: Vec<_> = delivered.stored().map(|at| (at.sequence_number, at.sub_sequence_number)).collect();
    assert!(places.is_sorted());
    let mut found = Vec::new();
    for (_, record) in kinesis.records(&orders()) {
        let Decoded::Aggregate(aggregate) = decode(&record.data) else { panic!("not an aggregate") };
        assert!(record.size() <= 51_200);
        found.extend(aggregate.iter().map(|user| String::from_utf8(user.data.to_vec()).unwrap()));
    }
    let expected: Vec<_> = (0..4_000).map(|number| format!("{number:0100}")).collect();
    assert_eq!(found, expected);
}

#[tokio::test(start_paused = true)]
async fn a_producer_of_one_outstanding_record_works() {
    for aggregation in [None, Some(Aggregation::default())] {
        let kinesis = kinesis(2).await;
        let one = Settings { max_outstanding_records: count(1), aggregation, ..settings() };
        let producer = producer(&kinesis, one).await;
        let batch = ["a1", "a2", "b1", "a3"].map(|data| record(&data[..1], data));
        let delivered = producer.send_all(batch.to_vec()).await.unwrap().await.unwrap();
        assert_eq!(delivered.stored().count(), 4);
    }
}
