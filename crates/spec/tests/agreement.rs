//! Modules as another YAML library writes them, in each dialect; what is read back has to be the module.
//!
//! Writers choose styles that people seldom use: quotes only where they must, blocks of lines, escapes.

use std::time::Duration;

use proptest::{option, prelude::*};
use serde_yaml::{Mapping, Value};
use statefun_kinesis_spec::{
    AggregationSpec, ConsumerLifecycle, ConsumerSpec, EgressOrder, EgressSpec, EndpointSpec, FailedRecordHandling,
    FailureHandling, GiveUp, IngressSpec, InvalidRecordHandling, LogLevel, Module, Options, OutOfRangeRecords,
    RecordMetadata, SourceFile, StartupPosition, StreamRoute, read_module,
};
use statefun_kinesis_types::{AwsCredentials, AwsRegion, Secret, StreamName, StreamRef, Timestamp, TypeName};

/// How a module is written.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Dialect {
    /// By the names that this project has.
    Ours,
    /// By the names of Apache StateFun, Flink and the AWS SDK for Java, wherever there are any.
    Upstream,
    /// The same in the one document of StateFun 3.0.
    Legacy,
}

fn mapping(fields: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    Value::Mapping(fields.into_iter().map(|(name, value)| (name.into(), value)).collect::<Mapping>())
}

fn millis(time: Duration) -> Value {
    u64::try_from(time.as_millis()).unwrap().into()
}

