use std::time::Duration;

use super::{
    Decoder, Entry, Object, Placed, STATEFUN,
    handling::FAILURES_FIELD,
    lookalike::lookalike,
    shown,
    table::{Field, Presence, Shape, TYPE, Tagged, Takes, Text, Variant},
};
use crate::{Code, EndpointSpec, FunctionPattern, InvalidUrlTemplate, TransportSpec, UrlTemplate, findings::Finding};

const FUNCTIONS: Field = Field::new(
    "functions",
    Takes::Text(Text::FunctionPattern),
    "functions: example/*",
    "The functions at the address: one, or all of a namespace. Where both match, the endpoint that names the function \
     is used.",
)
.required();

const URL: Field = Field::new(
    "urlPathTemplate",
    Takes::Text(Text::UrlTemplate),
    "urlPathTemplate: http://localhost:8000/statefun",
    "The address to which requests go; `{function.name}` in it stands for the function's name. `http` does not encrypt, \
     which is worth a warning unless the host is the machine itself.",
)
.required();

const BATCH: Field = Field::new(
    "maxNumBatchRequests",
    Takes::Integer { min: 1, max: u32::MAX },
    "maxNumBatchRequests: 1000",
    "Maximum number of messages that wait for one address. When it is reached, senders are slowed down.",
)
.in_units("messages")
.default("1000")
.source("StateFun's default");

const REQUEST_BYTES: Field = Field::new(
    "maxRequestBytes",
    Takes::Integer { min: 1, max: u32::MAX },
    "maxRequestBytes: 1048576",
    "Maximum size of a request: its messages, and the states up to half of it. A message that is larger goes alone. Set \
     it to the limit of the function's server, or of a proxy before it. Requests that the server rejects with 413 become \
     smaller by themselves.",
)
.in_units("bytes")
.default("1048576")
.source("the default limit of aiohttp and nginx");

const fn time(name: &'static str, example: &'static str, doc: &'static str) -> Field {
    Field::new(name, Takes::Duration { may_be_zero: true }, example, doc)
}

const CALL: Field = time("call", "call: 2 min", "Timeout of one invocation, with all its attempts.");
const CONNECT: Field = time("connect", "connect: 20s", "The connect timeout.");

const TIMEOUTS_FIELD: Field = Field::new(
    "timeouts",
    Takes::Object(&TIMEOUTS),
    "timeouts:\n  call: 2 min",
    "Timeouts of a request. They take precedence over the fields beside them.",
);

/// `io.statefun.endpoints.v2/http`.
pub(super) static V2: Shape = Shape::new(
    "an endpoint",
    "The HTTP address of remote functions. A module without any endpoint is complete: its functions are part of the \
     program. When a module has endpoints, they must serve every target.",
    &[
        FUNCTIONS,
        URL,
        BATCH,
        REQUEST_BYTES,
        Field::new("transport", Takes::Tagged(&TRANSPORT), TRANSPORT.example, "How requests are made."),
        FAILURES_FIELD,
    ],
);

/// `io.statefun.endpoints.v1/http`, which has the timeouts beside the rest.
pub(super) static V1: Shape = Shape::new(
    "an endpoint",
    "The older form of an endpoint, with `timeouts` in the place of `transport`.",
    &[FUNCTIONS, URL, BATCH, REQUEST_BYTES, TIMEOUTS_FIELD, FAILURES_FIELD],
)
.with_hints(&[(
    "transport",
    "`transport` needs the kind `io.statefun.endpoints.v2/http`; an endpoint of this kind has `timeouts`",
)]);

const ASYNC: &str = "io.statefun.transports.v1/async";

