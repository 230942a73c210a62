//! Kinds, specs and what documents say about each other.

use statefun_kinesis_spec::Options;

use crate::{check, check_all, check_with, egress, endpoint, ingress};

#[test]
fn no_kind() {
    check_all(
        &["spec:\n  id: a/b\n"],
        "
        f:1:1: error[SFK0006]: the document has no `kind`
          help: the kinds are `io.statefun.kinesis.v1/ingress`, `io.statefun.kinesis.v1/egress` and `io.statefun.endpoints.v2/http`
        ",
    );
}

#[test]
fn no_spec() {
    check_all(
        &["kind: io.statefun.kinesis.v1/egress"],
        "
        f:1:1: error[SFK0010]: a document needs the field `spec`
          help: for example
          help: spec:
          help:   id: example/orders
        ",
    );
}

#[test]
fn an_empty_spec() {
    check_all(
        &["kind: io.statefun.kinesis.v1/egress\nspec:\n"],
        "
        f:2:1: error[SFK0013]: `spec` has no value: it takes a mapping
          help: write it as
          help: spec:
          help:   id: example/notifications
          help:   awsRegion:
          help:     type: specific
          help:     id: us-east-1
        ",
    );
}

#[test]
fn a_spec_whose_indentation_was_lost() {
    check_all(
        &["
        kind: io.statefun.kinesis.v1/egress
        spec:
        id: example/notifications
        awsRegion:
        type: specific
        id: us-east-1
        streamName: notifications-stream
        "],
        "
        f:2:1: error[SFK0010]: `spec` is empty: its fields are not indented
          help: write `id`, `awsRegion` and `streamName` indented below `spec:`
        ",
    );
}

#[test]
fn a_spec_that_is_a_text() {
    check(
        "kind: io.statefun.kinesis.v1/egress\nspec: s\n",
        "f:2:7: error[SFK0013]: `spec` must be a mapping, not a string",
    );
}

#[test]
fn a_kind_that_is_a_number() {
    check("kind: 1\nspec: {}\n", "f:1:7: error[SFK0013]: `kind` must be a string, not a number");
}

#[test]
fn an_unknown_kind() {
    check_all(
        &["kind: io.statefun.kinesis/ingress\nspec: {}\n---\nkind: Deployment\nspec: {}\n"],
        "
        f:1:7: error[SFK0007]: unknown kind `io.statefun.kinesis/ingress`
          help: did you mean `io.statefun.kinesis.v1/ingress`?
        f:4:7: error[SFK0007]: unknown kind `Deployment`
          help: the kinds are `io.statefun.kinesis.v1/ingress`, `io.statefun.kinesis.v1/egress` and `io.statefun.endpoints.v2/http`
        ",
    );
}

#[test]
fn kafka_is_not_served() {
    let yaml = "kind: io.statefun.kafka.v1/ingress\nspec:\n  id: a/b\n  address: kafka:9092\n";
    check_all(
        &[yaml],
        "
        f:1:7: error[SFK0008]: the kind `io.statefun.kafka.v1/ingress` is not supported
          help: remove the document, or skip documents of other transports; the kinds are `io.statefun.kinesis.v1/ingress`, `io.statefun.kinesis.v1/egress` and `io.statefun.endpoints.v2/http`
        ",
    );
    let mut options = Options::default();
    options.ignore_unsupported = true;
    check_with(
        &options,
        yaml,
        "f:1:7: warning[SFK0008]: the kind `io.statefun.kafka.v1/ingress` is not supported: the document is skipped",
    );
}

#[test]
fn a_kind_of_another_namespace_is_skipped_like_kafka() {
    let mut options = Options::default();
    options.ignore_unsupported = true;
    for kind in ["com.example.pulsar.v1/ingress", "io.example/egress", "statefun.rabbitmq.io/ingress"] {
        let yaml = format!("kind: {kind}\nspec:\n  topic: orders\n");
        check(&yaml, &format!("f:1:7: error[SFK0008]: the kind `{kind}` is not supported"));
        let skipped = format!("f:1:7: warning[SFK0008]: the kind `{kind}` is not supported: the document is skipped");
        check_with(&options, &yaml, &skipped);
    }
    // A misspelt kind of this program must not be skipped, and what has no namespace is nobody's kind.
    for kind in [
        "io.statefun.kinesis.v1/egres",
        "io.statefun.kinesis.v2/ingress",
        "com.amazonaws.kinesis/source",
        "io.statefun.endpoints.v3/grpc",
        "io.statefun.kafca.v1/ingress",
        "Deployment",
        "http",
    ] {
        let yaml = format!("kind: {kind}\nspec:\n  topic: orders\n");
        let unknown = format!("f:1:7: error[SFK0007]: unknown kind `{kind}`");
        check(&yaml, &unknown);
        check_with(&options, &yaml, &unknown);
    }
}

#[test]
fn the_order_of_kind_and_spec_is_free_and_other_fields_are_unknown() {
    check(
        "
        spec:
          streamName: s
          id: a/b
        kind: io.statefun.kinesis.v1/egress
        metadata: {}
        ",
        "f:5:1: error[SFK0011]: a document has no field `metadata`",
    );
}

#[test]
fn an_id_that_is_there_twice() {
    check_all(
        &[&egress("streamName: s"), &format!("{}---\n{}", ingress(""), egress("streamName: t"))],
        "
        g:11:7: error[SFK0025]: two egresses `example/notifications`
          f:3:7: the first one is here
        ",
    );
}

#[test]
fn an_ingress_and_an_egress_may_share_an_id() {
    check(
        &format!(
            "{}---\n{}",
            ingress(""),
            "kind: io.statefun.kinesis.v1/egress\nspec: {id: example/orders, streamName: s}\n"
        ),
        "",
    );
}

#[test]
fn an_id_that_is_wrong_is_not_also_there_twice() {
    let yaml = "kind: io.statefun.kinesis.v1/egress\nspec: {id: orders, streamName: s}\n";
    check(
        &format!("{yaml}---\n{yaml}"),
        "
        f:2:12: error[SFK0017]: `orders` is not a valid type name: expected `<namespace>/<name>`, both not empty
        f:5:12: error[SFK0017]: `orders` is not a valid type name: expected `<namespace>/<name>`, both not empty
        ",
    );
}

#[test]
fn an_id_that_is_there_twice_is_found_in_broken_documents_too() {
    check(
        &format!("{}---\n{}", egress("streamNam: s"), egress("streamName: [s]")),
        "
        f:4:3: error[SFK0011]: an egress has no field `streamNam`
        f:8:7: error[SFK0025]: two egresses `example/notifications`
        f:9:3: error[SFK0013]: `streamName` must be a string, not a list
        ",
    );
}

#[test]
fn a_target_that_no_endpoint_serves() {
    let served = endpoint("functions: other/*\nurlPathTemplate: http://localhost:8000/");
    check_all(
        &[&format!("{}---\n{served}", ingress(""))],
        "
        f:7:17: error[SFK0028]: no endpoint serves `example/order-handler`
          f:11:14: functions of an endpoint
          help: the endpoints serve `other/*`
        ",
    );
}

#[test]
fn targets_that_endpoints_serve_by_name_or_by_namespace() {
    for functions in ["example/*", "example/order-handler"] {
        let served = endpoint(&format!("functions: {functions}\nurlPathTemplate: http://localhost:8000/"));
        check(&format!("{}---\n{served}", ingress("")), "");
    }
}

#[test]
fn an_endpoint_that_cannot_be_read_may_serve_anything() {
    let broken = endpoint("functions: example\nurlPathTemplate: http://localhost:8000/");
    check(
        &format!("{}---\n{broken}", ingress("")),
        "f:11:14: error[SFK0017]: `example` does not name functions: expected `<namespace>/<name>` or `<namespace>/*`",
    );
}
