//! What happens to records and messages that nobody takes: `invalidRecordHandling`, `failedRecordHandling` and
//! `failureHandling`.

use std::time::Duration;

use statefun_kinesis_spec::{
    FailureHandling, InvalidRecordHandling, LogLevel, Module, Options, SourceFile, read_module,
};

use crate::{check, check_all, egress, endpoint, ingress};

#[track_caller]
fn module(yaml: &str) -> Module {
    let checked = read_module(&[SourceFile::new("f", yaml)], &Options::default());
    checked.module.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics))
}

fn dead_letter(stream: &str, log: LogLevel) -> InvalidRecordHandling {
    InvalidRecordHandling::DeadLetter { stream: stream.parse().unwrap(), log }
}

const DEAD: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/dead";

#[test]
fn invalid_records_of_an_ingress() {
    for (lines, expected) in [
        ("".to_owned(), InvalidRecordHandling::Fail),
        ("invalidRecordHandling: {type: fail}".to_owned(), InvalidRecordHandling::Fail),
        ("invalidRecordHandling: {type: skip}".to_owned(), InvalidRecordHandling::Skip { log: LogLevel::Warn }),
        (
            "invalidRecordHandling: {type: skip, logLevel: DEBUG}".to_owned(),
            InvalidRecordHandling::Skip { log: LogLevel::Debug },
        ),
        ("invalidRecordHandling: {type: dead-letter, stream: dead}".to_owned(), dead_letter("dead", LogLevel::Warn)),
        (
            format!("invalidRecordHandling: {{type: dead-letter, stream: '{DEAD}', logLevel: error}}"),
            dead_letter(DEAD, LogLevel::Error),
        ),
    ] {
        check(&ingress(&lines), "");
        assert_eq!(module(&ingress(&lines)).ingresses[0].invalid_records, expected, "{lines}");
    }
}

#[test]
fn an_entry_of_streams_may_say_it_for_itself() {
    let yaml = "
        kind: io.statefun.kinesis.v1/ingress
        spec:
          id: example/orders
          invalidRecordHandling: {type: skip}
          streams:
            - streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders
              valueType: a/b
              targets: [a/c]
              invalidRecordHandling: {type: fail}
            - streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/returns
              valueType: a/b
              targets: [a/c]
        ";
    check(yaml, "");
    let ingress = &module(&crate::dedent(yaml)).ingresses[0];
    let of = |index: usize| ingress.invalid_records_of(&ingress.streams[index]);
    assert_eq!(of(0), &InvalidRecordHandling::Fail);
    assert_eq!(of(1), &InvalidRecordHandling::Skip { log: LogLevel::Warn });
}

#[test]
fn dead_letters_without_a_stream() {
    check_all(
        &[&ingress("invalidRecordHandling: {type: dead-letter}")],
        "
        f:4:3: error[SFK0010]: `invalidRecordHandling` of type `dead-letter` needs the field `stream`
          help: for example
          help: stream: orders-dead-letters
        ",
    );
}

#[test]
fn an_invalid_type() {
    check_all(
        &[&ingress("invalidRecordHandling: {type: deadletter, stream: dead}")],
        "
        f:4:33: error[SFK0014]: `invalidRecordHandling` has no type `deadletter`
          help: did you mean `dead-letter`?
        ",
    );
}

#[test]
fn an_invalid_log_level() {
    check_all(
        &[&ingress("invalidRecordHandling: {type: skip, logLevel: warning}")],
        "
        f:4:49: error[SFK0042]: `logLevel` cannot be `warning`
          help: it is `error`, `warn`, `info`, `debug` or `trace`
        ",
    );
}

#[test]
fn fields_that_another_type_has() {
    check_all(
        &[&ingress("invalidRecordHandling: {type: fail, stream: dead}")],
        "
        f:4:39: error[SFK0011]: `invalidRecordHandling` of type `fail` has no field `stream`
          help: `stream` belongs to type `dead-letter`
        ",
    );
}

#[test]
fn an_invalid_dead_letter_stream() {
    check(
        &ingress("invalidRecordHandling: {type: dead-letter, stream: dead letters}"),
        "f:4:54: error[SFK0020]: `dead letters` is not a valid stream name: expected 1 to 128 letters, digits, `_`, `.` or `-`",
    );
    check(
        &ingress("invalidRecordHandling: {type: dead-letter, stream: 'arn:aws:sqs:us-east-1:123456789012:dead'}"),
        "f:4:54: error[SFK0020]: `arn:aws:sqs:us-east-1:123456789012:dead` is not a valid stream ARN: expected an ARN of the service `kinesis`: arn:aws:kinesis:<region>:<account>:stream/<name>",
    );
}

