//! Fields that are missing, unknown, doubled or of another type, and the fields of an egress.

use statefun_kinesis_spec::{Options, SourceFile, read_module};

use crate::{check, check_all, check_with, egress, endpoint};

#[test]
fn missing_fields_of_an_egress() {
    check_all(
        &["kind: io.statefun.kinesis.v1/egress\nspec: {}\n"],
        "
        f:2:1: error[SFK0010]: an egress needs the field `id`
          help: for example
          help: id: example/notifications
        f:2:1: note[SFK0033]: the egress has no `streamName`, as in Apache StateFun: each record has to name its stream
          help: for records that name none, write for example
          help: streamName: notifications-stream
        ",
    );
}

#[test]
fn missing_fields_of_an_ingress() {
    check(
        "kind: io.statefun.kinesis.v1/ingress\nspec: {}\n",
        "
        f:2:1: error[SFK0010]: an ingress needs the field `id`
        f:2:1: error[SFK0010]: an ingress needs the field `streams`
        ",
    );
}

#[test]
fn an_unknown_field() {
    check_all(
        &[&egress("streamName: s\nmaxOutstandingRecord: 5\ncolour: red\nregion: us-east-1")],
        "
        f:5:3: error[SFK0011]: an egress has no field `maxOutstandingRecord`
          help: did you mean `maxOutstandingRecords`?
        f:6:3: error[SFK0011]: an egress has no field `colour`
          help: the fields of an egress are `id`, `awsRegion`, `awsCredentials`, `streamName`, `allowedStreams`, `maxOutstandingRecords`, `order`, `aggregation`, `failedRecordHandling` and `clientConfigProperties`
        f:7:3: error[SFK0011]: an egress has no field `region`
          help: did you mean `awsRegion`?
        ",
    );
}

#[test]
fn an_unknown_field_when_lenient() {
    let mut options = Options::default();
    options.lenient = true;
    check_with(
        &options,
        &egress("streamName: s\ncolour: red"),
        "f:5:3: warning[SFK0011]: an egress has no field `colour`",
    );
    // The wrong name is only a warning, so the right one must be missed aloud.
    check_with(
        &options,
        &endpoint("functions: a/*\nurlPathTemplat: https://a"),
        "
        f:2:1: error[SFK0010]: an endpoint needs the field `urlPathTemplate`
        f:4:3: warning[SFK0011]: an endpoint has no field `urlPathTemplat`
        ",
    );
    check_with(
        &options,
        &egress("streamNam: s"),
        "
        f:2:1: note[SFK0033]: the egress has no `streamName`, as in Apache StateFun: each record has to name its stream
        f:4:3: warning[SFK0011]: an egress has no field `streamNam`
        ",
    );
}

#[test]
fn a_misspelt_field_is_not_also_missing() {
    check(&egress("stream_name: s"), "f:4:3: error[SFK0011]: an egress has no field `stream_name`");
}

#[test]
fn a_field_that_is_there_twice() {
    check_all(
        &[&egress("streamName: s\nstreamName: t")],
        "
        f:5:3: error[SFK0012]: an egress has the field `streamName` twice
          f:4:3: first here
        ",
    );
}

#[test]
fn a_merge_key() {
    check_all(
        &[&egress("<<: {streamName: s}\nstreamName: t")],
        "
        f:4:3: error[SFK0011]: an egress has no field `<<`
          help: merge keys are not supported: write the fields out
        ",
    );
}

#[test]
fn a_field_without_a_name() {
    check(
        &egress("streamName: s\n? [a, b]\n: c"),
        "f:5:5: error[SFK0013]: a field of an egress is named by a string, not by a list or mapping",
    );
}

#[test]
fn a_number_where_a_text_belongs() {
    check_all(
        &[&egress("streamName: 12")],
        "
        f:4:15: error[SFK0013]: `streamName` must be a string, not a number
          help: put it in quotes: \"12\"
        ",
    );
    check(&egress("streamName: \"12\""), "");
}

#[test]
fn other_values_where_a_text_belongs() {
    check(&egress("streamName: true"), "f:4:15: error[SFK0013]: `streamName` must be a string, not a boolean");
    check(&egress("streamName:"), "f:4:3: error[SFK0013]: `streamName` has no value: it takes a string");
    check(&egress("streamName: ''"), "f:4:15: error[SFK0013]: `streamName` is empty: it takes a string");
    check(&egress("streamName: {a: b}"), "f:4:3: error[SFK0013]: `streamName` must be a string, not a mapping");
}

#[test]
fn an_arn_where_a_short_name_belongs() {
    check_all(
        &[&egress("streamName: arn:aws:kinesis:us-east-1:123456789012:stream/out")],
        "
        f:4:15: error[SFK0020]: `arn:aws:kinesis:us-east-1:123456789012:stream/out` is not a valid stream name: expected 1 to 128 letters, digits, `_`, `.` or `-`
          help: `streamName` takes the short name, not the ARN:
          help: streamName: out
        ",
    );
}

#[test]
fn a_number_out_of_range() {
    for number in ["0", "-1", "4294967296", "1.5"] {
        check(
            &egress(&format!("streamName: s\nmaxOutstandingRecords: {number}")),
            &format!(
                "f:5:26: error[SFK0016]: `maxOutstandingRecords` must be a whole number from 1 to 4294967295, not {number}"
            ),
        );
    }
}

/// Both are numbers of YAML. Another library reads them as whole ones, so that no schema can refuse them.
#[test]
fn numbers_that_are_not_written_in_digits() {
    for number in ["0x10", "0o17", "1e3"] {
        let file = SourceFile::new("f", egress(&format!("streamName: s\nmaxOutstandingRecords: {number}")));
        let said: Vec<String> = read_module(std::slice::from_ref(&file), &Options::default())
            .diagnostics
            .iter()
            .map(|found| found.to_line(std::slice::from_ref(&file)))
            .collect();
        let expected = format!(
            "f:5:26: error[SFK0016]: `maxOutstandingRecords` must be a whole number from 1 to 4294967295, not {number}"
        );
        assert_eq!(said, [expected]);
    }
}

#[test]
fn a_text_where_a_number_belongs() {
    check(
        &egress("streamName: s\nmaxOutstandingRecords: many"),
        "f:5:26: error[SFK0013]: `maxOutstandingRecords` must be a whole number, not a string",
    );
    check(&egress("streamName: s\nmaxOutstandingRecords: \"250\""), "");
}
