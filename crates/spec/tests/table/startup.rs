//! Startup positions.

use statefun_kinesis_spec::{Options, SourceFile, StartupPosition, read_module};

use crate::{check, check_all, ingress};

#[track_caller]
fn reads(lines: &str, expected: StartupPosition) {
    let checked = read_module(&[SourceFile::new("f", ingress(lines))], &Options::default());
    let module = checked.module.unwrap_or_else(|| panic!("{:#?}", checked.diagnostics));
    assert_eq!(module.ingresses[0].startup, expected, "{lines}");
}

fn at(text: &str) -> StartupPosition {
    StartupPosition::AtTimestamp(text.parse().unwrap())
}

#[test]
fn every_position() {
    reads("", StartupPosition::Latest);
    reads("startupPosition: {type: latest}", StartupPosition::Latest);
    reads("startupPosition: {type: trim-horizon}", StartupPosition::TrimHorizon);
    reads(
        "startupPosition: {type: at-timestamp, timestamp: '2026-04-23T02:00:00.000+02:00'}",
        at("2026-04-23T00:00:00.000Z"),
    );
    // Without quotes the text is the same text.
    reads(
        "startupPosition:\n  type: at-timestamp\n  timestamp: 2026-04-23T00:00:00.000Z",
        at("2026-04-23T00:00:00.000Z"),
    );
    reads("startupPosition: {type: earliest}", StartupPosition::TrimHorizon);
    reads("startupPosition: {type: date, date: 2020-02-01 04:15:00.000 +0000}", at("2020-02-01T04:15:00.000Z"));
}

#[test]
fn the_names_of_statefun() {
    check(
        &ingress("startupPosition: {type: earliest}"),
        "f:4:27: note[SFK0033]: `earliest` is Apache StateFun's name for `trim-horizon`",
    );
    check(
        &ingress("startupPosition: {type: date, date: 2020-02-01 04:15:00.000 +0000}"),
        "f:4:27: note[SFK0033]: `date` is Apache StateFun's name for `at-timestamp`",
    );
}

#[test]
fn a_number_is_no_timestamp() {
    check_all(
        &[&ingress("startupPosition: {type: at-timestamp, timestamp: 1713830400}")],
        "
        f:4:52: error[SFK0023]: `timestamp` must be an ISO-8601 string, not a numeric epoch
          help: write timestamp: \"2024-04-23T00:00:00.000Z\"
        ",
    );
    check_all(
        &[&ingress("startupPosition: {type: at-timestamp, timestamp: '1713830400123'}")],
        "
        f:4:52: error[SFK0023]: `timestamp` must be an ISO-8601 string, not a numeric epoch
          help: write timestamp: \"2024-04-23T00:00:00.123Z\"
        ",
    );
}

#[test]
fn a_missing_timestamp() {
    check_all(
        &[&ingress("startupPosition:\n  type: at-timestamp")],
        "
        f:4:3: error[SFK0010]: `startupPosition` of type `at-timestamp` needs the field `timestamp`
          help: an ISO-8601 string, not a numeric epoch, for example
          help: timestamp: \"2026-04-23T00:00:00.000Z\"
        ",
    );
}

#[test]
fn a_text_that_is_no_timestamp() {
    check(
        &ingress("startupPosition: {type: at-timestamp, timestamp: yesterday}"),
        "f:4:52: error[SFK0023]: `yesterday` is not a valid timestamp: expected yyyy-MM-dd'T'HH:mm:ss.SSSXXX, such as `2026-04-23T00:00:00.000Z` or `2026-04-23T02:00:00.000+02:00`",
    );
    check(
        &ingress("startupPosition: {type: date, date: 2020-02-01}"),
        "
        f:4:27: note[SFK0033]: `date` is Apache StateFun's name for `at-timestamp`
        f:4:39: error[SFK0023]: `2020-02-01` is not a date of the form yyyy-MM-dd HH:mm:ss.SSS Z
        ",
    );
}

#[test]
fn a_timestamp_without_at_timestamp() {
    check_all(
        &[&ingress("startupPosition: {type: latest, timestamp: '2026-04-23T00:00:00.000Z'}")],
        "
        f:4:35: error[SFK0011]: `startupPosition` of type `latest` has no field `timestamp`
          help: `timestamp` belongs to type `at-timestamp`
        ",
    );
}

#[test]
fn positions_in_other_spellings() {
    check_all(
        &[&ingress("startupPosition: {type: TRIM_HORIZON}")],
        "
        f:4:27: error[SFK0014]: `startupPosition` has no type `TRIM_HORIZON`
          help: did you mean `trim-horizon`?
        ",
    );
    check_all(
        &[&ingress("startupPosition: latest")],
        "
        f:4:20: error[SFK0013]: `startupPosition` must be a mapping, not a string
          help: write it as
          help: startupPosition:
          help:   type: trim-horizon
        ",
    );
}

#[test]
fn an_instant_with_any_offset_and_precision() {
    for (text, instant) in [
        ("2026-04-23T02:30:00+02:30", "2026-04-23T00:00:00.000Z"),
        ("2026-04-22t19:00:00.123456789-05:00", "2026-04-23T00:00:00.123Z"),
        ("2026-04-23T00:00:00z", "2026-04-23T00:00:00.000Z"),
        ("2026-04-23T00:00:00-00:00", "2026-04-23T00:00:00.000Z"),
    ] {
        let lines = format!("startupPosition: {{type: at-timestamp, timestamp: '{text}'}}");
        check(&ingress(&lines), "");
        reads(&lines, at(instant));
    }
}
