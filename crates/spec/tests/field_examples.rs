//! Each field of a module file arrives in the model, and its default is that of the model.

use std::{num::NonZeroU32, time::Duration};

use serde_json::Value;
use statefun_kinesis_spec::{
    AggregationSpec, ClientSpec, ConsumerLifecycle, ConsumerSpec, EgressOrder, EndpointSpec, FailureHandling,
    FieldExample, GiveUp, InvalidRecordHandling, LogLevel, Module, Options, OutOfRangeRecords, RecordMetadata,
    SourceFile, StartupPosition, TransportSpec, field_examples, read_module,
};
use statefun_kinesis_types::{AwsCredentials, AwsRegion, Secret, StreamRef};

const SEVENTEEN: Duration = Duration::from_secs(17);
const ROLE: &str = "arn:aws:iam::123456789012:role/orders";

fn seven() -> NonZeroU32 {
    NonZeroU32::new(7).unwrap()
}

#[track_caller]
fn read(path: &str, text: &str) -> Module {
    let files = [SourceFile::new("module.yaml", text)];
    let checked = read_module(&files, &Options::default());
    let said: Vec<String> = checked.diagnostics.iter().map(|diagnostic| diagnostic.to_line(&files)).collect();
    checked.module.unwrap_or_else(|| panic!("{path}: {said:#?}\n{text}"))
}

/// The text of the value; of a list, that of its only entry.
fn text(value: &Value) -> &str {
    value.as_array().map_or(value, |list| &list[0]).as_str().unwrap_or_default()
}

/// Changes the model in the way that the field of this path changes it.
fn set(module: &mut Module, kind: &str, path: &[&str], value: &Value) {
    match kind {
        "io.statefun.kinesis.v1/ingress" => {
            let ingress = &mut module.ingresses[0];
            match *path {
                ["id"] => ingress.id = text(value).parse().unwrap(),
                ["awsRegion", ref rest @ ..] => region(&mut ingress.region, rest, text(value)),
                ["awsCredentials", ref rest @ ..] => credentials(&mut ingress.credentials, rest, text(value)),
                ["startupPosition", ref rest @ ..] => ingress.startup = startup(rest),
                ["streams", "streamArn"] => ingress.streams[0].stream = text(value).parse().unwrap(),
                ["streams", "stream"] => ingress.streams[0].stream = StreamRef::Name(text(value).parse().unwrap()),
                ["streams", "valueType"] => ingress.streams[0].value_type = text(value).parse().unwrap(),
                ["streams", "targets"] => ingress.streams[0].targets = vec![text(value).parse().unwrap()],
                ["streams", "invalidRecordHandling", ref rest @ ..] => {
                    ingress.streams[0].invalid_records = Some(handling(rest, text(value)));
                }
                ["consumer", ref rest @ ..] => consumer(&mut ingress.consumer, rest, text(value)),
                ["invalidRecordHandling", ref rest @ ..] => ingress.invalid_records = handling(rest, text(value)),
                ["outOfRangeRecords"] => ingress.out_of_range_records = OutOfRangeRecords::Keep,
                ["recordMetadata"] => ingress.record_metadata = RecordMetadata::Send,
                ["clientConfigProperties", name] => client(&mut ingress.client, name),
                _ => panic!("what does {path:?} of an ingress change?"),
            }
        }
        "io.statefun.kinesis.v1/egress" => {
            let egress = &mut module.egresses[0];
            match *path {
                ["id"] => egress.id = text(value).parse().unwrap(),
                ["awsRegion", ref rest @ ..] => region(&mut egress.region, rest, text(value)),
                ["awsCredentials", ref rest @ ..] => credentials(&mut egress.credentials, rest, text(value)),
                ["streamName"] => egress.stream_name = Some(text(value).parse().unwrap()),
                ["allowedStreams"] => egress.allowed_streams = Some(vec![text(value).parse().unwrap()]),
                ["maxOutstandingRecords"] => egress.max_outstanding_records = seven(),
                ["order"] => egress.order = EgressOrder::None,
                ["aggregation"] => egress.aggregation = Some(AggregationSpec::default()),
                ["aggregation", name] => {
                    let aggregation = egress.aggregation.insert(AggregationSpec::default());
                    match name {
                        "maxBytes" => aggregation.max_bytes = Some(seven()),
                        "maxRecords" => aggregation.max_records = Some(seven()),
                        _ => panic!("what does {name} of an aggregation change?"),
                    }
                }
                ["failedRecordHandling", _, "maxAttempts"] => egress.failed_records.max_attempts = Some(seven()),
                ["failedRecordHandling", _, "timeout"] => egress.failed_records.timeout = Some(SEVENTEEN),
                ["failedRecordHandling", ref rest @ ..] => {
                    egress.failed_records.given_up = handling(rest, text(value));
                }
                ["clientConfigProperties", name] => client(&mut egress.client, name),
                _ => panic!("what does {path:?} of an egress change?"),
            }
        }
        "io.statefun.endpoints.v2/http" | "io.statefun.endpoints.v1/http" => {
            endpoint(&mut module.endpoints[0], path, text(value));
        }
        _ => panic!("what do fields of {kind} change?"),
    }
}

