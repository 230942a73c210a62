//! Decodes answers of GetRecords directly into the project's values.
//!
//! The SDK reads an answer byte by byte, copies each payload's text before it decodes it, and its values would be
//! copied once more into the project's. That is most of the cost of reading. So for this operation this module replaces
//! the SDK's decoder, at the place where the SDK looks it up for a call. It decodes only answers of the common shape
//! and leaves all others to the SDK's decoder. Requests, retries, time limits and failures remain the SDK's.

use std::{
    borrow::Cow,
    fmt,
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::Duration,
};

use aws_sdk_kinesis::{
    operation::get_records::{GetRecords, GetRecordsOutput},
    primitives::DateTime,
};
use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{
            Intercept,
            context::{BeforeSerializationInterceptorContextMut, Error, Output},
            dyn_dispatch_hint,
        },
        orchestrator::{HttpResponse, OrchestratorError},
        runtime_components::RuntimeComponents,
        runtime_plugin::RuntimePlugin,
        ser_de::{DeserializeResponse, SharedResponseDeserializer},
    },
};
use aws_smithy_types::{
    base64,
    config_bag::{ConfigBag, FrozenLayer},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error as _, SeqAccess, Visitor},
};
use serde_json::Value;
use statefun_kinesis_client::{RecordPage, ShardIterator};
use statefun_kinesis_types::{PartitionKey, Record};

use crate::answer::{self, Invalid};

/// Takes the page out of the answer of one call, before the SDK decodes it. Clones belong to the same call.
#[derive(Clone, Debug, Default)]
pub(crate) struct PageReader(Arc<Mutex<Option<Result<RecordPage, Invalid>>>>);

impl PageReader {
    /// The page of the answer, or which required field it lacks; `None` if the SDK has decoded it.
    pub(crate) fn take(&self) -> Option<Result<RecordPage, Invalid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[dyn_dispatch_hint]
impl Intercept for PageReader {
    fn name(&self) -> &'static str {
        "PageReader"
    }

    fn modify_before_serialization(
        &self,
        _context: &mut BeforeSerializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if of_sdk().is_some() {
            config.interceptor_state().store_put(SharedResponseDeserializer::new(self.clone()));
        }
        Ok(())
    }
}

impl DeserializeResponse for PageReader {
    fn deserialize_nonstreaming_with_config(
        &self,
        response: &HttpResponse,
        config: &ConfigBag,
    ) -> Result<Output, OrchestratorError<Error>> {
        let of_sdk = of_sdk().ok_or_else(|| OrchestratorError::other("the SDK has no decoder of GetRecords"))?;
        let body = response.body().bytes().filter(|_| response.status().as_u16() == 200);
        let page =
            body.and_then(|body| read(body).map(Ok).or_else(|| missing_field(body).map(Invalid::absent).map(Err)));
        let empty = || GetRecordsOutput::builder().set_records(Some(Vec::new())).build().ok();
        match page.zip(empty()) {
            Some((page, output)) => {
                *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(page);
                Ok(Output::erase(output))
            }
            None => of_sdk.deserialize_nonstreaming_with_config(response, config),
        }
    }
}

/// The SDK's decoder of GetRecords.
fn of_sdk() -> Option<&'static SharedResponseDeserializer> {
    static OPERATION: LazyLock<Option<FrozenLayer>> = LazyLock::new(|| GetRecords::new().config());
    OPERATION.as_ref()?.load::<SharedResponseDeserializer>()
}

/// Decodes an answer of the common shape. Returns `None` for all others, which the SDK has to decode. The result has to
/// equal the SDK's.
fn read(body: &[u8]) -> Option<RecordPage> {
    let page: Page<'_> = serde_json::from_slice(body).ok()?;
    let behind = Duration::from_millis(page.millis_behind_latest.unwrap_or(0));
    let next = page.next_shard_iterator.filter(|iterator| !iterator.0.is_empty());
    let next = next.map(|iterator| ShardIterator::new(iterator.0));
    Some(RecordPage::new(page.records.0, next, behind))
}

/// The required field that an answer lacks. The SDK would fill in an empty value: no records, or an empty payload, which
/// would be lost.
fn missing_field(body: &[u8]) -> Option<&'static str> {
    if body.trim_ascii().is_empty() {
        return Some("Records");
    }
    let answer: Value = serde_json::from_slice(body).ok()?;
    let Some(records) = answer.get("Records").filter(|records| !records.is_null()) else { return Some("Records") };
    let has = |record: &Value, field| record.get(field).is_some_and(|value| !value.is_null());
    let fields = ["SequenceNumber", "Data", "ApproximateArrivalTimestamp"];
    let names = ["Records.SequenceNumber", "Records.Data", "Records.ApproximateArrivalTimestamp"];
    let records = records.as_array().into_iter().flatten();
    let missing =
        |record: &Value| fields.iter().zip(names).find(|(field, _)| !has(record, **field)).map(|(_, name)| name);
    records.filter_map(missing).next()
}

