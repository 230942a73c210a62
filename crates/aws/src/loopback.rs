//! An HTTP server for tests, on a port of this machine: for what only a real connection shows.

use std::{collections::HashMap, net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    task::JoinHandle,
};
use tokio_rustls::TlsAcceptor;

/// A request, as it came.
#[derive(Debug)]
pub(crate) struct Request {
    /// What follows the method: a path, or a whole URL if this server is used as a proxy.
    pub(crate) target: String,
    /// The names are in lower case.
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The operation of a call of Kinesis; empty for other requests.
    pub(crate) fn operation(&self) -> &str {
        let target = self.headers.get("x-amz-target");
        target.and_then(|target| target.strip_prefix("Kinesis_20131202.")).unwrap_or_default()
    }

    /// The key that signed the request.
    pub(crate) fn key(&self) -> &str {
        let signature = self.headers.get("authorization").map_or("", String::as_str);
        signature.split("Credential=").nth(1).and_then(|rest| rest.split('/').next()).unwrap_or_default()
    }
}

/// What the server does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Status, headers, body.
    Http(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// Closes the connection without an answer.
    Close,
}

impl Answer {
    pub(crate) fn ok(body: impl Into<String>) -> Self {
        Self::Http(200, vec![], body.into().into_bytes())
    }

    pub(crate) fn status(status: u16, body: impl Into<String>) -> Self {
        Self::Http(status, vec![], body.into().into_bytes())
    }
}

type Handle = Arc<dyn Fn(&Request) -> Answer + Send + Sync>;

/// A running server. It stops when it is dropped.
pub(crate) struct Loopback {
    address: SocketAddr,
    is_tls: bool,
    accepting: JoinHandle<()>,
}

impl Loopback {
    pub(crate) async fn start(answer: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_with(None, answer).await
    }

    pub(crate) async fn start_with(
        tls: Option<Arc<rustls::ServerConfig>>,
        answer: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (is_tls, handle): (_, Handle) = (tls.is_some(), Arc::new(answer));
        let acceptor = tls.map(TlsAcceptor::from);
        let accepting = tokio::spawn(async move {
            // Dropped together with this task, and the connections with it.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                // Small answers go at once.
                stream.set_nodelay(true).unwrap();
                let (handle, acceptor) = (Arc::clone(&handle), acceptor.clone());
                connections.spawn(async move {
                    match acceptor {
                        None => serve(stream, &handle).await,
                        // A client that does not trust the server ends the handshake.
                        Some(acceptor) => match acceptor.accept(stream).await {
                            Ok(stream) => serve(stream, &handle).await,
                            Err(_) => None,
                        },
                    }
                });
            }
        });
        Self { address, is_tls, accepting }
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers the requests of a connection, until one of the two sides closes it.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, handle: &Handle) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let request = read(&mut stream).await?;
        let Answer::Http(status, headers, body) = handle(&request) else { return None };
        let mut head = format!("HTTP/1.1 {status} Status\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(head.as_bytes()).await.ok()?;
        stream.write_all(&body).await.ok()?;
        stream.flush().await.ok()?;
    }
}

async fn read(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Request> {
    let mut first = String::new();
    if stream.read_line(&mut first).await.ok()? == 0 {
        return None;
    }
    let target = first.split(' ').nth(1)?.to_owned();
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some(Request { target, headers, body })
}
