//! The examples of the Kinesis I/O guide, and the example modules, mean exactly what they say.

use statefun_kinesis_spec::{
    EgressSpec, IngressSpec, Module, Options, SourceFile, StartupPosition, StreamRoute, read_module,
};
use statefun_kinesis_types::{AwsCredentials, AwsRegion, Secret, StreamArn};

#[track_caller]
fn module(files: &[(&str, &str)]) -> Module {
    let files: Vec<SourceFile> = files.iter().map(|(name, text)| SourceFile::new(*name, *text)).collect();
    let checked = read_module(&files, &Options::default());
    let lines: Vec<String> = checked.diagnostics.iter().map(|diagnostic| diagnostic.to_line(&files)).collect();
    assert!(lines.is_empty(), "{}", lines.join("\n"));
    checked.module.expect("a file without problems is a module")
}

fn us_east_1() -> AwsRegion {
    AwsRegion::Specific { id: "us-east-1".to_owned() }
}

fn local(endpoint: &str) -> (AwsRegion, AwsCredentials) {
    let region = AwsRegion::CustomEndpoint { endpoint: endpoint.to_owned(), id: "us-east-1".to_owned() };
    let keys = AwsCredentials::Basic {
        access_key_id: Secret::new("test"),
        secret_access_key: Secret::new("test"),
        session_token: None,
    };
    (region, keys)
}

fn default_profile() -> AwsCredentials {
    AwsCredentials::Profile { name: "default".to_owned(), path: None }
}

fn route(account: &str, stream: &str, value_type: &str, targets: &[&str]) -> StreamRoute {
    StreamRoute::new(
        format!("arn:aws:kinesis:us-east-1:{account}:stream/{stream}").parse::<StreamArn>().unwrap(),
        value_type.parse().unwrap(),
        targets.iter().map(|target| target.parse().unwrap()).collect(),
    )
}

/// The ingress of the guide.
fn orders() -> IngressSpec {
    let route = route("123456789012", "orders-stream", "example/Order", &["example/order-handler"]);
    let mut ingress = IngressSpec::new("example/orders".parse().unwrap(), vec![route]);
    ingress.region = us_east_1();
    ingress.credentials = default_profile();
    ingress.startup = StartupPosition::AtTimestamp("2026-04-23T00:00:00.000Z".parse().unwrap());
    ingress
}

/// The egress of the guide.
fn notifications() -> EgressSpec {
    let mut egress = EgressSpec::new("example/notifications".parse().unwrap(), "notifications-stream".parse().unwrap());
    egress.region = us_east_1();
    egress.credentials = default_profile();
    egress
}

#[test]
fn the_ingress_of_the_guide() {
    let module = module(&[("ingress.yaml", include_str!("seed/ingress.yaml"))]);
    assert_eq!(module.ingresses, [orders()]);
    assert!(module.egresses.is_empty() && module.endpoints.is_empty());
}

#[test]
fn the_egress_of_the_guide() {
    let module = module(&[("egress.yaml", include_str!("seed/egress.yaml"))]);
    assert_eq!(module.egresses, [notifications()]);
    assert!(module.ingresses.is_empty() && module.endpoints.is_empty());
}

#[test]
fn several_files_are_one_module() {
    let module = module(&[
        ("ingress.yaml", include_str!("seed/ingress.yaml")),
        ("egress.yaml", include_str!("seed/egress.yaml")),
    ]);
    assert_eq!((module.ingresses, module.egresses), (vec![orders()], vec![notifications()]));
}

#[test]
fn the_localstack_block_of_the_guide_in_an_ingress_and_in_an_egress() {
    let module = module(&[
        ("ingress.yaml", include_str!("seed/localstack-ingress.yaml")),
        ("egress.yaml", include_str!("seed/localstack-egress.yaml")),
    ]);
    let (region, credentials) = local("http://localstack.svc:4566");
    let ingress = &module.ingresses[0];
    assert_eq!((&ingress.region, &ingress.credentials), (&region, &credentials));
    let egress = &module.egresses[0];
    assert_eq!((&egress.region, &egress.credentials), (&region, &credentials));
}

#[test]
fn the_localstack_block_alone_says_where_it_belongs() {
    let block = include_str!("seed/localstack.yaml");
    for kind in ["ingress", "egress"] {
        let whole = format!("tests/seed/localstack-{kind}.yaml");
        let whole = std::fs::read_to_string(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(whole)).unwrap();
        let indented = block.lines().map(|line| format!("  {line}\n")).collect::<String>();
        assert!(whole.contains(&indented), "the block stands in the {kind} as it is");
    }
    let files = [SourceFile::new("localstack.yaml", block)];
    let checked = read_module(&files, &Options::default());
    assert!(checked.module.is_none());
    let [diagnostic] = &checked.diagnostics[..] else { panic!("one problem, not {:#?}", checked.diagnostics) };
    assert_eq!(diagnostic.to_line(&files), "localstack.yaml:1:1: error[SFK0006]: the document has no `kind`");
    let help = diagnostic.help.as_deref().unwrap();
    assert!(
        help.starts_with("`awsRegion` and `awsCredentials` belong under the `spec` of an ingress or egress:"),
        "{help}"
    );
}

#[test]
fn the_orders_example_is_the_module_of_the_guide() {
    let module = module(&[("module.yaml", include_str!("../../../examples/orders/module.yaml"))]);
    assert_eq!((module.ingresses, module.egresses), (vec![orders()], vec![notifications()]));
    assert!(module.endpoints.is_empty());
}

#[test]
fn the_localstack_example_has_two_streams_and_everything_local() {
    let module = module(&[("localstack.yaml", include_str!("../../../examples/orders/localstack.yaml"))]);
    let (region, credentials) = local("http://localhost:4566");
    let mut ingress = IngressSpec::new(
        "example/orders".parse().unwrap(),
        vec![
            route("000000000000", "orders-stream", "example/Order", &["example/order-handler", "example/audit"]),
            route("000000000000", "returns-stream", "example/Return", &["example/order-handler"]),
        ],
    );
    ingress.region = region.clone();
    ingress.credentials = credentials.clone();
    ingress.startup = StartupPosition::TrimHorizon;
    let mut egress = notifications();
    egress.region = region;
    egress.credentials = credentials;
    assert_eq!((module.ingresses, module.egresses), (vec![ingress], vec![egress]));
}