/// A string of the answer, borrowed unless it has escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Page<'a> {
    records: Records,
    #[serde(borrow)]
    next_shard_iterator: Option<Text<'a>>,
    // The API's type is signed, so larger values are left to the SDK.
    #[serde(deserialize_with = "not_negative")]
    #[serde(default)]
    millis_behind_latest: Option<u64>,
    /// Absent or empty. The end of a shard, where it has entries, is rare and left to the SDK.
    #[serde(rename = "ChildShards")]
    _child_shards: Option<[(); 0]>,
}

fn not_negative<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    let millis: Option<i64> = Option::deserialize(deserializer)?;
    millis.map(|millis| u64::try_from(millis).map_err(D::Error::custom)).transpose()
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WireRecord<'a> {
    #[serde(borrow)]
    sequence_number: Text<'a>,
    approximate_arrival_timestamp: f64,
    #[serde(borrow)]
    data: Text<'a>,
    #[serde(borrow)]
    partition_key: Option<Text<'a>>,
    #[serde(borrow, rename = "EncryptionType")]
    _encryption_type: Option<Text<'a>>,
}

impl WireRecord<'_> {
    fn record(self) -> Option<Record> {
        let seconds = self.approximate_arrival_timestamp;
        // Only times between 1970 and the year 5138, for which both decoders round the same way.
        if !(0.0..1e11).contains(&seconds) {
            return None;
        }
        let arrival = answer::time("", &DateTime::from_secs_f64(seconds)).ok()?;
        let key = match &self.partition_key {
            Some(Text(key)) if !key.is_empty() => Some(key.parse::<PartitionKey>().ok()?),
            _ => None,
        };
        let data = base64::decode(&self.data.0).ok()?;
        Some(Record::new(self.sequence_number.0.parse().ok()?, key, arrival, data.into()))
    }
}

/// Converts each record while it is parsed, so that no data are kept twice.
struct Records(Vec<Record>);

impl<'de> Deserialize<'de> for Records {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(RecordsVisitor).map(Self)
    }
}

struct RecordsVisitor;

impl<'de> Visitor<'de> for RecordsVisitor {
    type Value = Vec<Record>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Record>, A::Error> {
        let mut records = Vec::new();
        while let Some(record) = list.next_element::<WireRecord<'_>>()? {
            records.push(record.record().ok_or_else(|| A::Error::custom("a record that the SDK is to look at"))?);
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};
    use serde_json::json;

    use super::*;
    use crate::replay::{Replay, Reply};

