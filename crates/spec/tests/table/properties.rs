//! `clientConfigProperties`: what acts, what does not, and what contradicts the fields of the file.

use std::time::Duration;

use statefun_kinesis_spec::{
    ConsumerLifecycle, ConsumerSpec, EgressSpec, IngressSpec, Options, SourceFile, read_module,
};
use statefun_kinesis_types::{AwsCredentials, AwsRegion};

use crate::{check, check_all, egress, ingress};

#[track_caller]
fn read(lines: &str) -> IngressSpec {
    let checked = read_module(&[SourceFile::new("f", ingress(lines))], &Options::default());
    assert_eq!(checked.diagnostics, [], "{lines}");
    checked.module.unwrap().ingresses.remove(0)
}

#[track_caller]
fn read_egress(lines: &str) -> EgressSpec {
    let checked = read_module(&[SourceFile::new("f", egress(&format!("streamName: s\n{lines}")))], &Options::default());
    assert_eq!(checked.diagnostics, [], "{lines}");
    checked.module.unwrap().egresses.remove(0)
}

/// An ingress with these client properties, from line 5 on.
fn properties(lines: &str) -> String {
    ingress(&format!("clientConfigProperties:\n{}", crate::indented(lines, 2)))
}

/// An egress with these client properties, from line 6 on.
fn of_egress(lines: &str) -> String {
    egress(&format!("streamName: s\nclientConfigProperties:\n{}", crate::indented(lines, 2)))
}

#[test]
fn a_list_of_mappings_and_a_mapping_are_the_same() {
    let list = read("clientConfigProperties: [{SocketTimeout: 9999}, {MaxConnections: 15}]");
    let mapping = read("clientConfigProperties: {SocketTimeout: 9999, MaxConnections: '15'}");
    assert_eq!(list, mapping);
    assert_eq!(list.client.read_timeout, Some(Duration::from_millis(9999)));
    assert_eq!(list.client.max_connections.map(u32::from), Some(15));
    assert!(list.client_properties.is_empty());
    check(&ingress("clientConfigProperties:"), "");
}

#[test]
fn times_of_the_aws_client_by_every_name() {
    for (property, time) in [
        ("ConnectionTimeout: 5000", (Some(5), None, None)),
        ("connectionTimeout: 5000", (Some(5), None, None)),
        ("aws.clientconfig.connectionTimeout: 5000", (Some(5), None, None)),
        ("SocketTimeout: 5000", (None, Some(5), None)),
        ("aws.http-client.read-timeout: 5 s", (None, Some(5), None)),
        ("RequestTimeout: 5000", (None, None, Some(5))),
        ("ClientExecutionTimeout: 5000", (None, None, Some(5))),
    ] {
        let client = read(&format!("clientConfigProperties: {{{property}}}")).client;
        let seconds = |time: Option<Duration>| time.map(|time| time.as_secs());
        let read = (seconds(client.connect_timeout), seconds(client.read_timeout), seconds(client.request_timeout));
        assert_eq!(read, time, "{property}");
    }
}

#[test]
fn polling_as_flink_names_it() {
    let new = "{source.reader.type: POLLING, source.shard.get-records.max-record-count: 500,
        source.reader.empty-records-fetch-interval: 1 s, source.shard.discovery.interval: 5 s}";
    let old = "{flink.stream.recordpublisher: POLLING, flink.shard.getrecords.maxrecordcount: 500,
        flink.shard.getrecords.intervalmillis: 1000, flink.shard.discovery.intervalmillis: 5000}";
    let ours = "{type: polling, maxRecords: 500, idleInterval: 1s, discoveryInterval: 5s}";
    let expected = ConsumerSpec::Polling {
        max_records: Some(500.try_into().unwrap()),
        idle_interval: Some(Duration::from_secs(1)),
        discovery_interval: Some(Duration::from_secs(5)),
    };
    assert_eq!(read(&format!("clientConfigProperties: {new}")).consumer, expected);
    assert_eq!(read(&format!("clientConfigProperties: {old}")).consumer, expected);
    assert_eq!(read(&format!("consumer: {ours}")).consumer, expected);
}

