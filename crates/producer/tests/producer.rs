//! What a producer promises, on the in-memory Kinesis under paused time.

use std::{
    error::Error as _,
    num::NonZeroU32,
    sync::{Arc, Mutex},
    task::Poll,
    time::Duration,
};

use async_trait::async_trait;
use statefun_kinesis_aggregation::{Decoded, decode};
use statefun_kinesis_client::{
    Backoff, Error, ErrorKind, KinesisAdmin, KinesisClient, Operation, PutFailure, PutOutcome, RecordDistribution,
    Result as ClientResult, ShardPage, ShardPageRequest, forward_client,
};
use statefun_kinesis_dead_letter::{DeadLetter, DeadLetterReader, EgressOrigin, Origin};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_producer::{
    Aggregation, Clients, Handling, OnFailure, Producer, ProducerError, Producers, Reason, Receipt, SendError, Settings,
};
use statefun_kinesis_types::{HashKey, LogLevel, PutRecord, ShardId, StartPosition, StreamName, StreamRef};
use tokio::time::{Instant, sleep, timeout};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

fn name() -> StreamName {
    "orders".parse().unwrap()
}

fn orders() -> StreamRef {
    name().into()
}

fn record(key: &str, data: &str) -> PutRecord {
    PutRecord::new(key.parse().unwrap(), data.to_owned())
}

fn count(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).unwrap()
}

fn settings() -> Settings {
    Settings { seed: Some(1), ..Settings::default() }
}

async fn kinesis(shards: usize) -> FakeKinesis {
    let kinesis = FakeKinesis::new();
    kinesis.create_stream(&name(), shards).await.unwrap();
    kinesis
}

async fn producer(kinesis: &FakeKinesis, settings: Settings) -> Producer {
    Producer::builder(Arc::new(kinesis.clone()), name()).settings(settings).build().await.unwrap()
}

/// The payloads that the stream holds, shard by shard.
fn stored(kinesis: &FakeKinesis) -> Vec<String> {
    let text = |data: &[u8]| String::from_utf8(data.to_vec()).unwrap();
    kinesis.records(&orders()).iter().map(|(_, record)| text(&record.data)).collect()
}

fn is_closed<T>(result: &Result<T, SendError>, may_be_stored: bool) -> bool {
    let is = |error: &SendError| matches!(error.reason(), Reason::Closed) && error.may_be_stored() == may_be_stored;
    result.as_ref().err().is_some_and(is)
}

