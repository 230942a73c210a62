//! Addresses of functions.

use std::path::PathBuf;

use http::Uri;

/// An address of functions, split into the URI of requests and the socket to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// The URI of requests.
    pub(crate) uri: Uri,
    /// The path of the unix socket; `None` for TCP, where the URI has host and port.
    pub(crate) socket: Option<PathBuf>,
}

impl Target {
    /// Parses an address. In `http+unix:///run/functions.sock/serve` the part up to `.sock` is the socket, as in
    /// StateFun, and the rest is the path of the request. Without `.sock/` the whole path is the socket.
    pub(crate) fn parse(url: &str) -> Result<Self, http::Error> {
        let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
        let scheme = scheme.to_ascii_lowercase();
        let Some(scheme) = scheme.strip_suffix("+unix") else {
            return Ok(Self { uri: format!("{scheme}://{rest}").parse()?, socket: None });
        };
        let (socket, path) = match rest.find(".sock/") {
            Some(at) => rest.split_at(at + ".sock".len()),
            None => (rest, "/"),
        };
        let uri = Uri::builder().scheme(scheme).authority("localhost").path_and_query(path).build()?;
        Ok(Self { uri, socket: Some(socket.into()) })
    }

    /// The address for messages, without user, password and query, which may be secret.
    pub(crate) fn shown(&self) -> String {
        let path = self.uri.path();
        match &self.socket {
            Some(socket) => format!("{path} at the socket {}", socket.display()),
            None => {
                let scheme = self.uri.scheme_str().unwrap_or("http");
                let port = self.uri.port().map_or_else(String::new, |port| format!(":{port}"));
                format!("{scheme}://{}{port}{path}", self.uri.host().unwrap_or_default())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(url: &str, uri: &str, socket: Option<&str>) {
        let target = Target::parse(url).expect("the address is valid");
        assert_eq!((target.uri.to_string().as_str(), target.socket), (uri, socket.map(PathBuf::from)), "{url}");
    }

    #[test]
    fn an_address_is_shown_without_secrets() {
        #[track_caller]
        fn check(url: &str, shown: &str) {
            assert_eq!(Target::parse(url).expect("the address is valid").shown(), shown, "{url}");
        }
        check("http://orders.svc:8000/statefun?code=hunter2", "http://orders.svc:8000/statefun");
        check("https://user:hunter2@orders.svc", "https://orders.svc/");
        check("http://[::1]:8000/a", "http://[::1]:8000/a");
        check("http+unix:///run/functions.sock/serve?code=hunter2", "/serve at the socket /run/functions.sock");
    }

    #[test]
    fn addresses() {
        check("http://orders.svc:8000/statefun?x=1", "http://orders.svc:8000/statefun?x=1", None);
        check("HTTPS://orders.svc", "https://orders.svc/", None);
        check("http+unix:///run/functions.sock", "http://localhost/", Some("/run/functions.sock"));
        check(
            "http+unix:///run/functions.sock/serve/f?a=b",
            "http://localhost/serve/f?a=b",
            Some("/run/functions.sock"),
        );
        check("https+unix:///run/functions.sock/", "https://localhost/", Some("/run/functions.sock"));
        check("http+unix:///run/functions", "http://localhost/", Some("/run/functions"));
        assert!(Target::parse("http://a host/").is_err());
    }
}
