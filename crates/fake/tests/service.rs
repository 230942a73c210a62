//! The service's semantics that the conformance suite cannot see from outside: exact limits, retention, throughput,
//! states, names of errors.

use std::{
    num::NonZeroU16,
    task::{Context, Waker},
    time::Duration,
};

use bytes::Bytes;
use statefun_kinesis_client::{
    Error, ErrorKind, KinesisAdmin, KinesisClient, KinesisClientExt, PageToken, PutOutcome, RecordDistribution,
    RecordPage, Result, ShardFilter, ShardIterator, ShardPageRequest, StreamMode, StreamStatus,
};
use statefun_kinesis_fake::{FakeKinesis, FakeKinesisBuilder};
use statefun_kinesis_types::{
    HashKey, PutRecord, RECORD_MAX_BYTES, RETENTION_DEFAULT, SequenceNumber, ShardId, StartPosition, StreamName,
    StreamRef, Timestamp,
};
use tokio::time::advance;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MIB: usize = 1 << 20;

/// A stream on a fake with these settings, once it is ACTIVE.
async fn stream_on(builder: FakeKinesisBuilder, shards: usize) -> (FakeKinesis, StreamRef) {
    let kinesis = builder.build();
    let name: StreamName = "stream".parse().unwrap();
    kinesis.create_stream(&name, shards).await.unwrap();
    let stream = StreamRef::from(name);
    while kinesis.describe_stream_summary(&stream).await.unwrap().status != StreamStatus::Active {
        advance(MILLI).await;
    }
    (kinesis, stream)
}

async fn stream(shards: usize) -> (FakeKinesis, StreamRef) {
    stream_on(FakeKinesis::builder(), shards).await
}

fn shard(number: usize) -> ShardId {
    format!("shardId-{number:012}").parse().unwrap()
}

fn record(text: &str) -> PutRecord {
    PutRecord::new("k".parse().unwrap(), text.to_owned())
}

/// A record that counts as so many bytes.
fn sized(bytes: usize) -> PutRecord {
    PutRecord::new("k".parse().unwrap(), vec![0; bytes - 1])
}

async fn put(kinesis: &FakeKinesis, stream: &StreamRef, records: &[PutRecord]) -> Vec<SequenceNumber> {
    let outcomes = kinesis.put_records(stream, records).await.unwrap();
    outcomes.into_iter().map(|outcome| outcome.unwrap().sequence_number).collect()
}

async fn read(kinesis: &FakeKinesis, stream: &StreamRef, number: usize, from: StartPosition) -> Result<RecordPage> {
    let iterator = kinesis.get_shard_iterator(stream, &shard(number), from).await?;
    kinesis.get_records(&iterator, 10_000).await
}

fn texts(page: &RecordPage) -> Vec<&str> {
    page.records.iter().map(|record| std::str::from_utf8(&record.data).unwrap()).collect()
}

#[track_caller]
fn refused<T: std::fmt::Debug>(result: Result<T>, kind: ErrorKind, code: &str) -> Error {
    let error = result.expect_err("the service refuses this");
    assert_eq!((error.kind(), error.code()), (kind, Some(code)), "{error}");
    error
}

#[tokio::test(start_paused = true)]
async fn the_clock_is_the_epoch_plus_tokios() {
    let epoch: Timestamp = "2026-04-23T00:00:00.000Z".parse().unwrap();
    let (kinesis, stream) = stream_on(FakeKinesis::builder().epoch(epoch), 1).await;
    assert_eq!(kinesis.clock().now(), epoch);
    advance(Duration::from_secs(86_399)).await;
    put(&kinesis, &stream, &[record("a")]).await;
    let late: Timestamp = "2026-04-23T23:59:59.000Z".parse().unwrap();
    assert_eq!(kinesis.clock().now(), late);
    assert_eq!(kinesis.records(&stream)[0].1.approximate_arrival, late);
    assert_eq!(kinesis.describe_stream_summary(&stream).await.unwrap().created, epoch);
}