#[test]
fn enhanced_fan_out_as_flink_names_it() {
    for (lifecycle, expected) in [
        ("source.efo.lifecycle: JOB_MANAGED", ConsumerLifecycle::Managed),
        ("source.efo.lifecycle: SELF_MANAGED", ConsumerLifecycle::Given),
        ("flink.stream.efo.registration: LAZY", ConsumerLifecycle::Managed),
        ("flink.stream.efo.registration: EAGER", ConsumerLifecycle::Managed),
        ("flink.stream.efo.registration: NONE", ConsumerLifecycle::Given),
    ] {
        let read = read(&format!(
            "clientConfigProperties: [source.reader.type: EFO, source.efo.consumer.name: orders, {lifecycle}]"
        ));
        let ConsumerSpec::EnhancedFanOut { name, lifecycle, .. } = read.consumer else { panic!("it is EFO") };
        assert_eq!((name.as_str(), lifecycle), ("orders", expected));
    }
}

#[test]
fn fan_out_needs_a_name() {
    check_all(
        &[&properties("- source.reader.type: EFO")],
        "
        f:5:7: error[SFK0046]: enhanced fan-out (`source.reader.type`) needs a name for the consumer
          help: set the client property `source.efo.consumer.name`, or write
          help: consumer:
          help:   type: enhanced-fan-out
          help:   name: orders
        ",
    );
}

#[test]
fn an_invalid_reader() {
    check_all(
        &[&properties("- source.reader.type: PUSH")],
        "
        f:5:27: error[SFK0042]: `source.reader.type` cannot be `PUSH`
          help: it is `POLLING` or `EFO`
        ",
    );
}

#[test]
fn properties_of_the_reader_that_is_not_used() {
    check_all(
        &[&properties("- source.efo.consumer.name: orders\n- source.efo.lifecycle: SELF_MANAGED")],
        "
        f:5:7: warning[SFK0032]: the client property `source.efo.consumer.name` has no effect here
          help: shards are polled, without a registered consumer
        f:6:7: warning[SFK0032]: the client property `source.efo.lifecycle` has no effect here
          help: shards are polled, without a registered consumer
        ",
    );
    check_all(
        &[&properties(
            "
            - source.reader.type: EFO
            - source.efo.consumer.name: orders
            - source.shard.get-records.max-record-count: 500
            ",
        )],
        "
        f:7:7: warning[SFK0032]: the client property `source.shard.get-records.max-record-count` has no effect here
          help: with enhanced fan-out a shard sends its records by itself
        ",
    );
}

#[test]
fn invalid_numbers_and_times() {
    check(
        &properties(
            "
            - MaxConnections: many
            - SocketTimeout: soon
            - source.shard.get-records.max-record-count: 20000
            - source.shard.discovery.interval: 0
            ",
        ),
        "
        f:5:23: error[SFK0013]: `MaxConnections` must be a whole number, not a string
        f:6:22: error[SFK0024]: `soon` is not a duration
        f:7:50: error[SFK0016]: `source.shard.get-records.max-record-count` must be a whole number from 1 to 10000, not 20000
        f:8:40: error[SFK0024]: `source.shard.discovery.interval` cannot be zero
        ",
    );
}

#[test]
fn a_property_that_says_what_a_field_says() {
    check(
        &ingress(
            "
            awsRegion: {type: specific, id: us-east-1}
            consumer: {type: polling, maxRecords: 500}
            clientConfigProperties:
              - aws.region: us-east-1
              - source.reader.type: POLLING
              - flink.shard.getrecords.maxrecordcount: 500
            ",
        ),
        "",
    );
}

