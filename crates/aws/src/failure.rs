//! Converts the SDK's errors to the project's errors. Only this module decides what a caller can do about an error.

use std::{error::Error as StdError, fmt, time::Duration};

use aws_sdk_kinesis::{
    error::{ProvideErrorMetadata, SdkError},
    operation::RequestId,
    types::error::SubscribeToShardEventStreamError,
};
use aws_smithy_http::endpoint::error::ResolveEndpointError;
use aws_smithy_runtime_api::client::{
    orchestrator::HttpResponse,
    result::{ConnectorError, DispatchFailure},
};
use aws_smithy_types::{
    event_stream::{Message, RawMessage},
    str_bytes::StrBytes,
};
use statefun_kinesis_client::{Error, ErrorKind, Operation};
use statefun_kinesis_types::{ConsumerArn, ShardId};

use crate::{
    answer::Invalid,
    code::{is_about_signature_time, kind_of_code, kind_of_status, with_remedy},
};

mod credentials;

use credentials::Unsigned;

type Source = Box<dyn StdError + Send + Sync>;

/// A call, as named in its errors.
pub(crate) struct Call<'a> {
    pub(crate) operation: Operation,
    /// The kind of the resource, and its name.
    subject: Option<(&'static str, &'a (dyn fmt::Display + Sync))>,
    shard: Option<&'a ShardId>,
}

impl<'a> Call<'a> {
    pub(crate) fn on_stream(operation: Operation, stream: &'a (dyn fmt::Display + Sync)) -> Self {
        Self { operation, subject: Some(("stream", stream)), shard: None }
    }

    pub(crate) fn on_shard(operation: Operation, stream: &'a (dyn fmt::Display + Sync), shard: &'a ShardId) -> Self {
        Self { operation, subject: Some(("stream", stream)), shard: Some(shard) }
    }

    pub(crate) fn on_consumer(operation: Operation, consumer: &'a ConsumerArn) -> Self {
        Self { operation, subject: Some(("consumer", consumer)), shard: None }
    }

    pub(crate) fn on_subscription(consumer: &'a ConsumerArn, shard: &'a ShardId) -> Self {
        Self { shard: Some(shard), ..Self::on_consumer(Operation::SubscribeToShard, consumer) }
    }

    /// A call with an iterator, which is opaque. Only the service's own message can name its stream.
    pub(crate) fn on_iterator(operation: Operation) -> Self {
        Self { operation, subject: None, shard: None }
    }

    /// A call without a stream.
    pub(crate) fn on_account(operation: Operation) -> Self {
        Self { operation, subject: None, shard: None }
    }

    fn error(&self, kind: ErrorKind, words: impl fmt::Display) -> Error {
        let message = match (self.subject, self.shard) {
            (Some((what, name)), Some(shard)) => format!("{what} {name}, shard {shard}: {words}"),
            (Some((what, name)), None) => format!("{what} {name}: {words}"),
            (None, _) => words.to_string(),
        };
        Error::new(self.operation, kind, message)
    }

    /// The error for an answer that the SDK accepted but this crate cannot use.
    pub(crate) fn makes_no_sense(&self, invalid: Invalid) -> Error {
        let kind = if invalid.is_absent() { ErrorKind::Incomplete } else { ErrorKind::Unexpected };
        self.error(kind, invalid)
    }

    /// Converts an error of the SDK.
    pub(crate) fn failed<E>(&self, error: SdkError<E, HttpResponse>) -> Error
    where
        E: ProvideErrorMetadata + StdError + Send + Sync + 'static,
    {
        let request_id = error.request_id().map(str::to_owned);
        match error {
            SdkError::ServiceError(service) => {
                let answer = Answer::of(service.raw(), request_id);
                self.refused(answer, service.err().code(), service.err().message(), None)
            }
            SdkError::ResponseError(response) => {
                let answer = Answer::of(response.raw(), request_id);
                // A body that was read to its end is in memory. If it is not, the connection ended too early.
                let whole = response.raw().body().bytes().is_some();
                let source = SdkError::<E, HttpResponse>::ResponseError(response).into_source().ok();
                if let Some(field) = source.as_deref().and_then(|source| missing_field(source)) {
                    self.error(ErrorKind::Incomplete, format_args!("the answer has no `{field}`"))
                        .with_source(Answer { below: source, ..answer })
                } else if whole {
                    self.refused(answer, None, None, source)
                } else {
                    self.error(ErrorKind::Unavailable, "the answer broke off")
                        .with_source(Answer { below: source, ..answer })
                }
            }
            SdkError::TimeoutError(timeout) => {
                let source = SdkError::<E, HttpResponse>::TimeoutError(timeout).into_source().ok();
                self.below(ErrorKind::Timeout, "no answer in time", source)
            }
            SdkError::DispatchFailure(dispatch) => self.not_sent::<E>(dispatch),
            // The SDK rejected the request itself, for example because the region has no endpoint.
            other => self.below(ErrorKind::InvalidArgument, "the request could not be made", other.into_source().ok()),
        }
    }

