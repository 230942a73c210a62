use std::{fmt, num::NonZeroU32, str::FromStr, time::Duration};

use statefun_kinesis_types::{FunctionType, LogLevel, Secret, StreamRef, TypeName};

use crate::authority::{InvalidAuthority, check_authority};

/// An endpoint of remote functions: an `io.statefun.endpoints.v2/http` document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSpec {
    /// The functions of the endpoint.
    pub functions: FunctionPattern,
    /// The address of a function's requests.
    pub url_path_template: UrlTemplate,
    /// Most messages of one request.
    pub max_num_batch_requests: NonZeroU32,
    /// Most bytes of one request. A single message may be larger.
    pub max_request_bytes: NonZeroU32,
    /// The transport of requests.
    pub transport: TransportSpec,
    /// The handling of messages whose requests fail.
    pub failures: FailureHandling,
}

impl EndpointSpec {
    /// The default of [`EndpointSpec::max_num_batch_requests`], the same as StateFun's.
    pub const DEFAULT_MAX_NUM_BATCH_REQUESTS: NonZeroU32 = NonZeroU32::new(1000).unwrap();

    /// The default of [`EndpointSpec::max_request_bytes`]: 1 MiB, the default limit of aiohttp and nginx.
    pub const DEFAULT_MAX_REQUEST_BYTES: NonZeroU32 = NonZeroU32::new(1 << 20).unwrap();

    /// Creates an endpoint with StateFun's defaults for all other settings.
    pub fn new(functions: FunctionPattern, url_path_template: UrlTemplate) -> Self {
        Self {
            functions,
            url_path_template,
            max_num_batch_requests: Self::DEFAULT_MAX_NUM_BATCH_REQUESTS,
            max_request_bytes: Self::DEFAULT_MAX_REQUEST_BYTES,
            transport: TransportSpec::default(),
            failures: FailureHandling::default(),
        }
    }
}

/// The handling of messages whose requests fail: an endpoint's `failureHandling`.
///
/// During retries only the message that fails and those behind it at the same address wait; other addresses continue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum FailureHandling {
    /// Retries until a request succeeds, with growing delays.
    #[default]
    KeepTrying,
    /// Skips the messages.
    Skip {
        /// When to give up.
        after: GiveUp,
        /// The level at which it is logged.
        log: LogLevel,
    },
    /// Writes the messages as dead letters to a stream, and then skips them.
    DeadLetter {
        /// When to give up.
        after: GiveUp,
        /// The stream.
        stream: StreamRef,
        /// The level at which it is logged.
        log: LogLevel,
    },
    /// Stops the run with an error.
    Fail {
        /// When to give up.
        after: GiveUp,
    },
}

/// When to give up: after a number of attempts or a time, whichever is reached first.
///
/// With neither, the attempts end when the time limit of a call is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct GiveUp {
    /// The maximum number of attempts.
    pub max_attempts: Option<NonZeroU32>,
    /// The maximum time, from the first attempt on.
    pub timeout: Option<Duration>,
}

/// The functions that an endpoint serves: one by its name, `namespace/name`, or a whole namespace, `namespace/*`.
///
/// ```
/// use statefun_kinesis_module::FunctionPattern;
///
/// let all: FunctionPattern = "example/*".parse()?;
/// assert!(all.matches(&"example/order-handler".parse()?));
/// assert!(!all.matches(&"other/order-handler".parse()?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FunctionPattern {
    /// One function.
    Function(FunctionType),
    /// Every function of this namespace.
    Namespace(String),
}

impl FunctionPattern {
    /// Whether the pattern names this function or its namespace.
    pub fn matches(&self, function: &FunctionType) -> bool {
        match self {
            Self::Function(name) => name == function,
            Self::Namespace(namespace) => namespace == function.namespace(),
        }
    }

    /// Whether the pattern names one function. Such a pattern takes precedence over one that names a namespace.
    pub fn is_specific(&self) -> bool {
        matches!(self, Self::Function(_))
    }
}

impl FromStr for FunctionPattern {
    type Err = InvalidPattern;

    fn from_str(text: &str) -> Result<Self, InvalidPattern> {
        match text.strip_suffix("/*") {
            Some(namespace) if !namespace.is_empty() && !namespace.contains('*') => {
                Ok(Self::Namespace(namespace.to_owned()))
            }
            None if !text.contains('*') => text.parse::<TypeName>().map(Self::Function).map_err(|_| InvalidPattern),
            _ => Err(InvalidPattern),
        }
    }
}