/// Whether a receipt is still open when everything that takes no time has happened: paused time goes on, by this
/// millisecond, only when all tasks are idle.
async fn is_open(receipt: &mut Receipt) -> bool {
    timeout(MILLI, receipt).await.is_err()
}

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
async fn a_call_that_is_rejected_fails_its_records_with_the_services_words() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, settings()).await;
    kinesis.faults().fail_next(Operation::PutRecords, ErrorKind::AccessDenied);
    let receipt = producer.send(record("a", "1")).await.unwrap();
    let start = Instant::now();
    let error = receipt.await.unwrap_err();
    assert!(start.elapsed() < SECOND);
    assert_eq!(error.to_string(), "stream orders rejected the record of key \"a\" (2 bytes)");
    let source = error.source().unwrap().to_string();
    assert!(source.starts_with("PutRecords failed: access denied"), "{source}");
    assert!(!error.may_be_stored());

    producer.send(record("a", "2")).await.unwrap().await.unwrap();
    assert_eq!(stored(&kinesis), ["2"]);
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
async fn a_batch_may_be_larger_than_the_queue_and_nobody_comes_in_between() {
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
async fn the_receipt_of_a_batch_names_the_first_failure_and_the_others_go_on() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, settings()).await;
    kinesis.faults().delay(Operation::PutRecords, SECOND);
    kinesis.faults().fail_entries_with(|_, record| {
        let refused = || PutFailure::new(ErrorKind::Encryption, "KMSDisabledException", "the key is disabled");
        (record.partition_key.as_str() == "b").then(refused)
    });
    let batch = ["a1", "b1", "c1", "a2", "b2"].map(|data| record(&data[..1], data));
    let receipt = producer.send_all(batch.to_vec()).await.unwrap();
    let error = receipt.await.unwrap_err();
    assert!(matches!(error.reason(), Reason::Rejected { .. }), "{error:?}");
    assert_eq!(error.key().as_str(), "b");
    assert_eq!(
        error.source().unwrap().to_string(),
        "encryption key unusable: the key is disabled (KMSDisabledException)"
    );
    assert_eq!(stored(&kinesis), ["a1", "c1"], "the receipt does not wait for the rest");
    producer.flush().await;
    assert_eq!(stored(&kinesis), ["a1", "c1", "a2"]);
    assert!(producer.send_all(Vec::new()).await.unwrap().await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_flush_waits_for_what_was_sent_before_it_and_for_nothing_else() {
    let kinesis = kinesis(1).await;
    let producer = producer(&kinesis, Settings { linger: 3_600 * SECOND, ..settings() }).await;
    producer.flush().await;
    kinesis.faults().delay(Operation::PutRecords, SECOND);
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
    assert_eq!(stored(&kinesis), ["before"]);
}

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
async fn a_client_that_panics_fails_its_records_and_not_the_producer() {
    let client = Arc::new(Panics(kinesis(1).await, Mutex::new(Some(Operation::PutRecords))));
    let producer = Producer::builder(client.clone(), name()).settings(settings()).build().await.unwrap();
    let receipt = producer.send(record("a", "1")).await.unwrap();
    let error = timeout(3_600 * SECOND, receipt).await.expect("the receipt must resolve").unwrap_err();
    let Reason::Rejected { last } = error.reason() else { panic!("{error:?}") };
    assert!(error.may_be_stored());
    assert_eq!(last.kind(), ErrorKind::Unexpected);
    assert_eq!(
        last.to_string(),
        "PutRecords failed: unexpected answer: the task of the call failed: it panicked: this client panics once"
    );
    producer.send(record("a", "2")).await.unwrap().await.unwrap();
    assert_eq!(stored(&client.0), ["2"]);
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

/// The dead letters in a stream, which must be complete.
fn dead_letters(kinesis: &FakeKinesis, stream: &StreamName) -> Vec<DeadLetter> {
    let mut reader = DeadLetterReader::new();
    let records = kinesis.records(&stream.clone().into());
    let letters = records.iter().filter_map(|(_, record)| reader.read(&record.data).unwrap()).collect();
    assert_eq!(reader.incomplete(), 0);
    letters
}

/// What a dead letter says about the record's way to its stream.
#[track_caller]
fn egress_origin(letter: &DeadLetter) -> &EgressOrigin {
    let Origin::Egress(origin) = letter.origin() else { panic!("{letter:?}") };
    origin
}

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
    assert_eq!((&origin.stream, origin.attempts, origin.may_be_stored), (&orders(), 0, false));
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

/// Hands a client out per stream, and counts how often.
#[derive(Clone, Debug)]
struct Regions(FakeKinesis, Arc<Mutex<Vec<String>>>);

#[async_trait]
impl Clients for Regions {
    async fn client(&self, stream: &StreamRef) -> ClientResult<Arc<dyn KinesisClient>> {
        self.1.lock().unwrap().push(stream.to_string());
        if stream.name().as_str() == "nowhere" {
            return Err(Error::new(Operation::DescribeStreamSummary, ErrorKind::AccessDenied, "no credentials"));
        }
        Ok(Arc::new(self.0.clone()))
    }
}

#[tokio::test(start_paused = true)]
async fn several_streams_have_a_producer_each_by_any_of_their_names() {
    let kinesis = kinesis(1).await;
    kinesis.create_stream(&"refunds".parse().unwrap(), 1).await.unwrap();
    let arn = kinesis.describe_stream_summary(&orders()).await.unwrap().arn;
    let regions = Regions(kinesis.clone(), Arc::default());
    let producers = Producers::builder(regions.clone()).settings(settings()).build();
    kinesis.faults().delay(Operation::PutRecords, SECOND);
    let refunds: StreamRef = "refunds".parse().unwrap();
    let one = producers.send(&orders(), record("a", "1")).await.unwrap();
    let two = producers.send(&arn.clone().into(), record("a", "2")).await.unwrap();
    let other = producers.send_all(&refunds, vec![record("a", "3")]).await.unwrap();
    other.await.unwrap();
    one.await.unwrap();
    two.await.unwrap();
    assert_eq!(stored(&kinesis), ["1", "2"]);
    assert_eq!(kinesis.records(&refunds).len(), 1);
    assert_eq!(producers.metrics().len(), 2);
    assert_eq!(*regions.1.lock().unwrap(), ["orders", arn.as_str(), "refunds"]);

    for (stream, says) in [("unknown", "does not exist"), ("nowhere", "no client")] {
        let error = producers.send(&stream.parse().unwrap(), record("a", "4")).await.unwrap_err();
        assert!(matches!(error.reason(), Reason::NoProducer(_)), "{error:?}");
        assert!(error.source().unwrap().to_string().contains(says), "{error:?}");
    }
    let asked = kinesis.calls(Operation::DescribeStreamSummary);
    assert!(producers.send(&"unknown".parse().unwrap(), record("a", "4")).await.is_err());
    assert_eq!(kinesis.calls(Operation::DescribeStreamSummary), asked, "the answer holds for a while");
    kinesis.create_stream(&"unknown".parse().unwrap(), 1).await.unwrap();
    tokio::time::sleep(30 * SECOND).await;
    producers.send(&"unknown".parse().unwrap(), record("a", "4")).await.unwrap().await.unwrap();

    let last = producers.send(&orders(), record("b", "5")).await.unwrap();
    assert_eq!(producers.close_within(3 * SECOND).await, []);
    last.await.unwrap();
    assert!(is_closed(&producers.send(&refunds, record("a", "6")).await, false));
}

#[tokio::test(start_paused = true)]
async fn records_for_streams_that_are_not_there_or_not_allowed_are_handled_too() {
    let kinesis = kinesis(1).await;
    let letters: StreamName = "letters".parse().unwrap();
    kinesis.create_stream(&letters, 1).await.unwrap();
    let client: Arc<dyn KinesisClient> = Arc::new(kinesis.clone());
    let to = Producer::builder(client.clone(), letters.clone()).settings(settings()).build().await.unwrap();
    let arn = kinesis.describe_stream_summary(&orders()).await.unwrap().arn;
    let producers = Producers::builder(client)
        .allow([arn.clone().into(), "unknown".parse().unwrap()])
        .on_failure(OnFailure::DeadLetter { to, log: LogLevel::Debug })
        .egress("example/orders".parse().unwrap())
        .build();
    for (stream, allowed) in [
        (orders(), true),
        (arn.clone().into(), true),
        (arn.as_str().replace("us-east-1", "eu-west-1").parse().unwrap(), false),
        ("letters".parse().unwrap(), false),
    ] {
        assert_eq!(producers.allows(&stream), allowed, "{stream}");
    }
    let error = producers.send(&"letters".parse().unwrap(), record("a", "1")).await.unwrap_err();
    assert!(matches!(error.reason(), Reason::NotAllowed), "{error:?}");
    let batch = vec![record("a", "2"), record("b", "3")];
    let delivered = producers.send_all(&"unknown".parse().unwrap(), batch).await.unwrap().await.unwrap();
    assert_eq!((delivered.len(), delivered.stored().count()), (2, 0));
    let handled = delivered.handled().iter().all(|(_, error)| error.handling() == Handling::DeadLettered);
    assert!(handled && error.handling() == Handling::DeadLettered);
    let found = dead_letters(&kinesis, &letters);
    let reasons: Vec<_> = found.iter().map(DeadLetter::reason).collect();
    assert_eq!(reasons, ["not-allowed", "no-stream", "no-stream"]);
    for letter in &found {
        assert_eq!(egress_origin(letter).egress, Some("example/orders".parse().unwrap()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_name_and_an_arn_in_the_list_are_the_same_only_if_the_stream_says_so() {
    let kinesis = kinesis(1).await;
    let here = kinesis.describe_stream_summary(&orders()).await.unwrap().arn;
    let there: StreamRef = here.as_str().replace("us-east-1", "eu-west-1").parse().unwrap();
    let here = StreamRef::from(here);
    for (allowed, stream, is_allowed) in [
        (orders(), orders(), true),
        (orders(), here.clone(), true),
        (here.clone(), here.clone(), true),
        (here.clone(), orders(), true),
        (orders(), there.clone(), false),
        (there.clone(), orders(), false),
        (there.clone(), here.clone(), false),
    ] {
        let client: Arc<dyn KinesisClient> = Arc::new(kinesis.clone());
        let producers = Producers::builder(client).allow([allowed.clone()]).build();
        // Twice, since what is known about a name is remembered.
        for _ in 0..2 {
            let refused = producers.send(&stream, record("a", "1")).await.err();
            let refused = refused.is_some_and(|error| matches!(error.reason(), Reason::NotAllowed));
            assert_eq!(!refused, is_allowed, "{allowed} is allowed, and {stream} is named");
        }
        producers.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn only_so_many_streams_have_a_producer_and_the_rest_have_had_one() {
    let kinesis = kinesis(1).await;
    let streams: Vec<StreamRef> = (0..5).map(|number| format!("stream-{number}").parse().unwrap()).collect();
    for stream in &streams {
        kinesis.create_stream(&stream.name(), 1).await.unwrap();
    }
    let client: Arc<dyn KinesisClient> = Arc::new(kinesis.clone());
    let two = NonZeroU32::new(2).unwrap();
    let producers = Producers::builder(client).settings(settings()).max_streams(two).build();
    let open = |producers: &Producers| {
        let mut open: Vec<_> = producers.metrics().iter().map(|(arn, _)| arn.name().to_string()).collect();
        open.sort();
        open
    };
    for (number, stream) in streams.iter().chain([&streams[0], &streams[3], &streams[0], &streams[1]]).enumerate() {
        let receipt = producers.send(stream, record("a", &number.to_string())).await.unwrap();
        receipt.await.unwrap();
        assert!(open(&producers).len() <= 2, "{:?}", open(&producers));
    }
    assert_eq!(open(&producers), ["stream-0", "stream-1"], "those that were used last");
    let read = |stream: &StreamRef| -> Vec<String> {
        let records = kinesis.records(stream).into_iter();
        records.map(|(_, record)| String::from_utf8(record.data.to_vec()).unwrap()).collect()
    };
    assert_eq!(read(&streams[0]), ["0", "5", "7"]);
    assert_eq!(read(&streams[3]), ["3", "6"]);

    // A producer with outstanding records is not closed: a sender that needs another one waits for it.
    kinesis.faults().delay(Operation::PutRecords, 5 * SECOND);
    let first = producers.send(&streams[0], record("a", "8")).await.unwrap();
    let start = tokio::time::Instant::now();
    let second = producers.send(&streams[1], record("a", "9")).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
    let third = producers.send(&streams[2], record("a", "10")).await.unwrap();
    assert!(start.elapsed() >= 5 * SECOND, "{:?}", start.elapsed());
    for receipt in [first, second, third] {
        receipt.await.unwrap();
    }

    // Nor is a producer of which there is a clone elsewhere: there may be more of these.
    let kept = [producers.get(&streams[3]).await.unwrap(), producers.get(&streams[4]).await.unwrap()];
    let other = producers.send(&streams[0], record("a", "11")).await.unwrap();
    assert_eq!(open(&producers), ["stream-0", "stream-3", "stream-4"]);
    for producer in &kept {
        producer.send(record("a", "12")).await.unwrap().await.unwrap();
    }
    other.await.unwrap();
    assert_eq!(producers.close_within(10 * SECOND).await, []);
}