    /// The error for a subscription without an event for that long.
    pub(crate) fn silent(&self, time: Duration) -> Error {
        self.error(ErrorKind::Timeout, format_args!("no event came within {time:?}"))
    }

    /// Converts the error that ended a subscription.
    pub(crate) fn broke_off(&self, error: SdkError<SubscribeToShardEventStreamError, RawMessage>) -> Error {
        match &error {
            SdkError::ServiceError(service) => {
                let (kind, code) = kind_in_stream(service.err());
                self.in_stream(kind, code, service.err().message())
            }
            SdkError::ResponseError(response) => match response.raw() {
                RawMessage::Decoded(message) if header(message, ":message-type") == Some("error") => {
                    let code = header(message, ":error-code");
                    let kind = code.and_then(kind_of_code).unwrap_or(ErrorKind::Unavailable);
                    self.in_stream(kind, code, header(message, ":error-message"))
                }
                RawMessage::Decoded(_) => self.below(
                    ErrorKind::Unexpected,
                    "an event of the subscription is invalid",
                    error.into_source().ok(),
                ),
                _ => self.below(
                    ErrorKind::Unavailable,
                    "the subscription broke off in the middle of an event",
                    error.into_source().ok(),
                ),
            },
            _ => {
                self.below(ErrorKind::Unavailable, "the connection of the subscription broke", error.into_source().ok())
            }
        }
    }

    fn in_stream(&self, kind: ErrorKind, code: Option<&str>, message: Option<&str>) -> Error {
        let words = match message {
            Some(message) if !message.is_empty() => message,
            _ => "the service ended the subscription without a reason",
        };
        match code {
            Some(code) => self.error(kind, with_remedy(words, code)).with_code(code),
            None => self.error(kind, words),
        }
    }

    /// The error for an answer that reports an error.
    fn refused(&self, answer: Answer, code: Option<&str>, message: Option<&str>, source: Option<Source>) -> Error {
        let kind = match code {
            Some(_) if message.is_some_and(is_about_signature_time) => ErrorKind::ClockSkew,
            Some(code) => kind_of_code(code).unwrap_or_else(|| kind_of_status(answer.status, true)),
            None => kind_of_status(answer.status, false),
        };
        let words = match (message, code) {
            (Some(message), _) if !message.is_empty() => message.to_owned(),
            (_, Some(_)) => "the service gave no reason".to_owned(),
            (_, None) => format!("the response, HTTP {}, is not from Kinesis", answer.status),
        };
        let words = match code {
            Some(code) => with_remedy(&words, code),
            None => words,
        };
        let mut error = self.error(kind, words);
        if let Some(code) = code {
            error = error.with_code(code);
        }
        if let Some(delay) = answer.retry_after {
            error = error.with_retry_after(delay);
        }
        error.with_source(Answer { below: source, ..answer })
    }

    /// The error for a request without an answer: no credentials, no connection, or a broken or stalled one.
    fn not_sent<E>(&self, dispatch: DispatchFailure) -> Error
    where
        E: StdError + Send + Sync + 'static,
    {
        let cause = dispatch.as_connector_error();
        if let Some(unsigned) = cause.and_then(Unsigned::of) {
            let Unsigned { kind, words, code } = unsigned;
            let error = self.below(kind, &words, source_of::<E>(dispatch));
            return match code {
                Some(code) => error.with_code(code),
                None => error,
            };
        }
        let (kind, words) = if cause.and_then(find::<ResolveEndpointError>).is_some() {
            (ErrorKind::InvalidArgument, "no endpoint belongs to this region and stream")
        } else if dispatch.is_timeout() {
            (ErrorKind::Timeout, "no connection, or no answer over it, in time")
        } else if dispatch.is_user() {
            (ErrorKind::InvalidArgument, "the request could not be sent")
        } else if cause.is_some_and(|cause| says(cause, "invalid peer certificate")) {
            (ErrorKind::Unavailable, UNTRUSTED)
        } else {
            (ErrorKind::Unavailable, "no connection to the service, or it broke before the answer")
        };
        self.below(kind, words, source_of::<E>(dispatch))
    }

    fn below(&self, kind: ErrorKind, words: &str, source: Option<Source>) -> Error {
        let error = self.error(kind, words);
        match source {
            Some(source) => error.with_source(source),
            None => error,
        }
    }
}

const UNTRUSTED: &str = "the certificate of the server is not trusted; add its authority to the certificates of the system, \
                         or name a file with it and all others in AWS_CA_BUNDLE or SSL_CERT_FILE";

