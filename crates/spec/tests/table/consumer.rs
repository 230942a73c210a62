//! How records are fetched: `consumer`.

use statefun_kinesis_spec::{ConsumerLifecycle, ConsumerSpec, Options, SourceFile, read_module};

use crate::{check, check_all, ingress};

#[track_caller]
fn reads(lines: &str, expected: ConsumerSpec) {
    let checked = read_module(&[SourceFile::new("f", ingress(lines))], &Options::default());
    assert_eq!(checked.diagnostics, [], "{lines}");
    assert_eq!(checked.module.unwrap().ingresses[0].consumer, expected, "{lines}");
}

fn polling(max_records: Option<u32>, idle: Option<u64>, discovery: Option<u64>) -> ConsumerSpec {
    ConsumerSpec::Polling {
        max_records: max_records.map(|number| number.try_into().unwrap()),
        idle_interval: idle.map(std::time::Duration::from_millis),
        discovery_interval: discovery.map(std::time::Duration::from_millis),
    }
}

fn fan_out(lifecycle: ConsumerLifecycle, discovery: Option<u64>) -> ConsumerSpec {
    ConsumerSpec::EnhancedFanOut {
        name: "orders".parse().unwrap(),
        lifecycle,
        discovery_interval: discovery.map(std::time::Duration::from_millis),
    }
}

#[test]
fn every_consumer() {
    reads("", polling(None, None, None));
    reads("consumer: {type: polling}", polling(None, None, None));
    reads(
        "consumer: {type: polling, maxRecords: 500, idleInterval: 250ms, discoveryInterval: 1 min}",
        polling(Some(500), Some(250), Some(60_000)),
    );
    reads("consumer: {type: enhanced-fan-out, name: orders}", fan_out(ConsumerLifecycle::Managed, None));
    reads(
        "consumer: {type: enhanced-fan-out, name: orders, lifecycle: given, discoveryInterval: 5000}",
        fan_out(ConsumerLifecycle::Given, Some(5000)),
    );
    reads(
        "consumer: {type: enhanced-fan-out, name: orders, lifecycle: managed}",
        fan_out(ConsumerLifecycle::Managed, None),
    );
}

#[test]
fn fan_out_without_a_name() {
    check_all(
        &[&ingress("consumer: {type: enhanced-fan-out}")],
        "
        f:4:3: error[SFK0010]: `consumer` of type `enhanced-fan-out` needs the field `name`
          help: for example
          help: name: orders
        ",
    );
}

#[test]
fn an_invalid_name() {
    check_all(
        &[&ingress("consumer: {type: enhanced-fan-out, name: order handler}")],
        "
        f:4:44: error[SFK0017]: `order handler` is not a valid consumer name: expected 1 to 128 letters, digits, `_`, `.` or `-`
          help: for example `orders`
        ",
    );
}

#[test]
fn fields_of_the_other_type() {
    check_all(
        &[&ingress("consumer: {type: polling, name: orders}")],
        "
        f:4:29: error[SFK0011]: `consumer` of type `polling` has no field `name`
          help: `name` belongs to type `enhanced-fan-out`
        ",
    );
    check_all(
        &[&ingress("consumer: {type: enhanced-fan-out, name: orders, maxRecords: 5}")],
        "
        f:4:52: error[SFK0011]: `consumer` of type `enhanced-fan-out` has no field `maxRecords`
          help: `maxRecords` belongs to type `polling`
        ",
    );
}

#[test]
fn a_type_by_flinks_name() {
    check_all(
        &[&ingress("consumer: {type: EFO, name: orders}")],
        "
        f:4:20: error[SFK0014]: `consumer` has no type `EFO`
          help: the types are `polling` and `enhanced-fan-out`
        ",
    );
    check_all(
        &[&ingress("consumer: {type: enhancedFanout, name: orders}")],
        "
        f:4:20: error[SFK0014]: `consumer` has no type `enhancedFanout`
          help: did you mean `enhanced-fan-out`?
        ",
    );
}

#[test]
fn numbers_and_times_out_of_range() {
    check(
        &ingress("consumer: {type: polling, maxRecords: 10001, idleInterval: 0, discoveryInterval: often}"),
        "
        f:4:41: error[SFK0016]: `maxRecords` must be a whole number from 1 to 10000, not 10001
        f:4:62: error[SFK0024]: `idleInterval` cannot be zero
        f:4:84: error[SFK0024]: `often` is not a duration
        ",
    );
}

#[test]
fn an_invalid_lifecycle() {
    check_all(
        &[&ingress("consumer: {type: enhanced-fan-out, name: orders, lifecycle: JOB_MANAGED}")],
        "
        f:4:63: error[SFK0042]: `lifecycle` cannot be `JOB_MANAGED`
          help: did you mean `managed`?
        ",
    );
    check_all(
        &[&ingress("consumer: {type: enhanced-fan-out, name: orders, lifecycle: manged}")],
        "
        f:4:63: error[SFK0042]: `lifecycle` cannot be `manged`
          help: did you mean `managed`?
        ",
    );
}

#[test]
fn a_consumer_that_is_only_a_word() {
    check_all(
        &[&ingress("consumer: polling")],
        "
        f:4:13: error[SFK0013]: `consumer` must be a mapping, not a string
          help: write it as
          help: consumer:
          help:   type: enhanced-fan-out
          help:   name: orders
        ",
    );
}