const TRANSPORT: Tagged = Tagged {
    what: "`transport`",
    example: "transport:\n  type: io.statefun.transports.v1/async",
    default: Some(ASYNC),
    variants: &[
        Variant::new(
            ASYNC,
            "`transport`",
            "HTTP requests over shared connections.",
            &[
                Field { presence: Presence::Default(ASYNC), ..TYPE },
                CALL.default("2 min").source("StateFun's default"),
                CONNECT.default("20s").source("StateFun's default"),
                time("pool_ttl", "pool_ttl: 15s", "How long an idle connection is kept.")
                    .default("15s")
                    .source("StateFun's default"),
                Field::new(
                    "pool_size",
                    Takes::Integer { min: 1, max: u32::MAX },
                    "pool_size: 1024",
                    "Maximum number of connections that are kept.",
                )
                .in_units("connections")
                .default("1024")
                .source("StateFun's default"),
                Field::new(
                    "payload_max_bytes",
                    Takes::Integer { min: 1, max: u32::MAX },
                    "payload_max_bytes: 33554432",
                    "Maximum size of a response.",
                )
                .in_units("bytes")
                .default("33554432")
                .source("StateFun's default"),
                Field::new(
                    "trust_cacerts",
                    Takes::Text(Text::Path),
                    "trust_cacerts: /etc/ssl/ca.pem",
                    "A file with the certificates that are trusted, in PEM form. Without it, those of the system.",
                ),
                Field::new(
                    "client_cert",
                    Takes::Text(Text::Path),
                    "client_cert: /etc/ssl/client.pem",
                    "A file with the certificate that is shown to the server, in PEM form.",
                ),
                Field::new(
                    "client_key",
                    Takes::Text(Text::Path),
                    "client_key: /etc/ssl/client.key",
                    "A file with the key to that certificate, in PEM form.",
                ),
                Field::new(
                    "client_key_password",
                    Takes::Text(Text::Secret),
                    "client_key_password: /etc/ssl/password",
                    "A file with the password of that key, or the password.",
                ),
                TIMEOUTS_FIELD,
            ],
        ),
        Variant::new(
            "io.statefun.transports.v1/okhttp",
            "`transport` of type `io.statefun.transports.v1/okhttp`",
            "Apache StateFun's older transport; the other one is used.",
            &[TYPE, CALL, CONNECT, TIMEOUTS_FIELD],
        )
        .of(STATEFUN, ASYNC),
    ],
};

const TIMEOUTS: Shape = Shape::new(
    "`timeouts`",
    "",
    &[
        time("call", "call: 1 min", "Timeout of one invocation, with all its attempts."),
        time("connect", "connect: 10s", "The connect timeout."),
        time("read", "read: 10s", "How long to wait for more of a response. Without it only `call` counts."),
        time(
            "write",
            "write: 10s",
            "How long to wait until the server takes more of a request. Without it only `call` counts.",
        ),
    ],
);

