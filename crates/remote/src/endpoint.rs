use std::{
    collections::HashMap,
    error::Error,
    fmt,
    io::Read,
    num::NonZeroU32,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, DATE, RETRY_AFTER, USER_AGENT},
};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::Client,
    rt::{TokioExecutor, TokioTimer},
};
use statefun_kinesis_mailboxes::{Answer, Invoke, InvokeError, InvokeErrorKind, Request};
use statefun_kinesis_module::{EndpointSpec, FunctionPattern, TransportSpec, UrlTemplate};
use statefun_kinesis_types::{FunctionType, Timestamp};
use tokio::time::{sleep, timeout};

use crate::{
    answer,
    body::encode,
    connect::{Connector, connector},
    tls::TlsFiles,
    upload::{Progress, Stage, Upload},
    url::Target,
};

/// The media type of requests and answers.
const OCTETS: &str = "application/octet-stream";

/// Why an endpoint could not be created.
#[derive(Debug)]
pub struct EndpointError {
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl EndpointError {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    pub(crate) fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for EndpointError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Calls the remote functions of an `io.statefun.endpoints.v2/http` document over HTTP.
///
/// Requests are sent by HTTP/1.1, or by HTTP/2 if the server offers it with TLS. Connections are kept for the next
/// request. Answers may be compressed with gzip.
#[derive(Debug)]
pub struct RemoteEndpoint {
    template: UrlTemplate,
    /// Longest wait for more of an answer.
    read_timeout: Option<Duration>,
    /// Longest wait until the server takes more of a request.
    write_timeout: Option<Duration>,
    payload_max_bytes: NonZeroU32,
    connections: ConnectionSettings,
    clients: Mutex<Clients>,
}

/// How connections are opened and kept.
#[derive(Debug)]
struct ConnectionSettings {
    connect_timeout: Duration,
    pool_ttl: Duration,
    pool_size: NonZeroU32,
    tls: TlsFiles,
}

#[derive(Debug, Default)]
struct Clients {
    /// The clients by their unix socket; `None` for TCP.
    by_socket: HashMap<Option<PathBuf>, PostClient>,
    by_function: HashMap<FunctionType, (PostClient, Uri)>,
}

type PostClient = Client<Connector, Upload>;

impl RemoteEndpoint {
    /// Creates the endpoint and reads its certificates. Does not connect yet.
    ///
    /// # Errors
    ///
    /// When certificates or keys of the endpoint cannot be read, or the address is not valid.
    pub fn new(spec: &EndpointSpec) -> Result<Self, EndpointError> {
        // Names each field, so that a new field does not compile until somebody decides what it does here. Fields bound
        // to `_` are settings of the runtime that makes the requests.
        let EndpointSpec {
            functions,
            url_path_template,
            max_num_batch_requests: _,
            max_request_bytes: _,
            transport,
            failures: _,
        } = spec;
        let TransportSpec {
            call_timeout: _,
            connect_timeout,
            read_timeout,
            write_timeout,
            pool_ttl,
            pool_size,
            payload_max_bytes,
            trust_ca_certs,
            client_cert,
            client_key,
            client_key_password,
        } = transport.clone();
        let tls = TlsFiles { trust_ca_certs, client_cert, client_key, client_key_password };
        let endpoint = Self {
            template: url_path_template.clone(),
            read_timeout,
            write_timeout,
            payload_max_bytes,
            connections: ConnectionSettings { connect_timeout, pool_ttl, pool_size, tls },
            clients: Mutex::default(),
        };
        // Reports problems with files and address now rather than at the first message.
        let function = match functions {
            FunctionPattern::Function(function) => Some(function.clone()),
            FunctionPattern::Namespace(_) => "example/function".parse().ok(),
        };
        if let Some(function) = function {
            endpoint.route(&function)?;
        }
        Ok(endpoint)
    }

    fn route(&self, function: &FunctionType) -> Result<(PostClient, Uri), EndpointError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(route) = clients.by_function.get(function) {
            return Ok(route.clone());
        }
        let url = self.template.url_for(function);
        let target =
            Target::parse(&url).map_err(|error| EndpointError::new(format!("invalid address {url}")).because(error))?;
        let client = match clients.by_socket.get(&target.socket) {
            Some(client) => client.clone(),
            None => {
                let ConnectionSettings { connect_timeout, pool_ttl, pool_size, tls } = &self.connections;
                let uses_tls = target.uri.scheme_str() == Some("https");
                let connector = connector(*connect_timeout, uses_tls.then_some(tls), target.socket.clone())?;
                let client = Client::builder(TokioExecutor::new())
                    .pool_idle_timeout(*pool_ttl)
                    .pool_max_idle_per_host(pool_size.get() as usize)
                    .pool_timer(TokioTimer::new())
                    .timer(TokioTimer::new())
                    .build(connector);
                clients.by_socket.insert(target.socket, PostClient::clone(&client));
                client
            }
        };
        clients.by_function.insert(function.clone(), (client.clone(), target.uri.clone()));
        Ok((client, target.uri))
    }

    /// Sends a request, and returns the head of its answer.
    pub(crate) async fn send(&self, function: &FunctionType, body: Bytes) -> Result<Response<Incoming>, InvokeError> {
        let (client, uri) = self.route(function).map_err(|error| InvokeError::new("cannot connect").because(error))?;
        let progress = Arc::new(Progress::default());
        let request = http::Request::builder()
            .method(Method::POST)
            .uri(uri)
            .header(CONTENT_TYPE, OCTETS)
            .header(ACCEPT, OCTETS)
            .header(ACCEPT_ENCODING, "gzip")
            .header(USER_AGENT, concat!("statefun-kinesis/", env!("CARGO_PKG_VERSION")))
            .body(Upload::new(body, Arc::clone(&progress)))
            .map_err(|error| InvokeError::new("cannot make a request").because(error))?;
        self.response(client.request(request), &progress).await
    }

    async fn post(&self, function: &FunctionType, body: Bytes) -> Result<Bytes, InvokeError> {
        let bytes = body.len();
        let response = self.send(function, body).await?;
        let status = response.status();
        if !status.is_success() {
            let wait = retry_after(response.headers());
            let beginning = self.error_text(response).await;
            let message = match status {
                StatusCode::PAYLOAD_TOO_LARGE => format!(
                    "the function's server, or a proxy before it, does not accept a request of {bytes} bytes ({status}). \
                     Set `maxRequestBytes` of the endpoint to its limit, or raise its limit: {beginning}"
                ),
                _ => format!("the function's server answered {status}: {beginning}"),
            };
            return Err(InvokeError::new(message).of_kind(kind_of(status)).retry_after(wait));
        }
        self.octets(response).await
    }

    /// Reads the body of an answer, which has to be of the protocol's media type.
    pub(crate) async fn octets(&self, response: Response<Incoming>) -> Result<Bytes, InvokeError> {
        let (headers, body) = self.body(response).await?;
        let is_octets = |kind: &HeaderValue| {
            let kind = kind.as_bytes();
            kind.len() >= OCTETS.len() && kind[..OCTETS.len()].eq_ignore_ascii_case(OCTETS.as_bytes())
        };
        if body.is_empty() {
            // It has no effects. Its content type does not matter, and some servers set one by themselves.
            return Ok(body);
        }
        // An answer without a content type may be valid. Decoding it will show that.
        if let Some(kind) = headers.get(CONTENT_TYPE).filter(|kind| !is_octets(kind)) {
            let beginning = shown(&body);
            return Err(InvokeError::new(format!("the answer is of type {kind:?} and not {OCTETS}: {beginning}")));
        }
        Ok(body)
    }

    /// Waits for the head of the answer, with the timeout of the stage that the request is in.
    async fn response(
        &self,
        request: hyper_util::client::legacy::ResponseFuture,
        progress: &Progress,
    ) -> Result<Response<Incoming>, InvokeError> {
        tokio::pin!(request);
        loop {
            let (limit, what) = match progress.stage() {
                // The connector has its own timeout.
                Stage::Connecting => (None, "connect"),
                Stage::Writing => (self.write_timeout, "write"),
                Stage::Waiting => (self.read_timeout, "read"),
            };
            tokio::select! {
                response = &mut request => {
                    return response.map_err(|error| {
                        let kind = if error.is_connect() { InvokeErrorKind::Unavailable } else { InvokeErrorKind::NoAnswer };
                        InvokeError::new("the connection failed").of_kind(kind).because(error)
                    });
                }
                () = progress.advanced() => {}
                () = expiry(limit) => return Err(timed_out(what, limit)),
            }
        }
    }

    /// Reads the head and the body of an answer, and decompresses the body. Fails if it exceeds the limit of its size.
    async fn body(&self, response: Response<Incoming>) -> Result<(HeaderMap, Bytes), InvokeError> {
        let limit = self.payload_max_bytes.get() as usize;
        let too_large =
            || InvokeError::new(format!("the answer has more than the {limit} bytes that `payload_max_bytes` allows"));
        let (head, mut body) = response.into_parts();
        let mut whole = Bytes::new();
        let mut chunks = BytesMut::new();
        while let Some(frame) = self.frame(&mut body).await? {
            let Ok(chunk) = frame.into_data() else { continue };
            if whole.len() + chunks.len() + chunk.len() > limit {
                return Err(too_large());
            }
            if whole.is_empty() && chunks.is_empty() {
                // Most answers have one chunk, which is then not copied.
                whole = chunk;
            } else {
                chunks.extend_from_slice(&std::mem::take(&mut whole));
                chunks.extend_from_slice(&chunk);
            }
        }
        if !chunks.is_empty() {
            whole = chunks.freeze();
        }
        if whole.is_empty() {
            // Whatever its encoding is: some servers name one for each answer, also for those without a body.
            return Ok((head.headers, whole));
        }
        // The names of encodings are not case-sensitive (RFC 9110, section 8.4.1).
        let coding =
            head.headers.get(CONTENT_ENCODING).map(|coding| coding.as_bytes().trim_ascii().to_ascii_lowercase());
        match coding.as_deref() {
            None | Some(b"identity") => {}
            Some(b"gzip" | b"x-gzip") => {
                let mut decompressed = Vec::new();
                // Reads at most one byte more than the limit, so that a small answer cannot fill the memory.
                let mut decoder = flate2::read::MultiGzDecoder::new(&*whole).take(limit as u64 + 1);
                let read = decoder.read_to_end(&mut decompressed);
                read.map_err(|error| InvokeError::new("the answer cannot be decompressed").because(error))?;
                if decompressed.len() > limit {
                    return Err(too_large());
                }
                whole = decompressed.into();
            }
            Some(other) => {
                let other = String::from_utf8_lossy(other);
                return Err(InvokeError::new(format!("the answer has the encoding `{other}`; only gzip is supported")));
            }
        }
        Ok((head.headers, whole))
    }

    async fn frame(&self, body: &mut Incoming) -> Result<Option<http_body::Frame<Bytes>>, InvokeError> {
        let limit = self.read_timeout;
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = expiry(limit) => return Err(timed_out("read", limit)),
        };
        frame.transpose().map_err(|error| {
            let message = "the connection failed in the middle of the answer";
            InvokeError::new(message).of_kind(InvokeErrorKind::NoAnswer).because(error)
        })
    }