/// The cause why a request could not be sent. The SDK's own error only says "io error" or "other", so it is left out.
fn source_of<E: StdError + Send + Sync + 'static>(dispatch: DispatchFailure) -> Option<Source> {
    let source = SdkError::<E, HttpResponse>::DispatchFailure(dispatch).into_source().ok()?;
    Some(match source.downcast::<ConnectorError>() {
        Ok(connector) => connector.into_source(),
        Err(source) => source,
    })
}

/// The required field that an answer lacks, if that is why the SDK could not read it. The SDK writes its name as a name of
/// Rust: `stream_status was missing: …`.
fn missing_field(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        let words = error.to_string();
        if let Some((before, _)) = words.split_once(" was missing: ") {
            let name = before.rsplit(' ').next().unwrap_or_default();
            let capital = |part: &str| part.chars().next().map(|first| first.to_ascii_uppercase());
            let parts = name.split('_').map(|part| capital(part).into_iter().chain(part.chars().skip(1)).collect());
            return Some(parts.collect::<Vec<String>>().concat());
        }
        next = error.source();
    }
    None
}

/// Whether a cause in the chain says these words. It is for libraries that give no type for what went wrong.
fn says(error: &ConnectorError, words: &str) -> bool {
    let mut next = error.source();
    while let Some(error) = next {
        if error.to_string().contains(words) {
            return true;
        }
        next = error.source();
    }
    false
}

/// Finds the first error of a type in a chain.
fn find<E: StdError + 'static>(error: &ConnectorError) -> Option<&E> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The answer behind an error, with the details that the error itself does not have.
#[derive(Debug)]
struct Answer {
    status: u16,
    request_id: Option<String>,
    /// Where a redirect leads, without its query, which may have a secret in it.
    location: Option<String>,
    retry_after: Option<Duration>,
    below: Option<Source>,
}

impl Answer {
    fn of(response: &HttpResponse, request_id: Option<String>) -> Self {
        let header = |name| response.headers().get(name).and_then(|value| value.trim().parse::<u64>().ok());
        let retry_after = header("x-amz-retry-after")
            .map(Duration::from_millis)
            .or_else(|| header("retry-after").map(Duration::from_secs));
        let status = response.status().as_u16();
        let location = response.headers().get("location").filter(|_| (300..400).contains(&status)).map(shown_location);
        Self { status, request_id, location, retry_after, below: None }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the service answered HTTP {}", self.status)?;
        if let Some(location) = &self.location {
            write!(f, ", a redirect to {location}")?;
        }
        match &self.request_id {
            Some(id) => write!(f, ", request id {id}"),
            None => Ok(()),
        }
    }
}

/// The address of a redirect as a message shows it: on one line, cut when long, without user and query.
fn shown_location(location: &str) -> String {
    const MAX_CHARS: usize = 200;
    let address = location.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = address.split_once("://").map_or(("", address), |(scheme, rest)| (scheme, rest));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    let separator = if scheme.is_empty() { "" } else { "://" };
    format!("{scheme}{separator}{host}{path}").chars().take(MAX_CHARS).flat_map(char::escape_debug).collect()
}

impl StdError for Answer {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.below.as_deref().map(|below| below as _)
    }
}

/// The code of the error that ended a subscription, by its variant, because the SDK does not set the code.
fn kind_in_stream(error: &SubscribeToShardEventStreamError) -> (ErrorKind, Option<&str>) {
    use SubscribeToShardEventStreamError as InStream;

    let code = match error {
        InStream::InternalFailureException(_) => "InternalFailureException",
        InStream::KmsAccessDeniedException(_) => "KMSAccessDeniedException",
        InStream::KmsDisabledException(_) => "KMSDisabledException",
        InStream::KmsInvalidStateException(_) => "KMSInvalidStateException",
        InStream::KmsNotFoundException(_) => "KMSNotFoundException",
        InStream::KmsOptInRequired(_) => "KMSOptInRequired",
        InStream::KmsThrottlingException(_) => "KMSThrottlingException",
        InStream::ResourceInUseException(_) => "ResourceInUseException",
        InStream::ResourceNotFoundException(_) => "ResourceNotFoundException",
        // An exception that the model does not have. The caller subscribes again, and that answer will show the cause.
        other => {
            let code = other.code();
            return (code.and_then(kind_of_code).unwrap_or(ErrorKind::Unavailable), code);
        }
    };
    (kind_of_code(code).unwrap_or(ErrorKind::Unexpected), Some(code))
}

/// A text header of an event-stream message.
fn header<'a>(message: &'a Message, name: &str) -> Option<&'a str> {
    let header = message.headers().iter().find(|header| header.name().as_str() == name)?;
    header.value().as_string().ok().map(StrBytes::as_str)
}

#[cfg(test)]
mod tests;
