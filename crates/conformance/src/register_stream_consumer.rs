//! Behaviours of `FanOutClient::register_stream_consumer`.

use statefun_kinesis_client::{ConsumerStatus, ErrorKind};
use statefun_kinesis_types::StreamArn;

use crate::{
    Backend,
    consumer::{TestConsumer, consumer_name, patiently},
    stream::{TestStream, refused},
};

/// The consumer is first CREATING and becomes ACTIVE, under an ARN that names its stream and itself.
pub async fn a_new_consumer_becomes_active(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let consumer = TestConsumer::creating(backend, &stream, "reader").await;
    let registered = &consumer.registered;
    assert_eq!(registered.status, ConsumerStatus::Creating);
    assert_eq!(registered.name, consumer_name("reader"));
    assert_eq!((registered.arn.stream(), registered.arn.name()), (&stream.arn().await, &registered.name));
    consumer.wait_until_active().await;
    consumer.remove().await;
    stream.remove().await;
}

/// A name that another consumer of the stream has is in use; another stream's consumer may have it.
pub async fn a_taken_consumer_name_is_in_use(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let consumer = TestConsumer::new(backend, &stream, "reader").await;
    let again = patiently("a consumer to be registered", || {
        consumer.fan_out.register_stream_consumer(&consumer.stream, &consumer.registered.name)
    });
    refused(again.await, ErrorKind::InUse, "the name of another consumer of the stream");
    let other = TestStream::new(backend, 1).await;
    TestConsumer::new(backend, &other, "reader").await.remove().await;
    other.remove().await;
    consumer.remove().await;
    stream.remove().await;
}

/// A stream takes 20 consumers, and one more is over a limit.
pub async fn a_stream_takes_twenty_consumers(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let mut consumers = Vec::new();
    for number in 0..20 {
        consumers.push(TestConsumer::new(backend, &stream, &format!("reader-{number}")).await);
    }
    let one_more = consumer_name("one-more");
    let refusal = backend.fan_out().register_stream_consumer(&stream.arn().await, &one_more).await;
    refused(refusal, ErrorKind::LimitExceeded, "a consumer beside 20 others");
    for consumer in consumers {
        consumer.remove().await;
    }
    stream.remove().await;
}

/// A stream that does not exist is not found.
pub async fn a_consumer_of_a_missing_stream_is_not_found(backend: &dyn Backend) {
    let missing = missing_stream(backend).await;
    let (fan_out, name) = (backend.fan_out(), consumer_name("reader"));
    let register = || fan_out.register_stream_consumer(&missing, &name);
    refused(patiently("an answer", register).await, ErrorKind::NotFound, "a consumer of a missing stream");
}

/// An ARN of the backend's account and region that no stream has.
pub(crate) async fn missing_stream(backend: &dyn Backend) -> StreamArn {
    let stream = TestStream::new(backend, 1).await;
    let arn = stream.arn().await;
    stream.remove().await;
    StreamArn::new(arn.region(), arn.account(), &backend.fresh_name()).expect("the parts are an ARN's")
}
