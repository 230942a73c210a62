//! Behaviours of `KinesisClient::get_shard_iterator`.

use std::time::Duration;

use statefun_kinesis_client::ErrorKind;
use statefun_kinesis_types::{Record, StartPosition, StreamRef, Timestamp};

use crate::{
    Backend,
    stream::{TestStream, record, refused, texts},
};

/// A stream of one shard with these records, and the records as they are read.
async fn stream_of(backend: &dyn Backend, records: &[&str]) -> (TestStream, Vec<Record>) {
    let stream = TestStream::new(backend, 1).await;
    for text in records {
        stream.put(&[record(text)]).await;
    }
    let shard = stream.open_shards().await.remove(0).id;
    let read = stream.read_from(&shard, StartPosition::TrimHorizon, records.len()).await;
    (stream, read)
}

/// What comes from a position of the stream's one shard.
async fn read(stream: &TestStream, from: StartPosition, count: usize) -> Vec<String> {
    let shard = stream.open_shards().await.remove(0).id;
    texts(&stream.read_from(&shard, from, count).await)
}

/// `TrimHorizon` starts at the oldest record.
pub async fn trim_horizon_starts_at_the_oldest_record(backend: &dyn Backend) {
    let (stream, _) = stream_of(backend, &["a", "b"]).await;
    assert_eq!(read(&stream, StartPosition::TrimHorizon, 2).await, ["a", "b"]);
    stream.remove().await;
}

/// `Latest` starts behind the newest record, at the moment when the iterator was asked for.
pub async fn latest_starts_behind_the_newest_record(backend: &dyn Backend) {
    let (stream, _) = stream_of(backend, &["a", "b"]).await;
    let shard = stream.open_shards().await.remove(0).id;
    let iterator = stream.iterator(&shard, StartPosition::Latest).await;
    stream.put_one("c").await;
    assert_eq!(texts(&stream.read_some(&iterator, 10).await.records), ["c"]);
    stream.remove().await;
}

/// `AtTimestamp` starts at the first record that arrived at that time or later.
pub async fn at_timestamp_starts_at_the_first_record_from_then_on(backend: &dyn Backend) {
    let (stream, records) = stream_of(backend, &["a"]).await;
    let a = records[0].approximate_arrival;
    // Some cut the time to its second, so the times are further apart than that.
    let later = stream.wait_until_after(a.after(Duration::from_secs(2))).await;
    let first = first_at(&stream, later).await;
    let cut = later.before(Duration::from_secs(1));
    let arrival = first.approximate_arrival;
    assert!(cut < arrival && arrival <= later, "the first record at {later} is one that arrived at {arrival}");
    stream.remove().await;
}

/// The first record that is read from a time on.
async fn first_at(stream: &TestStream, time: Timestamp) -> Record {
    let shard = stream.open_shards().await.remove(0).id;
    let iterator = stream.iterator(&shard, StartPosition::AtTimestamp(time)).await;
    stream.read_some(&iterator, 1).await.records.remove(0)
}

/// `AtTimestamp` includes a record that arrived at that very millisecond, and none that arrived before.
pub async fn a_timestamp_is_exact_to_the_millisecond(backend: &dyn Backend) {
    let (stream, records) = stream_of(backend, &["a"]).await;
    let a = records[0].approximate_arrival;
    let later = stream.wait_until_after(a).await;
    assert_eq!(first_at(&stream, a).await.approximate_arrival, a);
    assert_eq!(first_at(&stream, a.after(Duration::from_millis(1))).await.approximate_arrival, later);
    assert_eq!(first_at(&stream, later).await.approximate_arrival, later);
    stream.remove().await;
}

/// A known mistake: the time of `AtTimestamp` is cut to its second, so that older records come.
pub async fn a_timestamp_is_cut_to_its_second(backend: &dyn Backend) {
    let (stream, records) = stream_of(backend, &["a"]).await;
    let second = |time: Timestamp| time.as_millis() / 1_000;
    let mut arrival = records[0].approximate_arrival;
    let later = loop {
        // Of a record that arrived in the last millisecond of its second nothing can be learnt.
        match arrival.after(Duration::from_millis(1)) {
            later if second(later) == second(arrival) => break later,
            _ => arrival = stream.wait_until_after(arrival).await,
        }
    };
    let first = first_at(&stream, later).await.approximate_arrival;
    assert!(first < later, "this backend has learnt milliseconds: the first record at {later} arrived at {first}");
    stream.remove().await;
}

/// A time before retention is trim horizon.
pub async fn a_timestamp_before_retention_is_trim_horizon(backend: &dyn Backend) {
    let (stream, _) = stream_of(backend, &["a", "b"]).await;
    let long_ago = Timestamp::from_millis(1_000);
    assert_eq!(read(&stream, StartPosition::AtTimestamp(long_ago), 2).await, ["a", "b"]);
    stream.remove().await;
}

/// A timestamp in the future is an invalid argument.
pub async fn a_timestamp_in_the_future_is_refused(backend: &dyn Backend) {
    let (stream, records) = stream_of(backend, &["a"]).await;
    let shard = stream.open_shards().await.remove(0).id;
    let future = records[0].approximate_arrival.after(Duration::from_secs(3_600));
    let iterator = stream.client.get_shard_iterator(&stream.stream, &shard, StartPosition::AtTimestamp(future)).await;
    refused(iterator, ErrorKind::InvalidArgument, "a timestamp an hour in the future");
    stream.remove().await;
}

/// `AtSequenceNumber` starts at that record.
pub async fn at_sequence_number_starts_at_that_record(backend: &dyn Backend) {
    let (stream, records) = stream_of(backend, &["a", "b", "c"]).await;
    let b = StartPosition::AtSequenceNumber(records[1].sequence_number);
    assert_eq!(read(&stream, b, 2).await, ["b", "c"]);
    stream.remove().await;
}

/// `AfterSequenceNumber` starts behind that record.
pub async fn after_sequence_number_starts_behind_that_record(backend: &dyn Backend) {
    let (stream, records) = stream_of(backend, &["a", "b", "c"]).await;
    let b = StartPosition::AfterSequenceNumber(records[1].sequence_number);
    assert_eq!(read(&stream, b, 1).await, ["c"]);
    stream.remove().await;
}

/// A shard or stream that does not exist is not found.
pub async fn a_missing_shard_or_stream_is_not_found(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let missing = "shardId-000000000099".parse().expect("the id is well formed");
    let iterator = stream.client.get_shard_iterator(&stream.stream, &missing, StartPosition::TrimHorizon).await;
    refused(iterator, ErrorKind::NotFound, "an iterator of a missing shard");
    let shard = stream.open_shards().await.remove(0).id;
    let missing = StreamRef::from(backend.fresh_name());
    let iterator = stream.client.get_shard_iterator(&missing, &shard, StartPosition::TrimHorizon).await;
    refused(iterator, ErrorKind::NotFound, "an iterator of a missing stream");
    stream.remove().await;
}
