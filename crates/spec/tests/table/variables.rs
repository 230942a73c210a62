//! Variables of the environment in values.

use statefun_kinesis_spec::{Module, Options, SourceFile, Variables, read_module};

use crate::{check, check_all, check_all_with, check_with, egress, endpoint, ingress, streams};

const SET: [(&str, &str); 8] = [
    ("STREAM", "orders"),
    ("N", "250"),
    ("TIME", "1 min"),
    ("EMPTY", ""),
    ("NESTED", "${STREAM}"),
    ("YAML", "[a, b]: {c"),
    ("HUNTER", "hunter2"),
    ("BAD", "hunter2 hunter2"),
];

fn options() -> Options {
    let mut options = Options::default();
    options.variables = Variables::from_iter(SET);
    options
}

#[track_caller]
fn module(yaml: &str) -> Module {
    let files = [SourceFile::new("f", yaml)];
    let checked = read_module(&files, &options());
    let said: Vec<String> = checked.diagnostics.iter().map(|found| found.to_line(&files)).collect();
    assert!(said.is_empty(), "{said:#?}\n{yaml}");
    checked.module.unwrap()
}

#[track_caller]
fn check_stream_name(written: &str, expected: &str) {
    assert_eq!(
        module(&egress(&format!("streamName: {written}"))).egresses[0].stream_name.as_ref().unwrap().as_str(),
        expected,
        "{written}"
    );
}

#[track_caller]
fn check_property(written: &str, expected: &str) {
    let yaml = egress(&format!("streamName: s\nclientConfigProperties:\n  a: {written}"));
    let module = read_module(&[SourceFile::new("f", yaml)], &options()).module.unwrap();
    assert_eq!(module.egresses[0].client_properties.get("a"), Some(expected), "{written}");
}

#[test]
fn values_and_defaults_are_read_in_their_place() {
    check_stream_name("${STREAM}", "orders");
    check_stream_name("a-${STREAM}-${N}.b", "a-orders-250.b");
    check_stream_name("${NONE:-default}", "default");
    check_stream_name("${STREAM:-default}", "orders");
    check_stream_name("${EMPTY:-default}", "default");
    check_stream_name("${NONE:-12}", "12");
    check_stream_name("\"${STREAM}\"", "orders");
    check_stream_name("'${STREAM}'", "orders");
    check_stream_name("\"\\x24{STREAM}\"", "orders");
    check_stream_name(">-\n  ${STREAM}", "orders");
    check_stream_name("|-\n  ${STREAM}", "orders");
    check_stream_name("&name ${STREAM}", "orders");
}

#[test]
fn values_and_defaults_are_literal_text() {
    check_property("$${STREAM}", "${STREAM}");
    check_property("$${${N}}", "${250}");
    check_property("${NESTED}", "${STREAM}");
    check_property("${YAML}", "[a, b]: {c");
    check_property("\"${NONE:-- a: [b]}\"", "- a: [b]");
    check_property("${EMPTY}", "");
    check_property(">\n    ${STREAM}\n    ${N}", "orders 250\n");
    check_property("|\n    ${STREAM}\n    ${N}", "orders\n250\n");
    check_property("$STREAM", "$STREAM");
}

