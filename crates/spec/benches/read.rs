//! What reading and checking a module costs, beside what the bare YAML library takes for the same text.
//!
//! The items are ingresses. The floor lets the parser run over the text and drops its events.

use std::hint::black_box;

use divan::{Bencher, counter::ItemsCount};
use statefun_kinesis_spec::{Options, SourceFile, read_module};

fn main() {
    divan::main();
}

const INGRESSES: usize = 1_000;

/// A module in the style of the documentation: a third of the ingresses has a second stream.
fn module() -> String {
    (0..INGRESSES).map(ingress).collect::<Vec<_>>().join("---\n")
}

fn ingress(number: usize) -> String {
    let stream = |suffix: &str| {
        format!(
            "    - stream: orders-{number:04}{suffix}
      streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders-{number:04}{suffix} # routes go by the ARN
      valueType: example/Order
      targets:
        - example/order-handler-{number:04}
        - example/audit
"
        )
    };
    let streams = if number.is_multiple_of(3) { stream("") + &stream("-returns") } else { stream("") };
    format!(
        "kind: io.statefun.kinesis.v1/ingress
spec:
  id: example/orders-{number:04}
  awsRegion:
    type: specific
    id: us-east-1
  awsCredentials:
    type: profile
    profile: default
  startupPosition:
    type: at-timestamp
    timestamp: \"2026-04-23T00:00:00.000Z\"
  streams:
{streams}"
    )
}

#[divan::bench]
fn floor_parser_events(bencher: Bencher) {
    let text = module();
    bencher.counter(ItemsCount::new(INGRESSES)).bench_local(|| {
        let mut parser = saphyr_parser::Parser::new_from_str(&text);
        let mut events = 0;
        while let Some(event) = parser.next_event() {
            black_box(event.expect("the module is YAML"));
            events += 1;
        }
        events
    });
}

/// What a program does that has no checks of its own.
#[divan::bench]
fn saphyr_load(bencher: Bencher) {
    use saphyr::LoadableYamlNode;
    let text = module();
    bencher
        .counter(ItemsCount::new(INGRESSES))
        .bench_local(|| saphyr::MarkedYaml::load_from_str(&text).expect("the module is YAML"));
}

#[divan::bench]
fn read_and_check(bencher: Bencher) {
    let files = [SourceFile::new("module.yaml", module())];
    let options = Options::default();
    let checked = read_module(&files, &options);
    assert!(checked.module.is_some_and(|module| module.ingresses.len() == INGRESSES), "the module is right");
    bencher.counter(ItemsCount::new(INGRESSES)).bench_local(|| read_module(&files, &options));
}
