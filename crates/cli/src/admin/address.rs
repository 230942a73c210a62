use std::{fmt, io, str::FromStr};

use tokio::net::TcpListener;

/// Where `--admin` listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AdminAddress {
    /// A name or an IP address; `None` for all interfaces.
    host: Option<String>,
    /// 0 lets the system choose a free port.
    port: u16,
}

impl AdminAddress {
    /// Listens at the address.
    ///
    /// # Errors
    ///
    /// The error of the operating system, such as an address that is in use.
    pub(super) async fn bind(&self) -> io::Result<TcpListener> {
        let Some(host) = &self.host else {
            return match TcpListener::bind(("::", self.port)).await {
                // The system has no IPv6, or does not accept IPv4 connections on an IPv6 socket.
                Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
                    TcpListener::bind(("0.0.0.0", self.port)).await.map_err(|_| error)
                }
                bound => bound,
            };
        };
        TcpListener::bind((host.as_str(), self.port)).await
    }
}

impl FromStr for AdminAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let (host, port) = text.rsplit_once(':').ok_or(InvalidAddress)?;
        let port = port.parse().map_err(|_| InvalidAddress)?;
        let host = match host.strip_prefix('[') {
            Some(inner) => inner.strip_suffix(']').filter(|inner| inner.contains(':')).ok_or(InvalidAddress)?,
            None if host.contains([':', '/', ']', ' ']) => return Err(InvalidAddress),
            None => host,
        };
        Ok(Self { host: (!host.is_empty()).then(|| host.to_owned()), port })
    }
}

impl fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.as_deref() {
            Some(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            host => write!(f, "{}:{}", host.unwrap_or_default(), self.port),
        }
    }
}

/// A text that is not an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write HOST:PORT, such as 127.0.0.1:9090 or [::1]:9090; :9090 listens on all interfaces")]
pub(crate) struct InvalidAddress;

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Option<(Option<&str>, u16)>) {
        let found = text.parse::<AdminAddress>().ok();
        let expect = expect.map(|(host, port)| AdminAddress { host: host.map(str::to_owned), port });
        assert_eq!(found, expect, "{text}");
        if let Some(found) = found {
            assert_eq!(found.to_string(), text);
        }
    }

    #[test]
    fn an_address_is_a_host_and_a_port() {
        check("127.0.0.1:9090", Some((Some("127.0.0.1"), 9090)));
        check(":9090", Some((None, 9090)));
        check("localhost:0", Some((Some("localhost"), 0)));
        check("[::1]:65535", Some((Some("::1"), 65535)));
        for text in
            ["", "9090", "127.0.0.1", "127.0.0.1:", "a:65536", "::1:9090", "[::1]", "[a]:1", "http://a:1", "a b:1"]
        {
            check(text, None);
        }
    }
}
