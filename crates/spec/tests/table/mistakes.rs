//! Usual mistakes, each as one change to a right module file: the diagnostic is where the mistake is, says what to do, and
//! comes alone, without others that only follow from it.

use statefun_kinesis_spec::{Options, Severity};

use crate::read;

const MODULE: &str = "\
kind: io.statefun.kinesis.v1/ingress
spec:
  id: example/orders
  awsRegion:
    type: specific
    id: us-east-1
  startupPosition:
    type: trim-horizon
  streams:
    - streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders
      valueType: example/Order
      targets:
        - example/fn
---
kind: io.statefun.kinesis.v1/egress
spec:
  id: example/out
  streamName: out
---
kind: io.statefun.endpoints.v2/http
spec:
  functions: example/*
  urlPathTemplate: https://fns.example/
";

const LEGACY: &str = "\
version: \"3.0\"
module:
  meta:
    type: remote
  spec:
    endpoints:
      - endpoint:
          meta:
            kind: http
          spec:
            functions: example/*
            urlPathTemplate: https://fns.example/
";

/// One change of a file: what it has, what is written instead, the place and code of the error, and parts of what it says
/// and advises.
type Mistake = (&'static str, &'static str, &'static str, &'static [&'static str]);

#[track_caller]
fn check(module: &str, mistakes: &[Mistake]) {
    let mut wrong = Vec::new();
    for (right, mistake, expected, says) in mistakes {
        assert!(module.contains(right), "{right}");
        let (files, checked) = read(&[&module.replacen(right, mistake, 1)], &Options::default());
        let errors: Vec<_> = checked.diagnostics.iter().filter(|found| found.severity == Severity::Error).collect();
        let text: Vec<String> = errors
            .iter()
            .map(|found| format!("{}\n    {}", found.to_line(&files), found.help.as_deref().unwrap_or("no help")))
            .collect();
        // The form of a document is noted wherever it stands; nothing else comes before the cause.
        let mut others = checked.diagnostics.iter().filter(|found| !found.message.contains("form of"));
        let first = others.next().is_some_and(|first| first.severity == Severity::Error);
        let is_right = errors.len() == 1
            && first
            && format!("{} {}", errors[0].position, errors[0].code) == *expected
            && says.iter().all(|part| text[0].contains(part));
        if !is_right {
            wrong.push(format!("{mistake}\n  expected {expected} {says:?}\n  found {first} {}", text.join("\n  ")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_colon_needs_a_space() {
    const SAYS: &[&str] = &["there is no space behind the colon", "write a space"];
    check(
        MODULE,
        &[
            ("kind: io.statefun.kinesis.v1/ingress", "kind:io.statefun.kinesis.v1/ingress", "1:1 SFK0001", SAYS),
            ("id: example/orders", "id:example/orders", "3:3 SFK0001", SAYS),
            ("type: specific", "type:specific", "5:5 SFK0001", SAYS),
            ("- streamArn: arn", "- streamArn:arn", "10:7 SFK0001", SAYS),
            ("valueType: example/Order", "valueType:example/Order", "11:7 SFK0001", SAYS),
            ("streamName: out", "streamName:out", "18:3 SFK0001", SAYS),
            ("streamName: out", "streamName:\u{a0}out", "18:3 SFK0001", &["U+00A0", "not an ordinary space"]),
        ],
    );
}

#[test]
fn a_line_with_a_wrong_indentation() {
    const SAYS: &str = "and no field above it is";
    check(
        MODULE,
        &[
            ("  startupPosition:", " startupPosition:", "7:2 SFK0001", &[SAYS, "2 spaces, like line 4"]),
            ("  startupPosition:", "   startupPosition:", "7:4 SFK0001", &[SAYS, "2 spaces, like line 4"]),
            ("    id: us-east-1", "   id: us-east-1", "6:4 SFK0001", &[SAYS, "4 spaces, like line 5"]),
            ("      valueType", "     valueType", "11:6 SFK0001", &[SAYS, "6 spaces, like line 10"]),
            ("      targets", "     targets", "12:6 SFK0001", &[SAYS, "6 spaces, like line 11"]),
            ("  streamName: out", " streamName: out", "18:2 SFK0001", &[SAYS, "2 spaces, like line 17"]),
            ("  streamName", "\u{a0} streamName", "18:1 SFK0011", &["U+00A0", "not an ordinary space"]),
            ("  streamName", "\tstreamName", "18:1 SFK0001", &["a tab", "indent with spaces"]),
        ],
    );
}

#[test]
fn marks_of_yaml_that_are_missing_or_not_supported() {
    check(
        MODULE,
        &[
            (
                "---\nkind: io.statefun.kinesis.v1/egress",
                "kind: io.statefun.kinesis.v1/egress",
                "14:1 SFK0012",
                &["`kind` twice", "`---` on the line before"],
            ),
            ("id: us-east-1", "id: !env AWS_REGION", "6:9 SFK0036", &["`!env`", "`${NAME}`"]),
            ("streamName: out", "streamName: !ENV OUT", "18:15 SFK0036", &["`!ENV`", "`${NAME}`"]),
            ("id: example/orders", "id: \"example/orders", "3:7 SFK0001", &["is not closed", "write `\"` at the end"]),
            ("valueType: example", "valueType: 'example", "11:18 SFK0001", &["is not closed", "write `'` at the end"]),
            ("https://fns", "\"https://fns", "23:20 SFK0001", &["is not closed", "write `\"` at the end"]),
            (
                "  startup",
                "  <<: *defaults\n  startup",
                "7:7 SFK0001",
                &["anchor", "merge keys", "write the fields out"],
            ),
            ("out\n---", "*out\n---", "18:15 SFK0001", &["anchor", "in quotes"]),
        ],
    );
}

#[test]
fn kinds_that_are_not_of_a_module() {
    check(
        MODULE,
        &[
            (
                "kind: io.statefun.kinesis.v1/egress",
                "apiVersion: v1\nkind: ConfigMap",
                "16:7 SFK0007",
                &["a Kubernetes ConfigMap", "in its `data`"],
            ),
            (
                "kind: io.statefun.kinesis.v1/egress",
                "apiVersion: apps/v1\nkind: Deployment",
                "16:7 SFK0007",
                &["a Kubernetes object"],
            ),
            (
                "kind: io.statefun.kinesis.v1/egress",
                "kind: ${KIND}",
                "15:7 SFK0007",
                &["only in values of `spec`", "write the kind itself"],
            ),
            (
                "kind: io.statefun.kinesis.v1/egress",
                "kind: com.example.pulsar.v1/egress",
                "15:7 SFK0008",
                &["is not supported", "skip documents of other transports"],
            ),
        ],
    );
}

#[test]
fn characters_that_look_like_others() {
    const E: &[&str] = &["did you mean", "U+0435, a Cyrillic letter"];
    const I: &[&str] = &["did you mean", "U+0456, a Cyrillic letter"];
    const QUOTES: &[&str] = &["quotes that YAML does not know", "straight quotes"];
    check(
        MODULE,
        &[
            ("id: example/orders", "id: “example/orders”", "3:7 SFK0048", QUOTES),
            ("streamName: out", "streamName: ‘out’", "18:15 SFK0048", QUOTES),
            ("id: us-east-1", "id: “us-east-1”", "6:9 SFK0048", QUOTES),
            ("id: us-east-1", "id: us–east-1", "6:9 SFK0021", &["did you mean `us-east-1`", "U+2013, a dash"]),
            ("streamName: out", "str\u{435}amName: out", "18:3 SFK0011", E),
            ("id: example/out", "\u{456}d: example/out", "17:3 SFK0011", I),
            ("type: specific", "type: sp\u{435}cific", "5:11 SFK0014", E),
            ("v1/egress", "v1/\u{435}gress", "15:7 SFK0007", E),
            ("kind: io.statefun.kinesis.v1/egress", "k\u{456}nd: io.statefun.kinesis.v1/egress", "15:1 SFK0006", I),
            ("- example/fn", "- \u{435}xample/fn", "13:11 SFK0028", E),
            ("streamName: out", "streamName: \u{43e}ut", "18:15 SFK0020", &["U+043E, a Cyrillic letter"]),
        ],
    );
}

#[test]
fn a_field_in_the_wrong_mapping() {
    check(
        MODULE,
        &[
            (
                "    id: us-east-1\n  startupPosition:\n    type",
                "    id: us-east-1\n    startupPosition:\n      type",
                "7:5 SFK0011",
                &["`startupPosition` belongs one level up, beside `awsRegion`"],
            ),
            (
                "        - example/fn",
                "        - example/fn\n      consumer: {type: polling}",
                "14:7 SFK0011",
                &["`consumer` belongs one level up, beside `streams`"],
            ),
            (
                "  streams:",
                "  targets: [example/fn]\n  streams:",
                "9:3 SFK0011",
                &["`targets` belongs in each entry of `streams`"],
            ),
            (
                "  urlPath",
                "  timeouts: {call: 1 min}\n  urlPath",
                "23:3 SFK0011",
                &["`timeouts` belongs in `transport`"],
            ),
            (
                "  streamName: out",
                "  streamName: out\nmaxOutstandingRecords: 5",
                "19:1 SFK0011",
                &["`maxOutstandingRecords` belongs directly below `spec`"],
            ),
            (
                "  streamName: out",
                "  streamName: out\n  startupPosition: {type: latest}",
                "19:3 SFK0011",
                &["`startupPosition` is a field of an ingress; the fields here are `id`"],
            ),
        ],
    );
}

#[test]
fn names_from_elsewhere() {
    check(
        MODULE,
        &[
            ("- example/fn", "- exmaple/fn", "13:11 SFK0028", &["did you mean `example/fn`?", "serve `example/*`"]),
            ("streamName: out", "streams: [out]", "18:3 SFK0011", &["did you mean `streamName`?"]),
            ("streamName: out", "stream: out", "18:3 SFK0011", &["did you mean `streamName`?"]),
            ("valueType:", "typeUrl:", "11:7 SFK0011", &["did you mean `valueType`?"]),
            (
                "functions: example/*\n  url",
                "functions: example/fn2\n  url",
                "13:11 SFK0028",
                &["did you mean `example/fn2`?"],
            ),
            (
                "v2/http\nspec:",
                "v1/http\nspec:\n  transport: {type: io.statefun.transports.v1/async}",
                "22:3 SFK0011",
                &["`transport` needs the kind `io.statefun.endpoints.v2/http`"],
            ),
        ],
    );
    check(
        LEGACY,
        &[(
            "            functions",
            "            transport: {type: io.statefun.transports.v1/async}\n            functions",
            "11:13 SFK0011",
            &["`transport` needs the kind `io.statefun.endpoints.v2/http`"],
        )],
    );
}

#[test]
fn addresses_of_functions_that_no_server_has() {
    check(
        MODULE,
        &[
            ("fns.example/", "fns.example:99999/x", "23:20 SFK0022", &["a port is a number from 1 to 65535"]),
            ("fns.example/", "fns.example:/x", "23:20 SFK0022", &["a port is a number from 1 to 65535"]),
            ("fns.example", "fns.bücher.example", "23:20 SFK0022", &["a host has only", "`xn--`"]),
            ("https://fns.example", "http://$FN:1108", "23:20 SFK0022", &["a host has only", "`${NAME}`"]),
            ("fns.example", "[::1", "23:20 SFK0022", &["an IPv6 address in brackets"]),
        ],
    );
}

#[test]
fn the_module_itself_is_right() {
    for module in [MODULE, LEGACY] {
        let (_, checked) = read(&[module], &Options::default());
        assert!(checked.module.is_some(), "{:#?}", checked.diagnostics);
    }
    let (_, checked) = read(&[&MODULE.replace("us-east-1", "eu-isoe-west-1")], &Options::default());
    assert!(checked.diagnostics.is_empty(), "{:#?}", checked.diagnostics);
}