    /// Reads the beginning of an error's body, which usually has the cause.
    pub(crate) async fn error_text(&self, response: Response<Incoming>) -> String {
        /// Longest wait for the text.
        const READ_MAX: Duration = Duration::from_secs(1);
        let mut body = response.into_body();
        let mut text = BytesMut::new();
        let read = async {
            while text.len() < SHOWN_MAX_BYTES
                && let Ok(Some(frame)) = self.frame(&mut body).await
            {
                if let Ok(chunk) = frame.into_data() {
                    text.extend_from_slice(&chunk);
                }
            }
        };
        let _ = timeout(READ_MAX, read).await;
        shown(&text)
    }
}

#[async_trait]
impl Invoke for RemoteEndpoint {
    async fn invoke(&self, request: &Request, time: Duration) -> Result<Answer, InvokeError> {
        let function = &request.target.function;
        let posted = timeout(time, self.post(function, encode(request))).await;
        let answered = posted.unwrap_or_else(|_| Err(timed_out("call", Some(time)))).and_then(|body| {
            answer::read(body).map_err(|error| InvokeError::new("the answer cannot be used").because(error))
        });
        // A module may have many endpoints, so the message names the address.
        answered.map_err(|error| match Target::parse(&self.template.url_for(function)) {
            Ok(target) => InvokeError::new(format!("POST {} failed", target.shown()))
                .of_kind(error.kind())
                .retry_after(error.wait())
                .because(error),
            Err(_) => error,
        })
    }
}