/// The fields of a `spec` in the making.
#[derive(Default)]
struct Spec {
    fields: Vec<(&'static str, Value)>,
    properties: Vec<(&'static str, Value)>,
}

impl Spec {
    fn field(&mut self, name: &'static str, value: impl Into<Value>) {
        self.fields.push((name, value.into()));
    }

    fn property(&mut self, name: &'static str, value: impl Into<Value>) {
        self.properties.push((name, value.into()));
    }

    fn region(&mut self, region: &AwsRegion, dialect: Dialect) {
        match region {
            AwsRegion::Specific { id } if dialect != Dialect::Ours => self.property("aws.region", id.as_str()),
            AwsRegion::Specific { id } => {
                self.field("awsRegion", mapping([("type", "specific".into()), ("id", id.as_str().into())]));
            }
            AwsRegion::CustomEndpoint { endpoint, id } => self.field(
                "awsRegion",
                mapping([
                    ("type", "custom-endpoint".into()),
                    ("endpoint", endpoint.as_str().into()),
                    ("id", id.as_str().into()),
                ]),
            ),
            _ => {}
        }
    }

    fn credentials(&mut self, credentials: &AwsCredentials, dialect: Dialect) {
        let ours = dialect == Dialect::Ours;
        let mut fields = Vec::new();
        match credentials {
            AwsCredentials::Profile { name, path } => {
                fields.push(("type", "profile".into()));
                fields.push((if ours { "profile" } else { "profileName" }, name.as_str().into()));
                fields.extend(path.iter().map(|path| ("profilePath", path.to_str().unwrap().into())));
            }
            AwsCredentials::Basic { access_key_id, secret_access_key, session_token } => {
                fields.push(("type", "basic".into()));
                fields.push(("accessKeyId", access_key_id.expose().into()));
                fields.push(("secretAccessKey", secret_access_key.expose().into()));
                fields.extend(session_token.iter().map(|token| ("sessionToken", token.expose().into())));
            }
            AwsCredentials::AssumeRole { role_arn, session_name, external_id } if !ours => {
                self.property("aws.credentials.provider", "ASSUME_ROLE");
                self.property("aws.credentials.provider.role.arn", role_arn.as_str());
                if let Some(name) = session_name {
                    self.property("aws.credentials.provider.role.sessionName", name.as_str());
                }
                if let Some(id) = external_id {
                    self.property("aws.credentials.provider.role.externalId", id.expose());
                }
            }
            AwsCredentials::AssumeRole { role_arn, session_name, external_id } => {
                fields.push(("type", "assume-role".into()));
                fields.push(("roleArn", role_arn.as_str().into()));
                fields.extend(session_name.iter().map(|name| ("sessionName", name.as_str().into())));
                fields.extend(external_id.iter().map(|id| ("externalId", id.expose().into())));
            }
            AwsCredentials::WebIdentity { role_arn, token_file, session_name } => {
                fields.push(("type", "web-identity".into()));
                fields.push(("roleArn", role_arn.as_str().into()));
                fields.push(("tokenFile", token_file.to_str().unwrap().into()));
                fields.extend(session_name.iter().map(|name| ("sessionName", name.as_str().into())));
            }
            _ => {}
        }
        if !fields.is_empty() {
            self.field("awsCredentials", mapping(fields));
        }
    }

    fn startup(&mut self, startup: StartupPosition, dialect: Dialect) {
        let ours = dialect == Dialect::Ours;
        let fields: Vec<(&str, Value)> = match startup {
            StartupPosition::TrimHorizon => vec![("type", if ours { "trim-horizon" } else { "earliest" }.into())],
            StartupPosition::AtTimestamp(time) if ours => {
                vec![("type", "at-timestamp".into()), ("timestamp", time.to_string().into())]
            }
            StartupPosition::AtTimestamp(time) => {
                let date = time.to_string().replace('T', " ").replace('Z', " +0000");
                vec![("type", "date".into()), ("date", date.into())]
            }
            _ => vec![("type", "latest".into())],
        };
        self.field("startupPosition", mapping(fields));
    }

    fn consumer(&mut self, consumer: &ConsumerSpec, dialect: Dialect) {
        let ours = dialect == Dialect::Ours;
        let mut fields: Vec<(&'static str, &'static str, Value)> = Vec::new();
        let discovery = match consumer {
            ConsumerSpec::Polling { max_records, idle_interval, discovery_interval } => {
                fields.push(("type", "source.reader.type", if ours { "polling" } else { "POLLING" }.into()));
                let property = "source.shard.get-records.max-record-count";
                fields.extend(max_records.map(|number| ("maxRecords", property, number.get().into())));
                let property = "source.reader.empty-records-fetch-interval";
                fields.extend(idle_interval.map(|time| ("idleInterval", property, millis(time))));
                discovery_interval
            }
            ConsumerSpec::EnhancedFanOut { name, lifecycle, discovery_interval } => {
                fields.push(("type", "source.reader.type", if ours { "enhanced-fan-out" } else { "EFO" }.into()));
                fields.push(("name", "source.efo.consumer.name", name.as_str().into()));
                let lifecycle = match (lifecycle, ours) {
                    (ConsumerLifecycle::Given, true) => "given",
                    (ConsumerLifecycle::Given, false) => "SELF_MANAGED",
                    (ConsumerLifecycle::Managed, true) => "managed",
                    (ConsumerLifecycle::Managed, false) => "JOB_MANAGED",
                };
                fields.push(("lifecycle", "source.efo.lifecycle", lifecycle.into()));
                discovery_interval
            }
        };
        fields.extend(discovery.map(|time| ("discoveryInterval", "source.shard.discovery.interval", millis(time))));
        if ours {
            self.field("consumer", mapping(fields.into_iter().map(|(name, _, value)| (name, value))));
        } else {
            self.properties.extend(fields.into_iter().map(|(_, property, value)| (property, value)));
        }
    }

    /// The properties go last, in a list or in a mapping.
    fn finish(mut self, dialect: Dialect) -> Value {
        if !self.properties.is_empty() {
            let properties = if dialect == Dialect::Ours {
                mapping(self.properties)
            } else {
                Value::Sequence(self.properties.into_iter().map(|property| mapping([property])).collect())
            };
            self.fields.push(("clientConfigProperties", properties));
        }
        mapping(self.fields)
    }
}

fn handling(handling: &InvalidRecordHandling, after: GiveUp) -> Value {
    let mut fields: Vec<(&str, Value)> = match handling {
        InvalidRecordHandling::Skip { log } => {
            vec![("type", "skip".into()), ("logLevel", log.as_str().to_uppercase().into())]
        }
        InvalidRecordHandling::DeadLetter { stream, log } => vec![
            ("type", "dead-letter".into()),
            ("stream", stream.to_string().into()),
            ("logLevel", log.as_str().into()),
        ],
        _ => vec![("type", "fail".into())],
    };
    fields.extend(after.max_attempts.map(|number| ("maxAttempts", number.get().into())));
    fields.extend(after.timeout.map(|time| ("timeout", millis(time))));
    mapping(fields)
}

/// The kind, the id where it has one, and the `spec` without it.
type Document = (&'static str, Option<String>, Value);

fn ingress(ingress: &IngressSpec, dialect: Dialect) -> Document {
    let mut spec = Spec::default();
    spec.region(&ingress.region, dialect);
    spec.credentials(&ingress.credentials, dialect);
    spec.startup(ingress.startup, dialect);
    spec.consumer(&ingress.consumer, dialect);
    spec.field("invalidRecordHandling", handling(&ingress.invalid_records, GiveUp::default()));
    spec.field(
        "outOfRangeRecords",
        match ingress.out_of_range_records {
            OutOfRangeRecords::Skip => "skip",
            OutOfRangeRecords::Keep => "keep",
        },
    );
    spec.field(
        "recordMetadata",
        match ingress.record_metadata {
            RecordMetadata::Omit => "omit",
            RecordMetadata::Send => "send",
        },
    );
    // One stream has its ARN above the list in one of the dialects.
    let outer = match &ingress.streams[..] {
        [only] if dialect != Dialect::Ours => only.stream.arn(),
        _ => None,
    };
    if let Some(arn) = outer {
        spec.field("streamArn", arn.as_str());
    }
    let entry = |route: &StreamRoute| {
        let mut fields: Vec<(&str, Value)> = match &route.stream {
            StreamRef::Arn(arn) if outer.is_none() => vec![("streamArn", arn.as_str().into())],
            stream => vec![("stream", stream.name().as_str().into())],
        };
        fields.push(("valueType", route.value_type.as_str().into()));
        fields.push(("targets", route.targets.iter().map(|target| target.as_str()).collect::<Vec<_>>().into()));
        let own = route.invalid_records.as_ref();
        fields.extend(own.map(|own| ("invalidRecordHandling", handling(own, GiveUp::default()))));
        mapping(fields)
    };
    spec.field("streams", Value::Sequence(ingress.streams.iter().map(entry).collect()));
    if let Some(time) = ingress.client.read_timeout {
        spec.property("SocketTimeout", millis(time));
    }
    ("io.statefun.kinesis.v1/ingress", Some(ingress.id.to_string()), spec.finish(dialect))
}

fn egress(egress: &EgressSpec, dialect: Dialect) -> Document {
    let mut spec = Spec::default();
    spec.region(&egress.region, dialect);
    spec.credentials(&egress.credentials, dialect);
    if let Some(name) = &egress.stream_name {
        spec.field("streamName", name.as_str());
    }
    if let Some(streams) = &egress.allowed_streams {
        spec.field("allowedStreams", streams.iter().map(ToString::to_string).collect::<Vec<_>>());
    }
    spec.field("maxOutstandingRecords", egress.max_outstanding_records.get());
    if egress.order == EgressOrder::None {
        spec.field("order", "none");
    }
    let mut bounds = Vec::new();
    if let Some(AggregationSpec { max_bytes, max_records, .. }) = egress.aggregation {
        bounds.extend(max_bytes.map(|number| ("maxBytes", "AggregationMaxSize", number.get().into())));
        bounds.extend(max_records.map(|number| ("maxRecords", "AggregationMaxCount", number.get().into())));
        if dialect == Dialect::Ours {
            spec.field("aggregation", mapping(bounds.into_iter().map(|(name, _, value)| (name, value))));
        } else {
            spec.property("AggregationEnabled", true);
            spec.properties.extend(bounds.into_iter().map(|(_, property, value)| (property, value)));
        }
    }
    let FailedRecordHandling { max_attempts, timeout, .. } = egress.failed_records;
    let mut after = GiveUp { max_attempts, timeout };
    if let Some(time) = after.timeout.filter(|_| dialect != Dialect::Ours) {
        after.timeout = None;
        spec.property("RecordTtl", millis(time));
    }
    spec.field("failedRecordHandling", handling(&egress.failed_records.given_up, after));
    ("io.statefun.kinesis.v1/egress", Some(egress.id.to_string()), spec.finish(dialect))
}

fn endpoint(endpoint: &EndpointSpec, dialect: Dialect) -> Document {
    let mut spec = Spec::default();
    spec.field("functions", endpoint.functions.to_string());
    spec.field("urlPathTemplate", endpoint.url_path_template.as_str());
    spec.field("maxNumBatchRequests", endpoint.max_num_batch_requests.get());
    spec.field("maxRequestBytes", endpoint.max_request_bytes.get());
    let call = ("call", millis(endpoint.transport.call_timeout));
    let failures = match &endpoint.failures {
        FailureHandling::KeepTrying => mapping([("type", "keep-trying".into())]),
        FailureHandling::Skip { after, log } => handling(&InvalidRecordHandling::Skip { log: *log }, *after),
        FailureHandling::DeadLetter { after, stream, log } => {
            handling(&InvalidRecordHandling::DeadLetter { stream: stream.clone(), log: *log }, *after)
        }
        FailureHandling::Fail { after } => handling(&InvalidRecordHandling::Fail, *after),
    };
    spec.field("failureHandling", failures);
    if dialect == Dialect::Ours {
        spec.field("transport", mapping([call]));
        ("io.statefun.endpoints.v2/http", None, spec.finish(dialect))
    } else {
        spec.field("timeouts", mapping([call]));
        ("io.statefun.endpoints.v1/http", None, spec.finish(dialect))
    }
}

fn rendered(module: &Module, dialect: Dialect) -> String {
    let ingresses: Vec<Document> = module.ingresses.iter().map(|spec| ingress(spec, dialect)).collect();
    let egresses: Vec<Document> = module.egresses.iter().map(|spec| egress(spec, dialect)).collect();
    let endpoints: Vec<Document> = module.endpoints.iter().map(|spec| endpoint(spec, dialect)).collect();
    if dialect == Dialect::Legacy {
        let list = |word: &'static str, documents: Vec<Document>| {
            let declaration = |(kind, id, spec): Document| {
                let mut meta = vec![("type", kind.into())];
                meta.extend(id.map(|id| ("id", id.into())));
                mapping([(word, mapping([("meta", mapping(meta)), ("spec", spec)]))])
            };
            Value::Sequence(documents.into_iter().map(declaration).collect())
        };
        let spec = mapping([
            ("ingresses", list("ingress", ingresses)),
            ("egresses", list("egress", egresses)),
            ("endpoints", list("endpoint", endpoints)),
        ]);
        let body = mapping([("meta", mapping([("type", "remote".into())])), ("spec", spec)]);
        return serde_yaml::to_string(&mapping([("version", "3.0".into()), ("module", body)])).unwrap();
    }
    let document = |(kind, id, mut spec): Document| {
        if let (Some(id), Value::Mapping(fields)) = (id, &mut spec) {
            fields.insert("id".into(), id.into());
        }
        serde_yaml::to_string(&mapping([("kind", kind.into()), ("spec", spec)])).unwrap()
    };
    let documents: Vec<String> = ingresses.into_iter().chain(egresses).chain(endpoints).map(document).collect();
    documents.join("---\n")
}

/// Text that YAML has to quote or escape now and then: numbers, truth values, indicators, any letters.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9-]{0,12}",
        "[0-9]{1,6}",
        prop::sample::select(vec![
            "no", "true", "null", "~", "1e3", "0x1f", "- a", "a: b", "a #b", "'", "\"", "ü", "{a}", "%a", "@a"
        ])
        .prop_map(str::to_owned),
    ]
}

