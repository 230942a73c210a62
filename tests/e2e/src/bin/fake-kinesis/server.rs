//! HTTP/1.1 on the loopback interface.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    net::Ipv4Addr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    header::{AUTHORIZATION, CONTENT_TYPE},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use statefun_kinesis_client::{Error, Subscription, SubscriptionEvent};
use statefun_kinesis_fake::FakeKinesis;
use tokio::net::TcpListener;

use crate::{
    frame::frame,
    operation::{Answer, answer},
    parameters::Refusal,
    values,
};

/// How long a stream or a consumer is CREATING, UPDATING or DELETING: long enough to be seen.
const STATUS_DELAY: Duration = Duration::from_millis(300);

const JSON: &str = "application/x-amz-json-1.1";

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The account and the region of each fake.
#[derive(Clone, Debug, Default)]
struct Fakes(Arc<Mutex<HashMap<(String, String), FakeKinesis>>>);

impl Fakes {
    /// The fake for a request with this signature: `AWS4-HMAC-SHA256 Credential=KEY/DATE/REGION/kinesis/…`.
    fn of(&self, authorization: &str) -> Option<FakeKinesis> {
        let mut scope = authorization.split_once("Credential=")?.1.split('/');
        let (key, _, region) = (scope.next()?, scope.next()?, scope.next()?);
        let is_account = key.len() == 12 && key.bytes().all(|byte| byte.is_ascii_digit());
        let account = if is_account { key } else { "000000000000" };
        let mut fakes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (account.to_owned(), region.to_owned());
        if let Some(known) = fakes.get(&place) {
            return Some(known.clone());
        }
        let builder = FakeKinesis::builder().account(account).region(region);
        let fake = builder.enforce_throughput(true).status_delay(STATUS_DELAY).try_build().ok()?;
        Some(fakes.entry(place).or_insert(fake).clone())
    }
}

/// Serves until it is killed.
pub(crate) fn run(port: u16) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let fakes = Fakes::default();
        loop {
            let (connection, _) = listener.accept().await?;
            // Small answers are not to wait for more.
            connection.set_nodelay(true)?;
            let fakes = fakes.clone();
            let service = service_fn(move |request| respond(fakes.clone(), request));
            // A connection that breaks off is its caller's.
            tokio::spawn(async { http1::Builder::new().serve_connection(TokioIo::new(connection), service).await });
        }
    })
}

async fn respond(fakes: Fakes, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let outcome = carry_out(fakes, request).await;
    let (status, kind, body) = match outcome {
        Ok(Answer::Json(Value::Null)) => (200, JSON, whole(String::new())),
        Ok(Answer::Json(value)) => (200, JSON, whole(value.to_string())),
        Ok(Answer::Events(subscription)) => (200, "application/vnd.amazon.eventstream", events(subscription)),
        Err(Refusal { status, code, message }) => {
            (status, JSON, whole(json!({"__type": code, "message": message}).to_string()))
        }
    };
    let response = Response::builder().status(status).header(CONTENT_TYPE, kind).body(body);
    Ok(response.expect("the status and the header are valid"))
}

async fn carry_out(fakes: Fakes, request: Request<Incoming>) -> Result<Answer, Refusal> {
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let operation = header("x-amz-target").rsplit('.').next().unwrap_or_default().to_owned();
    let kinesis = fakes.of(header(AUTHORIZATION.as_str()));
    let kinesis = kinesis.ok_or_else(|| Refusal::new("MissingAuthenticationTokenException", "no signature"))?;
    let body = request.into_body().collect().await.map_err(Refusal::validation)?.to_bytes();
    let body: Value = serde_json::from_slice(&body).map_err(|error| Refusal::new("SerializationException", error))?;
    answer(&kinesis, &operation, &body).await
}

fn whole(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never: Infallible| match never {}).boxed_unsync()
}

/// The events of a subscription, behind the empty answer that the protocol has before them. Dropped with its connection.
fn events(subscription: Subscription) -> Body {
    let first = frame(&event_headers("initial-response"), b"{}");
    let later = subscription.map(pushed);
    let frames = stream::once(async { Ok(Bytes::from(first)) }).chain(later);
    BodyExt::boxed_unsync(StreamBody::new(frames.map(|bytes| bytes.map(Frame::data))))
}

fn pushed(event: Result<SubscriptionEvent, Error>) -> io::Result<Bytes> {
    let bytes = match event {
        Ok(event) => frame(&event_headers("SubscribeToShardEvent"), values::event(&event).to_string().as_bytes()),
        Err(error) => {
            // A failure without a code is one of the connection.
            let code = error.code().ok_or_else(|| io::Error::other("the connection is cut"))?;
            let headers = [(":message-type", "exception"), (":exception-type", code), (":content-type", JSON)];
            frame(&headers, json!({"message": error.to_string()}).to_string().as_bytes())
        }
    };
    Ok(bytes.into())
}

fn event_headers(kind: &str) -> [(&str, &str); 3] {
    [(":message-type", "event"), (":event-type", kind), (":content-type", JSON)]
}
