use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// An HTTP proxy that sends every request to one server, whatever host the request names, and keeps what was named.
///
/// It stands in for the name service of a cluster, in which `localstack.svc` is a host: programs reach the server under
/// that name through `HTTP_PROXY`.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    named: Arc<Mutex<Vec<String>>>,
    accepting: JoinHandle<()>,
}

impl Relay {
    /// Listens on a free port of the loopback interface, for requests to be sent on to `endpoint` (`http://HOST:PORT`).
    ///
    /// # Errors
    ///
    /// When no port can be had, or the endpoint is not by plain HTTP.
    pub async fn start(endpoint: &str) -> Result<Self> {
        let server = endpoint.strip_prefix("http://").context("an endpoint by plain HTTP")?;
        let server = Arc::<str>::from(server.trim_end_matches('/'));
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let named: Arc<Mutex<Vec<String>>> = Arc::default();
        let accepting = tokio::spawn({
            let named = Arc::clone(&named);
            async move {
                while let Ok((client, _)) = listener.accept().await {
                    let (server, named) = (Arc::clone(&server), Arc::clone(&named));
                    // A connection that breaks is the program's to report.
                    tokio::spawn(async move { relay(client, &server, &named).await });
                }
            }
        });
        Ok(Self { address, named, accepting })
    }

    /// The value of `HTTP_PROXY`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The authorities (`host:port`) that the requests named so far.
    pub fn named(&self) -> Vec<String> {
        self.named.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Sends the requests of one connection on, each with its target in the form that servers expect.
async fn relay(client: TcpStream, server: &str, named: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut client = BufReader::new(client);
    let mut upstream: Option<BufReader<TcpStream>> = None;
    loop {
        let Some(head) = Head::read(&mut client).await? else { return Ok(()) };
        let (authority, path) = head.target()?;
        named.lock().unwrap_or_else(PoisonError::into_inner).push(authority.to_owned());
        let upstream = match &mut upstream {
            Some(upstream) => upstream,
            None => upstream.insert(BufReader::new(TcpStream::connect(server).await?)),
        };
        if head.method() == "CONNECT" {
            client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
            copy_bidirectional(&mut client, upstream).await?;
            return Ok(());
        }
        let line = format!("{} {path} HTTP/1.1\r\n", head.method());
        upstream.write_all(line.as_bytes()).await?;
        upstream.write_all(head.fields.as_bytes()).await?;
        pass_body(&head, &mut client, upstream).await?;
        upstream.flush().await?;
        let answer = Head::read(upstream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        client.write_all(format!("{}\r\n{}", answer.line, answer.fields).as_bytes()).await?;
        pass_body(&answer, upstream, &mut client).await?;
        client.flush().await?;
    }
}

/// The first line and the fields of a request or an answer.
struct Head {
    line: String,
    /// With the empty line at the end.
    fields: String,
}

impl Head {
    async fn read(from: &mut BufReader<TcpStream>) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if from.read_line(&mut line).await? == 0 {
            return Ok(None);
        }
        let mut fields = String::new();
        while !fields.ends_with("\r\n\r\n") && fields != "\r\n" {
            if from.read_line(&mut fields).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Some(Self { line: line.trim_end().to_owned(), fields }))
    }

    fn method(&self) -> &str {
        self.line.split(' ').next().unwrap_or_default()
    }

    /// The authority and the path that a request to a proxy names.
    fn target(&self) -> io::Result<(&str, &str)> {
        let target = self.line.split(' ').nth(1).unwrap_or_default();
        if self.method() == "CONNECT" {
            return Ok((target, ""));
        }
        let rest = target.strip_prefix("http://").ok_or_else(|| io::Error::other("not a request to a proxy"))?;
        Ok(rest.find('/').map_or((rest, "/"), |slash| rest.split_at(slash)))
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

async fn pass_body(head: &Head, from: &mut BufReader<TcpStream>, to: &mut BufReader<TcpStream>) -> io::Result<()> {
    if head.field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
        loop {
            let mut line = String::new();
            from.read_line(&mut line).await?;
            to.write_all(line.as_bytes()).await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
            // A chunk ends with an empty line; so does the whole, as nobody here sends trailers.
            pass(from, to, size + 2).await?;
            if size == 0 {
                return Ok(());
            }
        }
    }
    let length = head.field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    pass(from, to, length).await
}

async fn pass(from: &mut BufReader<TcpStream>, to: &mut BufReader<TcpStream>, length: u64) -> io::Result<()> {
    let passed = tokio::io::copy(&mut from.take(length), to).await?;
    if passed == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}