fn region(region: &mut AwsRegion, path: &[&str], value: &str) {
    let endpoint = "http://localhost:4566".to_owned();
    *region = match path {
        ["specific"] => AwsRegion::Specific { id: "us-east-1".to_owned() },
        ["specific", "id"] => AwsRegion::Specific { id: value.to_owned() },
        ["custom-endpoint"] => AwsRegion::CustomEndpoint { endpoint, id: "us-east-1".to_owned() },
        ["custom-endpoint", "endpoint"] => {
            AwsRegion::CustomEndpoint { endpoint: value.to_owned(), id: "us-east-1".to_owned() }
        }
        ["custom-endpoint", "id"] => AwsRegion::CustomEndpoint { endpoint, id: value.to_owned() },
        _ => panic!("what does {path:?} of a region change?"),
    };
}

fn credentials(credentials: &mut AwsCredentials, path: &[&str], value: &str) {
    let least = match path[0] {
        "profile" => AwsCredentials::Profile { name: "default".to_owned(), path: None },
        "basic" => AwsCredentials::Basic {
            access_key_id: Secret::new("<key id>"),
            secret_access_key: Secret::new("<secret>"),
            session_token: None,
        },
        "web-identity" => AwsCredentials::WebIdentity {
            role_arn: ROLE.to_owned(),
            token_file: "/var/run/secrets/eks.amazonaws.com/serviceaccount/token".into(),
            session_name: None,
        },
        "assume-role" => {
            AwsCredentials::AssumeRole { role_arn: ROLE.to_owned(), session_name: None, external_id: None }
        }
        other => panic!("what are credentials of type {other}?"),
    };
    *credentials = least;
    let Some(name) = path.get(1) else { return };
    match (credentials, *name) {
        (AwsCredentials::Profile { name, .. }, "profile") => *name = value.to_owned(),
        (AwsCredentials::Profile { path, .. }, "profilePath") => *path = Some(value.into()),
        (AwsCredentials::Basic { access_key_id, .. }, "accessKeyId") => *access_key_id = Secret::new(value),
        (AwsCredentials::Basic { secret_access_key, .. }, "secretAccessKey") => *secret_access_key = Secret::new(value),
        (AwsCredentials::Basic { session_token, .. }, "sessionToken") => *session_token = Some(Secret::new(value)),
        (AwsCredentials::WebIdentity { role_arn, .. } | AwsCredentials::AssumeRole { role_arn, .. }, "roleArn") => {
            *role_arn = value.to_owned();
        }
        (AwsCredentials::WebIdentity { token_file, .. }, "tokenFile") => *token_file = value.into(),
        (
            AwsCredentials::WebIdentity { session_name, .. } | AwsCredentials::AssumeRole { session_name, .. },
            "sessionName",
        ) => *session_name = Some(value.to_owned()),
        (AwsCredentials::AssumeRole { external_id, .. }, "externalId") => *external_id = Some(Secret::new(value)),
        (_, name) => panic!("what does {name} of credentials change?"),
    }
}

fn startup(path: &[&str]) -> StartupPosition {
    let at = |text: &str| StartupPosition::AtTimestamp(text.parse().unwrap());
    match path {
        ["trim-horizon" | "earliest"] => StartupPosition::TrimHorizon,
        ["at-timestamp"] => at("2026-04-23T00:00:00.000Z"),
        ["at-timestamp", "timestamp"] => at("2025-01-02T03:04:05.006Z"),
        ["date"] => at("2020-02-01T04:15:00.000Z"),
        ["date", "date"] => at("2021-02-03T04:05:06.789Z"),
        _ => panic!("what is the startup position {path:?}?"),
    }
}