fn typename() -> impl Strategy<Value = TypeName> {
    (word(), word()).prop_map(|(namespace, name)| format!("{namespace}/{name}").parse().unwrap())
}

fn secret() -> impl Strategy<Value = Secret> {
    "[!-~]{1,40}".prop_filter("a variable is substituted", |text| !text.contains("${")).prop_map(Secret::new)
}

fn stream_name() -> impl Strategy<Value = StreamName> {
    "[a-zA-Z][a-zA-Z0-9_.-]{0,127}".prop_map(|name| name.parse().unwrap())
}

fn stream() -> impl Strategy<Value = StreamRef> {
    (stream_name(), any::<bool>()).prop_map(|(name, is_arn)| match is_arn {
        true => format!("arn:aws:kinesis:us-east-1:123456789012:stream/{name}").parse().unwrap(),
        false => name.into(),
    })
}

fn time() -> impl Strategy<Value = Duration> {
    (1_u64..10_000_000).prop_map(Duration::from_millis)
}

fn region() -> impl Strategy<Value = AwsRegion> {
    prop_oneof![
        Just(AwsRegion::Default),
        Just(AwsRegion::Specific { id: "us-east-1".into() }),
        "[a-z0-9-]{1,20}".prop_map(|id| AwsRegion::CustomEndpoint { endpoint: "http://localhost:4566".into(), id }),
    ]
}

