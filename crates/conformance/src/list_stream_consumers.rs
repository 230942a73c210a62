//! Behaviours of `FanOutClient::list_stream_consumers`.

use std::{collections::BTreeSet, num::NonZeroU16};

use statefun_kinesis_client::{ConsumerPage, ConsumerPageRequest, ErrorKind, PageToken, Result};
use statefun_kinesis_types::StreamArn;

use crate::{
    Backend,
    consumer::{TestConsumer, patiently},
    register_stream_consumer::missing_stream,
    stream::{TestStream, refused},
};

async fn list(backend: &dyn Backend, stream: &StreamArn, page: ConsumerPageRequest) -> Result<ConsumerPage> {
    let fan_out = backend.fan_out();
    patiently("a page of consumers", || fan_out.list_stream_consumers(stream, page.clone())).await
}

/// Pages joined are all consumers of the stream, each once.
pub async fn joined_pages_are_all_consumers(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let mut consumers = Vec::new();
    for name in ["c", "a", "b"] {
        consumers.push(TestConsumer::new(backend, &stream, name).await);
    }
    let mut names = Vec::new();
    let mut page = ConsumerPageRequest { token: None, max_results: NonZeroU16::new(2) };
    loop {
        let listed = list(backend, &stream.arn().await, page.clone()).await.expect("consumers can be listed");
        assert!(listed.consumers.len() <= 2, "two at most were asked for: {listed:?}");
        for consumer in listed.consumers {
            let registered = consumers.iter().map(|it| &it.registered).find(|it| it.arn == consumer.arn);
            let registered = registered.expect("only consumers of the stream are listed");
            assert_eq!((&consumer.name, consumer.created), (&registered.name, registered.created));
            names.push(consumer.name);
        }
        page.token = listed.next;
        if page.token.is_none() {
            break;
        }
    }
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 3, "{names:?}");
    for consumer in consumers {
        consumer.remove().await;
    }
    stream.remove().await;
}

/// A stream without consumers has an empty page.
pub async fn a_stream_without_consumers_has_an_empty_page(backend: &dyn Backend) {
    let stream = TestStream::new(backend, 1).await;
    let page = list(backend, &stream.arn().await, ConsumerPageRequest::default()).await;
    assert_eq!(page.expect("consumers can be listed"), ConsumerPage::new(Vec::new(), None));
    stream.remove().await;
}

/// A stream that does not exist is not found.
pub async fn consumers_of_a_missing_stream_are_not_found(backend: &dyn Backend) {
    let missing = missing_stream(backend).await;
    let page = list(backend, &missing, ConsumerPageRequest::default()).await;
    refused(page, ErrorKind::NotFound, "consumers of a missing stream");
}

async fn page_behind_an_invented_token(backend: &dyn Backend) -> Result<ConsumerPage> {
    let stream = TestStream::new(backend, 1).await;
    let request = ConsumerPageRequest { token: Some(PageToken::new("invented")), max_results: None };
    let page = list(backend, &stream.arn().await, request).await;
    stream.remove().await;
    page
}

/// An invented token is an invalid argument.
pub async fn an_invented_consumer_token_is_refused(backend: &dyn Backend) {
    let page = page_behind_an_invented_token(backend).await;
    refused(page, ErrorKind::InvalidArgument, "an invented token");
}

/// A known mistake: an invented token is taken for a name in the listing.
pub async fn an_invented_consumer_token_is_taken(backend: &dyn Backend) {
    let page = page_behind_an_invented_token(backend).await.expect("this backend has learnt to refuse tokens");
    assert_eq!(page.consumers, []);
}
