//! An HTTP client for tests. It answers from a list, in order, and records the requests. No network, no ports.

use std::{
    collections::{HashMap, VecDeque},
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll, ready},
    time::Duration,
};

use aws_sdk_kinesis::{
    Client,
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig, timeout::TimeoutConfig},
};
use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn},
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
    },
    http::StatusCode,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body::{Body, Frame};
use serde_json::Value;
use tokio::time::Sleep;

use crate::{AwsKinesis, OPERATION_TIMEOUT};

/// A recorded request.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) uri: String,
    pub(crate) headers: HashMap<String, String>,
    /// The body as JSON; null if it is not JSON.
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Asked {
    /// The operation of the request.
    pub(crate) fn operation(&self) -> &str {
        self.headers.get("x-amz-target").and_then(|target| target.rsplit('.').next()).unwrap_or_default()
    }
}

/// An answer of the client.
pub(crate) enum Reply {
    /// A status, headers and a body.
    Http(u16, Vec<(&'static str, &'static str)>, String),
    /// A status, and a body that breaks off.
    Torn(u16),
    /// A success, and a body that comes bit by bit.
    Stream(Vec<Bit>),
    /// No answer, because of this.
    Broken(ConnectorError),
    /// No answer, ever.
    Never,
}

/// What happens next to a body that comes bit by bit.
#[derive(Clone)]
pub(crate) enum Bit {
    Data(Vec<u8>),
    Wait(Duration),
    Break,
    Never,
}

struct Bits {
    bits: VecDeque<Bit>,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Body for Bits {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<std::io::Result<Frame<Bytes>>>> {
        loop {
            if let Some(waiting) = &mut self.waiting {
                ready!(waiting.as_mut().poll(context));
                self.waiting = None;
            }
            return match self.bits.pop_front() {
                None => Poll::Ready(None),
                Some(Bit::Data(data)) => Poll::Ready(Some(Ok(Frame::data(data.into())))),
                Some(Bit::Break) => Poll::Ready(Some(Err(std::io::Error::other("the wire is cut")))),
                Some(Bit::Wait(time)) => {
                    self.waiting = Some(Box::pin(tokio::time::sleep(time)));
                    continue;
                }
                Some(Bit::Never) => {
                    self.bits.push_front(Bit::Never);
                    Poll::Pending
                }
            };
        }
    }
}

impl Reply {
    pub(crate) fn json(body: impl ToString) -> Self {
        Self::Http(200, vec![], body.to_string())
    }

    pub(crate) fn error(status: u16, code: &str) -> Self {
        let body = serde_json::json!({ "__type": code, "message": "the service's words" });
        Self::Http(status, vec![], body.to_string())
    }
}

#[derive(Clone, Default)]
pub(crate) struct Replay(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    asked: Vec<Asked>,
    replies: VecDeque<Reply>,
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Replay")
    }
}

impl Replay {
    pub(crate) fn new(replies: impl IntoIterator<Item = Reply>) -> Self {
        let state = State { asked: vec![], replies: replies.into_iter().collect() };
        Self(Arc::new(Mutex::new(state)))
    }

    pub(crate) fn http_client(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(self.clone());
        http_client_fn(move |_, _| connector.clone())
    }

    /// A client that speaks with this.
    pub(crate) fn kinesis(&self) -> AwsKinesis {
        let config = aws_sdk_kinesis::Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new("eu-west-1"))
            .credentials_provider(Credentials::new("AKID", "secret", None, None, "test"))
            .retry_config(RetryConfig::disabled())
            .timeout_config(TimeoutConfig::builder().operation_timeout(OPERATION_TIMEOUT).build())
            .http_client(self.http_client())
            .build();
        AwsKinesis::new(Client::from_conf(config))
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.0.lock().unwrap().asked.clone()
    }
}

impl HttpConnector for Replay {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = request.body().bytes().unwrap_or_default();
        let asked = Asked {
            uri: request.uri().to_owned(),
            headers: request.headers().iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: serde_json::from_slice(body).unwrap_or(Value::Null),
            text: String::from_utf8_lossy(body).into_owned(),
        };
        let mut state = self.0.lock().unwrap();
        state.asked.push(asked);
        let reply = state.replies.pop_front();
        let response = |status, body| HttpResponse::new(StatusCode::try_from(status).unwrap(), body);
        match reply {
            Some(Reply::Http(status, headers, body)) => {
                let mut response = response(status, SdkBody::from(body));
                for (name, value) in headers {
                    response.headers_mut().insert(name, value);
                }
                HttpConnectorFuture::ready(Ok(response))
            }
            Some(Reply::Torn(status)) => HttpConnectorFuture::ready(Ok(response(status, SdkBody::taken()))),
            Some(Reply::Stream(bits)) => {
                let body = SdkBody::from_body_1_x(Bits { bits: bits.into(), waiting: None });
                HttpConnectorFuture::ready(Ok(response(200, body)))
            }
            Some(Reply::Broken(error)) => HttpConnectorFuture::ready(Err(error)),
            Some(Reply::Never) => HttpConnectorFuture::new(std::future::pending()),
            None => HttpConnectorFuture::ready(Err(ConnectorError::io("the test has no more answers".into()))),
        }
    }
}