#[test]
fn a_property_that_says_something_else_than_a_field() {
    check_all(
        &[&ingress(
            "
            awsRegion: {type: specific, id: us-east-1}
            awsCredentials: {type: profile, profile: dev}
            consumer: {type: polling, maxRecords: 500}
            clientConfigProperties:
              - aws.region: eu-west-1
              - aws.endpoint: http://localhost:4566
              - aws.credentials.provider: PROFILE
              - aws.credentials.provider.profile.name: prod
              - source.reader.type: EFO
              - source.shard.get-records.max-record-count: 600
            ",
        )],
        "
        f:8:7: error[SFK0041]: the client property `aws.region` contradicts `awsRegion`
          f:4:3: which says something else
          help: leave the property out
        f:9:7: error[SFK0041]: the client property `aws.endpoint` contradicts `awsRegion`
          f:4:3: which says something else
          help: leave the property out
        f:10:7: error[SFK0041]: the client property `aws.credentials.provider` contradicts `awsCredentials`
          f:5:3: which says something else
          help: leave the property out
        f:12:7: error[SFK0041]: the client property `source.reader.type` contradicts `consumer`
          f:6:3: which says something else
          help: leave the property out
        f:13:7: error[SFK0041]: the client property `source.shard.get-records.max-record-count` contradicts `consumer`
          f:6:3: which says something else
          help: leave the property out
        ",
    );
    check(
        &ingress(
            "
            awsCredentials: {type: profile, profile: dev}
            clientConfigProperties: {aws.credentials.provider: PROFILE, aws.credentials.provider.profile.name: prod}
            ",
        ),
        "f:5:28: error[SFK0041]: the client property `aws.credentials.provider` contradicts `awsCredentials`",
    );
}

#[test]
fn two_properties_for_one_setting() {
    check_all(
        &[&properties("- source.reader.type: POLLING\n- source.reader.type: POLLING")],
        "
        f:6:7: error[SFK0012]: the client property `source.reader.type` is set twice
          f:5:7: first here
        ",
    );
    check_all(
        &[&properties("- SocketTimeout: 5000\n- aws.http-client.read-timeout: 6000")],
        "
        f:6:7: error[SFK0041]: `aws.http-client.read-timeout` sets what `SocketTimeout` sets already
          f:5:7: first here
        ",
    );
    check(
        &properties("- a.b: 1\n- a.b: 2"),
        "
        f:5:7: warning[SFK0032]: the client property `a.b` has no effect here
        f:6:7: error[SFK0012]: the client property `a.b` is set twice
        ",
    );
}

#[test]
fn a_region_and_an_endpoint() {
    let read_region = |lines: &str| read(&format!("clientConfigProperties: {lines}")).region;
    assert_eq!(read_region("{aws.region: us-east-1}"), AwsRegion::Specific { id: "us-east-1".into() });
    assert_eq!(
        read_region("{aws.region: us-east-1, aws.endpoint: 'http://localhost:4566'}"),
        AwsRegion::CustomEndpoint { endpoint: "http://localhost:4566".into(), id: "us-east-1".into() }
    );
    // Apache StateFun's `default` leaves it to the properties.
    let region = read("awsRegion: {type: default}\nclientConfigProperties: {aws.region: us-east-1}").region;
    assert_eq!(region, AwsRegion::Specific { id: "us-east-1".into() });
}

#[test]
fn an_endpoint_without_a_region() {
    check_all(
        &[&properties("- aws.endpoint: http://localhost:4566")],
        "
        f:5:7: error[SFK0046]: the client property `aws.endpoint` also needs the region
          help: set `awsRegion` with type `custom-endpoint` instead
        ",
    );
}

#[test]
fn credentials_of_every_provider() {
    let role = "arn:aws:iam::123456789012:role/orders";
    for (lines, expected) in [
        ("aws.credentials.provider: AUTO".to_owned(), AwsCredentials::Default),
        ("aws.credentials.provider: WEB_IDENTITY_TOKEN".to_owned(), AwsCredentials::Default),
        (
            "aws.credentials.provider: PROFILE, aws.credentials.provider.profile.name: dev".to_owned(),
            AwsCredentials::Profile { name: "dev".into(), path: None },
        ),
        (
            "aws.credentials.provider: PROFILE, aws.credentials.provider.profile.name: dev,
             aws.credentials.provider.profile.path: /aws/credentials"
                .to_owned(),
            AwsCredentials::Profile { name: "dev".into(), path: Some("/aws/credentials".into()) },
        ),
        (
            format!(
                "aws.credentials.provider: ASSUME_ROLE, aws.credentials.provider.role.arn: '{role}',
                 aws.credentials.provider.role.sessionName: s, aws.credentials.provider.role.externalId: x"
            ),
            AwsCredentials::AssumeRole {
                role_arn: role.into(),
                session_name: Some("s".into()),
                external_id: Some(statefun_kinesis_types::Secret::new("x")),
            },
        ),
        (
            format!(
                "aws.credentials.provider: WEB_IDENTITY_TOKEN, aws.credentials.provider.role.arn: '{role}',
                 aws.credentials.provider.webIdentityToken.file: /token"
            ),
            AwsCredentials::WebIdentity { role_arn: role.into(), token_file: "/token".into(), session_name: None },
        ),
    ] {
        assert_eq!(read(&format!("clientConfigProperties: {{{lines}}}")).credentials, expected, "{lines}");
        assert_eq!(read_egress(&format!("clientConfigProperties: {{{lines}}}")).credentials, expected, "{lines}");
    }
}

