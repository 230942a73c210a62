use std::io;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kinesis::config::{Config, Credentials};
use statefun_kinesis_client::{KinesisClient, ShardFilter, ShardIterator, ShardPageRequest};
use statefun_kinesis_types::{ErrorChain, PutRecord, StartPosition, StreamRef};

use super::*;
use crate::{
    AwsKinesis, OPERATION_TIMEOUT,
    replay::{Replay, Reply},
};

fn stream() -> StreamRef {
    "arn:aws:kinesis:eu-west-1:123456789012:stream/orders".parse().unwrap()
}

async fn describe(reply: Reply) -> Error {
    Replay::new([reply]).kinesis().describe_stream_summary(&stream()).await.expect_err("the call must fail")
}

/// The error and its sources, as a person sees them.
fn chain(error: &Error) -> String {
    ErrorChain(error).to_string()
}

/// Every exception of the service model (aws-sdk-kinesis 1.130), with the status that the service gives it.
const MODELLED: [(&str, u16, ErrorKind); 17] = [
    ("AccessDeniedException", 400, ErrorKind::AccessDenied),
    ("DryRunOperationException", 400, ErrorKind::Unexpected),
    ("ExpiredIteratorException", 400, ErrorKind::ExpiredIterator),
    ("ExpiredNextTokenException", 400, ErrorKind::ExpiredToken),
    ("InternalFailureException", 500, ErrorKind::Unavailable),
    ("InvalidArgumentException", 400, ErrorKind::InvalidArgument),
    ("KMSAccessDeniedException", 400, ErrorKind::Encryption),
    ("KMSDisabledException", 400, ErrorKind::Encryption),
    ("KMSInvalidStateException", 400, ErrorKind::Encryption),
    ("KMSNotFoundException", 400, ErrorKind::Encryption),
    ("KMSOptInRequired", 400, ErrorKind::Encryption),
    ("KMSThrottlingException", 400, ErrorKind::Throttled),
    ("LimitExceededException", 400, ErrorKind::LimitExceeded),
    ("ProvisionedThroughputExceededException", 400, ErrorKind::Throttled),
    ("ResourceInUseException", 400, ErrorKind::InUse),
    ("ResourceNotFoundException", 400, ErrorKind::NotFound),
    ("ValidationException", 400, ErrorKind::InvalidArgument),
];

/// Errors that any service of AWS may give, and some that none gives.
const SHARED: [(&str, u16, ErrorKind); 22] = [
    ("UnrecognizedClientException", 400, ErrorKind::AccessDenied),
    ("InvalidSignatureException", 400, ErrorKind::AccessDenied),
    ("ExpiredTokenException", 400, ErrorKind::ExpiredCredentials),
    ("RequestExpired", 400, ErrorKind::ClockSkew),
    ("RequestTimeTooSkewed", 403, ErrorKind::ClockSkew),
    ("MissingAuthenticationTokenException", 400, ErrorKind::AccessDenied),
    ("IncompleteSignatureException", 400, ErrorKind::AccessDenied),
    ("SomethingAboutRights", 403, ErrorKind::AccessDenied),
    ("ThrottlingException", 400, ErrorKind::Throttled),
    ("SomethingAboutSpeed", 429, ErrorKind::Throttled),
    ("InternalFailure", 500, ErrorKind::Unavailable),
    ("InternalServerError", 500, ErrorKind::Unavailable),
    ("ServiceUnavailable", 503, ErrorKind::Unavailable),
    ("SomethingBroken", 500, ErrorKind::Unavailable),
    ("SomethingBroken", 502, ErrorKind::Unavailable),
    ("RequestTimeoutException", 408, ErrorKind::Timeout),
    ("SomethingAboutTime", 408, ErrorKind::Timeout),
    ("SerializationException", 400, ErrorKind::InvalidArgument),
    ("UnknownOperationException", 404, ErrorKind::InvalidArgument),
    ("SomethingNew", 400, ErrorKind::InvalidArgument),
    ("SomethingNew", 404, ErrorKind::InvalidArgument),
    ("SomethingNew", 302, ErrorKind::Unexpected),
];

