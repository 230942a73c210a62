use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use bytes::Bytes;
use futures::{StreamExt, stream};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::{Canned, Fault};

/// Looks at the fields of a request and answers it in the server's place, as a service does that checks signatures.
type Judge = dyn Fn(&HeaderMap) -> Option<Canned> + Send + Sync;

type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A fault, and which requests it hits.
#[derive(Clone, Debug)]
struct Spell {
    fault: Fault,
    one_in: u64,
}

/// A way to an HTTP server on which requests and answers meet with faults, for as long as a case wants them to.
pub struct FaultyProxy {
    address: SocketAddr,
    spell: watch::Sender<Option<Spell>>,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    hit: AtomicU64,
}

impl fmt::Debug for FaultyProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyProxy").field("address", &self.address).field("spell", &*self.spell.borrow()).finish()
    }
}

impl FaultyProxy {
    /// Listens on a free port of the loopback interface, and sends requests on to `server` (`http://HOST:PORT`; a path
    /// behind it is that of the requests). `judge` comes before any fault.
    ///
    /// # Errors
    ///
    /// When no port can be had, or the server is not by plain HTTP.
    pub async fn start(
        server: &str,
        judge: impl Fn(&HeaderMap) -> Option<Canned> + Send + Sync + 'static,
    ) -> Result<Self> {
        let server = server.strip_prefix("http://").context("a server by plain HTTP")?;
        let server: Arc<str> = server.split('/').next().unwrap_or_default().into();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (spell, current) = watch::channel(None);
        let counts = Arc::<Counts>::default();
        let way = Way { server, judge: Arc::new(judge), spell: current, counts: Arc::clone(&counts) };
        let accepting = tokio::spawn(accept(listener, way));
        Ok(Self { address, spell, counts, accepting })
    }

    /// `http://HOST:PORT` of the proxy.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on one request in so many meets with this fault, 1 for each.
    pub fn fails(&self, fault: Fault, one_in: u64) {
        self.spell.send_replace(Some(Spell { fault, one_in: one_in.max(1) }));
    }

    /// From now on nothing is wrong, and requests that were stalled go on.
    pub fn heals(&self) {
        self.spell.send_replace(None);
    }

    /// The requests that came so far, and how many of them met with a fault or with the judge's answer.
    pub fn counts(&self) -> (u64, u64) {
        (self.counts.requests.load(Ordering::Relaxed), self.counts.hit.load(Ordering::Relaxed))
    }
}

impl Drop for FaultyProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// What each connection shares with the proxy.
#[derive(Clone)]
struct Way {
    server: Arc<str>,
    judge: Arc<Judge>,
    spell: watch::Receiver<Option<Spell>>,
    counts: Arc<Counts>,
}

async fn accept(listener: TcpListener, way: Way) {
    // They end with the task that owns them.
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let _ = client.set_nodelay(true);
        if matches!(&*way.spell.borrow(), Some(Spell { fault: Fault::Reset, one_in: 1 })) {
            // Closed at once and without lingering: a reset.
            let _ = client.set_zero_linger();
            way.counts.hit.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let way = way.clone();
        let upstream = Arc::<Mutex<Option<SendRequest<Full<Bytes>>>>>::default();
        connections.spawn(async move {
            let service = service_fn(move |request| respond(way.clone(), Arc::clone(&upstream), request));
            http1::Builder::new().serve_connection(TokioIo::new(client), service).await
        });
        while connections.try_join_next().is_some() {}
    }
}

/// Answers one request. An error closes the connection without an answer.
async fn respond(
    mut way: Way,
    upstream: Arc<Mutex<Option<SendRequest<Full<Bytes>>>>>,
    request: Request<Incoming>,
) -> Result<Response<Body>> {
    let number = way.counts.requests.fetch_add(1, Ordering::Relaxed);
    let spell = way.spell.borrow_and_update().clone();
    let spell = spell.filter(|spell| number.is_multiple_of(spell.one_in));
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let judged = (way.judge)(&head.headers);
    if spell.is_some() || judged.is_some() {
        way.counts.hit.fetch_add(1, Ordering::Relaxed);
    }
    if let Some(answer) = judged {
        return canned(&answer);
    }
    let fault = spell.map(|spell| spell.fault);
    match &fault {
        Some(Fault::Reset) => anyhow::bail!("reset"),
        Some(Fault::Answer(answer)) => return canned(answer),
        // The sender is gone with the proxy.
        Some(Fault::Stall) => way.spell.changed().await?,
        Some(Fault::LostAnswer | Fault::CutAnswer) | None => {}
    }
    let mut connection = upstream.lock().await;
    let answer = send(&way.server, &mut connection, Request::from_parts(head, Full::new(body))).await;
    if answer.is_err() {
        *connection = None;
    }
    let (head, body) = answer?.into_parts();
    Ok(match fault {
        Some(Fault::LostAnswer) => anyhow::bail!("the answer is lost"),
        Some(Fault::CutAnswer) => Response::from_parts(head, cut(body).await?),
        Some(Fault::Reset | Fault::Stall | Fault::Answer(_)) | None => {
            Response::from_parts(head, body.map_err(io::Error::other).boxed_unsync())
        }
    })
}

/// Sends a request to the server, over the connection of before if that is still there.
async fn send(
    server: &str,
    connection: &mut Option<SendRequest<Full<Bytes>>>,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>> {
    if let Some(open) = connection
        && open.ready().await.is_ok()
    {
        return Ok(open.send_request(request).await?);
    }
    let stream = TcpStream::connect(server).await?;
    stream.set_nodelay(true)?;
    let (sender, driver) = handshake(TokioIo::new(stream)).await?;
    // It ends with its sender.
    tokio::spawn(driver);
    Ok(connection.insert(sender).send_request(request).await?)
}

fn canned(answer: &Canned) -> Result<Response<Body>> {
    let mut response = Response::builder().status(answer.status);
    for (name, value) in &answer.fields {
        response = response.header(*name, value);
    }
    let body = Full::new(answer.body.clone()).map_err(|never: Infallible| match never {});
    Ok(response.body(body.boxed_unsync())?)
}

/// The first half of a body, and then the end of the connection.
async fn cut(body: Incoming) -> Result<Body> {
    let whole = body.collect().await?.to_bytes();
    let half = whole.slice(..whole.len() / 2);
    let frames = stream::iter([Ok(Frame::data(half)), Err(io::Error::other("cut"))]);
    Ok(BodyExt::boxed_unsync(StreamBody::new(frames.boxed())))
}