#[test]
fn endpoints_are_created_without_a_runtime() {
    let kinesis = FakeKinesis::new();
    let name: StreamName = "stream".parse().unwrap();
    let before = Timestamp::now();
    let calls = async {
        kinesis.create_stream(&name, 1).await.unwrap();
        put(&kinesis, &name.clone().into(), &[record("a")]).await;
    };
    let mut calls = std::pin::pin!(calls);
    let answer = calls.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    assert!(answer.is_ready(), "without a delay every call answers at once");
    let arrival = kinesis.records(&name.clone().into())[0].1.approximate_arrival;
    assert!(arrival.since(before) < Duration::from_secs(60), "{before} {arrival}");
}

#[tokio::test(start_paused = true)]
async fn records_leave_with_retention_and_not_a_millisecond_earlier() {
    let (kinesis, stream) = stream(1).await;
    let numbers = put(&kinesis, &stream, &[record("a")]).await;
    advance(SECOND).await;
    put(&kinesis, &stream, &[record("b")]).await;
    let early = kinesis.get_shard_iterator(&stream, &shard(0), StartPosition::TrimHorizon).await.unwrap();

    advance(RETENTION_DEFAULT - SECOND).await;
    assert_eq!(texts(&read(&kinesis, &stream, 0, StartPosition::TrimHorizon).await.unwrap()), ["a", "b"]);
    advance(MILLI).await;
    assert_eq!(kinesis.records(&stream).len(), 1);
    for from in [
        StartPosition::TrimHorizon,
        StartPosition::AtTimestamp(Timestamp::EPOCH),
        StartPosition::AtSequenceNumber(numbers[0]),
        StartPosition::AfterSequenceNumber(numbers[0]),
    ] {
        assert_eq!(texts(&read(&kinesis, &stream, 0, from).await.unwrap()), ["b"], "{from}");
    }
    refused(kinesis.get_records(&early, 1).await, ErrorKind::ExpiredIterator, "ExpiredIteratorException");
}

#[tokio::test(start_paused = true)]
async fn an_iterator_goes_on_where_retention_has_caught_up_with_it() {
    let (kinesis, stream) = stream(1).await;
    kinesis.set_retention(&stream, Duration::from_secs(60)).unwrap();
    put(&kinesis, &stream, &[record("a"), record("b")]).await;
    let iterator = kinesis.get_shard_iterator(&stream, &shard(0), StartPosition::TrimHorizon).await.unwrap();
    let page = kinesis.get_records(&iterator, 1).await.unwrap();
    advance(Duration::from_secs(61)).await;
    put(&kinesis, &stream, &[record("c")]).await;
    let page = kinesis.get_records(&page.next_iterator.unwrap(), 10).await.unwrap();
    assert_eq!(texts(&page), ["c"]);

    advance(Duration::from_secs(61)).await;
    kinesis.set_retention(&stream, RETENTION_DEFAULT).unwrap();
    assert_eq!(kinesis.records(&stream).len(), 0, "a longer retention brings nothing back");
}

#[tokio::test(start_paused = true)]
async fn a_closed_shard_is_gone_once_it_has_left_retention() {
    let (kinesis, stream) = stream(1).await;
    put(&kinesis, &stream, &[record("a")]).await;
    kinesis.split_shard(&stream, &shard(0), HashKey::new(1 << 127)).await.unwrap();
    let page = read(&kinesis, &stream, 0, StartPosition::TrimHorizon).await.unwrap();
    assert_eq!((texts(&page), &page.next_iterator), (vec!["a"], &None), "the last record comes with the end");
    assert_eq!(page.child_shards.len(), 2);

    advance(RETENTION_DEFAULT - SECOND).await;
    let late = kinesis.get_shard_iterator(&stream, &shard(0), StartPosition::TrimHorizon).await.unwrap();
    advance(2 * SECOND).await;
    let gone = read(&kinesis, &stream, 0, StartPosition::TrimHorizon).await;
    refused(gone, ErrorKind::NotFound, "ResourceNotFoundException");
    refused(kinesis.get_records(&late, 1).await, ErrorKind::NotFound, "ResourceNotFoundException");
    kinesis.set_retention(&stream, 2 * RETENTION_DEFAULT).unwrap();
    let listed = kinesis.all_shards(&stream, ShardFilter::FromTrimHorizon).await.unwrap();
    assert_eq!(listed.iter().map(|shard| shard.id.clone()).collect::<Vec<_>>(), [shard(1), shard(2)]);
}