#[tokio::test]
async fn every_exception_has_its_kind_whichever_call_it_comes_from() {
    for (code, status, kind) in MODELLED.into_iter().chain(SHARED) {
        let client = Replay::new((0..3).map(|_| Reply::error(status, code))).kinesis();
        let errors = [
            client.describe_stream_summary(&stream()).await.expect_err(code),
            client.get_records(&ShardIterator::new("i"), 1).await.expect_err(code),
            client.put_records(&stream(), &[]).await.expect_err(code),
        ];
        for error in errors {
            assert_eq!(error.kind(), kind, "{code} with {status}: {error}");
            assert_eq!(error.code(), Some(code));
            assert!(error.to_string().contains("the service's words"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_code_is_read_in_all_the_ways_in_which_servers_write_it() {
    let body = r#"{"message": "words"}"#.to_owned();
    for reply in [
        Reply::error(400, "com.amazonaws.kinesis.v20131202#ResourceNotFoundException"),
        Reply::Http(400, vec![("x-amzn-errortype", "ResourceNotFoundException:http://internal/")], body),
        Reply::Http(400, vec![], r#"{"__type":"ResourceNotFoundException","Message":"words"}"#.to_owned()),
    ] {
        let error = describe(reply).await;
        assert_eq!((error.kind(), error.code()), (ErrorKind::NotFound, Some("ResourceNotFoundException")));
    }
}

#[tokio::test]
async fn a_message_names_the_stream_once_and_its_source_the_request() {
    let body = r#"{"__type":"ResourceNotFoundException","message":"Stream orders under account 1 not found."}"#;
    let error = describe(Reply::Http(400, vec![("x-amzn-requestid", "r-17")], body.to_owned())).await;
    assert_eq!(
        chain(&error),
        "DescribeStreamSummary failed: not found: stream arn:aws:kinesis:eu-west-1:123456789012:stream/orders: \
         Stream orders under account 1 not found. (ResourceNotFoundException): \
         the service answered HTTP 400, request id r-17"
    );
}

#[tokio::test]
async fn refused_credentials_come_with_a_remedy() {
    for (code, says) in [
        ("UnrecognizedClientException", "check the credentials"),
        ("InvalidSignatureException", "check the secret access key"),
        ("ExpiredTokenException", "renew them"),
        ("AccessDeniedException", "allow the action"),
        ("KMSAccessDeniedException", "kms:Decrypt"),
    ] {
        let error = describe(Reply::error(400, code)).await;
        assert!(error.to_string().contains(says), "{error}");
    }
}

#[tokio::test]
async fn the_delay_that_the_service_asks_for_is_kept() {
    for (header, delay) in [
        (("retry-after", "3"), Some(Duration::from_secs(3))),
        (("x-amz-retry-after", "250"), Some(Duration::from_millis(250))),
        (("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT"), None),
    ] {
        let body = r#"{"__type":"ThrottlingException"}"#.to_owned();
        let error = describe(Reply::Http(400, vec![header], body)).await;
        assert_eq!(error.retry_after(), delay);
        assert!(error.to_string().contains("gave no reason"), "{error}");
    }
}

#[tokio::test]
async fn a_redirect_says_where_it_leads() {
    for (location, shown) in [
        ("https://login.example/portal?session=secret#top", "https://login.example/portal"),
        ("http://user:password@proxy.example:8080/", "http://proxy.example:8080/"),
        ("/login", "/login"),
    ] {
        let error = describe(Reply::Http(302, vec![("location", location)], String::new())).await;
        let chain = chain(&error);
        assert!(chain.contains(&format!("HTTP 302, a redirect to {shown}")), "{chain}");
        assert!(!chain.contains("secret") && !chain.contains("password"), "{chain}");
    }
    let error = describe(Reply::Http(200, vec![("location", "/login")], "<html>".to_owned())).await;
    assert!(!chain(&error).contains("redirect"), "{}", chain(&error));
}

#[tokio::test]
async fn an_answer_that_is_not_from_kinesis_is_judged_by_its_status() {
    let html = "<html><body>Bad gateway</body></html>";
    for (status, body, kind) in [
        (502, html, ErrorKind::Unavailable),
        (503, "", ErrorKind::Unavailable),
        (302, html, ErrorKind::Unexpected),
        (401, "", ErrorKind::Unexpected),
        (403, html, ErrorKind::Unexpected),
        (413, html, ErrorKind::Unexpected),
        (407, html, ErrorKind::Unexpected),
        (404, html, ErrorKind::Unexpected),
        (404, "{}", ErrorKind::Unexpected),
        (200, html, ErrorKind::Unexpected),
        (200, r#"{"StreamDescriptionSummary": 7}"#, ErrorKind::Unexpected),
    ] {
        let error = describe(Reply::Http(status, vec![], body.to_owned())).await;
        assert_eq!(error.kind(), kind, "{status} {body}: {error}");
        assert_eq!(error.code(), None, "{error}");
        assert!(chain(&error).contains(&format!("HTTP {status}")), "{}", chain(&error));
    }
}

/// What every call answers when something that is not Kinesis, or half of it, is on the way.
#[tokio::test]
async fn an_answer_without_its_fields_is_incomplete_and_never_an_empty_success() {
    let iterator = ShardIterator::new("i");
    let record = || PutRecord::new("k".parse().unwrap(), "v");
    let shard: ShardId = "shardId-0".parse().unwrap();
    let first = || ShardPageRequest::First { filter: ShardFilter::FromTrimHorizon, max_results: None };
    for body in ["", "{}", r#"{"Unknown": 7}"#] {
        let client = Replay::new((0..5).map(|_| Reply::json(body))).kinesis();
        let errors = [
            client.get_records(&iterator, 1).await.map(drop).unwrap_err(),
            client.put_records(&stream(), &[record()]).await.map(drop).unwrap_err(),
            client.describe_stream_summary(&stream()).await.map(drop).unwrap_err(),
            client.list_shards(&stream(), first()).await.map(drop).unwrap_err(),
            client.get_shard_iterator(&stream(), &shard, StartPosition::TrimHorizon).await.map(drop).unwrap_err(),
        ];
        for error in errors {
            assert_eq!(error.kind(), ErrorKind::Incomplete, "{body}: {error}");
            assert!(error.to_string().contains("the answer has no `"), "{error}");
        }
    }
}

#[tokio::test]
async fn a_signature_that_is_too_old_or_too_new_is_the_fault_of_a_clock() {
    for (words, kind) in [
        ("Signature expired: 20261130T120000Z is now earlier than 20261130T120500Z", ErrorKind::ClockSkew),
        ("Signature not yet current: 20261130T121000Z is still later than 20261130T120500Z", ErrorKind::ClockSkew),
        ("The request signature we calculated does not match the signature you provided.", ErrorKind::AccessDenied),
    ] {
        let body = serde_json::json!({"__type": "InvalidSignatureException", "message": words}).to_string();
        let error = describe(Reply::Http(400, vec![], body)).await;
        assert_eq!(error.kind(), kind, "{error}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_can_be_asked_for_again() {
    for status in [200, 400, 500] {
        let error = describe(Reply::Torn(status)).await;
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("broke off"), "{error}");
    }
}

#[tokio::test]
async fn a_broken_connection_is_unavailable_and_a_slow_one_a_timeout() {
    let refused = || io::Error::new(io::ErrorKind::ConnectionRefused, "Connection refused (os error 111)").into();
    for (broken, kind) in [
        (ConnectorError::io(refused()), ErrorKind::Unavailable),
        (ConnectorError::io("dns error".into()), ErrorKind::Unavailable),
        (ConnectorError::other("invalid peer certificate".into(), None), ErrorKind::Unavailable),
        (ConnectorError::timeout("HTTP connect timeout occurred after 3.1s".into()), ErrorKind::Timeout),
        (ConnectorError::user("invalid URI".into()), ErrorKind::InvalidArgument),
    ] {
        // The connector's own text says no more than "io error".
        let below = StdError::source(&broken).unwrap().to_string();
        let error = describe(Reply::Broken(broken)).await;
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains("stream/orders"), "{error}");
        assert_eq!(chain(&error), format!("{error}: {below}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_ends_when_its_time_is_up() {
    let started = tokio::time::Instant::now();
    let error = describe(Reply::Never).await;
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    assert_eq!(started.elapsed().as_secs(), OPERATION_TIMEOUT.as_secs());
    assert!(chain(&error).contains("60s"), "{}", chain(&error));
}

#[tokio::test]
async fn a_stream_of_another_partition_is_not_retried() {
    let replay = Replay::new([]);
    let stream: StreamRef = "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/orders".parse().unwrap();
    let error = replay.kinesis().describe_stream_summary(&stream).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(chain(&error).contains("Partition: aws-cn from ARN doesn't match"), "{}", chain(&error));
    assert!(replay.asked().is_empty());
}

#[tokio::test]
async fn one_call_is_one_request() {
    let replay = Replay::new([Reply::error(500, "InternalFailure"), Reply::error(500, "InternalFailure")]);
    replay.kinesis().describe_stream_summary(&stream()).await.unwrap_err();
    assert_eq!(replay.asked().len(), 1);
}

#[derive(Debug)]
struct NoCredentials(fn() -> CredentialsError);

impl aws_sdk_kinesis::config::ProvideCredentials for NoCredentials {
    fn provide_credentials<'a>(&'a self) -> aws_credential_types::provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        aws_credential_types::provider::future::ProvideCredentials::ready(Err::<Credentials, _>(self.0()))
    }
}

#[tokio::test]
async fn credentials_that_are_not_there_say_how_to_give_some() {
    type Case = (fn() -> CredentialsError, ErrorKind, &'static str);
    let cases: [Case; 5] = [
        (CredentialsError::not_loaded_no_source, ErrorKind::AccessDenied, "set AWS_ACCESS_KEY_ID"),
        (
            || CredentialsError::provider_error("exit status 1"),
            ErrorKind::Unavailable,
            "the source of the AWS credentials failed",
        ),
        (|| CredentialsError::provider_error("the SSO token has expired"), ErrorKind::AccessDenied, "`aws sso login`"),
        (|| CredentialsError::invalid_configuration("no role"), ErrorKind::AccessDenied, "could not be loaded"),
        (|| CredentialsError::provider_timed_out(Duration::from_secs(5)), ErrorKind::Timeout, "in time"),
    ];
    for (provider, kind, says) in cases {
        let replay = Replay::new([]);
        let config: Config =
            replay.kinesis().sdk.config().to_builder().credentials_provider(NoCredentials(provider)).build();
        let client = AwsKinesis::new(aws_sdk_kinesis::Client::from_conf(config));
        let error = client.describe_stream_summary(&stream()).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(says), "{error}");
        if let Some(below) = provider().source() {
            assert!(chain(&error).contains(&below.to_string()), "{}", chain(&error));
        }
        assert!(replay.asked().is_empty(), "nothing is sent without credentials");
    }
}
