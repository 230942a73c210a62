//! Connections: timeouts, reuse, and missing servers.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use prost::Message as _;
use statefun_kinesis_mailboxes::Invoke;
use statefun_kinesis_module::EndpointSpec;
use statefun_kinesis_protocol::reqreply::{InvocationResponse, ToFunction, to_function};
use statefun_kinesis_remote::RemoteEndpoint;
use tokio::{
    net::{TcpSocket, TcpStream},
    sync::Barrier,
};

use crate::scene::*;

#[tokio::test]
async fn each_time_out_is_named() {
    let short = Duration::from_millis(50);
    // A socket that no server accepts from: the kernel takes the connection and some bytes, and no answer comes.
    let folder = Folder::new();
    let _deaf = std::os::unix::net::UnixListener::bind(folder.path("f.sock")).unwrap();
    let url = format!("http+unix://{}", folder.path("f.sock"));
    let spec = EndpointSpec::new("t/*".parse().unwrap(), url.parse().unwrap());
    let timed_out = |what: &str| format!("no answer within the timeout `{what}` of 50ms");

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

    // An answer that begins but does not continue.
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
async fn the_time_to_connect_is_limited() {
    // A server that accepts no connection and has a short queue: the kernel leaves further ones unanswered.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let queued: Vec<_> = (0..8).map(|_| tokio::spawn(TcpStream::connect(address))).collect();
    let is_full =
        async { while tokio::time::timeout(Duration::from_secs(1), TcpStream::connect(address)).await.is_ok() {} };
    tokio::time::timeout(LONG, is_full).await.expect("the queue has an end");

    let mut spec = EndpointSpec::new("t/*".parse().unwrap(), format!("http://{address}").parse().unwrap());
    spec.transport.connect_timeout = Duration::from_millis(50);
    let endpoint = RemoteEndpoint::new(&spec).unwrap();
    says(endpoint.invoke(&request(), LONG).await, &["the connection failed", "deadline has elapsed"]);
    drop(queued);
}

/// Makes this number of requests at the same time.
async fn invoke_at_once(endpoint: &RemoteEndpoint, count: usize) {
    let request = request();
    let answers = futures::future::join_all((0..count).map(|_| endpoint.invoke(&request, LONG))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

/// A server whose answers end only when as many requests as that are there at the same time.
fn answering_together(count: usize) -> Server {
    let barrier = Arc::new(Barrier::new(count));
    Server::start(move |_| {
        let barrier = Arc::clone(&barrier);
        let body = futures::stream::once(async move {
            barrier.wait().await;
            Ok(Frame::data(result(InvocationResponse::default()).encode_to_vec().into()))
        });
        let response = Response::builder().header("content-type", "application/octet-stream");
        response.body(BodyExt::boxed(StreamBody::new(Box::pin(body)))).unwrap()
    })
}

#[tokio::test]
async fn a_pool_keeps_as_many_connections_as_it_may() {
    for (size, keeps_all) in [(8_u32, true), (1, false)] {
        let server = answering_together(3);
        let mut spec = server.spec();
        spec.transport.pool_size = size.try_into().unwrap();
        let endpoint = RemoteEndpoint::new(&spec).unwrap();
        let opened = async || {
            let before = server.connections.load(Ordering::Relaxed);
            invoke_at_once(&endpoint, 3).await;
            server.connections.load(Ordering::Relaxed) - before
        };
        assert_eq!(opened().await, 3);
        if keeps_all {
            // A connection goes back to the pool some time after its answer.
            let is_kept = async { while opened().await > 0 {} };
            tokio::time::timeout(LONG, is_kept).await.expect("all three are kept");
        } else {
            for _ in 0..10 {
                assert!(opened().await >= 2, "one is kept at most");
            }
        }
    }
}

#[tokio::test]
async fn an_idle_connection_is_kept_for_a_time() {
    let server = Server::start(|_| answer(result(InvocationResponse::default())));
    let mut spec = server.spec();
    spec.transport.pool_ttl = Duration::from_millis(1);
    let endpoint = RemoteEndpoint::new(&spec).unwrap();
    let is_replaced = async {
        while server.connections.load(Ordering::Relaxed) < 2 {
            invoke_at_once(&endpoint, 1).await;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, is_replaced).await.expect("a connection ends after a millisecond");
}

#[tokio::test]
async fn an_unreachable_server_is_reported() {
    let url = format!("http+unix://{}", Folder::new().path("f.sock"));
    let spec = EndpointSpec::new("t/*".parse().unwrap(), url.parse().unwrap());
    let endpoint = RemoteEndpoint::new(&spec).unwrap();
    says(
        endpoint.invoke(&request(), LONG).await,
        &["POST / at the socket", "f.sock failed: the connection failed", "No such file"],
    );
}

#[tokio::test]
async fn connections_are_reused_and_reopened() {
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