#[tokio::test(start_paused = true)]
async fn a_timestamp_is_inclusive_to_the_millisecond() {
    let (kinesis, stream) = stream(1).await;
    let mut arrivals = Vec::new();
    for text in ["a", "b", "c"] {
        advance(MILLI).await;
        arrivals.push(kinesis.clock().now());
        put(&kinesis, &stream, &[record(text)]).await;
    }
    let at = async |time| {
        let page = read(&kinesis, &stream, 0, StartPosition::AtTimestamp(time)).await.unwrap();
        texts(&page).join("")
    };
    assert_eq!([at(arrivals[0]).await, at(arrivals[1]).await, at(arrivals[2]).await], ["abc", "bc", "c"]);
    let future = StartPosition::AtTimestamp(arrivals[2].after(MILLI));
    refused(read(&kinesis, &stream, 0, future).await, ErrorKind::InvalidArgument, "InvalidArgumentException");
}

#[tokio::test(start_paused = true)]
async fn a_sequence_number_must_come_from_the_shard() {
    let (kinesis, stream) = stream(2).await;
    let own = put(&kinesis, &stream, &[record("a").with_explicit_hash_key(HashKey::MIN)]).await[0];
    let other = put(&kinesis, &stream, &[record("b").with_explicit_hash_key(HashKey::MAX)]).await[0];
    // A little above a record's number is where a subscription's continuation may lie.
    let future = own.checked_add(1_000_000_000_000).unwrap();
    for from in [StartPosition::AtSequenceNumber, StartPosition::AfterSequenceNumber] {
        for bad in [other, future, SequenceNumber::from(1_u64)] {
            let refusal = read(&kinesis, &stream, 0, from(bad)).await;
            refused(refusal, ErrorKind::InvalidArgument, "InvalidArgumentException");
        }
    }
    // ListShards tells the shard's first number, which no record has; reading may start there.
    let first = kinesis.all_shards(&stream, ShardFilter::AtLatest).await.unwrap()[0].starting_sequence_number;
    let page = read(&kinesis, &stream, 0, StartPosition::AtSequenceNumber(first)).await.unwrap();
    assert_eq!(texts(&page), ["a"]);
    // And its last one once it is closed.
    kinesis.split_shard(&stream, &shard(0), HashKey::new(1 << 100)).await.unwrap();
    let closed = &kinesis.all_shards(&stream, ShardFilter::FromTrimHorizon).await.unwrap()[0];
    let last = StartPosition::AfterSequenceNumber(closed.ending_sequence_number.unwrap());
    let page = read(&kinesis, &stream, 0, last).await.unwrap();
    assert_eq!((page.records.len(), page.next_iterator), (0, None));
}

#[tokio::test(start_paused = true)]
async fn iterators_and_tokens_live_five_minutes_to_the_millisecond() {
    let (kinesis, stream) = stream(2).await;
    let iterator = kinesis.get_shard_iterator(&stream, &shard(0), StartPosition::TrimHorizon).await.unwrap();
    let page = first_page(&kinesis, &stream).await;
    let next = || ShardPageRequest::Next { token: page.clone(), max_results: None };
    advance(Duration::from_secs(300)).await;
    kinesis.get_records(&iterator, 1).await.unwrap();
    kinesis.list_shards(&stream, next()).await.unwrap();
    advance(MILLI).await;
    refused(kinesis.get_records(&iterator, 1).await, ErrorKind::ExpiredIterator, "ExpiredIteratorException");
    refused(kinesis.list_shards(&stream, next()).await, ErrorKind::ExpiredToken, "ExpiredNextTokenException");
}

async fn first_page(kinesis: &FakeKinesis, stream: &StreamRef) -> PageToken {
    let request = ShardPageRequest::First { filter: ShardFilter::AtLatest, max_results: NonZeroU16::new(1) };
    kinesis.list_shards(stream, request).await.unwrap().next.unwrap()
}

