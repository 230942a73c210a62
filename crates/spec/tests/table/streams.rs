//! The streams of an ingress: ARNs, names, types and targets.

use statefun_kinesis_spec::{Options, SourceFile, read_module};

use crate::{check, check_all, streams};

#[test]
fn no_streams() {
    check_all(
        &["kind: io.statefun.kinesis.v1/ingress\nspec: {id: a/b, streams: []}\n"],
        "
        f:2:17: error[SFK0015]: `streams` is empty
          help: it needs at least one entry, for example
          help: streams:
          help:   - streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream
          help:     valueType: example/Order
          help:     targets:
          help:       - example/order-handler
        ",
    );
}

#[test]
fn a_stream_that_is_not_in_a_list() {
    check(
        &streams("streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders"),
        "f:4:3: error[SFK0013]: `streams` must be a list, not a mapping",
    );
    check(&streams("- orders"), "f:5:7: error[SFK0013]: an entry of `streams` must be a mapping, not a string");
}

#[test]
fn a_stream_without_anything() {
    check(
        &streams("- {}"),
        "
        f:5:7: error[SFK0010]: a stream needs the field `valueType`
        f:5:7: error[SFK0010]: a stream needs the field `targets`
        f:5:7: error[SFK0018]: a stream needs the field `streamArn`, or `stream` with its short name
        ",
    );
}

