//! A server of functions on a socket in a folder of its own, and the requests and answers that the tests share.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request as HttpRequest, Response};
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use statefun_kinesis_mailboxes::{
    Answer, Effects, Expiration, GroupSettings, InvokeError, Limits, Mailboxes, Message, Request, StateChange,
    StateSpec, Value,
};
use statefun_kinesis_module::EndpointSpec;
use statefun_kinesis_protocol::reqreply::{self, FromFunction, InvocationResponse, TypedValue, from_function};
use statefun_kinesis_remote::RemoteEndpoint;
use statefun_kinesis_types::{Address, ErrorChain, Timestamp};
use tempfile::TempDir;
use tokio::net::UnixListener;

pub(crate) type Body = BoxBody<Bytes, Infallible>;
pub(crate) type Handler = dyn Fn(HttpRequest<Bytes>) -> Response<Body> + Send + Sync;

/// Time limit of calls that should be answered.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A folder that is removed when it is dropped.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }
}

/// A server of functions.
pub(crate) struct Server {
    pub(crate) folder: Folder,
    pub(crate) connections: Arc<AtomicUsize>,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Server {
    pub(crate) fn start(handler: impl Fn(HttpRequest<Bytes>) -> Response<Body> + Send + Sync + 'static) -> Self {
        Self::start_with(Folder::new(), None, handler)
    }

    pub(crate) fn start_with(
        folder: Folder,
        tls: Option<Arc<rustls::ServerConfig>>,
        handler: impl Fn(HttpRequest<Bytes>) -> Response<Body> + Send + Sync + 'static,
    ) -> Self {
        let listener = UnixListener::bind(folder.path("f.sock")).unwrap();
        let server = Self { folder, connections: Arc::default(), tls };
        let (connections, tls) = (Arc::clone(&server.connections), server.tls.clone());
        let handler: Arc<Handler> = Arc::new(handler);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::Relaxed);
                let (handler, tls) = (Arc::clone(&handler), tls.clone());
                tokio::spawn(async move {
                    let service = service_fn(move |request: HttpRequest<Incoming>| {
                        let handler = Arc::clone(&handler);
                        async move {
                            let (head, body) = request.into_parts();
                            let body = body.collect().await?.to_bytes();
                            Ok::<_, hyper::Error>(handler(HttpRequest::from_parts(head, body)))
                        }
                    });
                    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                    // That the client closes the connection is not an error of the server.
                    match tls {
                        None => drop(server.serve_connection(TokioIo::new(stream), service).await),
                        Some(tls) => {
                            let acceptor = tokio_rustls::TlsAcceptor::from(tls);
                            if let Ok(stream) = acceptor.accept(stream).await {
                                drop(server.serve_connection(TokioIo::new(stream), service).await);
                            }
                        }
                    }
                });
            }
        });
        server
    }

    pub(crate) fn spec(&self) -> EndpointSpec {
        let scheme = if self.tls.is_some() { "https+unix" } else { "http+unix" };
        let url = format!("{scheme}://{}/serve/{{function.name}}", self.folder.path("f.sock"));
        EndpointSpec::new("t/*".parse().unwrap(), url.parse().unwrap())
    }

    pub(crate) fn endpoint(&self) -> RemoteEndpoint {
        RemoteEndpoint::new(&self.spec()).unwrap()
    }
}

pub(crate) fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).boxed()
}

pub(crate) fn answer(response: FromFunction) -> Response<Body> {
    Response::builder().header("content-type", "application/octet-stream").body(full(response.encode_to_vec())).unwrap()
}

pub(crate) fn result(response: InvocationResponse) -> FromFunction {
    FromFunction { response: Some(from_function::Response::InvocationResult(response)) }
}

pub(crate) fn typed(text: &'static str) -> TypedValue {
    TypedValue {
        typename: "t/text".into(),
        has_value: true,
        value: Bytes::from_static(text.as_bytes()),
        ..TypedValue::default()
    }
}

pub(crate) fn address(id: &str) -> Address {
    Address { function: "t/f".parse().unwrap(), id: id.into() }
}

pub(crate) fn wire_address(id: &str) -> reqreply::Address {
    reqreply::Address { namespace: "t".into(), r#type: "f".into(), id: id.into() }
}

/// A request with a state that is set, one that is not, and two messages: from an ingress and from a function.
pub(crate) fn request_with(payload: Bytes) -> Request {
    let mut mailboxes: Mailboxes = Mailboxes::new(Limits::default());
    let group = mailboxes.add_group(GroupSettings::default());
    mailboxes.serve_namespace("t", group);
    let now = Timestamp::EPOCH;
    let message = |caller, payload: Bytes| Message { caller, value: Value::new("t/text", payload), origin: None };
    mailboxes.deliver([(address("1"), message(None, Bytes::from_static(b"first")))]).unwrap();
    let first = mailboxes.next_request(now).unwrap();
    let spec = |name: &str| StateSpec { name: name.into(), typename: "t/text".into(), expiration: Expiration::Never };
    mailboxes.answered(first.id, Answer::StatesMissing(vec![spec("set"), spec("unset")]), now).unwrap();
    let first = mailboxes.next_request(now).unwrap();
    let states = vec![StateChange { name: "set".into(), value: Some(Value::new("t/text", "state")) }];
    mailboxes.answered(first.id, Answer::Handled(Effects { states, ..Effects::default() }), now).unwrap();
    let messages = [(address("1"), message(None, payload)), (address("1"), message(Some(address("2")), Bytes::new()))];
    mailboxes.deliver(messages).unwrap();
    mailboxes.next_request(now).unwrap()
}

pub(crate) fn request() -> Request {
    request_with(Bytes::from_static(b"hello"))
}

pub(crate) fn no_effects() -> Answer {
    Answer::Handled(Effects::default())
}

#[track_caller]
pub(crate) fn says(result: Result<Answer, InvokeError>, expect: &[&str]) {
    let error = result.expect_err("the request has to fail");
    let chain = ErrorChain(&error).to_string();
    for expect in expect {
        assert!(chain.contains(expect), "`{expect}` is not in: {chain}");
    }
}
