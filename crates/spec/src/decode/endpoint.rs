use std::{str::FromStr, time::Duration};

use super::{Decoder, Entry, Field, Object, Placed, STATEFUN, Shape, Tagged, Variant, duration, tagged::TYPE};
use crate::{
    Code, EndpointSpec, FunctionPattern, TransportSpec, UrlTemplate,
    findings::Finding,
    yaml::{Kind, Scalar, Value},
};

const FUNCTIONS: Field = Field::new("functions", "functions: example/*");
const URL: Field = Field::new("urlPathTemplate", "urlPathTemplate: http://localhost:8000/statefun");
const BATCH: Field = Field::new("maxNumBatchRequests", "maxNumBatchRequests: 1000");
const TIMEOUTS_FIELD: Field = Field::new("timeouts", "timeouts:\n  call: 2 min");

/// `io.statefun.endpoints.v2/http`.
pub(super) const V2: Shape = Shape {
    what: "an endpoint",
    fields: &[FUNCTIONS, URL, BATCH, Field::new("transport", "transport:\n  type: io.statefun.transports.v1/async")],
};

/// `io.statefun.endpoints.v1/http`, which has the timeouts beside the rest.
pub(super) const V1: Shape = Shape { what: "an endpoint", fields: &[FUNCTIONS, URL, BATCH, TIMEOUTS_FIELD] };

const TRANSPORT_FIELDS: &[Field] = &[
    TYPE,
    Field::new("call", "call: 2 min"),
    Field::new("connect", "connect: 20s"),
    Field::new("pool_ttl", "pool_ttl: 15s"),
    Field::new("pool_size", "pool_size: 1024"),
    Field::new("payload_max_bytes", "payload_max_bytes: 33554432"),
    Field::new("trust_cacerts", "trust_cacerts: /etc/ssl/ca.pem"),
    Field::new("client_cert", "client_cert: /etc/ssl/client.pem"),
    Field::new("client_key", "client_key: /etc/ssl/client.key"),
    Field::new("client_key_password", "client_key_password: /etc/ssl/password"),
    TIMEOUTS_FIELD,
];

/// Without a `type`, a transport is the asynchronous one.
const ASYNC: Shape = Shape { what: "`transport`", fields: TRANSPORT_FIELDS };

const TRANSPORT: Tagged = Tagged {
    what: "`transport`",
    example: "transport:\n  type: io.statefun.transports.v1/async",
    variants: &[
        Variant::new("io.statefun.transports.v1/async", "`transport`", TRANSPORT_FIELDS),
        Variant::new(
            "io.statefun.transports.v1/okhttp",
            "`transport` of type `io.statefun.transports.v1/okhttp`",
            &[TYPE, TIMEOUTS_FIELD],
        )
        .of(STATEFUN, "io.statefun.transports.v1/async"),
    ],
};

const TIMEOUTS: Shape = Shape {
    what: "`timeouts`",
    fields: &[
        Field::new("call", "call: 1 min"),
        Field::new("connect", "connect: 10s"),
        Field::new("read", "read: 10s"),
        Field::new("write", "write: 10s"),
    ],
};

impl Decoder<'_> {
    pub(super) fn endpoint(&mut self, spec: Entry<'_>, shape: &'static Shape) {
        let Some(object) = self.object(spec, shape) else {
            self.serves(None);
            return;
        };
        let functions: Option<Placed<FunctionPattern>> = self.required(&object, FUNCTIONS.name).and_then(|entry| {
            let text = self.text(entry)?;
            let pattern = self.endpoint_value(entry, Code::InvalidName, text, "functions")?;
            Some(entry.placed(pattern))
        });
        self.serves(functions.as_ref());
        let url: Option<UrlTemplate> = self.required(&object, URL.name).and_then(|entry| {
            let text = self.text(entry)?;
            self.endpoint_value(entry, Code::InvalidEndpoint, text, "an address of functions")
        });
        let batch = match object.get(BATCH.name) {
            Some(entry) => self.positive(entry),
            None => Some(EndpointSpec::DEFAULT_MAX_NUM_BATCH_REQUESTS),
        };
        let transport = if object.has("transport") {
            self.transport(object.get("transport"))
        } else {
            let mut transport = TransportSpec::default();
            self.timeouts(object.get(TIMEOUTS_FIELD.name), &mut transport).then_some(transport)
        };
        let endpoint = (|| {
            let mut endpoint = EndpointSpec::new(functions?.value, url?);
            endpoint.max_num_batch_requests = batch?;
            endpoint.transport = transport?;
            Some(endpoint)
        })();
        self.module.endpoints.extend(endpoint);
    }

    fn endpoint_value<T>(&mut self, entry: Entry<'_>, code: Code, text: &str, what: &str) -> Option<T>
    where
        T: FromStr<Err: std::fmt::Display>,
    {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                let message = format!("{} does not name {what}: {error}", entry.quoted(text));
                self.findings.push(Finding::error(code, entry.place(), message));
                None
            }
        }
    }

    fn transport(&mut self, entry: Option<Entry<'_>>) -> Option<TransportSpec> {
        let mut transport = TransportSpec::default();
        let Some(entry) = entry else { return Some(transport) };
        let names_type = matches!(&entry.node.value, Value::Mapping(entries)
            if entries.iter().any(|(key, _)| matches!(&key.value, Value::Scalar(key) if key.text == "type")));
        let object = if names_type { self.tagged(entry, &TRANSPORT)?.1 } else { self.object(entry, &ASYNC)? };
        let mut is_right = true;
        if object.has("call") {
            is_right &= self.set_duration(&object, "call", &mut transport.call_timeout);
            is_right &= self.set_duration(&object, "connect", &mut transport.connect_timeout);
            is_right &= self.set_duration(&object, "pool_ttl", &mut transport.pool_ttl);
            for (name, value) in
                [("pool_size", &mut transport.pool_size), ("payload_max_bytes", &mut transport.payload_max_bytes)]
            {
                if let Some(entry) = object.get(name) {
                    match self.positive(entry) {
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
        let Some(object) = self.object(entry, &TIMEOUTS) else { return false };
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
        let parsed = match &entry.node.value {
            // A bare number means milliseconds.
            Value::Scalar(Scalar { text, kind: Kind::Number, .. }) => Some(text.as_ref()),
            _ => self.text(entry),
        };
        let Some(text) = parsed else { return false };
        match duration::parse(text) {
            Some(time) => {
                *value = time;
                true
            }
            None => {
                let message = format!("{} is not a duration", entry.quoted(text));
                let help = "for example `30s`, `2 min`, or a bare number of milliseconds".to_owned();
                self.findings.push(Finding::error(Code::InvalidDuration, entry.place(), message).help(help));
                false
            }
        }
    }
}
