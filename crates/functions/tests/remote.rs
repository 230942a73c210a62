//! Requests to a real HTTP server, on a socket in a folder of its own.

use std::{
    convert::Infallible,
    io::Write as _,
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request as HttpRequest, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pkcs8::{
    EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument,
    der::{Decode, pem::PemLabel},
    pkcs5::pbes2,
};
use prost::Message as _;
use statefun_kinesis_functions::{
    Answer, Delayed, Effects, EgressMessage, EndpointError, Expiration, GroupSettings, Invoke, InvokeError, Limits,
    Mailboxes, Message, RemoteEndpoint, Request, StateChange, StateSpec, Value,
};
use statefun_kinesis_protocol::{
    egress::{KINESIS_EGRESS_RECORD, KinesisEgressRecord},
    reqreply::{
        self, DelayedInvocation, ExpirationSpec, FromFunction, IncompleteInvocationContext, InvocationResponse,
        OutgoingMessage, PersistedValueMutation, PersistedValueSpec, ToFunction, TypedValue, from_function,
        to_function,
    },
};
use statefun_kinesis_spec::EndpointSpec;
use statefun_kinesis_types::{Address, ErrorChain, HashKey, PutRecord, Secret, Timestamp};
use tokio::net::UnixListener;

type Body = BoxBody<Bytes, Infallible>;
type Handler = dyn Fn(HttpRequest<Bytes>) -> Response<Body> + Send + Sync;

/// How long an answer may take that is to come.
const LONG: Duration = Duration::from_secs(20);

/// A folder that goes with its owner.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("statefun-kinesis-remote-{}-{count}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server of functions.
struct Server {
    folder: Folder,
    connections: Arc<AtomicUsize>,
    tls: Option<Arc<rustls::ServerConfig>>,
}

impl Server {
    fn start(handler: impl Fn(HttpRequest<Bytes>) -> Response<Body> + Send + Sync + 'static) -> Self {
        Self::start_with(Folder::new(), None, handler)
    }

    fn start_with(
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
                    // A client that goes away is none of the server's business.
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

    fn spec(&self) -> EndpointSpec {
        let scheme = if self.tls.is_some() { "https+unix" } else { "http+unix" };
        let url = format!("{scheme}://{}/serve/{{function.name}}", self.folder.path("f.sock"));
        EndpointSpec::new("t/*".parse().unwrap(), url.parse().unwrap())
    }

    fn endpoint(&self) -> RemoteEndpoint {
        RemoteEndpoint::new(&self.spec()).unwrap()
    }
}

fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into()).boxed()
}

fn answer(response: FromFunction) -> Response<Body> {
    Response::builder().header("content-type", "application/octet-stream").body(full(response.encode_to_vec())).unwrap()
}

fn result(response: InvocationResponse) -> FromFunction {
    FromFunction { response: Some(from_function::Response::InvocationResult(response)) }
}

fn typed(text: &'static str) -> TypedValue {
    TypedValue { typename: "t/text".into(), has_value: true, value: Bytes::from_static(text.as_bytes()) }
}

fn address(id: &str) -> Address {
    Address { function: "t/f".parse().unwrap(), id: id.into() }
}