impl Decoder<'_> {
    pub(super) fn endpoint(&mut self, spec: Entry<'_>, shape: &'static Shape) {
        let Some(object) = self.object_of(spec, shape) else {
            self.serves(None);
            return;
        };
        let functions: Option<Placed<FunctionPattern>> = object.get(FUNCTIONS.name).and_then(|entry| {
            let text = self.text(entry)?;
            match text.parse() {
                Ok(pattern) => Some(entry.placed(pattern)),
                Err(error) => {
                    self.not_an_endpoint(entry, Code::InvalidName, text, "functions", &error);
                    None
                }
            }
        });
        self.serves(functions.as_ref());
        let url = object.get(URL.name).and_then(|entry| self.url(entry));
        let batch = self.optional(object.get(BATCH.name), Self::integer);
        let request_bytes = self.optional(object.get(REQUEST_BYTES.name), Self::integer);
        let transport = if object.has(TIMEOUTS_FIELD.name) {
            let mut transport = TransportSpec::default();
            self.timeouts(object.get(TIMEOUTS_FIELD.name), &mut transport).then_some(transport)
        } else {
            self.transport(object.get("transport"))
        };
        let failures = self.optional(object.get(FAILURES_FIELD.name), Self::failures);
        let endpoint = (|| {
            let mut endpoint = EndpointSpec::new(functions?.value, url?);
            endpoint.max_num_batch_requests = batch?.unwrap_or(EndpointSpec::DEFAULT_MAX_NUM_BATCH_REQUESTS);
            endpoint.max_request_bytes = request_bytes?.unwrap_or(EndpointSpec::DEFAULT_MAX_REQUEST_BYTES);
            endpoint.transport = transport?;
            endpoint.failures = failures?.unwrap_or_default();
            Some(endpoint)
        })();
        self.module.endpoints.extend(endpoint);
    }

    fn url(&mut self, entry: Entry<'_>) -> Option<UrlTemplate> {
        let text = self.text(entry)?;
        let template: UrlTemplate = match text.parse() {
            Ok(template) => template,
            // The text is not shown: it may have the password in it.
            Err(InvalidUrlTemplate::User) => {
                let message = "an endpoint has no user and no password in its address";
                self.findings.push(Finding::error(Code::InvalidEndpoint, entry.place(), message).without_quotes());
                return None;
            }
            Err(
                error @ (InvalidUrlTemplate::Scheme
                | InvalidUrlTemplate::Host
                | InvalidUrlTemplate::Blank
                | InvalidUrlTemplate::Placeholder
                | InvalidUrlTemplate::Server(_)),
            ) => {
                self.not_an_endpoint(entry, Code::InvalidEndpoint, text, "an address of functions", &error);
                return None;
            }
        };
        if let Some(host) = template.plain_host() {
            let host = match entry.written() {
                Some(written) => format!("the host of `{}`", shown(written)),
                None => format!("`{}`", shown(host)),
            };
            let message = format!("requests to {host} go over the network unencrypted");
            let help = "anyone on the network can read and change the messages and the state of the functions: use \
             https://, or http+unix:// on the same machine";
            self.findings.push(Finding::warning(Code::PlainHttp, entry.place(), message).help(help.to_owned()));
        }
        Some(template)
    }

    fn not_an_endpoint(&mut self, entry: Entry<'_>, code: Code, text: &str, what: &str, error: &dyn std::fmt::Display) {
        let message = format!("{} does not name {what}: {error}", entry.quoted(text));
        let written = entry.written().unwrap_or(text);
        let help = if written.contains("://$") {
            Some("a variable of the environment is written `${NAME}`".to_owned())
        } else if code == Code::InvalidEndpoint && !written.is_ascii() {
            Some("write an international name in its ASCII form, which begins with `xn--`".to_owned())
        } else {
            lookalike(written)
        };
        self.findings.push(Finding::error(code, entry.place(), message).help(help));
    }

    fn transport(&mut self, entry: Option<Entry<'_>>) -> Option<TransportSpec> {
        let mut transport = TransportSpec::default();
        let Some(entry) = entry else { return Some(transport) };
        let (name, object) = self.tagged(entry)?;
        let mut is_right = self.set_duration(&object, "call", &mut transport.call_timeout);
        is_right &= self.set_duration(&object, "connect", &mut transport.connect_timeout);
        if name == ASYNC {
            is_right &= self.set_duration(&object, "pool_ttl", &mut transport.pool_ttl);
            for (name, value) in
                [("pool_size", &mut transport.pool_size), ("payload_max_bytes", &mut transport.payload_max_bytes)]
            {
                if let Some(entry) = object.get(name) {
                    match self.integer(entry) {
                        Some(number) => *value = number,
                        None => is_right = false,
                    }
                }
            }
            for (name, value) in [
                ("trust_cacerts", &mut transport.trust_ca_certs),
                ("client_cert", &mut transport.client_cert),
                ("client_key", &mut transport.client_key),
            ] {
                if let Some(entry) = object.get(name) {
                    *value = self.text(entry).map(str::to_owned);
                    is_right &= value.is_some();
                }
            }
            if let Some(entry) = object.get("client_key_password") {
                transport.client_key_password = self.secret(entry);
                is_right &= transport.client_key_password.is_some();
            }
        }
        is_right &= self.timeouts(object.get(TIMEOUTS_FIELD.name), &mut transport);
        is_right.then_some(transport)
    }

    /// Reads `timeouts` over what is set; returns whether they were right.
    fn timeouts(&mut self, entry: Option<Entry<'_>>, transport: &mut TransportSpec) -> bool {
        let Some(entry) = entry else { return true };
        let Some(object) = self.object(entry) else { return false };
        let mut is_right = self.set_duration(&object, "call", &mut transport.call_timeout);
        is_right &= self.set_duration(&object, "connect", &mut transport.connect_timeout);
        for (name, value) in [("read", &mut transport.read_timeout), ("write", &mut transport.write_timeout)] {
            let mut time = Duration::ZERO;
            if object.get(name).is_some() {
                is_right &= self.set_duration(&object, name, &mut time);
                *value = Some(time);
            }
        }
        is_right
    }

    fn set_duration(&mut self, object: &Object<'_>, name: &'static str, value: &mut Duration) -> bool {
        let Some(entry) = object.get(name) else { return true };
        let Some(time) = self.duration(entry) else { return false };
        *value = time;
        true
    }
}
