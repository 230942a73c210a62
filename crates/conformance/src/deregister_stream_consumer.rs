//! Behaviours of `FanOutClient::deregister_stream_consumer`.

use statefun_kinesis_client::ErrorKind;
use statefun_kinesis_types::{ConsumerArn, StartPosition};

use crate::{
    Backend,
    consumer::{TestConsumer, consumer_name, patiently},
    stream::{TestStream, refused},
};

/// A removed consumer becomes not found, by its name and by its ARN.
pub async fn a_removed_consumer_is_not_found(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let shard = stream.open_shards().await.remove(0).id;
    let consumer = TestConsumer::new(backend, &stream, "reader").await;
    consumer.deregister().await.expect("an ACTIVE consumer can be removed");
    consumer.wait_until_gone().await;
    let arn = consumer.arn();
    let subscribed =
        patiently("an answer", || consumer.fan_out.subscribe_to_shard(&arn, &shard, StartPosition::Latest));
    refused(subscribed.await, ErrorKind::NotFound, "a subscription of a removed consumer");
    refused(consumer.deregister().await, ErrorKind::NotFound, "a consumer that was removed already");
    stream.remove().await;
}

/// The subscriptions of a removed consumer end.
pub async fn subscriptions_of_a_removed_consumer_end(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let shard = stream.open_shards().await.remove(0).id;
    let consumer = TestConsumer::new(backend, &stream, "reader").await;
    let mut subscription = consumer.subscribe(&shard, StartPosition::TrimHorizon).await;
    consumer.remove().await;
    let (_, error) = subscription.end().await;
    assert!(matches!(error, None | Some(ErrorKind::NotFound)), "a removed consumer is not found: {error:?}");
    stream.remove().await;
}

/// A name can be used again once its consumer is gone, and the new consumer has an ARN of its own.
pub async fn a_consumer_name_can_be_used_again(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let first = TestConsumer::new(backend, &stream, "reader").await;
    let first_arn = first.arn();
    first.remove().await;
    // ARNs count seconds, and a server on this machine is faster than that.
    let one = stream.put_one("a").await;
    let at = StartPosition::AtSequenceNumber(one.sequence_number);
    let arrival = stream.read_from(&one.shard, at, 1).await[0].approximate_arrival;
    stream.wait_until_after(arrival.after(std::time::Duration::from_secs(1))).await;
    let second = TestConsumer::new(backend, &stream, "reader").await;
    assert_ne!(first_arn, second.arn());
    second.remove().await;
    stream.remove().await;
}

/// A consumer that does not exist is not found.
pub async fn a_missing_consumer_cannot_be_removed(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let arn = ConsumerArn::new(&stream.arn().await, &consumer_name("reader"), 1_700_000_000);
    let fan_out = backend.fan_out();
    let removed = patiently("an answer", || fan_out.deregister_stream_consumer(&arn)).await;
    refused(removed, ErrorKind::NotFound, "a consumer that never was");
    stream.remove().await;
}