fn credentials() -> impl Strategy<Value = AwsCredentials> {
    let role = || "arn:aws:iam::123456789012:role/[a-z/]{0,8}[a-z]";
    prop_oneof![
        Just(AwsCredentials::Default),
        (word(), option::of("/[a-z]{1,8}"))
            .prop_map(|(name, path)| AwsCredentials::Profile { name, path: path.map(Into::into) }),
        (secret(), secret(), option::of(secret())).prop_map(|(access_key_id, secret_access_key, session_token)| {
            AwsCredentials::Basic { access_key_id, secret_access_key, session_token }
        }),
        (role(), option::of(word()), option::of(secret())).prop_map(|(role_arn, session_name, external_id)| {
            AwsCredentials::AssumeRole { role_arn, session_name, external_id }
        }),
        (role(), "/[a-z]{1,8}", option::of(word())).prop_map(|(role_arn, token_file, session_name)| {
            AwsCredentials::WebIdentity { role_arn, token_file: token_file.into(), session_name }
        }),
    ]
}

fn startup() -> impl Strategy<Value = StartupPosition> {
    prop_oneof![
        Just(StartupPosition::Latest),
        Just(StartupPosition::TrimHorizon),
        (0_i64..4_102_444_800_000).prop_map(|millis| StartupPosition::AtTimestamp(Timestamp::from_millis(millis))),
    ]
}

