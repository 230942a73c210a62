//! Faults do what they say, and the same seed does the same again.

use std::time::Duration;

use statefun_kinesis_client::{
    ErrorKind, KinesisAdmin, KinesisClient, KinesisClientExt, Operation, PutFailure, PutOutcome, Result,
};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_types::{PutRecord, ShardId, StartPosition, StreamName, StreamRef};
use tokio::time::Instant;

async fn kinesis() -> (FakeKinesis, StreamRef) {
    let kinesis = FakeKinesis::new();
    let name: StreamName = "stream".parse().unwrap();
    kinesis.create_stream(&name, 1).await.unwrap();
    (kinesis, name.into())
}

fn shard() -> ShardId {
    "shardId-000000000000".parse().unwrap()
}

fn records(count: usize) -> Vec<PutRecord> {
    (0..count).map(|n| PutRecord::new("key".parse().unwrap(), n.to_string())).collect()
}

fn stored(kinesis: &FakeKinesis, stream: &StreamRef) -> Vec<String> {
    let text = |data: &[u8]| String::from_utf8(data.to_vec()).unwrap();
    kinesis.records(stream).iter().map(|(_, record)| text(&record.data)).collect()
}

fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

/// Which entries failed, and how.
fn failures(outcomes: &[PutOutcome]) -> Vec<(usize, &PutFailure)> {
    outcomes.iter().enumerate().filter_map(|(index, outcome)| Some((index, outcome.as_ref().err()?))).collect()
}

#[tokio::test]
async fn scripted_calls_fail_in_turn_and_without_effect() {
    let (kinesis, stream) = kinesis().await;
    let faults = kinesis.faults();
    faults.fail_next_n(Operation::PutRecords, ErrorKind::Unavailable, 2);
    faults.fail_next(Operation::PutRecords, ErrorKind::Throttled);
    let mut kinds = Vec::new();
    for _ in 0..4 {
        kinds.push(kind(kinesis.put_records(&stream, &records(1)).await));
    }
    let [unavailable, throttled] = [ErrorKind::Unavailable, ErrorKind::Throttled].map(Some);
    assert_eq!(kinds, [unavailable, unavailable, throttled, None]);
    assert_eq!(stored(&kinesis, &stream).len(), 1);
    assert_eq!(kinesis.calls(Operation::PutRecords), 4);
    assert_eq!(kinesis.calls(Operation::GetRecords), 0);
}

#[tokio::test]
async fn a_fault_has_the_services_name_and_concerns_its_operation_only() {
    let (kinesis, stream) = kinesis().await;
    kinesis.faults().fail_next(Operation::DescribeStreamSummary, ErrorKind::LimitExceeded);
    assert!(kinesis.put_records(&stream, &records(1)).await.is_ok());
    let error = kinesis.describe_stream_summary(&stream).await.unwrap_err();
    assert_eq!(error.code(), Some("LimitExceededException"));
    assert_eq!(error.operation(), Operation::DescribeStreamSummary);
}