pub(crate) fn timed_out(what: &str, limit: Option<Duration>) -> InvokeError {
    InvokeError::new(format!("no answer within the timeout `{what}` of {:?}", limit.unwrap_or_default()))
        .of_kind(InvokeErrorKind::NoAnswer)
}

/// What the status of an answer without success says about the request and the server.
fn kind_of(status: StatusCode) -> InvokeErrorKind {
    match status {
        StatusCode::PAYLOAD_TOO_LARGE => InvokeErrorKind::TooLarge,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => InvokeErrorKind::Unavailable,
        _ => InvokeErrorKind::Rejected,
    }
}

/// How long the server asks to wait before the next request: a number of seconds, or a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let date = |name| httpdate::parse_http_date(headers.get(name)?.to_str().ok()?.trim()).ok();
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        // The caller has a limit, which larger numbers than these exceed too.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    // The server's own clock, if it tells its time: this machine's may differ.
    let now = date(DATE).unwrap_or_else(|| Timestamp::now().into());
    date(RETRY_AFTER)?.duration_since(now).ok()
}

async fn expiry(limit: Option<Duration>) {
    match limit {
        Some(limit) => sleep(limit).await,
        None => std::future::pending().await,
    }
}

/// Most bytes of an answer that an error message shows.
const SHOWN_MAX_BYTES: usize = 200;

