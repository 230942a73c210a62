//! The cost of a call to a remote function, compared with a bare HTTP client that posts the same bytes to the same
//! server: figures rather than times per call.
//!
//! Server and clients share one thread, over loopback, so that all of the work counts. The server gives the same answer
//! to every request: one state that is set.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioIo},
};
use prost::Message as _;
use statefun_kinesis_mailboxes::{
    Answer, Effects, Expiration, GroupSettings, Invoke, Limits, Mailboxes, Message, Origin, Request, StateChange,
    StateSpec, Value,
};
use statefun_kinesis_module::EndpointSpec;
use statefun_kinesis_protocol::reqreply::{
    FromFunction, InvocationResponse, PersistedValueMutation, TypedValue, from_function, persisted_value_mutation,
};
use statefun_kinesis_remote::RemoteEndpoint;
use statefun_kinesis_types::{Address, Timestamp};
use tokio::{net::TcpListener, sync::mpsc};

const CALLS: usize = 20_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("sockets can be had");
    runtime.block_on(async {
        println!("remote: at a time, client | calls per second | p50 | p99");
        let (sent, mut bodies) = mpsc::unbounded_channel();
        let url = serve(sent).await;
        let spec = EndpointSpec::new("bench/*".parse().expect("it is a pattern"), url.parse().expect("it is an URL"));
        let endpoint = Arc::new(RemoteEndpoint::new(&spec).expect("it needs no files"));
        let (request, with_metadata) = (Arc::new(request(false)), Arc::new(request(true)));
        // What the bare client posts is what the endpoint posts.
        call(&endpoint, &request).await;
        let body: Bytes = bodies.recv().await.expect("the server has got a request");
        let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
        for at_once in [1, 16, 128] {
            for _ in 0..2 {
                measure(at_once, "bare", || post(client.clone(), url.clone(), body.clone())).await;
                for (client, request) in [("endpoint", &request), ("with metadata", &with_metadata)] {
                    measure(at_once, client, || {
                        let (endpoint, request) = (Arc::clone(&endpoint), Arc::clone(request));
                        async move { call(&endpoint, &request).await }
                    })
                    .await;
                }
            }
        }
    });
}

/// A server that answers everything with the same, and tells what it got first; gives its address.
async fn serve(sent: mpsc::UnboundedSender<Bytes>) -> String {
    let value = TypedValue {
        typename: "bench/number".into(),
        has_value: true,
        value: Bytes::from_static(&[1; 8]),
        ..TypedValue::default()
    };
    let mutation = PersistedValueMutation {
        mutation_type: persisted_value_mutation::MutationType::Modify.into(),
        state_name: "total".into(),
        state_value: Some(value),
    };
    let result = InvocationResponse { state_mutations: vec![mutation], ..InvocationResponse::default() };
    let answer = FromFunction { response: Some(from_function::Response::InvocationResult(result)) };
    let answer = Bytes::from(answer.encode_to_vec());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}/functions", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move {
        let mut sent = Some(sent);
        while let Ok((stream, _)) = listener.accept().await {
            stream.set_nodelay(true).expect("it is a TCP connection");
            let (answer, sent) = (answer.clone(), sent.take());
            tokio::spawn(async move {
                let service = service_fn(move |request: http::Request<Incoming>| {
                    let (answer, sent) = (answer.clone(), sent.clone());
                    async move {
                        let body = request.into_body().collect().await;
                        if let (Some(sent), Ok(body)) = (sent, body) {
                            // The receiver takes the first body only.
                            let _ = sent.send(body.to_bytes());
                        }
                        let response = http::Response::builder().header("content-type", "application/octet-stream");
                        Ok::<_, Infallible>(response.body(Full::new(answer)).expect("the head is right"))
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                // A client that goes away ends it.
                let _ = connection.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    url
}

/// A request with one message and one state, with or without metadata of its record.
fn request(is_sent: bool) -> Request {
    let mut mailboxes: Mailboxes = Mailboxes::new(Limits::default());
    let group = mailboxes.add_group(GroupSettings::default());
    mailboxes.serve_namespace("bench", group);
    let to = Address { function: "bench/counter".parse().expect("it is a name"), id: "customer-17".into() };
    let deliver = |mailboxes: &mut Mailboxes| {
        let origin = Origin {
            stream: "arn:aws:kinesis:us-east-1:123456789012:stream/orders".parse().expect("it is an ARN"),
            shard: "shardId-000000000000".parse().expect("it is a name"),
            sequence_number: "49590338271490256608559692538361571095921575989136588898"
                .parse()
                .expect("it is a number"),
            sub_sequence_number: 0,
            arrival: Timestamp::EPOCH,
            explicit_hash_key: None,
            is_sent,
            is_last: true,
        };
        let value = Value::new("bench/command", vec![7; 100]);
        let message = Message { caller: None, value, origin: Some(Arc::new(origin)) };
        mailboxes.deliver([(to.clone(), message)]).expect("it is served");
    };
    let now = Timestamp::EPOCH;
    deliver(&mut mailboxes);
    let first = mailboxes.next_request(now).expect("there is a message");
    let spec = StateSpec { name: "total".into(), typename: "bench/number".into(), expiration: Expiration::Never };
    mailboxes.answered(first.id, Answer::StatesMissing(vec![spec]), now).expect("it was missing");
    let first = mailboxes.next_request(now).expect("there is a message");
    let change = StateChange { name: "total".into(), value: Some(Value::new("bench/number", vec![1; 8])) };
    let effects = Effects { states: vec![change], ..Effects::default() };
    mailboxes.answered(first.id, Answer::Handled(effects), now).expect("the state is declared");
    deliver(&mut mailboxes);
    mailboxes.next_request(now).expect("there is a message")
}

async fn call(endpoint: &RemoteEndpoint, request: &Request) {
    let answer = endpoint.invoke(request, Duration::from_secs(120)).await.expect("the server answers");
    assert!(matches!(answer, Answer::Handled(effects) if effects.states.len() == 1));
}

async fn post(
    client: Client<hyper_util::client::legacy::connect::HttpConnector, Full<Bytes>>,
    url: String,
    body: Bytes,
) {
    let request = http::Request::post(url).header("content-type", "application/octet-stream").body(Full::new(body));
    let response = client.request(request.expect("the head is right")).await.expect("the server answers");
    let body = response.into_body().collect().await.expect("the answer comes").to_bytes();
    assert!(!body.is_empty());
}

async fn measure<F: Future<Output = ()>>(at_once: usize, name: &str, call: impl Fn() -> F) {
    // Connections are made, and caches are warm.
    stream::iter(0..1_000).for_each_concurrent(at_once, |_| call()).await;
    let began = Instant::now();
    let timed = |_| async {
        let began = Instant::now();
        call().await;
        began.elapsed()
    };
    let mut times: Vec<Duration> = stream::iter(0..CALLS).map(timed).buffer_unordered(at_once).collect().await;
    let per_second = CALLS as f64 / began.elapsed().as_secs_f64();
    times.sort();
    let at = |quantile: f64| times[((CALLS - 1) as f64 * quantile) as usize];
    println!("  {at_once}, {name} | {per_second:.0} | {:?} | {:?}", at(0.5), at(0.99));
}