    /// Returns the client's result for an answer, whether the SDK decoded it, and the result of the SDK alone.
    fn both(body: &[u8]) -> (Result<RecordPage, String>, bool, Result<RecordPage, String>) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        let kinesis = Replay::new([Reply::json(&text), Reply::json(&text)]).kinesis();
        let iterator = ShardIterator::new("i");
        let ours = runtime.block_on(statefun_kinesis_client::KinesisClient::get_records(&kinesis, &iterator, 10));
        let sdk = runtime.block_on(kinesis.sdk.get_records().shard_iterator("i").limit(10).send());
        let sdk = sdk.map_err(|error| format!("{error:?}"));
        let sdk = sdk.and_then(|output| answer::record_page(output).map_err(|error| error.to_string()));
        (ours.map_err(|error| error.to_string()), read(body).is_none(), sdk)
    }

    /// Checks that both results are equal, or that the answer lacks something, and returns the result.
    #[track_caller]
    fn check(body: &str, left_to_sdk: bool) -> Result<RecordPage, String> {
        let (ours, left, sdk) = both(body.as_bytes());
        if let Some(field) = missing_field(body.as_bytes()) {
            let error = ours.unwrap_err();
            assert!(error.contains("incomplete answer") && error.contains(field), "{body}: {error}");
            return Err(error);
        }
        assert_eq!(ours.as_ref().ok(), sdk.as_ref().ok(), "{body}: {ours:?}, and the SDK's: {sdk:?}");
        assert_eq!(left, left_to_sdk, "who read {body}");
        ours
    }

    #[test]
    fn the_sdk_has_a_decoder_to_fall_back_on() {
        assert!(of_sdk().is_some());
    }

    #[test]
    fn an_answer_of_the_common_shape_is_read_here() {
        let number = "49590338271490256608559692538361571095921575989136588898";
        let record = json!({
            "SequenceNumber": number, "ApproximateArrivalTimestamp": 1_776_902_400.123, "Data": "AP8=",
            "PartitionKey": "ü\n\"🦀", "EncryptionType": "KMS",
        });
        let without_key =
            json!({"SequenceNumber": "0", "ApproximateArrivalTimestamp": 7, "Data": "", "PartitionKey": null});
        let body = json!({
            "Records": [record, without_key], "NextShardIterator": "next", "MillisBehindLatest": 5, "ChildShards": [],
            "Unknown": {"Records": [1, 2.5, "three", null, true]},
        });
        let page = check(&body.to_string(), false).unwrap();
        assert_eq!(page.records.len(), 2);
        assert_eq!(page.records[0].sequence_number.to_string(), number);
        assert_eq!(page.records[0].approximate_arrival.as_millis(), 1_776_902_400_123);
        assert_eq!((&page.records[0].data[..], &page.records[1].data[..]), (&b"\x00\xff"[..], &b""[..]));
        assert_eq!(page.records[0].partition_key.as_ref().unwrap().as_str(), "ü\n\"🦀");
        assert_eq!(page.records[1].partition_key, None);
        assert_eq!(
            (page.next_iterator, page.behind_latest),
            (Some(ShardIterator::new("next")), Duration::from_millis(5))
        );

        let empty = check(r#"{"Records":[],"NextShardIterator":null,"MillisBehindLatest":null}"#, false).unwrap();
        assert_eq!(empty, RecordPage::new(vec![], None, Duration::ZERO));
    }

    #[test]
    fn the_end_of_a_shard_and_whatever_is_odd_is_left_to_the_sdk() {
        let record = |field: &str, value: &str| {
            let mut fields = vec![
                ("SequenceNumber", r#""7""#),
                ("ApproximateArrivalTimestamp", "1776902400.123"),
                ("Data", r#""AP8=""#),
                ("PartitionKey", r#""k""#),
            ];
            fields.retain(|(name, _)| *name != field);
            fields.push((field, value));
            let fields: Vec<_> = fields.iter().map(|(name, value)| format!(r#""{name}":{value}"#)).collect();
            format!(r#"{{"Records":[{{{}}}],"NextShardIterator":"n"}}"#, fields.join(","))
        };
        let child = json!({"ShardId": "shardId-1", "ParentShards": ["shardId-0"],
            "HashKeyRange": {"StartingHashKey": "0", "EndingHashKey": "5"}});
        let end = json!({"Records": [], "ChildShards": [child], "MillisBehindLatest": 0});
        assert_eq!(check(&end.to_string(), true).unwrap().child_shards.len(), 1);
        for body in [
            "",
            " ",
            "{}",
            &json!({"Records": [], "NextShardIterator": "", "ChildShards": [child]}).to_string(),
            "[]",
            "null",
            r#"{"Records":null}"#,
            r#"{"Records":[null]}"#,
            r#"{"Records":[]} "#,
            r#"{"Records":[]}{"#,
            r#"{"Records":[],"MillisBehindLatest":-1}"#,
            r#"{"Records":[],"MillisBehindLatest":1.5}"#,
            r#"{"Records":[],"MillisBehindLatest":9223372036854775808}"#,
            r#"{"Records":[],"Records":[]}"#,
            r#"{"Records":[],"NextShardIterator":7}"#,
            &record("SequenceNumber", r#""07""#),
            &record("SequenceNumber", "7"),
            &record("ApproximateArrivalTimestamp", "-1.5"),
            &record("ApproximateArrivalTimestamp", r#""2026-01-01T00:00:00Z""#),
            &record("ApproximateArrivalTimestamp", "1e300"),
            &record("ApproximateArrivalTimestamp", "null"),
            &record("Data", r#""AP8""#),
            &record("Data", r#""-_8=""#),
            &record("Data", "null"),
            &record("PartitionKey", "5"),
            &record("PartitionKey", &format!("{:?}", "x".repeat(257))),
            &record("EncryptionType", "5"),
        ] {
            let here = body.ends_with("} ");
            let _ = check(body, !here);
        }
    }

    /// A JSON string with some escapes.
    fn literal() -> impl Strategy<Value = String> {
        let character = prop_oneof![
            8 => select(('a'..='z').chain('0'..='9').collect::<Vec<_>>()),
            1 => select(vec!['"', '\\', '/', '\n', '\u{1}', 'ü', '€', '🦀', '\u{7f}', ' ']),
            1 => any::<char>(),
        ];
        prop::collection::vec((character, any::<u8>()), 0..20).prop_map(|characters| {
            let escape = |(character, how): (char, u8)| match (character, how % 4) {
                ('/', 0) => "\\/".to_owned(),
                (_, 0) => {
                    let mut units = [0; 2];
                    character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04X}")).collect()
                }
                _ => {
                    let quoted = serde_json::to_string(&character.to_string()).unwrap();
                    quoted[1..quoted.len() - 1].to_owned()
                }
            };
            let text: String = characters.into_iter().map(escape).collect();
            format!("\"{text}\"")
        })
    }

    /// The values of a field, mostly common and sometimes odd ones.
    fn value(common: BoxedStrategy<String>, odd: &'static [&'static str]) -> BoxedStrategy<String> {
        prop_oneof![30 => common, 1 => select(odd).prop_map(str::to_owned)].boxed()
    }

    /// An object of such fields in any order, with some fields missing and some twice.
    fn object(fields: Vec<(&'static str, BoxedStrategy<String>)>) -> BoxedStrategy<String> {
        let all: Vec<_> = fields
            .into_iter()
            .map(|(name, value)| {
                let times = prop_oneof![60 => Just(1), 1 => Just(0), 1 => Just(2)];
                (times, value).prop_map(move |(times, value)| vec![format!(r#""{name}" :{value}"#); times])
            })
            .collect();
        let unknown =
            select(vec![vec![], vec![r#""Unknown": [{"Records": []}, 1e5, "\ud83e\udd80", null]"#.to_owned()]]);
        (all, unknown)
            .prop_flat_map(|(fields, unknown)| Just([fields.concat(), unknown].concat()).prop_shuffle())
            .prop_map(|fields| format!("{{{}}}", fields.join(", ")))
            .boxed()
    }

    fn answer_text() -> impl Strategy<Value = String> {
        let number = value("[1-9][0-9]{0,60}".prop_map(|n| format!("\"{n}\"")).boxed(), &["\"07\"", "7", "null"]);
        let time = prop_oneof![
            (0_u64..4_000_000_000_000).prop_map(|millis| format!("{}.{:03}", millis / 1_000, millis % 1_000)),
            (1_000_000_000_000_u64..4_000_000_000_000).prop_map(|millis| format!(
                "{}.{}E9",
                millis / 1_000_000_000_000,
                millis % 1_000_000_000_000
            )),
            (0_u64..4_000_000_000).prop_map(|seconds| seconds.to_string()),
            (0.0..1e10).prop_map(|seconds: f64| seconds.to_string()),
        ];
        let time = value(time.boxed(), &["-1", "1e20", "null", "\"2026-01-01T00:00:00Z\"", "\"1\""]);
        let data = prop::collection::vec(any::<u8>(), 0..40).prop_map(|data| format!("\"{}\"", base64::encode(data)));
        let data = value(data.boxed(), &["\"AP8\"", "\"A\\u0050\\/\\u002f\"", "\"_-8=\"", "null"]);
        let key = value(literal().boxed(), &["null", "\"\"", "8", "\"\\ud800\""]);
        let encryption = value(Just("\"KMS\"".to_owned()).boxed(), &["null", "\"\"", "1"]);
        let record = object(vec![
            ("SequenceNumber", number),
            ("ApproximateArrivalTimestamp", time),
            ("Data", data),
            ("PartitionKey", key),
            ("EncryptionType", encryption),
        ]);
        let records = prop::collection::vec(record, 0..4).prop_map(|records| format!("[{}]", records.join(" ,")));
        let behind = value(any::<u32>().prop_map(|millis| millis.to_string()).boxed(), &["null", "-1", "1.0", "\"1\""]);
        let children = value(Just("[]".to_owned()).boxed(), &["null", "[{}]", "{}"]);
        object(vec![
            ("Records", value(records.boxed(), &["null", "{}", "[null]"])),
            ("NextShardIterator", value(literal().boxed(), &["null", "1"])),
            ("MillisBehindLatest", behind),
            ("ChildShards", children),
        ])
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        /// Both decoders give the same result.
        #[test]
        fn what_is_read_is_what_the_sdk_reads(text in answer_text(), cut in any::<prop::sample::Index>(), torn in 0..40) {
            let end = if torn == 0 { cut.index(text.len() + 1) } else { text.len() };
            let text: String = text.chars().take(end).collect();
            let (ours, left, sdk) = both(text.as_bytes());
            if missing_field(text.as_bytes()).is_some() {
                prop_assert!(ours.is_err() && left, "{:?}", ours);
            } else {
                prop_assert_eq!(ours.as_ref().ok(), sdk.as_ref().ok(), "ours: {:?}, the SDK's: {:?}", ours, sdk);
                prop_assert!(left || ours.is_ok());
            }
        }
    }
}
