//! Behaviours of `KinesisAdmin::delete_stream`.

use statefun_kinesis_client::ErrorKind;
use statefun_kinesis_types::StartPosition;

use crate::{
    Backend,
    consumer::TestConsumer,
    stream::{TestStream, record, refused, texts},
};

/// A removed stream becomes not found, also for a consumer's iterators.
pub async fn a_removed_stream_is_not_found(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let shard = stream.put_one("a").await.shard;
    let iterator = stream.iterator(&shard, StartPosition::TrimHorizon).await;
    stream.client.delete_stream(&stream.stream).await.expect("an ACTIVE stream can be removed");
    stream.wait_until_gone().await;
    refused(stream.client.get_records(&iterator, 10).await, ErrorKind::NotFound, "an iterator of a removed stream");
    let outcomes = stream.client.put_records(&stream.stream, &[record("b")]).await;
    refused(outcomes, ErrorKind::NotFound, "records for a removed stream");
    let again = stream.client.delete_stream(&stream.stream).await;
    refused(again, ErrorKind::NotFound, "a stream that was removed already");
}

/// A name can be used again once its stream is gone, and nothing of the old one is left.
pub async fn a_name_can_be_used_again(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 2).await;
    stream.put_one("old").await;
    stream.client.delete_stream(&stream.stream).await.expect("an ACTIVE stream can be removed");
    stream.wait_until_gone().await;
    stream.client.create_stream(&stream.name, 1).await.expect("the name is free again");
    stream.wait_until_active().await;
    assert_eq!(stream.open_shards().await.len(), 1, "the new stream has its own shards");
    let shard = stream.put_one("new").await.shard;
    let records = stream.read_from(&shard, StartPosition::TrimHorizon, 1).await;
    assert_eq!(texts(&records), ["new"]);
    stream.remove().await;
}

/// A stream that has consumers is in use, and can be removed once they are gone.
pub async fn a_stream_with_consumers_is_in_use(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let consumer = TestConsumer::new(backend, &stream, "reader").await;
    let removed = stream.client.delete_stream(&stream.stream).await;
    refused(removed, ErrorKind::InUse, "a stream that has a consumer");
    consumer.remove().await;
    stream.remove().await;
}

/// A known mistake: a stream that has consumers is removed, and they with it.
pub async fn a_stream_with_consumers_is_removed(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    TestConsumer::new(backend, &stream, "reader").await;
    let removed = stream.client.delete_stream(&stream.stream).await;
    removed.expect("this backend has learnt to keep streams that have consumers");
    stream.wait_until_gone().await;
}
