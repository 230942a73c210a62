//! Endpoints of remote functions.

use std::time::Duration;

use statefun_kinesis_spec::{EndpointSpec, FunctionPattern, Options, SourceFile, TransportSpec, read_module};

use crate::{check, check_all, endpoint, ingress};

#[track_caller]
fn read(yaml: String) -> EndpointSpec {
    let checked = read_module(&[SourceFile::new("f", yaml)], &Options::default());
    let module = checked.module.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics));
    module.endpoints[0].clone()
}

const MINIMAL: &str = "functions: example/*\nurlPathTemplate: http://localhost:8000/{function.name}";

#[test]
fn an_endpoint_with_defaults() {
    let endpoint = read(endpoint(MINIMAL));
    assert_eq!(endpoint.functions, FunctionPattern::Namespace("example".to_owned()));
    assert_eq!(endpoint.url_path_template.as_str(), "http://localhost:8000/{function.name}");
    assert_eq!((endpoint.max_num_batch_requests.get(), endpoint.max_request_bytes.get()), (1000, 1 << 20));
    assert_eq!(endpoint.transport, TransportSpec::default());
}

#[test]
fn an_endpoint_with_everything() {
    let endpoint = read(endpoint(&format!(
        "{MINIMAL}
maxNumBatchRequests: 50
maxRequestBytes: 4096
transport:
  type: io.statefun.transports.v1/async
  call: 1 min
  connect: 500
  pool_ttl: 30sec
  pool_size: 8
  payload_max_bytes: 1024
  trust_cacerts: ca.pem
  client_cert: cert.pem
  client_key: key.pem
  client_key_password: hunter2
  timeouts: {{read: 2m, connect: 3 s}}"
    )));
    assert_eq!((endpoint.max_num_batch_requests.get(), endpoint.max_request_bytes.get()), (50, 4096));
    let transport = endpoint.transport;
    assert_eq!(transport.call_timeout, Duration::from_secs(60));
    assert_eq!(transport.connect_timeout, Duration::from_secs(3), "`timeouts` comes last");
    assert_eq!(transport.read_timeout, Some(Duration::from_secs(120)));
    assert_eq!(transport.write_timeout, None);
    assert_eq!(transport.pool_ttl, Duration::from_secs(30));
    assert_eq!((transport.pool_size.get(), transport.payload_max_bytes.get()), (8, 1024));
    assert_eq!(transport.trust_ca_certs.as_deref(), Some("ca.pem"));
    assert_eq!(transport.client_cert.as_deref(), Some("cert.pem"));
    assert_eq!(transport.client_key.as_deref(), Some("key.pem"));
    assert_eq!(transport.client_key_password.unwrap().expose(), "hunter2");
}

#[test]
fn a_transport_without_a_type_is_the_asynchronous_one() {
    let endpoint = read(endpoint(&format!("{MINIMAL}\ntransport: {{connect: 1s}}")));
    assert_eq!(endpoint.transport.connect_timeout, Duration::from_secs(1));
}

#[test]
fn an_endpoint_of_the_first_version() {
    let yaml = endpoint(&format!("{MINIMAL}\ntimeouts: {{call: 5s}}")).replace("endpoints.v2", "endpoints.v1");
    check(
        &format!("{}---\n{yaml}", ingress("")),
        "f:9:7: note[SFK0033]: this kind is the older form of `io.statefun.endpoints.v2/http`",
    );
    assert_eq!(read(yaml).transport.call_timeout, Duration::from_secs(5));
}

#[test]
fn an_endpoint_without_its_fields() {
    check(
        &endpoint("maxNumBatchRequests: 0"),
        "
        f:2:1: error[SFK0010]: an endpoint needs the field `functions`
        f:2:1: error[SFK0010]: an endpoint needs the field `urlPathTemplate`
        f:3:24: error[SFK0016]: `maxNumBatchRequests` must be a whole number from 1 to 4294967295, not 0
        ",
    );
}

#[test]
fn invalid_addresses() {
    for (url, why) in [
        ("localhost:8000", "expected an address that starts with http://, https://, http+unix:// or https+unix://"),
        ("http://", "expected a host after `://`, or the path of a socket"),
        ("http://host/{name}", "`{function.name}` is the only placeholder"),
    ] {
        check(
            &endpoint(&format!("functions: a/*\nurlPathTemplate: '{url}'")),
            &format!("f:4:20: error[SFK0022]: `{url}` does not name an address of functions: {why}"),
        );
    }
}

#[test]
fn two_endpoints_for_the_same_functions() {
    check_all(
        &[&format!("{}---\n{}", endpoint(MINIMAL), endpoint(MINIMAL))],
        "
        f:8:14: error[SFK0025]: two endpoints for `example/*`
          f:3:14: the first one is here
        ",
    );
}

#[test]
fn a_transport_with_problems() {
    check_all(
        &[&endpoint(&format!("{MINIMAL}\ntransport:\n  call: soon\n  connect: [1]\n  pool: 7\n  pool_size: 0"))],
        "
        f:6:11: error[SFK0024]: `soon` is not a duration
          help: for example `30s`, `2 min`, or a bare number of milliseconds
        f:7:5: error[SFK0013]: `connect` must be a duration, not a list
          help: for example
          help: connect: 20s
        f:8:5: error[SFK0011]: `transport` has no field `pool`
          help: the fields of `transport` are `type`, `call`, `connect`, `pool_ttl`, `pool_size`, `payload_max_bytes`, `trust_cacerts`, `client_cert`, `client_key`, `client_key_password` and `timeouts`
        f:9:16: error[SFK0016]: `pool_size` must be a whole number from 1 to 4294967295, not 0
        ",
    );
}