impl fmt::Display for FunctionPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function(name) => f.pad(name.as_str()),
            Self::Namespace(namespace) => f.pad(&format!("{namespace}/*")),
        }
    }
}

/// The error for a text that is neither a function nor a namespace of functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidPattern;

impl fmt::Display for InvalidPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected `<namespace>/<name>` or `<namespace>/*`")
    }
}

impl std::error::Error for InvalidPattern {}

/// The address of functions, with `{function.name}` as a placeholder for the function's name.
///
/// ```
/// use statefun_kinesis_module::UrlTemplate;
///
/// let template: UrlTemplate = "http://orders.svc:8000/{function.name}".parse()?;
/// assert_eq!(template.url_for(&"example/order-handler".parse()?), "http://orders.svc:8000/order-handler");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UrlTemplate(String);

impl UrlTemplate {
    const PLACEHOLDER: &str = "{function.name}";
    const SCHEMES: [&str; 4] = ["http", "https", "http+unix", "https+unix"];

    /// The template as written in the file.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The host to which requests are sent unencrypted over a network: the host of an `http` address, except this
    /// machine itself (`localhost`, 127.0.0.0/8, `[::1]`).
    pub fn plain_host(&self) -> Option<&str> {
        let (scheme, rest) = self.0.split_once("://")?;
        if !scheme.eq_ignore_ascii_case("http") {
            return None;
        }
        let authority = rest.split(['/', '?', '#']).next()?;
        let host = match authority.rfind(']') {
            Some(end) => &authority[..=end],
            None => authority.rsplit_once(':').map_or(authority, |(host, _)| host),
        };
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let is_local = name == "localhost"
            || name.ends_with(".localhost")
            || name.parse().is_ok_and(|address: std::net::Ipv4Addr| address.is_loopback())
            || name.trim_matches(['[', ']']).parse().is_ok_and(|address: std::net::Ipv6Addr| address.is_loopback());
        (!is_local).then_some(host)
    }

    /// The address of one function.
    pub fn url_for(&self, function: &FunctionType) -> String {
        self.0.replace(Self::PLACEHOLDER, function.name())
    }
}

impl FromStr for UrlTemplate {
    type Err = InvalidUrlTemplate;

    fn from_str(text: &str) -> Result<Self, InvalidUrlTemplate> {
        let Some((scheme, rest)) = text.split_once("://") else { return Err(InvalidUrlTemplate::Scheme) };
        if !Self::SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme)) {
            return Err(InvalidUrlTemplate::Scheme);
        }
        if text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(InvalidUrlTemplate::Blank);
        }
        if rest.split(['/', '?', '#']).next().is_some_and(|authority| authority.contains('@')) {
            return Err(InvalidUrlTemplate::User);
        }
        // A unix address has no host; the path of the socket follows directly.
        let is_unix = scheme.len() > "https".len();
        if rest.is_empty() || (!is_unix && rest.starts_with(['/', '?', '#', ':'])) {
            return Err(InvalidUrlTemplate::Host);
        }
        if text.replace(Self::PLACEHOLDER, "").contains(['{', '}']) {
            return Err(InvalidUrlTemplate::Placeholder);
        }
        if !is_unix {
            // A name of a function in the host is as good as any letter.
            let server = rest.replace(Self::PLACEHOLDER, "x");
            let authority = server.split(['/', '?', '#']).next().unwrap_or_default();
            check_authority(authority).map_err(InvalidUrlTemplate::Server)?;
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for UrlTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// What is wrong with the text of a [`UrlTemplate`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidUrlTemplate {
    /// It does not start with a supported scheme.
    Scheme,
    /// It has no host or no socket.
    Host,
    /// It has a user, and perhaps a password, before its host.
    User,
    /// It has spaces or control characters.
    Blank,
    /// It has a placeholder other than `{function.name}`.
    Placeholder,
    /// Its host or its port is not valid.
    Server(InvalidAuthority),
}

impl fmt::Display for InvalidUrlTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Server(error) => return error.fmt(f),
            Self::Scheme => "expected an address that starts with http://, https://, http+unix:// or https+unix://",
            Self::Host => "expected a host after `://`, or the path of a socket",
            Self::User => "an address must not have a user or a password",
            Self::Blank => "an address must not have spaces",
            Self::Placeholder => "`{function.name}` is the only placeholder",
        })
    }
}

impl std::error::Error for InvalidUrlTemplate {}