fn shown(body: &[u8]) -> String {
    if body.is_empty() {
        return "(no body)".to_owned();
    }
    let beginning = String::from_utf8_lossy(&body[..body.len().min(SHOWN_MAX_BYTES)]);
    let more = if body.len() > SHOWN_MAX_BYTES { "…" } else { "" };
    format!("`{}{more}`", beginning.trim().escape_debug())
}

#[cfg(test)]
mod tests {
    use statefun_kinesis_spec::assert_fields_arrive;

    use super::*;

    /// Each field of an endpoint that is about connections changes their settings.
    #[test]
    fn each_field_of_a_transport_arrives() {
        let is_of_the_runtime = |path: &[&str]| match path {
            ["transport" | "timeouts", .., name] => *name == "call",
            [name, ..] => *name != "urlPathTemplate",
            [] => false,
        };
        for kind in ["io.statefun.endpoints.v1/http", "io.statefun.endpoints.v2/http"] {
            assert_fields_arrive(kind, is_of_the_runtime, |module| {
                let RemoteEndpoint {
                    template,
                    read_timeout,
                    write_timeout,
                    payload_max_bytes,
                    connections,
                    clients: _,
                } = RemoteEndpoint::new(&module.endpoints[0]).unwrap();
                format!("{template} {read_timeout:?} {write_timeout:?} {payload_max_bytes} {connections:#?}")
            });
        }
    }
}