#[tokio::test]
async fn tokens_belong_to_their_stream_and_their_service() {
    let (kinesis, stream) = stream(2).await;
    let other: StreamName = "other".parse().unwrap();
    kinesis.create_stream(&other, 2).await.unwrap();
    let token = first_page(&kinesis, &stream).await;
    let iterator = kinesis.get_shard_iterator(&stream, &shard(0), StartPosition::Latest).await.unwrap();

    let wrong = kinesis.list_shards(&other.into(), ShardPageRequest::Next { token, max_results: None }).await;
    refused(wrong, ErrorKind::InvalidArgument, "InvalidArgumentException");
    let (elsewhere, _) = self::stream(2).await;
    refused(elsewhere.get_records(&iterator, 1).await, ErrorKind::InvalidArgument, "InvalidArgumentException");

    kinesis.delete_stream(&stream).await.unwrap();
    kinesis.create_stream(&stream.name(), 2).await.unwrap();
    refused(kinesis.get_records(&iterator, 1).await, ErrorKind::NotFound, "ResourceNotFoundException");
}

#[tokio::test]
async fn a_later_page_goes_on_with_the_same_filter() {
    let (kinesis, stream) = stream(4).await;
    kinesis.split_shard(&stream, &shard(0), HashKey::new(1 << 100)).await.unwrap();
    let after_first = ShardFilter::AfterShardId(shard(1));
    for (filter, expected) in [(ShardFilter::AtLatest, vec![1, 2, 3, 4, 5]), (after_first, vec![2, 3, 4, 5])] {
        let mut listed = Vec::new();
        let max_results = NonZeroU16::new(2);
        let mut request = ShardPageRequest::First { filter, max_results };
        loop {
            let page = kinesis.list_shards(&stream, request).await.unwrap();
            listed.extend(page.shards.into_iter().map(|shard| shard.id));
            let Some(token) = page.next else { break };
            request = ShardPageRequest::Next { token, max_results };
        }
        assert_eq!(listed, expected.into_iter().map(shard).collect::<Vec<_>>());
    }
}

