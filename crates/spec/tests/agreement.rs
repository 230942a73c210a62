//! Another YAML library writes modules; what is read back has to be what was written.
//!
//! Writers choose styles that people seldom use: quotes only where they must, blocks of lines, escapes.

use proptest::prelude::*;
use serde_yaml::{Mapping, Value};
use statefun_kinesis_spec::{Options, SourceFile, StartupPosition, read_module};
use statefun_kinesis_types::{AwsCredentials, AwsRegion, Timestamp};

fn mapping<const N: usize>(fields: [(&str, Value); N]) -> Value {
    Value::Mapping(fields.into_iter().map(|(name, value)| (name.into(), value)).collect::<Mapping>())
}

/// Text that YAML has to quote or escape now and then: numbers, truth values, indicators, any letters.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-z][a-z0-9-]{0,12}",
        "[0-9]{1,6}",
        prop::sample::select(vec![
            "no", "true", "null", "~", "1e3", "0x1f", "- a", "a: b", "a #b", "'", "\"", "ü", "{a}", "*a", "%a", "@a"
        ])
        .prop_map(str::to_owned),
    ]
}

proptest! {
    #[test]
    fn a_module_that_another_library_wrote_is_read_as_it_was_meant(
        (namespace, name, value_type) in (word(), word(), word()),
        targets in prop::collection::btree_set(word(), 1..4),
        secret in "[!-~]{1,40}".prop_filter("a variable is substituted", |text| !text.contains("${")),
        stream in "[a-zA-Z0-9_.-]{1,128}",
        millis in 0_i64..4_102_444_800_000,
    ) {
        let start = Timestamp::from_millis(millis);
        let arn = format!("arn:aws:kinesis:us-east-1:123456789012:stream/{stream}");
        let typename = |name: &str| format!("{namespace}/{name}");
        let ingress = mapping([
            ("kind", "io.statefun.kinesis.v1/ingress".into()),
            ("spec", mapping([
                ("id", typename(&name).into()),
                ("awsRegion", mapping([("type", "specific".into()), ("id", "us-east-1".into())])),
                ("awsCredentials", mapping([
                    ("type", "basic".into()),
                    ("accessKeyId", "AKIAEXAMPLE".into()),
                    ("secretAccessKey", secret.clone().into()),
                ])),
                ("startupPosition", mapping([("type", "at-timestamp".into()), ("timestamp", start.to_string().into())])),
                ("streams", Value::Sequence(vec![mapping([
                    ("stream", stream.clone().into()),
                    ("streamArn", arn.clone().into()),
                    ("valueType", typename(&value_type).into()),
                    ("targets", targets.iter().map(|target| typename(target)).collect::<Vec<_>>().into()),
                ])])),
            ])),
        ]);
        let egress = mapping([
            ("kind", "io.statefun.kinesis.v1/egress".into()),
            ("spec", mapping([
                ("id", typename(&name).into()),
                ("streamName", stream.clone().into()),
                ("maxOutstandingRecords", 7.into()),
            ])),
        ]);
        let text = format!("{}---\n{}", serde_yaml::to_string(&ingress).unwrap(), serde_yaml::to_string(&egress).unwrap());
        let files = [SourceFile::new("module.yaml", text.as_str())];
        let checked = read_module(&files, &Options::default());
        let said: Vec<String> = checked.diagnostics.iter().map(|found| found.to_line(&files)).collect();
        let Some(module) = checked.module else { panic!("{said:#?}\n{text}") };

        let read = &module.ingresses[0];
        prop_assert_eq!(read.id.as_str(), typename(&name));
        prop_assert_eq!(&read.region, &AwsRegion::Specific { id: "us-east-1".into() });
        let AwsCredentials::Basic { secret_access_key, .. } = &read.credentials else { panic!("{text}") };
        prop_assert_eq!(secret_access_key.expose(), secret);
        prop_assert_eq!(read.startup, StartupPosition::AtTimestamp(start));
        let route = &read.streams[0];
        prop_assert_eq!(route.stream_arn.as_str(), arn);
        prop_assert_eq!(route.stream.as_ref().map(|name| name.as_str()), Some(stream.as_str()));
        prop_assert_eq!(route.value_type.as_str(), typename(&value_type));
        let read_targets: Vec<&str> = route.targets.iter().map(|target| target.as_str()).collect();
        prop_assert_eq!(read_targets, targets.iter().map(|target| typename(target)).collect::<Vec<_>>());
        prop_assert_eq!(module.egresses[0].stream_name.as_str(), stream);
        prop_assert_eq!(module.egresses[0].max_outstanding_records.get(), 7);
    }
}