#[test]
fn numbers_and_durations_are_read_from_variables() {
    let egress = &module(&egress("streamName: s\nmaxOutstandingRecords: ${N}")).egresses[0];
    assert_eq!(egress.max_outstanding_records.get(), 250);
    let ingress = streams(
        "- {streamArn: \"arn:aws:kinesis:us-east-1:123456789012:stream/${STREAM}\", valueType: a/b, targets: [\"${STREAM}/c\"]}",
    );
    let endpoint = endpoint(
        "
        functions: ${STREAM}/*
        urlPathTemplate: https://${STREAM}:8000/{function.name}
        maxNumBatchRequests: ${NONE:-7}
        transport: {call: \"${TIME}\", connect: \"${N}\", pool_size: \"1${N}\"}
        ",
    );
    let read = module(&format!("{ingress}---\n{endpoint}"));
    let endpoint = &read.endpoints[0];
    assert_eq!(endpoint.functions.to_string(), "orders/*");
    assert_eq!(endpoint.url_path_template.as_str(), "https://orders:8000/{function.name}");
    assert_eq!(endpoint.max_num_batch_requests.get(), 7);
    assert_eq!(endpoint.transport.call_timeout.as_secs(), 60);
    assert_eq!(endpoint.transport.connect_timeout.as_millis(), 250);
    assert_eq!(endpoint.transport.pool_size.get(), 1250);
}

#[test]
fn a_value_through_aliases_is_replaced_at_each() {
    let arn = "arn:aws:kinesis:us-east-1:123456789012:stream";
    let read = module(&streams(&format!(
        "
        - {{streamArn: {arn}/a, valueType: a/b, targets: &t [\"a/${{STREAM}}\"]}}
        - {{streamArn: {arn}/b, valueType: a/b, targets: *t}}
        "
    )));
    let routes = &read.ingresses[0].streams;
    assert_eq!(routes.iter().map(|route| route.targets[0].as_str()).collect::<Vec<_>>(), ["a/orders"; 2]);
}

#[test]
fn variables_that_are_not_set() {
    check_all(
        &[&egress("streamName: a-${STREAM}-${ORDER}\nmaxOutstandingRecords: \"${N}\"\nawsRegion: ${REGION}")],
        "
        f:4:17: error[SFK0034]: the variable `STREAM` is not set
          help: set it in the environment, or write `${STREAM:-default}`
        f:4:27: error[SFK0034]: the variable `ORDER` is not set
          help: set it in the environment, or write `${ORDER:-default}`
        f:5:27: error[SFK0034]: the variable `N` is not set
          help: set it in the environment, or write `${N:-default}`
        f:6:14: error[SFK0034]: the variable `REGION` is not set
          help: set it in the environment, or write `${REGION:-default}`
        ",
    );
    // Where bytes of the value are not those of the file, the value is the place, or its first line.
    check(&egress("streamName: \"\\x61${ORDER}\""), "f:4:15: error[SFK0034]: the variable `ORDER` is not set");
    check(&egress("streamName: >-\n  a\n  ${ORDER}"), "f:5:5: error[SFK0034]: the variable `ORDER` is not set");
}

#[test]
fn the_place_of_a_variable_is_its_own_text() {
    let yaml = egress("streamName: 'ü${ORDER}x'");
    let checked = read_module(&[SourceFile::new("f", yaml.as_str())], &Options::default());
    assert_eq!(&yaml[checked.diagnostics[0].span.clone()], "${ORDER}");
}

#[test]
fn texts_that_look_like_variables() {
    const HELP: &str =
        "help: write `${NAME}` or `${NAME:-default}`, the name of letters, digits and `_`; `$${` is a literal `${`";
    for (written, at, message) in [
        ("${STREAM", 15, "`${STREAM` has no `}` at its end"),
        ("a${}", 16, "`${}` is neither `${NAME}` nor `${NAME:-default}`"),
        ("${1A}", 15, "`${1A}` is neither `${NAME}` nor `${NAME:-default}`"),
        ("${A-b}", 15, "`${A-b}` is neither `${NAME}` nor `${NAME:-default}`"),
    ] {
        check_all(
            &[&egress(&format!("streamName: {written}"))],
            &format!("f:4:{at}: error[SFK0037]: {message}\n  {HELP}"),
        );
    }
    check_all(
        &[&egress("streamName: ${A:-${B}}")],
        "
        f:4:15: error[SFK0037]: `${A:-${B}` has a variable in its default
          help: a default is literal text: write the value itself
        ",
    );
}

#[test]
fn names_of_fields_and_kinds_have_no_variables() {
    check_with(&options(), "kind: ${STREAM}\nspec: {}", "f:1:7: error[SFK0007]: unknown kind `${STREAM}`");
    check_with(
        &options(),
        &egress("streamName: s\n${STREAM}: 1"),
        "f:5:3: error[SFK0011]: an egress has no field `${STREAM}`",
    );
    check_with(
        &options(),
        &egress("streamName: s\nclientConfigProperties:\n  ${STREAM}: ${N}"),
        "f:6:5: warning[SFK0032]: the client property `${STREAM}` has no effect here",
    );
}

#[test]
fn documents_that_are_skipped_need_no_variables() {
    let mut options = Options::default();
    options.ignore_unsupported = true;
    check_with(
        &options,
        "kind: io.statefun.kafka.v1/ingress\nspec: {address: \"${KAFKA}\"}",
        "f:1:7: warning[SFK0008]: the kind `io.statefun.kafka.v1/ingress` is not supported: the document is skipped",
    );
}

#[test]
fn a_secret_with_a_variable_that_is_not_set_is_not_quoted() {
    check_all(
        &[&egress(
            "
            streamName: s
            awsCredentials: {type: profile, profile: \"${PROFILE}\"}
            awsRegion: {type: custom-endpoint, endpoint: http://localhost:1, id: a}
            ",
        )],
        "
        f:5:45: error[SFK0034]: the variable `PROFILE` is not set
          help: set it in the environment, or write `${PROFILE:-default}`
        ",
    );
    check_all(
        &[&egress(
            "
            streamName: s
            awsCredentials:
              type: basic
              accessKeyId: ${hunter2}
              secretAccessKey: a${hunter2
            ",
        )],
        "
        f:7:18: error[SFK0034]: a variable of this value is not set
          help: set it in the environment, or write `${NAME:-default}`; `$${` is a literal `${`
        f:8:5: warning[SFK0031]: this file has AWS keys in it: anyone who can read the file can use them
          help: prefer a profile, or the default chain (environment, web identity, instance role)
        f:8:23: error[SFK0037]: a variable of this value has no `}` at its end
          help: write `${NAME}` or `${NAME:-default}`, the name of letters, digits and `_`; `$${` is a literal `${`
        ",
    );
}

#[test]
fn keys_from_variables_are_no_keys_in_the_file() {
    let with = |secret: &str| {
        egress(&format!(
            "streamName: s\nawsCredentials: {{type: basic, accessKeyId: a, secretAccessKey: \"{secret}\"}}"
        ))
    };
    check_with(&options(), &with("${HUNTER}"), "");
    for secret in ["${HUNTER:-default}", "a${HUNTER}"] {
        check_with(
            &options(),
            &with(secret),
            "f:5:49: warning[SFK0031]: this file has AWS keys in it: anyone who can read the file can use them",
        );
    }
}

#[test]
fn what_is_wrong_with_a_value_is_said_without_the_value() {
    check_all_with(
        &options(),
        &[&egress("streamName: ${BAD}\nmaxOutstandingRecords: ${NONE:-0}\nawsRegion: {type: \"${BAD}\"}")],
        "
        f:4:15: error[SFK0020]: the value of `${BAD}` is not a valid stream name: expected 1 to 128 letters, digits, `_`, `.` or `-`
        f:5:26: error[SFK0016]: `maxOutstandingRecords` must be a whole number from 1 to 4294967295, not the value of `${NONE:-0}`
        f:6:21: error[SFK0014]: `awsRegion` has no type like the value of `${BAD}`
          help: the types are `specific`, `custom-endpoint` and `default`
        ",
    );
    check_with(
        &options(),
        &ingress("awsRegion: {type: specific, id: \"${HUNTER}\"}"),
        "f:6:18: warning[SFK0029]: the ARN is of another region than `awsRegion`",
    );
}

/// Every field with the secret in it, so that each message about a value is said at least once.
#[test]
fn no_message_quotes_a_value_of_any_field() {
    let arn = "arn:aws:kinesis:hunter2:123456789012:stream/hunter2";
    let mut options = options();
    options.variables = Variables::from_iter([
        ("HUNTER", "hunter2"),
        ("BAD", "hunter2 hunter2"),
        ("NAME", "hunter2/hunter2"),
        ("ARN", arn),
        ("EPOCH", "1713830400"),
        ("TYPE", "earliest"),
    ]);
    let documents = [
        egress("streamName: ${ARN}\nmaxOutstandingRecords: ${BAD}\nawsRegion: {type: specific, id: \"${BAD}\"}"),
        egress("streamName: ${BAD}\nawsRegion: {type: custom-endpoint, endpoint: \"${HUNTER}:1\", id: \"${HUNTER}\"}"),
        egress("streamName: s\nawsRegion: {type: custom-endpoint, endpoint: \"http://${BAD}\", id: a}"),
        "kind: io.statefun.kinesis.v1/egress\nspec: {id: \"${NAME}\", streamName: \"${HUNTER}\"}\n".to_owned(),
        "kind: io.statefun.kinesis.v1/egress\nspec: {id: \"${NAME}\", streamName: \"${HUNTER}\"}\n".to_owned(),
        "kind: io.statefun.kinesis.v1/egress\nspec: {id: \"${BAD}\", awsCredentials: \"${HUNTER}\"}\n".to_owned(),
        ingress("startupPosition: {type: at-timestamp, timestamp: \"${EPOCH}\"}"),
        ingress("startupPosition: {type: at-timestamp, timestamp: \"${BAD}\"}"),
        ingress("startupPosition: {type: date, date: \"${BAD}\"}"),
        ingress("startupPosition: {type: \"${TYPE}\", colour: red}"),
        streams(
            "
            - {streamArn: \"${ARN}\", stream: other, valueType: \"${NAME}\", targets: [\"${NAME}\", \"${NAME}\", \"${BAD}\"]}
            - {streamArn: \"${ARN}\", stream: \"${BAD}\", valueType: \"${BAD}\", targets: \"${HUNTER}\"}
            - {streamArn: \"${HUNTER}\", stream: \"${ARN}\", valueType: a/b, targets: []}
            ",
        ),
        ingress("awsRegion: {type: specific, id: \"${HUNTER}\"}"),
        format!("{}  awsRegion: {{type: specific, id: \"${{HUNTER}}\"}}\n", streams("- {valueType: a/b, targets: [a/b]}")),
        streams("- {stream: \"${HUNTER}\", valueType: a/b, targets: [a/b]}"),
        ingress("clientConfigProperties: {aws.region: \"${HUNTER}\", source.reader.type: \"${BAD}\", MaxConnections: \"${BAD}\"}"),
        ingress("awsRegion: {type: specific, id: us-east-1}\nclientConfigProperties: {aws.region: \"${HUNTER}\"}"),
        ingress("awsCredentials: {type: assume-role, roleArn: \"${BAD}\"}\ninvalidRecordHandling: {type: skip, logLevel: \"${BAD}\"}"),
        ingress("consumer: {type: enhanced-fan-out, name: \"${BAD}\", lifecycle: \"${BAD}\"}"),
        egress("streamName: s\nallowedStreams: [\"${BAD}\"]\norder: ${BAD}"),
        endpoint("functions: \"${NAME}\"\nurlPathTemplate: ${BAD}\nmaxNumBatchRequests: ${EPOCH}0"),
        endpoint("functions: \"${NAME}\"\nurlPathTemplate: http://${BAD}\ntransport: {type: \"${BAD}\"}"),
        endpoint("functions: other/*\nurlPathTemplate: http://${HUNTER}/\ntransport: {call: \"${BAD}\", pool_size: \"${BAD}\"}"),
    ];
    let without_value = |said: &str| {
        for value in ["hunter2", "1713830400", "2024-04-23", "earliest"] {
            assert!(!said.contains(value), "{value} was quoted in {said}");
        }
    };
    let mut codes = std::collections::BTreeSet::new();
    let files = [SourceFile::new("f", documents.join("---\n"))];
    let checked = read_module(&files, &options);
    without_value(&format!("{checked:?} {options:?}"));
    for found in &checked.diagnostics {
        codes.insert(found.code.as_str());
        without_value(&found.to_line(&files));
    }
    let expected = "SFK0011 SFK0013 SFK0014 SFK0015 SFK0016 SFK0017 SFK0018 SFK0019 SFK0020 SFK0021 SFK0022 SFK0023 \
                    SFK0024 SFK0025 SFK0026 SFK0027 SFK0028 SFK0029 SFK0030 SFK0033 SFK0038 SFK0041 SFK0042 SFK0043";
    let missing: Vec<&str> = expected.split(' ').filter(|code| !codes.contains(code)).collect();
    assert!(missing.is_empty(), "nothing was said of {missing:?}");
    let module = module(&egress("streamName: ${HUNTER}"));
    without_value(&format!("{module:?}"));
}

#[test]
fn replaced_values_are_bounded_together() {
    let mut options = Options::default();
    options.variables = Variables::from_iter([("LONG", "x".repeat(600_000))]);
    let yaml = egress("streamName: s\nclientConfigProperties: {a: \"${LONG}\", b: \"${LONG}\", c: \"${LONG}\"}");
    let checked = read_module(&[SourceFile::new("f", yaml)], &options);
    let errors: Vec<&str> = checked
        .diagnostics
        .iter()
        .filter(|found| found.code.as_str() == "SFK0003")
        .map(|found| found.message.as_str())
        .collect();
    assert_eq!(errors, ["the values with variables have more than 786432 bytes once they are replaced"]);
}