/// The transport of requests to remote functions: the `transport` of an endpoint. The defaults are StateFun's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportSpec {
    /// Time limit of an invocation with all its attempts. Default: 2 minutes.
    pub call_timeout: Duration,
    /// The connect timeout. Default: 20 s.
    pub connect_timeout: Duration,
    /// Longest wait for more of an answer. Default: none; only the call timeout applies.
    pub read_timeout: Option<Duration>,
    /// Longest wait until the server takes more of a request. Default: none; only the call timeout applies.
    pub write_timeout: Option<Duration>,
    /// How long an idle connection is kept. Default: 15 s.
    pub pool_ttl: Duration,
    /// Maximum number of idle connections, and of requests in flight. Default: 1024.
    pub pool_size: NonZeroU32,
    /// Maximum size of an answer. Default: 32 MiB.
    pub payload_max_bytes: NonZeroU32,
    /// The file of the trusted certificates, as written in the module file.
    pub trust_ca_certs: Option<String>,
    /// The file of the client certificate, which the server checks.
    pub client_cert: Option<String>,
    /// The file of the key of that certificate.
    pub client_key: Option<String>,
    /// The password of that key, or the path of a file that has it.
    pub client_key_password: Option<Secret>,
}

impl Default for TransportSpec {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(20),
            read_timeout: None,
            write_timeout: None,
            pool_ttl: Duration::from_secs(15),
            pool_size: const { NonZeroU32::new(1024).unwrap() },
            payload_max_bytes: const { NonZeroU32::new(32 << 20).unwrap() },
            trust_ca_certs: None,
            client_cert: None,
            client_key: None,
            client_key_password: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_names_a_function_or_a_namespace() {
        for good in ["a/b", "a/*", "com.example/sub/name", "com.example/sub/*"] {
            assert_eq!(good.parse::<FunctionPattern>().unwrap().to_string(), good);
        }
        for bad in ["", "*", "/*", "*/*", "a/b*", "a*/b", "a", "a/", "/b", "*/b"] {
            assert!(bad.parse::<FunctionPattern>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_address_has_a_known_scheme_a_host_and_one_placeholder() {
        for good in [
            "http://localhost:8000/statefun",
            "HTTPS://functions.example/{function.name}",
            "http+unix:///var/run/functions.sock/serve",
            "https+unix:///var/run/functions.sock",
            "http://{function.name}.functions.svc:8080/",
            "http://[::1]:8000/serve?x={function.name}",
        ] {
            assert_eq!(good.parse::<UrlTemplate>().unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("localhost:8000", InvalidUrlTemplate::Scheme),
            ("ftp://host/", InvalidUrlTemplate::Scheme),
            ("http://", InvalidUrlTemplate::Host),
            ("http:///path", InvalidUrlTemplate::Host),
            ("http://me:hunter2@host/", InvalidUrlTemplate::User),
            ("https+unix://me@/run/f.sock", InvalidUrlTemplate::User),
            ("http://host/a b", InvalidUrlTemplate::Blank),
            ("http://host/{function}", InvalidUrlTemplate::Placeholder),
            ("https://fns.example:99999/x", InvalidUrlTemplate::Server(InvalidAuthority::Port)),
            ("https://fns.example:/x", InvalidUrlTemplate::Server(InvalidAuthority::Port)),
            ("https://fns.bücher.example/", InvalidUrlTemplate::Server(InvalidAuthority::Host)),
            ("http://$FN:1108/", InvalidUrlTemplate::Server(InvalidAuthority::Host)),
            ("http://[::1/", InvalidUrlTemplate::Server(InvalidAuthority::Host)),
        ] {
            assert_eq!(bad.parse::<UrlTemplate>(), Err(why), "{bad}");
        }
    }

    #[test]
    fn an_http_address_is_plain_unless_it_stays_on_the_machine() {
        for (url, host) in [
            ("http://localhost:8000/", None),
            ("http://app.localhost", None),
            ("HTTP://127.1.2.3:1/x", None),
            ("http://[::1]:80", None),
            ("https://functions.example", None),
            ("http+unix:///run/f.sock", None),
            ("http://orders.svc:8000/{function.name}", Some("orders.svc")),
            ("http://10.0.0.7", Some("10.0.0.7")),
            ("http://[fd00::1]:80/", Some("[fd00::1]")),
            ("http://localhost.example?x", Some("localhost.example")),
        ] {
            assert_eq!(url.parse::<UrlTemplate>().unwrap().plain_host(), host, "{url}");
        }
    }
}