fn consumer() -> impl Strategy<Value = ConsumerSpec> {
    let lifecycle = prop_oneof![Just(ConsumerLifecycle::Managed), Just(ConsumerLifecycle::Given)];
    prop_oneof![
        (option::of(1_u32..=10_000), option::of(time()), option::of(time())).prop_map(
            |(max_records, idle_interval, discovery_interval)| ConsumerSpec::Polling {
                max_records: max_records.map(|number| number.try_into().unwrap()),
                idle_interval,
                discovery_interval,
            }
        ),
        (stream_name(), lifecycle, option::of(time())).prop_map(|(name, lifecycle, discovery_interval)| {
            ConsumerSpec::EnhancedFanOut { name: name.as_str().parse().unwrap(), lifecycle, discovery_interval }
        }),
    ]
}

fn invalid_records() -> impl Strategy<Value = InvalidRecordHandling> {
    let level = || prop::sample::select(LogLevel::ALL.to_vec());
    prop_oneof![
        Just(InvalidRecordHandling::Fail),
        level().prop_map(|log| InvalidRecordHandling::Skip { log }),
        (stream(), level()).prop_map(|(stream, log)| InvalidRecordHandling::DeadLetter { stream, log }),
    ]
}

fn an_ingress() -> impl Strategy<Value = IngressSpec> {
    let route = (typename(), prop::collection::vec(typename(), 1..4), option::of(invalid_records()));
    let routes = prop::collection::btree_map(stream(), route, 1..4);
    let out_of_range = prop::sample::select(vec![OutOfRangeRecords::Skip, OutOfRangeRecords::Keep]);
    let metadata = prop::sample::select(vec![RecordMetadata::Omit, RecordMetadata::Send]);
    let rest =
        (region(), credentials(), startup(), consumer(), invalid_records(), option::of(time()), out_of_range, metadata);
    (typename(), routes, rest).prop_map(|(id, routes, rest)| {
        let route = |(stream, (value_type, targets, invalid_records)): (StreamRef, _)| {
            let mut route = StreamRoute::new(stream, value_type, targets);
            route.invalid_records = invalid_records;
            route
        };
        let mut ingress = IngressSpec::new(id, routes.into_iter().map(route).collect());
        (ingress.region, ingress.credentials, ingress.startup) = (rest.0, rest.1, rest.2);
        (ingress.consumer, ingress.invalid_records, ingress.client.read_timeout) = (rest.3, rest.4, rest.5);
        (ingress.out_of_range_records, ingress.record_metadata) = (rest.6, rest.7);
        ingress
    })
}

