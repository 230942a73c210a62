//! Behaviours of `KinesisClient::describe_stream_summary`.

use statefun_kinesis_client::{ErrorKind, KinesisClientExt, RecordDistribution, ShardFilter, StreamMode, StreamStatus};
use statefun_kinesis_types::{RECORD_MAX_BYTES, RETENTION_DEFAULT, StartPosition, StreamArn, StreamRef};

use crate::{
    Backend,
    stream::{TestStream, record, refused, texts},
};

/// A stream is the same by name and by ARN, in every operation.
pub async fn a_stream_is_the_same_by_name_and_by_arn(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let by_name = stream.client.describe_stream_summary(&stream.stream).await.expect("the stream is there by name");
    let arn = StreamRef::from(by_name.arn.clone());
    let by_arn = stream.client.describe_stream_summary(&arn).await.expect("the stream is there by ARN");
    assert_eq!(by_name, by_arn);

    let client = &stream.client;
    let shards = client.all_shards(&arn, ShardFilter::FromTrimHorizon).await.expect("shards are listed by ARN");
    assert_eq!(shards, stream.shards(ShardFilter::FromTrimHorizon).await);
    let outcomes = client.put_records(&arn, &[record("by ARN")]).await.expect("records are put by ARN");
    outcomes[0].as_ref().expect("the record is stored");
    let records = stream.read_from(&shards[0].id, StartPosition::TrimHorizon, 1).await;
    assert_eq!(texts(&records), ["by ARN"]);
    let iterator = client
        .get_shard_iterator(&arn, &shards[0].id, StartPosition::TrimHorizon)
        .await
        .expect("an iterator is given by ARN");
    assert_eq!(texts(&stream.read_some(&iterator, 10).await.records), ["by ARN"]);
    stream.remove().await;
}

/// The summary has the stream's ARN, name, retention, shard count and record size limit.
pub async fn the_summary_describes_the_stream(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 2).await;
    let summary = stream.client.describe_stream_summary(&stream.stream).await.expect("the stream is there");
    assert_eq!(summary.name, stream.name);
    assert_eq!(summary.arn.name(), stream.name);
    assert_eq!(summary.status, StreamStatus::Active);
    assert_eq!(summary.retention, RETENTION_DEFAULT);
    assert_eq!(summary.open_shards, 2);
    assert_eq!(summary.mode, StreamMode::Provisioned);
    assert_eq!(summary.max_record_bytes, RECORD_MAX_BYTES);
    assert_eq!(summary.distribution, RecordDistribution::UserPartitionKey);
    stream.remove().await;
}

/// The name of a stream that does not exist is not found.
pub async fn a_name_without_a_stream_is_not_found(backend: &dyn Backend) {
    let missing = StreamRef::from(backend.fresh_name());
    let summary = backend.client().describe_stream_summary(&missing).await;
    refused(summary, ErrorKind::NotFound, "a name that no stream has");
}

/// The ARN of a stream that does not exist is not found.
pub async fn an_arn_without_a_stream_is_not_found(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let arn = stream.arn().await;
    let missing = StreamArn::new(arn.region(), arn.account(), &backend.fresh_name()).expect("the parts are an ARN's");
    let summary = stream.client.describe_stream_summary(&missing.into()).await;
    refused(summary, ErrorKind::NotFound, "an ARN that no stream has");
    stream.remove().await;
}