fn handling(path: &[&str], value: &str) -> InvalidRecordHandling {
    let stream: StreamRef = "orders-dead-letters".parse().unwrap();
    match path {
        ["fail"] => InvalidRecordHandling::Fail,
        ["skip"] => InvalidRecordHandling::Skip { log: LogLevel::Warn },
        ["skip", "logLevel"] => InvalidRecordHandling::Skip { log: value.parse().unwrap() },
        ["dead-letter"] => InvalidRecordHandling::DeadLetter { stream, log: LogLevel::Warn },
        ["dead-letter", "stream"] => {
            InvalidRecordHandling::DeadLetter { stream: value.parse().unwrap(), log: LogLevel::Warn }
        }
        ["dead-letter", "logLevel"] => InvalidRecordHandling::DeadLetter { stream, log: value.parse().unwrap() },
        _ => panic!("what does {path:?} of a handling change?"),
    }
}

fn consumer(consumer: &mut ConsumerSpec, path: &[&str], value: &str) {
    if path[0] == "enhanced-fan-out" {
        *consumer = ConsumerSpec::EnhancedFanOut {
            name: "orders".parse().unwrap(),
            lifecycle: ConsumerLifecycle::Managed,
            discovery_interval: None,
        };
    }
    match (consumer, path) {
        (ConsumerSpec::Polling { max_records, .. }, ["polling", "maxRecords"]) => *max_records = Some(seven()),
        (ConsumerSpec::Polling { idle_interval, .. }, ["polling", "idleInterval"]) => *idle_interval = Some(SEVENTEEN),
        (
            ConsumerSpec::Polling { discovery_interval, .. } | ConsumerSpec::EnhancedFanOut { discovery_interval, .. },
            [_, "discoveryInterval"],
        ) => *discovery_interval = Some(SEVENTEEN),
        (ConsumerSpec::EnhancedFanOut { .. }, ["enhanced-fan-out"]) => {}
        (ConsumerSpec::EnhancedFanOut { name, .. }, [_, "name"]) => *name = value.parse().unwrap(),
        (ConsumerSpec::EnhancedFanOut { lifecycle, .. }, [_, "lifecycle"]) => *lifecycle = ConsumerLifecycle::Given,
        (_, path) => panic!("what does {path:?} of a consumer change?"),
    }
}

fn client(client: &mut ClientSpec, property: &str) {
    match property {
        "ConnectionTimeout" | "ConnectTimeout" => client.connect_timeout = Some(SEVENTEEN),
        "aws.http-client.read-timeout" | "SocketTimeout" => client.read_timeout = Some(SEVENTEEN),
        "RequestTimeout" | "ClientExecutionTimeout" => client.request_timeout = Some(SEVENTEEN),
        "aws.http-client.max-concurrency" | "MaxConnections" => client.max_connections = Some(seven()),
        _ => panic!("what does the property {property} change?"),
    }
}

fn endpoint(endpoint: &mut EndpointSpec, path: &[&str], value: &str) {
    match *path {
        ["functions"] => endpoint.functions = value.parse().unwrap(),
        ["urlPathTemplate"] => endpoint.url_path_template = value.parse().unwrap(),
        ["maxNumBatchRequests"] => endpoint.max_num_batch_requests = seven(),
        ["maxRequestBytes"] => endpoint.max_request_bytes = seven(),
        ["transport", .., name] | ["timeouts", name] => transport(&mut endpoint.transport, name, value),
        ["failureHandling", ref rest @ ..] => endpoint.failures = failures(rest, value),
        _ => panic!("what does {path:?} of an endpoint change?"),
    }
}

fn transport(transport: &mut TransportSpec, name: &str, value: &str) {
    match name {
        "call" => transport.call_timeout = SEVENTEEN,
        "connect" => transport.connect_timeout = SEVENTEEN,
        "read" => transport.read_timeout = Some(SEVENTEEN),
        "write" => transport.write_timeout = Some(SEVENTEEN),
        "pool_ttl" => transport.pool_ttl = SEVENTEEN,
        "pool_size" => transport.pool_size = seven(),
        "payload_max_bytes" => transport.payload_max_bytes = seven(),
        "trust_cacerts" => transport.trust_ca_certs = Some(value.to_owned()),
        "client_cert" | "client_key" | "client_key_password" => {
            transport.client_cert = Some("/other/cert.pem".to_owned());
            transport.client_key = Some("/other/key.pem".to_owned());
            match name {
                "client_cert" => transport.client_cert = Some(value.to_owned()),
                "client_key" => transport.client_key = Some(value.to_owned()),
                _ => transport.client_key_password = Some(Secret::new(value)),
            }
        }
        _ => panic!("what does {name} of a transport change?"),
    }
}