fn an_egress() -> impl Strategy<Value = EgressSpec> {
    let aggregation = option::of((option::of(1_u32..10_000_000), option::of(1_u32..)));
    let allowed = option::of(prop::collection::vec(stream(), 1..4));
    let failed = (invalid_records(), option::of(1_u32..), option::of(time()));
    let rest = (1_u32.., any::<bool>(), aggregation, allowed, failed);
    let name = option::of(stream_name());
    (typename(), name, region(), credentials(), rest).prop_map(|(id, name, region, credentials, rest)| {
        let (outstanding, is_ordered, aggregation, allowed, failed) = rest;
        let mut egress = EgressSpec::without_stream(id);
        egress.stream_name = name;
        (egress.region, egress.credentials, egress.allowed_streams) = (region, credentials, allowed);
        egress.max_outstanding_records = outstanding.try_into().unwrap();
        egress.order = if is_ordered { EgressOrder::PerPartitionKey } else { EgressOrder::None };
        egress.aggregation = aggregation.map(|(bytes, records)| {
            let number = |number: u32| number.try_into().unwrap();
            AggregationSpec { max_bytes: bytes.map(number), max_records: records.map(number) }
        });
        egress.failed_records.given_up = failed.0;
        egress.failed_records.max_attempts = failed.1.map(|number| number.try_into().unwrap());
        egress.failed_records.timeout = failed.2;
        egress
    })
}

/// An endpoint for the targets of an ingress, so that each is served.
fn an_endpoint(functions: &TypeName, failures: FailureHandling, call: Duration) -> EndpointSpec {
    let pattern = format!("{}/*", functions.namespace());
    let mut endpoint = EndpointSpec::new(pattern.parse().unwrap(), "http://localhost/{function.name}".parse().unwrap());
    endpoint.transport.call_timeout = call;
    endpoint.failures = failures;
    endpoint
}

fn failures() -> impl Strategy<Value = FailureHandling> {
    (invalid_records(), option::of(1_u32..), option::of(time()), any::<bool>()).prop_map(
        |(handling, attempts, timeout, keeps_trying)| {
            let after = GiveUp { max_attempts: attempts.map(|number| number.try_into().unwrap()), timeout };
            match handling {
                _ if keeps_trying => FailureHandling::KeepTrying,
                InvalidRecordHandling::Skip { log } => FailureHandling::Skip { after, log },
                InvalidRecordHandling::DeadLetter { stream, log } => FailureHandling::DeadLetter { after, stream, log },
                _ => FailureHandling::Fail { after },
            }
        },
    )
}

fn a_module() -> impl Strategy<Value = Module> {
    (an_ingress(), option::of(an_egress()), failures(), time(), any::<bool>()).prop_map(
        |(ingress, egress, failures, call, is_served)| {
            let mut module = Module::default();
            if is_served {
                let targets = ingress.streams.iter().flat_map(|route| &route.targets);
                let named: std::collections::BTreeMap<_, _> = targets.map(|name| (name.namespace(), name)).collect();
                let served = named.values().filter(|name| !name.namespace().contains('*'));
                module.endpoints = served.map(|name| an_endpoint(name, failures.clone(), call)).collect();
            }
            module.ingresses.push(ingress);
            module.egresses.extend(egress);
            module
        },
    )
}

proptest! {
    #[test]
    fn a_module_is_read_as_it_was_written_in_every_dialect(module in a_module()) {
        for dialect in [Dialect::Ours, Dialect::Upstream, Dialect::Legacy] {
            let text = rendered(&module, dialect);
            let files = [SourceFile::new("module.yaml", text.as_str())];
            let checked = read_module(&files, &Options::default());
            let said: Vec<String> = checked.diagnostics.iter().map(|found| found.to_line(&files)).collect();
            let Some(read) = checked.module else { panic!("{dialect:?}: {said:#?}\n{text}") };
            prop_assert_eq!(&read.ingresses, &module.ingresses, "{:?}\n{}", dialect, text);
            prop_assert_eq!(&read.egresses, &module.egresses, "{:?}\n{}", dialect, text);
            prop_assert_eq!(&read.endpoints, &module.endpoints, "{:?}\n{}", dialect, text);
        }
    }
}
