//! Asks an endpoint over plain HTTP whether it serves Kinesis.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Any request: LocalStack starts its Kinesis engine within the first one, which took up to 6 s on two busy cores.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// What an endpoint URL is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// `https` endpoints are only asked for a connection: xtask has no TLS.
    pub(crate) tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Endpoint {
    /// Reads `http://host[:port][/]` or the same with `https`.
    pub(crate) fn parse(url: &str) -> Result<Self> {
        let (tls, rest) = if let Some(rest) = url.strip_prefix("http://") {
            (false, rest)
        } else if let Some(rest) = url.strip_prefix("https://") {
            (true, rest)
        } else {
            bail!("the endpoint `{url}` must begin with http:// or https://");
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.is_empty() || authority.contains(['/', '?', '#', '@']) {
            bail!("the endpoint `{url}` must be a scheme, a host and a port: http://127.0.0.1:4566");
        }
        // The last colon separates the port, unless it belongs to an IPv6 address in brackets.
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => {
                let port = port.parse().with_context(|| format!("the endpoint `{url}` has no valid port"))?;
                (host, port)
            }
            _ => (authority, if tls { 443 } else { 80 }),
        };
        Ok(Self { tls, host: host.trim_matches(['[', ']']).to_owned(), port })
    }

    /// Our own server on a port of the loopback interface.
    pub(crate) fn loopback(port: u16) -> Self {
        Self { tls: false, host: "127.0.0.1".to_owned(), port }
    }

    /// Whether something accepts connections there.
    pub(crate) fn accepts(&self) -> Result<()> {
        self.connect().map(drop)
    }

    /// Sends ListStreams; an answer with status 200 means that the Kinesis engine runs.
    pub(crate) fn list_streams(&self) -> Result<()> {
        let (status, body) = self.request(
            "POST / HTTP/1.1",
            &[
                ("Content-Type", "application/x-amz-json-1.1"),
                ("X-Amz-Target", "Kinesis_20131202.ListStreams"),
                ("X-Amz-Date", "20260101T000000Z"),
                // No local server checks the signature, but all of them read account and region from this line.
                (
                    "Authorization",
                    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/kinesis/aws4_request, \
                     SignedHeaders=content-type;host;x-amz-date;x-amz-target, Signature=0",
                ),
            ],
            "{}",
        )?;
        if status != 200 || !body.contains("StreamNames") {
            bail!("ListStreams answered {status}: {body}");
        }
        Ok(())
    }

    /// The version that LocalStack's health page names.
    pub(crate) fn localstack_version(&self) -> Result<String> {
        let (status, body) = self.request("GET /_localstack/health HTTP/1.1", &[], "")?;
        if status != 200 {
            bail!("the health page answered {status}: {body}");
        }
        let (_, after) =
            body.split_once("\"version\"").with_context(|| format!("the health page names no version: {body}"))?;
        let version = after.split('"').nth(1).unwrap_or_default();
        Ok(version.to_owned())
    }

    fn connect(&self) -> Result<TcpStream> {
        let mut failure = None;
        for address in (self.host.as_str(), self.port)
            .to_socket_addrs()
            .with_context(|| format!("the host `{}` has no address", self.host))?
        {
            match TcpStream::connect_timeout(&address, Duration::from_secs(5)) {
                Ok(stream) => return Ok(stream),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            Some(error) => Err(error).with_context(|| format!("no connection to {}:{}", self.host, self.port)),
            None => bail!("the host `{}` has no address", self.host),
        }
    }

    fn request(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Result<(u16, String)> {
        let mut stream = self.connect()?;
        stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
        stream.set_write_timeout(Some(REQUEST_TIMEOUT))?;
        let mut text = format!(
            "{line}\r\nHost: {}:{}\r\nConnection: close\r\nContent-Length: {}\r\n",
            self.host,
            self.port,
            body.len()
        );
        for (name, value) in headers {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str("\r\n");
        text.push_str(body);
        stream.write_all(text.as_bytes())?;
        read_answer(&mut stream)
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        if self.host.contains(':') {
            write!(f, "{scheme}://[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{scheme}://{}:{}", self.host, self.port)
        }
    }
}

/// Reads one answer: up to its Content-Length where it has one, for kinesis-mock keeps connections open whatever it is
/// told, else to the end.
fn read_answer(stream: &mut impl Read) -> Result<(u16, String)> {
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let count = stream.read(&mut chunk)?;
        answer.extend_from_slice(&chunk[..count]);
        let text = String::from_utf8_lossy(&answer);
        let head_and_body = text.split_once("\r\n\r\n");
        let expected = head_and_body.and_then(|(head, _)| content_length(head));
        if let Some((head, body)) = head_and_body
            && (count == 0 || expected.is_some_and(|expected| body.len() >= expected))
        {
            let status =
                head.split_whitespace().nth(1).and_then(|word| word.parse().ok()).context("the answer is not HTTP")?;
            return Ok((status, body.to_owned()));
        }
        if count == 0 {
            bail!("the answer is not HTTP");
        }
    }
}

fn content_length(head: &str) -> Option<usize> {
    head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        if !name.eq_ignore_ascii_case("content-length") {
            return None;
        }
        value.trim().parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Blocking;

    impl Read for Blocking {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::TimedOut.into())
        }
    }

    #[track_caller]
    fn check(url: &str, expect: Option<(bool, &str, u16)>) {
        let parsed = Endpoint::parse(url).ok();
        let expect = expect.map(|(tls, host, port)| Endpoint { tls, host: host.to_owned(), port });
        assert_eq!(parsed, expect, "{url}");
    }

    #[test]
    fn endpoint_urls() {
        check("http://127.0.0.1:4566", Some((false, "127.0.0.1", 4566)));
        check("http://localhost:4566/", Some((false, "localhost", 4566)));
        check("https://localstack.test", Some((true, "localstack.test", 443)));
        check("http://[::1]:80", Some((false, "::1", 80)));
        check("http://[::1]", Some((false, "::1", 80)));
        check("localhost:4566", None);
        check("http://", None);
        check("http://host:0x50", None);
        check("http://host:99999", None);
        check("http://host/path", None);
    }

    #[test]
    fn an_answer_ends_at_its_length_or_with_the_connection() {
        // A stream that would block after the two bytes is an error here: nothing is read beyond them.
        let mut stream = (&b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\nno"[..]).chain(Blocking);
        let (status, body) = read_answer(&mut stream).expect("an answer");
        assert_eq!((status, body.as_str()), (404, "no"));
        let mut stream = &b"HTTP/1.1 200 OK\r\n\r\nall of it"[..];
        let (status, body) = read_answer(&mut stream).expect("an answer");
        assert_eq!((status, body.as_str()), (200, "all of it"));
        assert!(read_answer(&mut &b""[..]).is_err());
        assert!(read_answer(&mut &b"junk"[..]).is_err());
    }
}
