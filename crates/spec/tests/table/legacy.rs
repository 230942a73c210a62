//! The single document of Stateful Functions 3.0.

use statefun_kinesis_spec::{Module, Options, SourceFile, Variables, read_module};

use crate::{check, check_all, check_with, dedent, indented};

/// A module of 3.0 with these lines in its `spec`, from line 6 on.
fn legacy(lines: &str) -> String {
    format!("version: \"3.0\"\nmodule:\n  meta:\n    type: remote\n  spec:\n{}", indented(lines, 4))
}

/// The note that every such file has, and then these lines.
fn with_note(lines: &str) -> String {
    format!(
        "f:1:10: note[SFK0033]: this is the form of Apache StateFun 3.0: since 3.1 every ingress, egress and endpoint is a \
         document of its own, with `kind` and `spec`\n{}",
        dedent(lines)
    )
}

fn module(yaml: &str) -> Module {
    let checked = read_module(&[SourceFile::new("f", yaml)], &Options::default());
    checked.module.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics))
}

const INGRESS: &str = "
ingresses:
  - ingress:
      meta: {type: io.statefun.kinesis/ingress, id: example/orders}
      spec:
        streams:
          - streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders
            valueType: example/Order
            targets: [example/order-handler]
";

#[test]
fn everything_in_one_document_is_what_three_documents_are() {
    let old = legacy(&format!(
        "{}{}",
        dedent(INGRESS),
        dedent(
            "
            egresses:
              - egress:
                  meta:
                    type: io.statefun.kinesis/egress
                    id: example/notifications
                  spec:
                    streamName: notifications
            endpoints:
              - endpoint:
                  meta:
                    kind: http
                  spec:
                    functions: example/*
                    urlPathTemplate: http://localhost:8000/statefun
                    timeouts: {call: 1 min}
            "
        )
    ));
    check(&old, &with_note(""));
    let new = "
        kind: io.statefun.kinesis.v1/ingress
        spec:
          id: example/orders
          streams:
            - streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders
              valueType: example/Order
              targets: [example/order-handler]
        ---
        kind: io.statefun.kinesis.v1/egress
        spec:
          id: example/notifications
          streamName: notifications
        ---
        kind: io.statefun.endpoints.v1/http
        spec:
          functions: example/*
          urlPathTemplate: http://localhost:8000/statefun
          timeouts: {call: 1 min}
        ";
    assert!(module(&old) == module(&dedent(new)), "both are the same module");
}

#[test]
fn the_names_of_kinds_then_and_before() {
    for kind in [
        "io.statefun.kinesis/ingress",
        "statefun.kinesis.io/routable-protobuf-ingress",
        "io.statefun.kinesis.v1/ingress",
    ] {
        check(&legacy(&INGRESS.replace("io.statefun.kinesis/ingress", kind)), &with_note(""));
    }
    // `meta` was written with `kind` as well.
    check(&legacy(&INGRESS.replace("type: io", "kind: io")), &with_note(""));
}

#[test]
fn empty_lists_declare_nothing() {
    check(&legacy("ingresses: []\negresses: []\nendpoints: []"), &with_note(""));
}

#[test]
fn a_version_without_quotes() {
    check(&legacy("egresses: []").replace("\"3.0\"", "3.0"), &with_note(""));
}

#[test]
fn other_versions_are_refused_by_name() {
    for version in ["1.0", "2.0", "3.1", "latest"] {
        check_all(
            &[&legacy("egresses: []").replace("3.0", version)],
            &format!(
                "
                f:1:10: error[SFK0009]: modules of version `{version}` are not supported: only `3.0` is
                  help: since 3.1 every ingress, egress and endpoint is a document of its own, with `kind` and `spec`
                "
            ),
        );
    }
}

#[test]
fn a_module_without_a_version() {
    check_all(
        &["module:\n  meta: {type: remote}\n  spec: {egresses: []}\n"],
        "
        f:1:1: error[SFK0010]: a module of Stateful Functions 3.0 needs the field `version`
          help: for example
          help: version: \"3.0\"
        ",
    );
}

#[test]
fn a_version_without_a_module() {
    let (note, error) =
        (with_note(""), "f:1:1: error[SFK0010]: a module of Stateful Functions 3.0 needs the field `module`");
    check("version: '3.0'\n", &format!("{error}\n{note}"));
}

#[test]
fn a_module_without_what_it_declares() {
    check(
        "version: '3.0'\nmodule:\n  meta: {type: remote}\n",
        &with_note("f:2:1: error[SFK0010]: a module needs the field `spec`"),
    );
}

#[test]
fn an_embedded_module() {
    check(
        "version: '3.0'\nmodule:\n  meta: {type: embedded}\n  spec: {egresses: []}\n",
        &with_note("f:3:16: error[SFK0042]: `type` cannot be `embedded`"),
    );
}

#[test]
fn a_misspelt_list() {
    check_all(
        &[&legacy("ingreses: []")],
        &with_note(
            "
            f:6:5: error[SFK0011]: the `spec` of a module has no field `ingreses`
              help: did you mean `ingresses`?
            ",
        ),
    );
}

#[test]
fn a_problem_in_a_spec_has_its_place() {
    check(
        &legacy(
            "
            ingresses:
              - ingress:
                  meta:
                    type: io.statefun.kinesis/ingress
                    id: orders
                  spec:
                    awsRegion: {type: specific, id: US}
                    streams:
                      - streamArn: orders
                        valueType: Order
                        tragets: [a/b]
            ",
        ),
        &with_note(
            "
            f:10:17: error[SFK0017]: `orders` is not a valid type name: expected `<namespace>/<name>`, both not empty
            f:12:45: error[SFK0021]: `US` is not the id of a region: it has small letters, digits and `-`
            f:14:28: error[SFK0019]: `orders` is not a valid stream ARN: expected arn:aws:kinesis:<region>:<12-digit account>:stream/<name>
            f:15:28: error[SFK0017]: `Order` is not a valid type name: expected `<namespace>/<name>`, both not empty
            f:16:17: error[SFK0011]: a stream has no field `tragets`
            ",
        ),
    );
}

#[test]
fn a_declaration_without_its_id() {
    check(
        &legacy(&INGRESS.replace(", id: example/orders", "")),
        &with_note("f:8:11: error[SFK0010]: `meta` needs the field `id`"),
    );
}

#[test]
fn an_id_in_both_places() {
    check_all(
        &[&legacy(&INGRESS.replace("        streams:", "        id: example/other\n        streams:"))],
        &with_note(
            "
            f:10:13: error[SFK0012]: an ingress has the field `id` twice
              f:8:53: first here
            ",
        ),
    );
}

#[test]
fn an_id_that_is_there_twice() {
    let twice = format!("{}{}", dedent(INGRESS), dedent(INGRESS).replacen("ingresses:\n", "", 1));
    check_all(
        &[&legacy(&twice)],
        &with_note(
            "
            f:15:57: error[SFK0025]: two ingresses `example/orders`
              f:8:57: the first one is here
            ",
        ),
    );
}

#[test]
fn a_declaration_without_its_kind() {
    check(
        &legacy(&INGRESS.replace("type: io.statefun.kinesis/ingress, ", "")),
        &with_note("f:8:11: error[SFK0010]: `meta` needs the field `type`"),
    );
}

#[test]
fn a_declaration_of_another_sort_than_its_list() {
    check(
        &legacy(&INGRESS.replace("kinesis/ingress", "kinesis/egress")),
        &with_note("f:8:24: error[SFK0007]: unknown kind `io.statefun.kinesis/egress`"),
    );
}

#[test]
fn kafka_is_not_served_in_the_old_form_either() {
    let yaml = legacy(
        "
        ingresses:
          - ingress:
              meta: {type: io.statefun.kafka/ingress, id: a/b}
              spec: {address: 'kafka:9092'}
        ",
    );
    check(&yaml, &with_note("f:8:24: error[SFK0008]: the kind `io.statefun.kafka/ingress` is not supported"));
    let mut options = Options::default();
    options.ignore_unsupported = true;
    check_with(
        &options,
        &yaml,
        &with_note(
            "f:8:24: warning[SFK0008]: the kind `io.statefun.kafka/ingress` is not supported: the document is skipped",
        ),
    );
}

#[test]
fn variables_stand_for_values_everywhere_below_the_spec() {
    let mut options = Options::default();
    options.variables = Variables::from_iter([("ID", "example/orders"), ("KIND", "hunter2")]);
    let yaml = legacy(&INGRESS.replace("id: example/orders", "id: \"${ID}\""));
    check_with(&options, &yaml, &with_note(""));
    let files = [SourceFile::new("f", yaml.replace("io.statefun.kinesis/ingress", "\"${KIND}\""))];
    let said: Vec<String> = read_module(&files, &options).diagnostics.iter().map(|d| d.to_line(&files)).collect();
    assert_eq!(said[1], "f:8:24: error[SFK0007]: unknown kind the value of `${KIND}`");
}

#[test]
fn old_and_new_documents_in_one_file() {
    let yaml =
        format!("{}---\nkind: io.statefun.kinesis.v1/egress\nspec: {{id: a/b, streamName: s}}\n", legacy(INGRESS));
    check(&yaml, &with_note(""));
    assert_eq!(module(&yaml).egresses.len(), 1);
}
