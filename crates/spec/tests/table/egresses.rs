//! Egresses: order, aggregation and the streams that records may name.

use statefun_kinesis_spec::{EgressOrder, EgressSpec, Options, SourceFile, read_module};

use crate::{check, check_all, egress};

#[track_caller]
fn read(lines: &str) -> EgressSpec {
    let checked = read_module(&[SourceFile::new("f", egress(&format!("streamName: s\n{lines}")))], &Options::default());
    assert_eq!(checked.diagnostics, [], "{lines}");
    checked.module.unwrap().egresses.remove(0)
}

#[test]
fn an_egress_without_a_stream_of_its_own() {
    let yaml = egress("allowedStreams: [out]");
    let note = "f:2:1: note[SFK0033]: the egress has no `streamName`, as in Apache StateFun: each record has to name its stream";
    check(&yaml, note);
    let module = read_module(&[SourceFile::new("f", yaml)], &Options::default()).module.unwrap();
    let egress = &module.egresses[0];
    assert_eq!(egress.stream_name, None);
    assert_eq!(egress.allowed_streams, Some(vec!["out".parse().unwrap()]));
}

#[test]
fn order() {
    assert_eq!(read("").order, EgressOrder::PerPartitionKey);
    assert_eq!(read("order: per-partition-key").order, EgressOrder::PerPartitionKey);
    assert_eq!(read("order: none").order, EgressOrder::None);
}

#[test]
fn an_invalid_order() {
    check_all(
        &[&egress("streamName: s\norder: per-shard")],
        "
        f:5:10: error[SFK0042]: `order` cannot be `per-shard`
          help: it is `per-partition-key` or `none`
        ",
    );
    check_all(
        &[&egress("streamName: s\norder: per_partition_key")],
        "
        f:5:10: error[SFK0042]: `order` cannot be `per_partition_key`
          help: did you mean `per-partition-key`?
        ",
    );
    check(&egress("streamName: s\norder: true"), "f:5:10: error[SFK0013]: `order` must be a string, not a boolean");
}

#[test]
fn aggregation() {
    assert_eq!(read("").aggregation, None);
    let on = read("aggregation: {}").aggregation.unwrap();
    assert_eq!((on.max_bytes, on.max_records), (None, None));
    let bounded = read("aggregation: {maxBytes: 25000, maxRecords: 100}").aggregation.unwrap();
    assert_eq!((bounded.max_bytes.map(u32::from), bounded.max_records.map(u32::from)), (Some(25000), Some(100)));
}

#[test]
fn aggregation_with_problems() {
    check(
        &egress("streamName: s\naggregation: {maxBytes: 10485761, maxRecords: many, maxSize: 5}"),
        "
        f:5:27: error[SFK0016]: `maxBytes` must be a whole number from 1 to 10485760, not 10485761
        f:5:49: error[SFK0013]: `maxRecords` must be a whole number, not a string
        f:5:55: error[SFK0011]: `aggregation` has no field `maxSize`
        ",
    );
    check_all(
        &[&egress("streamName: s\naggregation: true")],
        "
        f:5:16: error[SFK0013]: `aggregation` must be a mapping, not a boolean
          help: write it as
          help: aggregation:
          help:   maxBytes: 51200
          help:   maxRecords: 500
        ",
    );
}

#[test]
fn streams_that_records_may_name() {
    assert_eq!(read("").allowed_streams, None);
    let allowed = read("allowedStreams: [out, 'arn:aws:kinesis:us-east-1:123456789012:stream/other']").allowed_streams;
    let allowed: Vec<String> = allowed.unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(allowed, ["out", "arn:aws:kinesis:us-east-1:123456789012:stream/other"]);
}

#[test]
fn streams_that_are_not_a_list() {
    check_all(
        &[&egress("streamName: s\nallowedStreams: []")],
        "
        f:5:3: error[SFK0015]: `allowedStreams` is empty
          help: it needs at least one entry, for example
          help: allowedStreams:
          help:   - notifications-stream
        ",
    );
    check(
        &egress("streamName: s\nallowedStreams: out"),
        "f:5:19: error[SFK0013]: `allowedStreams` must be a list, not a string",
    );
    check(
        &egress("streamName: s\nallowedStreams: [out put, 7]"),
        "
        f:5:20: error[SFK0020]: `out put` is not a valid stream name: expected 1 to 128 letters, digits, `_`, `.` or `-`
        f:5:29: error[SFK0013]: an entry of `allowedStreams` must be a string, not a number
        ",
    );
}