#[test]
fn a_stream_without_its_name() {
    check_all(
        &["
        kind: io.statefun.kinesis.v1/ingress
        spec:
          id: example/orders
          awsRegion: {type: specific, id: eu-west-1}
          streams:
            - valueType: example/Order
              targets: [example/order-handler]
        "],
        "
        f:6:7: error[SFK0018]: a stream needs the field `streamArn`, or `stream` with its short name
          help: streamArn: arn:aws:kinesis:eu-west-1:<account>:stream/<name>
          help: `aws kinesis describe-stream-summary --stream-name <name>` prints it
        ",
    );
}

#[test]
fn an_arn_that_is_not_of_a_stream() {
    for (arn, expected) in [
        (
            "arn:aws:sqs:us-east-1:123456789012:orders",
            "expected an ARN of the service `kinesis`: arn:aws:kinesis:<region>:<account>:stream/<name>",
        ),
        ("arn:aws:kinesis:us-east-1:1234:stream/orders", "expected an account of 12 digits in the fifth part"),
        ("arn:aws:kinesis:us-east-1:123456789012:orders", "expected a stream, `stream/<name>`, in the last part"),
    ] {
        check(
            &streams(&format!("- streamArn: {arn}\n  valueType: a/b\n  targets: [a/c]")),
            &format!("f:5:18: error[SFK0019]: `{arn}` is not a valid stream ARN: {expected}"),
        );
    }
}

#[test]
fn a_short_name_where_the_arn_belongs_and_the_other_way_round() {
    check_all(
        &[&streams(
            "
            - streamArn: orders-stream
              stream: arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream
              valueType: a/b
              targets: [a/c]
            ",
        )],
        "
        f:5:18: error[SFK0019]: `orders-stream` is not a valid stream ARN: expected arn:aws:kinesis:<region>:<12-digit account>:stream/<name>
          help: this is a short name, which goes into `stream`; `streamArn` takes the whole ARN
        f:6:15: error[SFK0020]: `arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream` is not a valid stream name: expected 1 to 128 letters, digits, `_`, `.` or `-`
          help: an ARN goes into `streamArn`; the short name is `orders-stream`
        ",
    );
}

#[test]
fn a_region_and_a_name_that_differ_from_the_arn() {
    check_all(
        &["
        kind: io.statefun.kinesis.v1/ingress
        spec:
          id: example/orders
          awsRegion: {type: specific, id: eu-west-1}
          streams:
            - stream: orders
              streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders-stream
              valueType: example/Order
              targets: [example/order-handler]
        "],
        "
        f:6:15: warning[SFK0030]: `stream` is `orders`, but the ARN names `orders-stream`: the ARN counts
          f:7:18: the ARN
        f:7:18: warning[SFK0029]: the ARN is of region `us-east-1`, but `awsRegion` is `eu-west-1`
        ",
    );
}

#[test]
fn two_entries_for_one_stream() {
    let entry =
        "- streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders\n  valueType: a/b\n  targets: [a/c]\n";
    check_all(
        &[&streams(&format!("{entry}{entry}"))],
        "
        f:8:18: error[SFK0026]: two entries for the stream `orders`
          f:5:18: the first one is here
          help: list all targets in one entry
        ",
    );
}

#[test]
fn two_ingresses_may_read_one_stream() {
    let entry =
        "- streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders\n  valueType: a/b\n  targets: [a/c]\n";
    let one = streams(entry);
    let two = one.replace("example/orders", "example/again");
    check(&format!("{one}---\n{two}"), "");
}

#[test]
fn streams_of_one_name_in_two_accounts_are_two() {
    let entry = |account: &str| {
        format!("- streamArn: arn:aws:kinesis:us-east-1:{account}:stream/orders\n  valueType: a/b\n  targets: [a/c]\n")
    };
    check(&streams(&(entry("123456789012") + &entry("000000000000"))), "");
}

#[test]
fn no_targets() {
    let arn = "- streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders\n  valueType: a/b\n";
    check(&streams(&format!("{arn}  targets: []")), "f:7:7: error[SFK0015]: `targets` is empty");
    check(&streams(arn), "f:5:7: error[SFK0010]: a stream needs the field `targets`");
    check_all(
        &[&streams(&format!("{arn}  targets: a/c"))],
        "
        f:7:16: error[SFK0013]: `targets` must be a list, not a string
          help: write it as
          help: targets:
          help:   - example/order-handler
        ",
    );
}

#[test]
fn targets_that_are_not_functions() {
    check(
        &streams(
            "
            - streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders
              valueType: Order
              targets: [handler, 7, example/one]
            ",
        ),
        "
        f:6:18: error[SFK0017]: `Order` is not a valid type name: expected `<namespace>/<name>`, both not empty
        f:7:17: error[SFK0017]: `handler` is not a valid type name: expected `<namespace>/<name>`, both not empty
        f:7:26: error[SFK0013]: an entry of `targets` must be a string, not a number
        ",
    );
}

#[test]
fn a_target_that_is_named_twice() {
    check_all(
        &[&streams(
            "
            - streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders
              valueType: a/b
              targets: [a/c, a/d, a/c]
            ",
        )],
        "
        f:7:27: warning[SFK0027]: `a/c` gets every record twice
          f:7:17: already named here
        ",
    );
}

#[test]
fn the_arn_beside_the_streams_as_kzmlabs_has_it() {
    let yaml = "
        kind: io.statefun.kinesis.v1/ingress
        spec:
          id: example/orders
          streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders
          streams:
            - stream: orders
              valueType: example/Order
              targets: [example/order-handler]
        ";
    check(
        yaml,
        "f:4:3: note[SFK0033]: `streamArn` beside `streams` is where kzmlabs' StateFun wants it; here it belongs in \
         the entry",
    );
    let module = read_module(&[SourceFile::new("f", crate::dedent(yaml))], &Options::default()).module.unwrap();
    assert_eq!(module.ingresses[0].streams[0].stream.name().as_str(), "orders");
}

#[test]
fn the_arn_beside_several_streams() {
    check_all(
        &["
        kind: io.statefun.kinesis.v1/ingress
        spec:
          id: example/orders
          streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders
          streams:
            - {stream: orders, valueType: a/b, targets: [a/c]}
            - {stream: returns, valueType: a/b, targets: [a/c]}
        "],
        "
        f:4:3: error[SFK0019]: a `streamArn` above the entries of `streams` needs exactly one entry
          f:7:8: another entry
          help: write a `streamArn` in each entry
        ",
    );
}

#[test]
fn the_arn_beside_the_streams_and_another_in_the_entry() {
    check(
        "
        kind: io.statefun.kinesis.v1/ingress
        spec:
          id: example/orders
          streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders
          streams:
            - streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/returns
              valueType: example/Order
              targets: [example/order-handler]
        ",
        "
        f:4:3: note[SFK0033]: `streamArn` beside `streams` is where kzmlabs' StateFun wants it; here it belongs in the entry
        f:6:18: error[SFK0019]: this `streamArn` is not the one beside `streams`
        ",
    );
}

#[test]
fn a_stream_by_its_name_as_apache_statefun_has_it() {
    let yaml = streams(
        "- {stream: orders, valueType: a/b, targets: [a/c]}\n- {stream: returns, valueType: a/b, targets: [a/c]}",
    );
    check(
        &yaml,
        "
        f:5:16: note[SFK0033]: `stream` without `streamArn` is Apache StateFun's form: the stream is looked up by its name when the module starts
        f:6:16: note[SFK0033]: `stream` without `streamArn` is Apache StateFun's form: the stream is looked up by its name when the module starts
        ",
    );
    let module = read_module(&[SourceFile::new("f", yaml)], &Options::default()).module.unwrap();
    let named: Vec<_> = module.ingresses[0].streams.iter().map(|route| (&route.stream, route.stream.arn())).collect();
    assert_eq!(named, [(&"orders".parse().unwrap(), None), (&"returns".parse().unwrap(), None)]);
}

#[test]
fn two_entries_for_one_name() {
    check_all(
        &[&streams("- {stream: orders, valueType: a/b, targets: [a/c]}\n- {stream: orders, valueType: a/b, targets: [a/d]}")],
        "
        f:5:16: note[SFK0033]: `stream` without `streamArn` is Apache StateFun's form: the stream is looked up by its name when the module starts
        f:6:16: error[SFK0026]: two entries for the stream `orders`
          f:5:16: the first one is here
          help: list all targets in one entry
        f:6:16: note[SFK0033]: `stream` without `streamArn` is Apache StateFun's form: the stream is looked up by its name when the module starts
        ",
    );
}

#[test]
fn an_invalid_name() {
    check(
        &streams("- {stream: my orders, valueType: a/b, targets: [a/c]}"),
        "f:5:16: error[SFK0020]: `my orders` is not a valid stream name: expected 1 to 128 letters, digits, `_`, `.` or `-`",
    );
}
