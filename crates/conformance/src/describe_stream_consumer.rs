//! Behaviours of `FanOutClient::describe_stream_consumer`.

use statefun_kinesis_client::{ConsumerStatus, ErrorKind};

use crate::{
    Backend,
    consumer::{TestConsumer, consumer_name, patiently},
    register_stream_consumer::missing_stream,
    stream::{TestStream, refused},
};

/// A consumer's name, ARN and time of creation are those that registration gave.
pub async fn a_consumer_is_described_as_it_was_registered(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let consumer = TestConsumer::new(backend, &stream, "reader").await;
    let mut expected = consumer.registered.clone();
    expected.status = ConsumerStatus::Active;
    assert_eq!(consumer.describe().await.expect("the consumer is there"), expected);
    consumer.remove().await;
    stream.remove().await;
}

/// A consumer or stream that does not exist is not found.
pub async fn an_unknown_consumer_is_not_found(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let (fan_out, name) = (backend.fan_out(), consumer_name("reader"));
    for (arn, what) in
        [(stream.arn().await, "a missing consumer"), (missing_stream(backend).await, "a missing stream's consumer")]
    {
        let described = patiently("an answer", || fan_out.describe_stream_consumer(&arn, &name)).await;
        refused(described, ErrorKind::NotFound, what);
    }
    stream.remove().await;
}