#[tokio::test(start_paused = true)]
async fn a_filters_time_before_the_horizon_is_the_horizon() {
    let (kinesis, stream) = stream(1).await;
    advance(SECOND).await;
    kinesis.split_shard(&stream, &shard(0), HashKey::new(1 << 127)).await.unwrap();
    let ids = async |filter| {
        let shards = kinesis.all_shards(&stream, filter).await.unwrap();
        shards.into_iter().map(|shard| shard.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(ShardFilter::AtTimestamp(Timestamp::EPOCH)).await, [shard(0)], "of a young stream: its creation");
    assert_eq!(ids(ShardFilter::FromTimestamp(Timestamp::EPOCH)).await, [0, 1, 2].map(shard));
    advance(RETENTION_DEFAULT - SECOND).await;
    assert_eq!(ids(ShardFilter::AtTrimHorizon).await, [shard(0)], "open exactly at the horizon");
    advance(2 * SECOND).await;
    assert_eq!(ids(ShardFilter::AtTimestamp(Timestamp::EPOCH)).await, [1, 2].map(shard));
}

#[tokio::test]
async fn an_answer_has_ten_mebibytes_at_most() {
    let (kinesis, stream) = stream(1).await;
    for _ in 0..3 {
        put(&kinesis, &stream, &vec![sized(MIB); 5]).await;
    }
    let page = read(&kinesis, &stream, 0, StartPosition::TrimHorizon).await.unwrap();
    assert_eq!(page.records.len(), 10);
    assert!(!page.behind_latest.is_zero());
    let page = kinesis.get_records(&page.next_iterator.unwrap(), 10_000).await.unwrap();
    assert_eq!((page.records.len(), page.behind_latest), (5, Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn behind_latest_is_the_age_of_the_pages_last_record() {
    let (kinesis, stream) = stream(1).await;
    put(&kinesis, &stream, &[record("a"), record("b")]).await;
    let iterator = kinesis.get_shard_iterator(&stream, &shard(0), StartPosition::TrimHorizon).await.unwrap();
    assert_eq!(kinesis.get_records(&iterator, 1).await.unwrap().behind_latest, MILLI, "never zero while records wait");
    advance(7 * SECOND).await;
    assert_eq!(kinesis.get_records(&iterator, 1).await.unwrap().behind_latest, 7 * SECOND);
    assert_eq!(kinesis.get_records(&iterator, 2).await.unwrap().behind_latest, Duration::ZERO);
}

#[tokio::test]
async fn limits_of_a_request_have_their_exact_edges_and_names() {
    let (kinesis, stream) = stream(1).await;
    let invalid = ErrorKind::InvalidArgument;
    let put = async |records: &[PutRecord]| kinesis.put_records(&stream, records).await;
    assert!(put(&vec![record("a"); 500]).await.is_ok());
    refused(put(&vec![record("a"); 501]).await, invalid, "ValidationException");
    refused(put(&[]).await, invalid, "ValidationException");
    assert!(put(&[sized(RECORD_MAX_BYTES)]).await.is_ok());
    refused(put(&[sized(RECORD_MAX_BYTES + 1)]).await, invalid, "InvalidArgumentException");
    assert!(put(&vec![sized(MIB); 10]).await.is_ok());
    let mut over = vec![sized(MIB); 10];
    over.push(sized(1));
    refused(put(&over).await, invalid, "InvalidArgumentException");
    assert_eq!(kinesis.records(&stream).len(), 511, "nothing of a refused request is stored");

    let iterator = kinesis.get_shard_iterator(&stream, &shard(0), StartPosition::TrimHorizon).await.unwrap();
    refused(kinesis.get_records(&iterator, 0).await, invalid, "ValidationException");
    refused(kinesis.get_records(&iterator, 10_001).await, invalid, "ValidationException");
    refused(kinesis.get_records(&ShardIterator::new("x"), 1).await, invalid, "InvalidArgumentException");
    refused(kinesis.create_stream(&"none".parse().unwrap(), 0).await, invalid, "ValidationException");
    let quota = kinesis.create_stream(&"all".parse().unwrap(), 20_000).await;
    refused(quota, ErrorKind::LimitExceeded, "LimitExceededException");
}

#[tokio::test]
async fn a_stream_can_take_larger_records() {
    let (kinesis, stream) = stream(1).await;
    kinesis.set_max_record_bytes(&stream, 10 * MIB).unwrap();
    put(&kinesis, &stream, &[sized(10 * MIB)]).await;
    assert_eq!(kinesis.describe_stream_summary(&stream).await.unwrap().max_record_bytes, 10 * MIB);
    let page = read(&kinesis, &stream, 0, StartPosition::TrimHorizon).await.unwrap();
    assert_eq!(page.records[0].size(), 10 * MIB);
    let missing: StreamName = "missing".parse().unwrap();
    assert_eq!(kinesis.set_max_record_bytes(&missing.into(), 1).unwrap_err().kind(), ErrorKind::NotFound);
}

#[tokio::test]
async fn payloads_are_shared_and_never_copied() {
    let (kinesis, stream) = stream(1).await;
    let data = Bytes::from(vec![7; 100]);
    put(&kinesis, &stream, &[PutRecord::new("k".parse().unwrap(), data.clone())]).await;
    let page = read(&kinesis, &stream, 0, StartPosition::TrimHorizon).await.unwrap();
    assert_eq!(page.records[0].data.as_ptr(), data.as_ptr());
}

#[tokio::test]
async fn auto_distribution_ignores_keys() {
    let (kinesis, stream) = stream(4).await;
    kinesis.set_distribution(&stream, RecordDistribution::Auto).unwrap();
    let one = record("a").with_explicit_hash_key(HashKey::MIN);
    let outcomes = kinesis.put_records(&stream, &vec![one; 8]).await.unwrap();
    let mut shards: Vec<_> = outcomes.into_iter().map(|outcome| outcome.unwrap().shard).collect();
    shards.sort();
    assert_eq!(shards, [0, 0, 1, 1, 2, 2, 3, 3].map(shard));
    let summary = kinesis.describe_stream_summary(&stream).await.unwrap();
    assert_eq!((summary.distribution, summary.mode), (RecordDistribution::Auto, StreamMode::OnDemand));
}

#[tokio::test]
async fn an_arn_must_be_of_this_account_and_region() {
    let (kinesis, _) = stream_on(FakeKinesis::builder().region("eu-west-1").account("123456789012"), 1).await;
    let describe = async |arn: &str| kinesis.describe_stream_summary(&arn.parse().unwrap()).await;
    assert!(describe("arn:aws:kinesis:eu-west-1:123456789012:stream/stream").await.is_ok());
    let account = describe("arn:aws:kinesis:eu-west-1:000000000000:stream/stream").await;
    refused(account, ErrorKind::AccessDenied, "AccessDeniedException");
    let region = describe("arn:aws:kinesis:us-east-1:123456789012:stream/stream").await;
    refused(region, ErrorKind::NotFound, "ResourceNotFoundException");
    assert!(FakeKinesis::builder().account("12").try_build().is_err());
}

fn slow() -> FakeKinesisBuilder {
    FakeKinesis::builder().status_delay(SECOND)
}

#[tokio::test(start_paused = true)]
async fn states_expire_when_their_functions_say() {
    let kinesis = slow().build();
    let name: StreamName = "stream".parse().unwrap();
    let stream = StreamRef::from(name.clone());
    let status = async || kinesis.describe_stream_summary(&stream).await.map(|summary| summary.status);
    let in_use = |result: Result<()>| refused(result, ErrorKind::InUse, "ResourceInUseException");
    kinesis.create_stream(&name, 1).await.unwrap();
    advance(SECOND - MILLI).await;
    assert_eq!(status().await.unwrap(), StreamStatus::Creating);
    in_use(kinesis.delete_stream(&stream).await);
    in_use(kinesis.all_shards(&stream, ShardFilter::AtLatest).await.map(|_| ()));
    refused(kinesis.put_records(&stream, &[record("a")]).await, ErrorKind::NotFound, "ResourceNotFoundException");
    advance(MILLI).await;
    assert_eq!(status().await.unwrap(), StreamStatus::Active);

    let half = HashKey::new(1 << 127);
    kinesis.split_shard(&stream, &shard(0), half).await.unwrap();
    assert_eq!(status().await.unwrap(), StreamStatus::Updating);
    in_use(kinesis.split_shard(&stream, &shard(0), half).await);
    in_use(kinesis.delete_stream(&stream).await);
    let placement = kinesis.put_record(&stream, record("a")).await.unwrap();
    assert_eq!(placement.shard, shard(0), "while the split goes on, its parent takes records");
    advance(SECOND).await;
    let placement = kinesis.put_record(&stream, record("b")).await.unwrap();
    assert_ne!(placement.shard, shard(0));
    assert_eq!(status().await.unwrap(), StreamStatus::Active);
    let closed = kinesis.split_shard(&stream, &shard(0), half).await;
    refused(closed, ErrorKind::InvalidArgument, "InvalidArgumentException");

    let iterator = kinesis.get_shard_iterator(&stream, &shard(1), StartPosition::TrimHorizon).await.unwrap();
    kinesis.delete_stream(&stream).await.unwrap();
    assert_eq!(status().await.unwrap(), StreamStatus::Deleting);
    refused(kinesis.get_records(&iterator, 1).await, ErrorKind::NotFound, "ResourceNotFoundException");
    in_use(kinesis.create_stream(&name, 1).await);
    advance(SECOND).await;
    assert_eq!(kinesis.list_streams().await.unwrap(), []);
    refused(status().await, ErrorKind::NotFound, "ResourceNotFoundException");
}

#[tokio::test(start_paused = true)]
async fn five_streams_can_be_creating_at_a_time() {
    let kinesis = slow().build();
    for number in 0..5 {
        kinesis.create_stream(&format!("s{number}").parse().unwrap(), 1).await.unwrap();
    }
    let sixth = "s5".parse().unwrap();
    refused(kinesis.create_stream(&sixth, 1).await, ErrorKind::LimitExceeded, "LimitExceededException");
    advance(SECOND).await;
    kinesis.create_stream(&sixth, 1).await.unwrap();
}

#[tokio::test]
async fn a_split_leaves_two_keys_to_each_child() {
    let (kinesis, stream) = stream(1).await;
    let max = u128::MAX;
    for bad in [0, 1, max] {
        let split = kinesis.split_shard(&stream, &shard(0), HashKey::new(bad)).await;
        refused(split, ErrorKind::InvalidArgument, "InvalidArgumentException");
    }
    kinesis.split_shard(&stream, &shard(0), HashKey::new(2)).await.unwrap();
    kinesis.split_shard(&stream, &shard(2), HashKey::new(max - 1)).await.unwrap();
    let missing = kinesis.split_shard(&stream, &shard(9), HashKey::new(7)).await;
    refused(missing, ErrorKind::NotFound, "ResourceNotFoundException");
    let same = kinesis.merge_shards(&stream, &shard(1), &shard(1)).await;
    refused(same, ErrorKind::InvalidArgument, "InvalidArgumentException");
}

fn enforcing() -> FakeKinesisBuilder {
    FakeKinesis::builder().enforce_throughput(true)
}

fn taken(outcomes: &[PutOutcome]) -> usize {
    outcomes.iter().filter(|outcome| outcome.is_ok()).count()
}

#[tokio::test(start_paused = true)]
async fn a_shard_takes_a_thousand_records_a_second_and_the_others_go_on() {
    let (kinesis, stream) = stream_on(enforcing(), 2).await;
    let low = record("low").with_explicit_hash_key(HashKey::MIN);
    let high = record("high").with_explicit_hash_key(HashKey::MAX);
    for _ in 0..2 {
        let outcomes = kinesis.put_records(&stream, &vec![low.clone(); 500]).await.unwrap();
        assert_eq!(taken(&outcomes), 500);
    }
    let mixed = [low.clone(), high.clone(), low.clone(), high.clone()];
    let outcomes = kinesis.put_records(&stream, &mixed).await.unwrap();
    let failure = outcomes[0].as_ref().unwrap_err();
    assert_eq!((failure.kind, &failure.code[..]), (ErrorKind::Throttled, "ProvisionedThroughputExceededException"));
    assert!(outcomes[1].is_ok() && outcomes[2].is_err() && outcomes[3].is_ok());
    assert_eq!(kinesis.records(&stream).len(), 1_002);
    advance(Duration::from_millis(250)).await;
    let outcomes = kinesis.put_records(&stream, &vec![low; 500]).await.unwrap();
    assert_eq!(taken(&outcomes), 250);
}

#[tokio::test(start_paused = true)]
async fn reads_are_throttled_by_calls_and_by_bytes() {
    let (kinesis, stream) = stream_on(enforcing(), 1).await;
    kinesis.set_max_record_bytes(&stream, 10 * MIB).unwrap();
    let iterator = kinesis.get_shard_iterator(&stream, &shard(0), StartPosition::TrimHorizon).await.unwrap();
    let get = async || kinesis.get_records(&iterator, 10_000).await;
    let throttled = |result| refused(result, ErrorKind::Throttled, "ProvisionedThroughputExceededException");
    for _ in 0..5 {
        get().await.unwrap();
    }
    throttled(get().await);
    advance(Duration::from_millis(200)).await;
    get().await.unwrap();

    put(&kinesis, &stream, &[sized(10 * MIB)]).await;
    advance(SECOND).await;
    assert_eq!(get().await.unwrap().records.len(), 1);
    advance(5 * SECOND - MILLI).await;
    throttled(get().await);
    advance(MILLI).await;
    get().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_shard_gives_five_iterators_a_second() {
    let (kinesis, stream) = stream_on(enforcing(), 1).await;
    let get = async || kinesis.get_shard_iterator(&stream, &shard(0), StartPosition::Latest).await;
    for _ in 0..5 {
        get().await.unwrap();
    }
    refused(get().await, ErrorKind::Throttled, "ProvisionedThroughputExceededException");
}