#[test]
fn failed_records_of_an_egress() {
    for (lines, given_up, attempts, timeout) in [
        ("", InvalidRecordHandling::Fail, None, None),
        ("failedRecordHandling: {type: fail, maxAttempts: 3}", InvalidRecordHandling::Fail, Some(3), None),
        (
            "failedRecordHandling: {type: skip, logLevel: info, timeout: 5 min}",
            InvalidRecordHandling::Skip { log: LogLevel::Info },
            None,
            Some(300),
        ),
        (
            "failedRecordHandling: {type: dead-letter, stream: dead, maxAttempts: '7', timeout: 1000}",
            dead_letter("dead", LogLevel::Warn),
            Some(7),
            Some(1),
        ),
    ] {
        let yaml = egress(&format!("streamName: s\n{lines}"));
        check(&yaml, "");
        let failed = &module(&yaml).egresses[0].failed_records;
        assert_eq!(failed.given_up, given_up, "{lines}");
        assert_eq!(failed.max_attempts.map(u32::from), attempts, "{lines}");
        assert_eq!(failed.timeout, timeout.map(Duration::from_secs), "{lines}");
    }
}

#[test]
fn failed_records_with_problems() {
    check(
        &egress("streamName: s\nfailedRecordHandling: {type: skip, maxAttempts: 0, timeout: 0s, retries: 5}"),
        "
        f:5:51: error[SFK0016]: `maxAttempts` must be a whole number from 1 to 4294967295, not 0
        f:5:63: error[SFK0024]: `timeout` cannot be zero
        f:5:67: error[SFK0011]: `failedRecordHandling` of type `skip` has no field `retries`
        ",
    );
}

#[test]
fn failures_of_an_endpoint() {
    let yaml = |lines: &str| {
        let endpoint = endpoint(&format!("functions: example/*\nurlPathTemplate: http://localhost/\n{lines}"));
        format!("{}---\n{endpoint}", ingress(""))
    };
    let read = |lines: &str| {
        check(&yaml(lines), "");
        module(&yaml(lines)).endpoints[0].failures.clone()
    };
    assert_eq!(read(""), FailureHandling::KeepTrying);
    assert_eq!(read("failureHandling: {type: keep-trying}"), FailureHandling::KeepTrying);
    let FailureHandling::Skip { after, log } = read("failureHandling: {type: skip, maxAttempts: 3}") else {
        panic!("the type is skip")
    };
    assert_eq!((after.max_attempts.map(u32::from), after.timeout, log), (Some(3), None, LogLevel::Warn));
    let FailureHandling::DeadLetter { after, stream, .. } =
        read("failureHandling: {type: dead-letter, stream: dead, timeout: 1 h}")
    else {
        panic!("the type is dead-letter")
    };
    assert_eq!((after.timeout, stream.to_string()), (Some(Duration::from_secs(3600)), "dead".to_owned()));
    let FailureHandling::Fail { after } = read("failureHandling: {type: fail}") else { panic!("the type is fail") };
    assert_eq!((after.max_attempts, after.timeout), (None, None));
}

#[test]
fn failures_with_problems() {
    let yaml = |lines: &str| endpoint(&format!("functions: a/b\nurlPathTemplate: http://localhost/\n{lines}"));
    check_all(
        &[&yaml("failureHandling: {type: keep-trying, maxAttempts: 3}")],
        "
        f:5:40: error[SFK0011]: `failureHandling` of type `keep-trying` has no field `maxAttempts`
          help: `maxAttempts` belongs to type `skip`
        ",
    );
    check_all(
        &[&yaml("failureHandling: {type: retry}")],
        "
        f:5:27: error[SFK0014]: `failureHandling` has no type `retry`
          help: the types are `keep-trying`, `skip`, `dead-letter` and `fail`
        ",
    );
    check_all(
        &[&yaml("failureHandling: {}")],
        "
        f:5:3: error[SFK0010]: `failureHandling` needs the field `type`
          help: it is one of `keep-trying`, `skip`, `dead-letter` and `fail`, for example
          help: failureHandling:
          help:   type: keep-trying
        ",
    );
}