#[tokio::test]
async fn entries_fail_in_the_middle_and_are_not_stored() {
    let (kinesis, stream) = kinesis().await;
    kinesis.faults().fail_next_entries(|index, _| index % 2 == 1);
    let outcomes = kinesis.put_records(&stream, &records(5)).await.unwrap();
    let failed = failures(&outcomes);
    assert_eq!(failed.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(failed[0].1.kind, ErrorKind::Throttled);
    assert_eq!(failed[0].1.code, "ProvisionedThroughputExceededException");
    assert_eq!(stored(&kinesis, &stream), ["0", "2", "4"]);

    let outcomes = kinesis.put_records(&stream, &records(5)).await.unwrap();
    assert_eq!(failures(&outcomes), [], "the next call is as usual");
}

#[tokio::test]
async fn entries_fail_until_cleared_as_the_closure_says() {
    let (kinesis, stream) = kinesis().await;
    kinesis.faults().fail_entries(|_, record| record.data == "1");
    for _ in 0..2 {
        let outcomes = kinesis.put_records(&stream, &records(3)).await.unwrap();
        assert_eq!(failures(&outcomes).len(), 1);
    }
    kinesis.faults().fail_entries_with(|index, _| {
        (index == 0).then(|| PutFailure::new(ErrorKind::Unavailable, "InternalFailure", "a disk burns"))
    });
    let outcomes = kinesis.put_records(&stream, &records(3)).await.unwrap();
    assert_eq!(failures(&outcomes)[0].1.message, "a disk burns");
    kinesis.faults().clear();
    let outcomes = kinesis.put_records(&stream, &records(3)).await.unwrap();
    assert_eq!(failures(&outcomes), []);
}

#[tokio::test]
async fn a_lost_answer_stores_and_times_out() {
    let (kinesis, stream) = kinesis().await;
    kinesis.faults().store_then_fail(Operation::PutRecords);
    assert_eq!(kind(kinesis.put_records(&stream, &records(2)).await), Some(ErrorKind::Timeout));
    assert_eq!(stored(&kinesis, &stream), ["0", "1"]);
    assert_eq!(kind(kinesis.put_records(&stream, &records(1)).await), None);
}

#[tokio::test(start_paused = true)]
async fn a_delay_takes_virtual_time_before_anything_happens() {
    let (kinesis, stream) = kinesis().await;
    let delay = Duration::from_secs(90);
    kinesis.faults().delay(Operation::PutRecords, delay);
    let start = Instant::now();
    let batch = records(1);
    let put = kinesis.put_records(&stream, &batch);
    assert!(tokio::time::timeout(delay / 2, put).await.is_err(), "the call is held up");
    assert_eq!(stored(&kinesis, &stream).len(), 0, "a call that was dropped on the way had no effect");

    kinesis.put_record(&stream, batch[0].clone()).await.unwrap();
    assert_eq!(start.elapsed(), delay / 2 + delay);
    kinesis.faults().delay(Operation::PutRecords, Duration::ZERO);
    kinesis.put_record(&stream, batch[0].clone()).await.unwrap();
    assert_eq!(start.elapsed(), delay / 2 + delay);
}

#[tokio::test]
async fn iterators_expire_on_demand_and_new_ones_work() {
    let (kinesis, stream) = kinesis().await;
    let old = kinesis.get_shard_iterator(&stream, &shard(), StartPosition::TrimHorizon).await.unwrap();
    kinesis.faults().expire_iterators();
    let error = kinesis.get_records(&old, 1).await.unwrap_err();
    assert_eq!((error.kind(), error.code()), (ErrorKind::ExpiredIterator, Some("ExpiredIteratorException")));
    let new = kinesis.get_shard_iterator(&stream, &shard(), StartPosition::TrimHorizon).await.unwrap();
    assert_eq!(kind(kinesis.get_records(&new, 1).await), None);
}

/// What 200 calls of each of two operations meet under a seed.
async fn drawn(seed: u64, ratio: f64) -> (Vec<Option<ErrorKind>>, usize) {
    let (kinesis, stream) = kinesis().await;
    let kinds = [ErrorKind::Throttled, ErrorKind::Timeout];
    kinesis.faults().randomly(seed, ratio, &[Operation::PutRecords], &kinds);
    let mut met = Vec::new();
    for _ in 0..200 {
        assert!(kinesis.describe_stream_summary(&stream).await.is_ok(), "this operation was not chosen");
        let result = kinesis.put_records(&stream, &records(1)).await;
        if let Err(error) = &result {
            assert!(error.to_string().contains(&format!("seed {seed}")), "{error}");
        }
        met.push(kind(result));
    }
    (met, stored(&kinesis, &stream).len())
}

#[tokio::test]
async fn a_seed_decides_everything() {
    let (met, stored) = drawn(7, 0.3).await;
    assert_eq!((met.clone(), stored), drawn(7, 0.3).await);
    assert_ne!(met, drawn(8, 0.3).await.0);

    let count = |kind: Option<ErrorKind>| met.iter().filter(|met| **met == kind).count();
    let (fine, throttled, timeouts) = (count(None), count(Some(ErrorKind::Throttled)), count(Some(ErrorKind::Timeout)));
    assert!(throttled > 10 && timeouts > 10 && fine > 100, "{fine} {throttled} {timeouts}");
    assert!(fine < stored && stored < fine + timeouts, "some calls that timed out were carried out: {stored}");

    assert_eq!(drawn(7, 0.0).await, (vec![None; 200], 200));
    assert!(drawn(7, 1.0).await.0.iter().all(Option::is_some));
}

#[tokio::test]
async fn a_seed_decides_which_entries_fail() {
    let drawn = async |seed| {
        let (kinesis, stream) = kinesis().await;
        kinesis.faults().randomly_entries(seed, 0.2);
        let outcomes = kinesis.put_records(&stream, &records(500)).await.unwrap();
        let failed: Vec<_> = failures(&outcomes).into_iter().map(|(index, it)| (index, it.code.clone())).collect();
        assert_eq!(stored(&kinesis, &stream).len() + failed.len(), 500);
        failed
    };
    let failed = drawn(7).await;
    assert_eq!(failed, drawn(7).await);
    assert_ne!(failed, drawn(8).await);
    assert!((50..150).contains(&failed.len()), "{}", failed.len());
    assert!(failed.iter().any(|(_, code)| code == "InternalFailure"));
}