fn failures(path: &[&str], value: &str) -> FailureHandling {
    let (mut after, mut log) = (GiveUp::default(), LogLevel::Warn);
    let mut stream: StreamRef = "orders-dead-letters".parse().unwrap();
    match path.get(1) {
        Some(&"maxAttempts") => after.max_attempts = Some(seven()),
        Some(&"timeout") => after.timeout = Some(SEVENTEEN),
        Some(&"logLevel") => log = value.parse().unwrap(),
        Some(&"stream") => stream = value.parse().unwrap(),
        None => {}
        Some(other) => panic!("what does {other} of a handling change?"),
    }
    match path[0] {
        "skip" => FailureHandling::Skip { after, log },
        "dead-letter" => FailureHandling::DeadLetter { after, stream, log },
        "fail" => FailureHandling::Fail { after },
        other => panic!("what is a handling of type {other}?"),
    }
}

/// The kind of the document, and the parts of the path. The types of transports have dots and slashes in their names.
fn parts(example: &FieldExample) -> (&str, Vec<&str>) {
    let (kind, path) = example.path.split_once(' ').expect("the path has the kind before it");
    if let Some(property) = path.strip_prefix("clientConfigProperties.") {
        return (kind, vec!["clientConfigProperties", property]);
    }
    let Some(transport) = path.strip_prefix("transport.") else { return (kind, path.split('.').collect()) };
    let names = ["io.statefun.transports.v1/async.", "io.statefun.transports.v1/okhttp."];
    let (name, fields) = names
        .iter()
        .find_map(|name| Some((*name, transport.strip_prefix(name)?)))
        .unwrap_or_else(|| panic!("what is {path}?"));
    (kind, ["transport", name].into_iter().chain(fields.split('.')).collect())
}

#[test]
fn each_field_arrives_in_the_model() {
    let examples = field_examples();
    assert!(examples.len() > 150, "{} examples", examples.len());
    for example in examples {
        let (kind, path) = parts(&example);
        let without = read(&example.path, &example.without);
        let with = read(&example.path, &example.with);
        assert!(with != without, "{} = {} changes nothing", example.path, example.value);
        let mut expected = without;
        set(&mut expected, kind, &path, &serde_json::from_str(&example.value).unwrap());
        assert!(
            with.ingresses == expected.ingresses
                && with.egresses == expected.egresses
                && with.endpoints == expected.endpoints,
            "{} = {}: {:#?}\nis not {:#?}",
            example.path,
            example.value,
            (&with.ingresses, &with.egresses, &with.endpoints),
            (&expected.ingresses, &expected.egresses, &expected.endpoints),
        );
    }
}

/// Fields that are `None` in the model unless the file has them; their defaults are those of the consumer and the
/// producer.
const LEFT_TO_OTHERS: &[&str] = &["consumer.polling.maxRecords", "discoveryInterval", "aggregation.maxBytes"];

#[test]
fn the_default_of_the_reference_is_that_of_the_model() {
    let mut compared = 0;
    for example in field_examples() {
        let Some(text) = &example.with_default else { continue };
        let (without, with) = (read(&example.path, &example.without), read(&example.path, text));
        let is_left = LEFT_TO_OTHERS.iter().any(|field| example.path.ends_with(field));
        assert_eq!(with == without, !is_left, "{}: the default is not {:?}", example.path, example.default);
        compared += 1;
    }
    assert!(compared > 50, "{compared} defaults");
}

#[test]
fn each_number_has_a_unit_and_its_default_a_source() {
    for example in field_examples() {
        let is_number = example.value == "7" && !example.path.contains("clientConfigProperties");
        assert_eq!(example.unit.is_some(), is_number, "{}: {:?}", example.path, example.unit);
        let is_quantity = is_number || example.value.ends_with(" s\"");
        if is_quantity && example.default.is_some() {
            assert!(example.source.is_some(), "where does the default of {} come from?", example.path);
        }
    }
}