fn wire_address(id: &str) -> reqreply::Address {
    reqreply::Address { namespace: "t".into(), r#type: "f".into(), id: id.into() }
}

/// A request with a state that is set, one that is not, and two messages: from an ingress and from a function.
fn request_with(payload: Bytes) -> Request {
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

fn request() -> Request {
    request_with(Bytes::from_static(b"hello"))
}

fn no_effects() -> Answer {
    Answer::Handled(Effects::default())
}

#[track_caller]
fn says(result: Result<Answer, InvokeError>, expect: &[&str]) {
    let error = result.expect_err("the request has to fail");
    let chain = ErrorChain(&error).to_string();
    for expect in expect {
        assert!(chain.contains(expect), "`{expect}` is not in: {chain}");
    }
}

#[tokio::test]
async fn a_request_says_all_that_a_function_needs() {
    let seen: Arc<Mutex<Vec<HttpRequest<Bytes>>>> = Arc::default();
    let log = Arc::clone(&seen);
    let server = Server::start(move |request| {
        log.lock().unwrap().push(request);
        answer(result(InvocationResponse::default()))
    });
    assert_eq!(server.endpoint().invoke(&request(), LONG).await.unwrap(), no_effects());

    let seen = seen.lock().unwrap().remove(0);
    assert_eq!((seen.method().as_str(), seen.uri().path()), ("POST", "/serve/f"));
    for (name, value) in
        [("content-type", "application/octet-stream"), ("accept", "application/octet-stream"), ("host", "localhost")]
    {
        assert_eq!(seen.headers()[name], value, "{name}");
    }
    assert_eq!(seen.headers()["content-length"], seen.body().len().to_string().as_str());
    let Some(to_function::Request::Invocation(batch)) = ToFunction::decode(seen.into_body()).unwrap().request else {
        panic!("it is no batch");
    };
    assert_eq!(batch.target, Some(wire_address("1")));
    let states: Vec<_> = batch.state.into_iter().map(|state| (state.state_name, state.state_value)).collect();
    assert_eq!(states, [("set".to_owned(), Some(typed("state"))), ("unset".to_owned(), None)]);
    let messages: Vec<_> = batch.invocations.into_iter().map(|message| (message.caller, message.argument)).collect();
    let expect = [(None, Some(typed("hello"))), (Some(wire_address("2")), Some(typed("")))];
    assert_eq!(messages, expect);
}

#[tokio::test]
async fn an_answer_brings_its_effects_in_order() {
    let delayed = |delay_in_ms, cancellation_token: &str, is_cancellation_request: bool| DelayedInvocation {
        delay_in_ms,
        target: (!is_cancellation_request).then(|| wire_address("3")),
        argument: Some(typed("later")),
        is_cancellation_request,
        cancellation_token: cancellation_token.into(),
    };
    let mutation = |mutation_type, name: &str, state_value| PersistedValueMutation {
        mutation_type,
        state_name: name.into(),
        state_value,
    };
    let record = |stream: &str, explicit_hash_key: &str| reqreply::EgressMessage {
        egress_namespace: "t".into(),
        egress_type: "out".into(),
        argument: Some(TypedValue {
            typename: KINESIS_EGRESS_RECORD.into(),
            has_value: true,
            value: KinesisEgressRecord {
                partition_key: "k".into(),
                value_bytes: Bytes::from_static(b"v"),
                stream: stream.into(),
                explicit_hash_key: explicit_hash_key.into(),
            }
            .encode_to_vec()
            .into(),
        }),
    };
    const ARN: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/other";
    let response = InvocationResponse {
        state_mutations: vec![mutation(1, "a", Some(typed("x"))), mutation(0, "b", None)],
        outgoing_messages: vec![
            OutgoingMessage { target: Some(wire_address("2")), argument: Some(typed("now")) },
            OutgoingMessage { target: Some(wire_address("1")), argument: None },
        ],
        delayed_invocations: vec![delayed(7, "t", false), delayed(-7, "", false), delayed(0, "t", true)],
        outgoing_egresses: vec![record("", ""), record("name", "5"), record(ARN, "")],
    };
    let server = Server::start(move |_| answer(result(response.clone())));
    let Answer::Handled(effects) = server.endpoint().invoke(&request(), LONG).await.unwrap() else {
        panic!("nothing is missing");
    };
    let value = |text: &'static str| Value::new("t/text", text);
    let send = |millis, token: Option<&str>| Delayed::Send {
        delay: Duration::from_millis(millis),
        to: address("3"),
        value: value("later"),
        token: token.map(Into::into),
    };
    let put = PutRecord::new("k".parse().unwrap(), "v");
    let out = |stream: Option<&str>, record: &PutRecord| EgressMessage {
        egress: "t/out".parse().unwrap(),
        stream: stream.map(|stream| stream.parse().unwrap()),
        record: record.clone(),
    };
    let expect = Effects {
        messages: vec![(address("2"), value("now")), (address("1"), Value { typename: "".into(), bytes: None })],
        delayed: vec![send(7, Some("t")), send(0, None), Delayed::Cancel { token: "t".into() }],
        egress: vec![
            out(None, &put),
            out(Some("name"), &put.clone().with_explicit_hash_key(HashKey::new(5))),
            out(Some(ARN), &put),
        ],
        states: vec![
            StateChange { name: "a".into(), value: Some(value("x")) },
            StateChange { name: "b".into(), value: None },
        ],
    };
    assert_eq!(effects, expect);
}

#[tokio::test]
async fn an_answer_names_missing_states() {
    let spec = |name: &str, expiration: Option<(i32, i64)>| PersistedValueSpec {
        state_name: name.into(),
        expiration_spec: expiration.map(|(mode, expire_after_millis)| ExpirationSpec { mode, expire_after_millis }),
        type_typename: "t/text".into(),
    };
    let missing_values =
        vec![spec("a", None), spec("b", Some((0, 5))), spec("c", Some((1, 5))), spec("d", Some((2, 6)))];
    let context = IncompleteInvocationContext { missing_values };
    let response = FromFunction { response: Some(from_function::Response::IncompleteInvocationContext(context)) };
    let server = Server::start(move |_| answer(response.clone()));
    let missing = |name: &str, expiration| StateSpec { name: name.into(), typename: "t/text".into(), expiration };
    let expect = Answer::StatesMissing(vec![
        missing("a", Expiration::Never),
        missing("b", Expiration::Never),
        missing("c", Expiration::AfterWrite(Duration::from_millis(5))),
        missing("d", Expiration::AfterInvoke(Duration::from_millis(6))),
    ]);
    assert_eq!(server.endpoint().invoke(&request(), LONG).await.unwrap(), expect);
}

#[tokio::test]
async fn an_empty_answer_has_no_effects() {
    for (status, kind) in
        [(200, Some("application/octet-stream")), (204, None), (200, Some("Application/Octet-Stream; x=1"))]
    {
        let server = Server::start(move |_| {
            let mut response = Response::builder().status(status);
            if let Some(kind) = kind {
                response = response.header("content-type", kind);
            }
            response.body(full("")).unwrap()
        });
        assert_eq!(server.endpoint().invoke(&request(), LONG).await.unwrap(), no_effects());
    }
}

#[tokio::test]
async fn what_is_no_answer_is_told() {
    let respond = |status: u16, kind: &'static str, encoding: Option<&'static str>, body: Bytes| {
        Server::start(move |_| {
            let mut response = Response::builder().status(status).header("content-type", kind);
            if let Some(encoding) = encoding {
                response = response.header("content-encoding", encoding);
            }
            response.body(full(body.clone())).unwrap()
        })
    };
    let octets = "application/octet-stream";
    let long = Bytes::from("x".repeat(100_000));
    for (server, expect) in [
        (
            respond(500, "text/plain", None, "KeyError: 'colour'\n".into()),
            ["500 Internal Server Error", "`KeyError: \\'colour\\'`"],
        ),
        (respond(404, "text/html", None, Bytes::new()), ["404 Not Found", "(no body)"]),
        (respond(502, "text/plain", None, long), ["502 Bad Gateway", "xxx…`"]),
        (respond(301, octets, None, Bytes::new()), ["301", ""]),
        (respond(200, "text/html", None, "<html>".into()), ["is of type \"text/html\"", "`<html>`"]),
        (respond(200, octets, None, "<html>".into()), ["cannot be used", "no message of the protocol"]),
        (respond(200, octets, Some("br"), "x".into()), ["packed by `br`", ""]),
        (respond(200, octets, Some("gzip"), "x".into()), ["cannot be unpacked", ""]),
    ] {
        says(server.endpoint().invoke(&request(), LONG).await, &expect);
    }
}

#[tokio::test]
async fn a_record_that_can_be_none_is_told() {
    let message = |egress_type: &str, typename: &str, value: Vec<u8>| InvocationResponse {
        outgoing_egresses: vec![reqreply::EgressMessage {
            egress_namespace: "t".into(),
            egress_type: egress_type.into(),
            argument: Some(TypedValue { typename: typename.into(), has_value: true, value: value.into() }),
        }],
        ..Default::default()
    };
    let record = |partition_key: &str, stream: &str, explicit_hash_key: &str| {
        let record = KinesisEgressRecord {
            partition_key: partition_key.into(),
            stream: stream.into(),
            explicit_hash_key: explicit_hash_key.into(),
            ..Default::default()
        };
        message("out", KINESIS_EGRESS_RECORD, record.encode_to_vec())
    };
    for (response, expect) in [
        (message("out", "t/text", vec![]), "the egress t/out is a `t/text`"),
        (message("out", KINESIS_EGRESS_RECORD, vec![0xff]), "the egress t/out is no record"),
        (message("", KINESIS_EGRESS_RECORD, vec![]), "a name that is none"),
        (record("", "", ""), "not a valid partition key"),
        (record("k", "no such name", ""), "not a valid stream name"),
        (record("k", "", "-1"), "not a valid hash key"),
        (
            InvocationResponse { outgoing_messages: vec![OutgoingMessage::default()], ..Default::default() },
            "no target for a message",
        ),
    ] {
        let server = Server::start(move |_| answer(result(response.clone())));
        says(server.endpoint().invoke(&request(), LONG).await, &[expect]);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// An answer of about so many bytes.
fn answer_of(bytes: usize) -> FromFunction {
    let argument = TypedValue { value: vec![0; bytes].into(), has_value: true, typename: "t/text".into() };
    let outgoing_messages = vec![OutgoingMessage { target: Some(wire_address("2")), argument: Some(argument) }];
    result(InvocationResponse { outgoing_messages, ..Default::default() })
}

#[tokio::test]
async fn an_answer_may_be_packed_and_is_bounded() {
    const LIMIT: u32 = 100_000;
    for (bytes, packed, fits) in
        [(99_900, false, true), (100_000, false, false), (99_900, true, true), (100_000, true, false)]
    {
        let server = Server::start(move |request| {
            assert_eq!(request.headers()["accept-encoding"], "gzip");
            let body = answer_of(bytes).encode_to_vec();
            let response = Response::builder().header("content-type", "application/octet-stream");
            if packed {
                return response.header("content-encoding", "gzip").body(full(gzip(&body))).unwrap();
            }
            // In pieces, without a length that would tell.
            let pieces: Vec<_> =
                body.chunks(1_000).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
            response.body(BodyExt::boxed(StreamBody::new(futures::stream::iter(pieces)))).unwrap()
        });
        let mut spec = server.spec();
        spec.transport.payload_max_bytes = LIMIT.try_into().unwrap();
        let answered = RemoteEndpoint::new(&spec).unwrap().invoke(&request(), LONG).await;
        if fits {
            let Answer::Handled(effects) = answered.unwrap() else { panic!("nothing is missing") };
            assert_eq!(effects.messages[0].1.payload_len(), bytes);
        } else {
            says(answered, &["100000 bytes that `payload_max_bytes` allows"]);
        }
    }
}

#[tokio::test]
async fn each_time_out_is_named() {
    let short = Duration::from_millis(50);
    // A socket that nobody accepts from: the kernel takes the connection and some bytes, and no answer comes.
    let folder = Folder::new();
    let _deaf = std::os::unix::net::UnixListener::bind(folder.path("f.sock")).unwrap();
    let url = format!("http+unix://{}", folder.path("f.sock"));
    let spec = EndpointSpec::new("t/*".parse().unwrap(), url.parse().unwrap());
    let timed_out = |what: &str| format!("no answer within the time-out `{what}` of 50ms");

    let endpoint = RemoteEndpoint::new(&spec).unwrap();
    says(endpoint.invoke(&request(), short).await, &[&timed_out("call")]);

    let mut reads = spec.clone();
    reads.transport.read_timeout = Some(short);
    let endpoint = RemoteEndpoint::new(&reads).unwrap();
    says(endpoint.invoke(&request(), LONG).await, &[&timed_out("read")]);

    let mut writes = spec.clone();
    writes.transport.write_timeout = Some(short);
    let endpoint = RemoteEndpoint::new(&writes).unwrap();
    let large = request_with(vec![0; 8 << 20].into());
    says(endpoint.invoke(&large, LONG).await, &[&timed_out("write")]);

    // An answer that begins and does not go on.
    let server = Server::start(|_| {
        use futures::StreamExt;
        let first = futures::stream::iter([Ok(Frame::data(Bytes::from_static(b"\xa2")))]);
        let body = StreamBody::new(first.chain(futures::stream::pending()));
        Response::builder().header("content-type", "application/octet-stream").body(BodyExt::boxed(body)).unwrap()
    });
    let mut reads = server.spec();
    reads.transport.read_timeout = Some(short);
    let endpoint = RemoteEndpoint::new(&reads).unwrap();
    says(endpoint.invoke(&request(), LONG).await, &[&timed_out("read")]);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told() {
    let url = format!("http+unix://{}", Folder::new().path("f.sock"));
    let spec = EndpointSpec::new("t/*".parse().unwrap(), url.parse().unwrap());
    let endpoint = RemoteEndpoint::new(&spec).unwrap();
    says(
        endpoint.invoke(&request(), LONG).await,
        &["POST / at the socket", "f.sock failed: the connection failed", "No such file"],
    );
}

#[tokio::test]
async fn connections_are_used_again_and_made_anew() {
    let closing = Arc::new(AtomicUsize::new(0));
    let close = Arc::clone(&closing);
    let server = Server::start(move |_| {
        let mut response = answer(result(InvocationResponse::default()));
        if close.load(Ordering::Relaxed) > 0 {
            response.headers_mut().insert("connection", "close".parse().unwrap());
        }
        response
    });
    let endpoint = server.endpoint();
    for _ in 0..5 {
        endpoint.invoke(&request(), LONG).await.unwrap();
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 1);
    closing.store(1, Ordering::Relaxed);
    for _ in 0..3 {
        endpoint.invoke(&request(), LONG).await.unwrap();
    }
    assert_eq!(server.connections.load(Ordering::Relaxed), 3);
}

#[tokio::test]
async fn a_large_request_arrives_whole() {
    let server = Server::start(|request| {
        assert!(request.body().len() > 3_000_000);
        let body = ToFunction::decode(request.into_body()).unwrap();
        let Some(to_function::Request::Invocation(batch)) = body.request else { panic!("it is no batch") };
        assert_eq!(batch.invocations[0].argument.as_ref().unwrap().value.len(), 3_000_000);
        answer(result(InvocationResponse::default()))
    });
    let request = request_with(vec![7; 3_000_000].into());
    assert_eq!(server.endpoint().invoke(&request, LONG).await.unwrap(), no_effects());
}

/// An authority, and what it has signed, in files of a folder.
struct Certificates {
    authority: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
}

impl Certificates {
    fn new(folder: &Folder) -> Self {
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = rcgen::CertifiedIssuer::self_signed(parameters, rcgen::KeyPair::generate().unwrap()).unwrap();
        std::fs::write(folder.path("ca.pem"), authority.pem()).unwrap();
        let certificates = Self { authority };
        let (certificate, key) = certificates.sign("client");
        std::fs::write(folder.path("client.pem"), certificate.pem()).unwrap();
        std::fs::write(folder.path("client.key"), key.serialize_pem()).unwrap();
        certificates
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (parameters.signed_by(&key, &self.authority).unwrap(), key)
    }

    /// A server that wants to see a certificate of its clients.
    fn server(&self, protocols: &[&[u8]]) -> Arc<rustls::ServerConfig> {
        let (certificate, key) = self.sign("localhost");
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.authority.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider));
        let key = rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![certificate.der().clone()], key.into())
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        Arc::new(config)
    }
}

#[tokio::test]
async fn tls_with_its_own_authority_and_a_client_certificate() {
    for (protocols, version) in [(&[&b"h2"[..], b"http/1.1"][..], Version::HTTP_2), (&[b"http/1.1"], Version::HTTP_11)]
    {
        let folder = Folder::new();
        let tls = Certificates::new(&folder).server(protocols);
        let server = Server::start_with(folder, Some(tls), move |request| {
            assert_eq!(request.version(), version);
            answer(result(InvocationResponse::default()))
        });
        let mut spec = server.spec();
        spec.transport.trust_ca_certs = Some(server.folder.path("ca.pem"));
        let without = RemoteEndpoint::new(&spec).unwrap();
        says(without.invoke(&request(), LONG).await, &["the connection failed"]);

        spec.transport.client_cert = Some(server.folder.path("client.pem"));
        spec.transport.client_key = Some(server.folder.path("client.key"));
        let endpoint = RemoteEndpoint::new(&spec).unwrap();
        let request = request();
        let (one, two) = tokio::join!(endpoint.invoke(&request, LONG), endpoint.invoke(&request, LONG));
        assert_eq!((one.unwrap(), two.unwrap()), (no_effects(), no_effects()));

        // Another authority is not trusted.
        let other = Folder::new();
        let _ = Certificates::new(&other);
        spec.transport.trust_ca_certs = Some(other.path("ca.pem"));
        let endpoint = RemoteEndpoint::new(&spec).unwrap();
        says(endpoint.invoke(&request, LONG).await, &["the connection failed", "invalid peer certificate"]);
    }
}

#[test]
fn files_that_cannot_be_used_are_told_at_once() {
    let folder = Folder::new();
    let _ = Certificates::new(&folder);
    std::fs::write(folder.path("empty.pem"), "").unwrap();
    std::fs::write(folder.path("locked.key"), "-----BEGIN ENCRYPTED PRIVATE KEY-----\n").unwrap();
    let spec = EndpointSpec::new("t/*".parse().unwrap(), "https://localhost".parse().unwrap());
    let check = |ca: &str, cert: Option<&str>, key: Option<&str>, expect: &str| {
        let mut spec = spec.clone();
        spec.transport.trust_ca_certs = Some(folder.path(ca));
        spec.transport.client_cert = cert.map(|file| folder.path(file));
        spec.transport.client_key = key.map(|file| folder.path(file));
        let error: EndpointError = RemoteEndpoint::new(&spec).unwrap_err();
        assert!(error.to_string().contains(expect), "{error}");
    };
    check("none.pem", None, None, "none.pem");
    check("empty.pem", None, None, "no certificate in");
    check("ca.pem", Some("client.pem"), None, "belong together");
    check("ca.pem", Some("none.pem"), Some("client.key"), "none.pem");
    check("ca.pem", Some("client.pem"), Some("none.key"), "none.key");
    check("ca.pem", Some("client.pem"), Some("locked.key"), "give `client_key_password`");
    check("ca.pem", Some("client.pem"), Some("ca.pem"), "cannot read");
}

#[tokio::test]
async fn a_client_key_may_be_encrypted() {
    let folder = Folder::new();
    let tls = Certificates::new(&folder).server(&[b"h2"]);
    let key = std::fs::read_to_string(folder.path("client.key")).unwrap();
    let (_, key) = SecretDocument::from_pem(&key).unwrap();
    let key = PrivateKeyInfoRef::from_der(key.as_bytes()).unwrap();
    let parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(2_048, b"salt and pepper", [7; 16]).unwrap();
    let encrypted = key.encrypt_with_params(parameters, "open sesame").unwrap();
    let pem = encrypted.to_pem(EncryptedPrivateKeyInfoRef::PEM_LABEL, LineEnding::LF).unwrap();
    std::fs::write(folder.path("client.key"), pem.as_bytes()).unwrap();
    std::fs::write(folder.path("password"), "open sesame\n").unwrap();
    let server = Server::start_with(folder, Some(tls), |_| answer(result(InvocationResponse::default())));
    let mut spec = server.spec();
    let file = |name| Some(server.folder.path(name));
    spec.transport.trust_ca_certs = file("ca.pem");
    spec.transport.client_cert = file("client.pem");
    spec.transport.client_key = file("client.key");
    for password in ["open sesame".to_owned(), server.folder.path("password")] {
        spec.transport.client_key_password = Some(Secret::new(password));
        let endpoint = RemoteEndpoint::new(&spec).unwrap();
        assert_eq!(endpoint.invoke(&request(), LONG).await.unwrap(), no_effects());
    }
    spec.transport.client_key_password = Some(Secret::new("open barley"));
    let error = RemoteEndpoint::new(&spec).unwrap_err().to_string();
    assert!(error.contains("is `client_key_password` right?") && !error.contains("barley"), "{error}");
}

#[tokio::test]
async fn an_answer_with_any_success_counts() {
    let server = Server::start(|_| {
        let mut response = answer(result(InvocationResponse::default()));
        *response.status_mut() = StatusCode::ACCEPTED;
        response
    });
    assert_eq!(server.endpoint().invoke(&request(), LONG).await.unwrap(), no_effects());
}
