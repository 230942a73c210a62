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
    let later = stream.wait_until_after(a).await;
    let from = |time| StartPosition::AtTimestamp(time);
    assert_eq!(read(&stream, from(later), 1).await, ["mark"], "at its arrival a record is included");
    let shard = stream.open_shards().await.remove(0).id;
    let iterator = stream.iterator(&shard, from(a.after(Duration::from_millis(1)))).await;
    let first = stream.read_some(&iterator, 1).await.records;
    assert!(first[0].approximate_arrival > a, "what arrived before the time is left out: {:?}", texts(&first));
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