#[test]
fn keys_in_properties_are_keys_in_the_file() {
    check_all(
        &[&properties(
            "
            - aws.credentials.provider: BASIC
            - aws.credentials.provider.basic.accesskeyid: AKIAEXAMPLE
            - aws.credentials.provider.basic.secretkey: hunter2
            ",
        )],
        "
        f:7:7: warning[SFK0031]: this file has AWS keys in it: anyone who can read the file can use them
          help: prefer a profile, or the default chain (environment, web identity, instance role)
        ",
    );
}

#[test]
fn a_provider_without_what_it_needs() {
    check_all(
        &[&properties("- aws.credentials.provider: ASSUME_ROLE")],
        "
        f:5:7: error[SFK0046]: the credentials provider `ASSUME_ROLE` needs the client property `aws.credentials.provider.role.arn`
          help: set it, or write `awsCredentials` instead, where it is `awsCredentials.roleArn`
        ",
    );
    check(
        &properties("- aws.credentials.provider.basic.secretkey: hunter2"),
        "
        f:5:7: error[SFK0046]: the credentials provider `BASIC` needs the client property `aws.credentials.provider.basic.accesskeyid`
        f:5:7: warning[SFK0031]: this file has AWS keys in it: anyone who can read the file can use them
        ",
    );
}

#[test]
fn a_provider_that_does_not_exist_here() {
    check_all(
        &[&properties("- aws.credentials.provider: CUSTOM\n- aws.credentials.provider.custom.class: com.example.Keys")],
        "
        f:5:33: warning[SFK0032]: the credentials provider `CUSTOM` is not supported
          help: the AWS default chain is used instead, unless `awsCredentials` is set
        f:6:7: warning[SFK0032]: the client property `aws.credentials.provider.custom.class` has no effect here
          help: Java classes are not supported: set `awsCredentials`
        ",
    );
    check_all(
        &[&properties("- aws.credentials.provider: assume-role")],
        "
        f:5:33: error[SFK0042]: `aws.credentials.provider` cannot be `assume-role`
          help: did you mean `ASSUME_ROLE`?
        ",
    );
}

#[test]
fn a_property_that_the_provider_does_not_read() {
    check_all(
        &[&properties(
            "
            - aws.credentials.provider: PROFILE
            - aws.credentials.provider.profile.name: dev
            - aws.credentials.provider.role.arn: arn:aws:iam::123456789012:role/orders
            ",
        )],
        "
        f:7:7: warning[SFK0032]: the client property `aws.credentials.provider.role.arn` has no effect here
          help: it means nothing with the provider `PROFILE`
        ",
    );
}

#[test]
fn properties_that_nothing_reads() {
    check_all(
        &[&properties(
            "
            - source.init.position: LATEST
            - MaxErrorRetry: 3
            - ProxyHost: proxy.example
            - SocketTimeOut: 5000
            - colour: red
            ",
        )],
        "
        f:5:7: warning[SFK0032]: the client property `source.init.position` has no effect here
          help: set `startupPosition`
        f:6:7: warning[SFK0032]: the client property `MaxErrorRetry` has no effect here
          help: failed calls are always retried with growing delays
        f:7:7: warning[SFK0032]: the client property `ProxyHost` has no effect here
          help: properties cannot set a proxy
        f:8:7: warning[SFK0032]: the client property `SocketTimeOut` has no effect here
          help: did you mean `SocketTimeout`?
        f:9:7: warning[SFK0032]: the client property `colour` has no effect here
          help: it has no effect
        ",
    );
    let checked = read_module(&[SourceFile::new("f", properties("- colour: red"))], &Options::default());
    let kept = checked.module.unwrap().ingresses.remove(0).client_properties;
    assert_eq!(kept.iter().collect::<Vec<_>>(), [("colour", "red")]);
}

#[test]
fn properties_that_only_say_what_is_done_anyway() {
    check(&properties("- aws.trust.all.certificates: false\n- UseTcpKeepAlive: true"), "");
    check_all(
        &[&properties("- aws.trust.all.certificates: true")],
        "
        f:5:7: warning[SFK0032]: the client property `aws.trust.all.certificates` has no effect here
          help: certificates are always checked
        ",
    );
}

#[test]
fn the_producer_library_of_apache_statefun() {
    let egress = read_egress(
        "clientConfigProperties: {AggregationEnabled: true, AggregationMaxSize: 25000, AggregationMaxCount: 100,
          RecordTtl: 30000, ConnectTimeout: 6000, RequestTimeout: 6000, MaxConnections: 24}",
    );
    let aggregation = egress.aggregation.unwrap();
    assert_eq!(aggregation.max_bytes.map(u32::from), Some(25000));
    assert_eq!(aggregation.max_records.map(u32::from), Some(100));
    assert_eq!(egress.failed_records.timeout, Some(Duration::from_secs(30)));
    assert_eq!(egress.client.connect_timeout, Some(Duration::from_secs(6)));
    assert_eq!(egress.client.request_timeout, Some(Duration::from_secs(6)));
    assert_eq!(egress.client.max_connections.map(u32::from), Some(24));
    assert_eq!(read_egress("clientConfigProperties: {AggregationEnabled: false}").aggregation, None);
}

#[test]
fn the_producer_library_against_the_fields() {
    check_all(
        &[&egress(
            "
            streamName: s
            aggregation: {maxBytes: 1000}
            failedRecordHandling: {type: skip, timeout: 1 min}
            clientConfigProperties: {AggregationEnabled: false, AggregationMaxSize: 2000, RecordTtl: 30000}
            ",
        )],
        "
        f:7:28: error[SFK0041]: the client property `AggregationEnabled` contradicts `aggregation`
          f:5:3: which says something else
          help: leave the property out
        f:7:55: error[SFK0041]: the client property `AggregationMaxSize` contradicts `aggregation`
          f:5:3: which says something else
          help: leave the property out
        f:7:81: error[SFK0041]: the client property `RecordTtl` contradicts `failedRecordHandling`
          f:6:3: which says something else
          help: leave the property out
        ",
    );
}

#[test]
fn the_producer_library_without_effect() {
    check_all(
        &[&of_egress("- AggregationMaxSize: 2000\n- RateLimit: 150\n- source.reader.type: EFO")],
        "
        f:6:7: warning[SFK0032]: the client property `AggregationMaxSize` has no effect here
          help: records are not aggregated, unless `aggregation` is there
        f:7:7: warning[SFK0032]: the client property `RateLimit` has no effect here
          help: what a shard refuses is sent again more slowly
        f:8:7: warning[SFK0032]: the client property `source.reader.type` has no effect here
          help: it has no effect
        ",
    );
}

#[test]
fn properties_of_another_shape() {
    check(
        &ingress("clientConfigProperties: fast"),
        "f:4:27: error[SFK0013]: `clientConfigProperties` must be a list of mappings, not a string",
    );
    check(
        &ingress("clientConfigProperties: [fast]"),
        "f:4:28: error[SFK0013]: an entry of `clientConfigProperties` must be a mapping, not a string",
    );
    check(
        &ingress("clientConfigProperties: {a: [b]}"),
        "f:4:28: error[SFK0013]: a client property is a name with a string, a number or a boolean",
    );
    check(
        &ingress("clientConfigProperties: {SocketTimeout: }"),
        "f:4:28: error[SFK0013]: `SocketTimeout` has no value: it takes a duration",
    );
}
