//! An entry of a store as a line of JSON.

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Serialize;
use serde_json::{Value as Json, json};
use statefun_kinesis_consumer::{Extent, ShardPosition};
use statefun_kinesis_functions::{
    EgressMessage, FunctionTotals, NumberedEntry, Payload, StoredEgress, StoredMessage, StoredTimer, StoredValue,
    TOTALS, Value, decode_totals,
};
use statefun_kinesis_store::{Exported, Table, key::StoredKey};
use statefun_kinesis_types::{Address, HashKey, StartPosition};

use crate::records::text_or_base64;

/// An entry. Fields that it does not have are left out of the line.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Line {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) table: Option<&'static str>,
    /// The number of a message, a delayed message or a record.
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    /// The MD5 of the sender's id, for entries that do not contain the id itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    sender_id_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ingress: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_arn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<String>,
    /// When the stream was created.
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<Place>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancellation_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    egress: Option<String>,
    /// The stream that a record names.
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explicit_hash_key: Option<String>,
    /// What is wrong with a message to an egress that is not a valid record.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub(super) typename: Option<String>,
    /// A value of one of StateFun's own types, or a structured value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) payload: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) payload_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<String>,
    /// The key, if it is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
}

#[derive(Debug, Serialize)]
struct Place {
    function: String,
    id: String,
}

impl Place {
    fn of(address: &Address) -> Self {
        Self { function: address.function.to_string(), id: address.id.to_string() }
    }
}

impl Line {
    /// The line of an entry. An unknown entry has its raw key and value.
    pub(super) fn of(entry: &Exported) -> Self {
        let line = match &entry.meaning {
            Some(meaning) => Self::of_meaning(meaning, entry),
            None => None,
        };
        let table = Some(entry.table.name());
        match line {
            Some(line) => Self { table, ..line },
            None => {
                let key = Some(BASE64_STANDARD.encode(&entry.key));
                let payload_base64 = Some(BASE64_STANDARD.encode(&entry.value));
                Self { table, key_base64: key, payload_base64, ..Self::default() }
            }
        }
    }

    fn of_meaning(meaning: &StoredKey, entry: &Exported) -> Option<Self> {
        let text = || std::str::from_utf8(&entry.value).ok();
        match meaning {
            StoredKey::Meta { name } if name == TOTALS => Self::of_totals(entry),
            StoredKey::Meta { name } => Some(Self { name: Some(name.clone()), ..Self::of_bytes(&entry.value) }),
            StoredKey::Stream { ingress, stream } => {
                let (created, start) = text()?.split_once(' ')?;
                Some(Self {
                    ingress: Some(ingress.to_string()),
                    stream_arn: Some(stream.to_string()),
                    created: Some(created.to_owned()),
                    start: Some(start.to_owned()),
                    ..Self::default()
                })
            }
            StoredKey::Shard { ingress, stream, shard } => Some(Self {
                ingress: Some(ingress.to_string()),
                stream_arn: Some(stream.to_string()),
                shard_id: Some(shard.to_string()),
                position: Some(text()?.to_owned()),
                ..Self::default()
            }),
            StoredKey::State { address, name } => {
                let line = Self::of_state(name, &StoredValue::decode(entry.value.clone())?);
                Some(Self { function: Some(address.function.to_string()), id: Some(address.id.to_string()), ..line })
            }
            StoredKey::Numbered { hash, number } => Self::of_numbered(*hash, *number, entry),
            StoredKey::Due { at, hash, number } => Some(Self {
                number: Some(*number),
                sender_id_hash: Some(hash.to_string()),
                due: Some(at.to_string()),
                ..Self::default()
            }),
        }
    }

    /// The totals of the mailboxes.
    fn of_totals(entry: &Exported) -> Option<Self> {
        let totals = decode_totals(entry.value.clone())?;
        let of_function = |of: &FunctionTotals| {
            let FunctionTotals { function, messages, timers } = of;
            json!({"function": function.as_str(), "messages": messages, "delayed": timers})
        };
        let value = Some(json!({
            "nextMessage": totals.next_message,
            "nextDelayed": totals.next_timer,
            "nextRecord": totals.next_record,
            "functions": totals.functions.iter().map(of_function).collect::<Vec<_>>(),
        }));
        Some(Self { name: Some(TOTALS.to_owned()), value, ..Self::default() })
    }

    /// An entry whose key is the hash of an id and a number: the table says what it is.
    fn of_numbered(hash: HashKey, number: u64, entry: &Exported) -> Option<Self> {
        let stored = || entry.value.clone();
        match entry.table {
            Table::Mailboxes => {
                let StoredMessage { to, message, .. } = StoredMessage::decode(number, stored())?;
                Some(Self::of_message(number, &to, message.caller.as_ref(), &message.value))
            }
            Table::Timers => {
                let StoredTimer { at, to, message, token, .. } = StoredTimer::decode(number, stored())?;
                Some(Self {
                    due: Some(at.to_string()),
                    cancellation_token: token.map(|token| token.to_string()),
                    ..Self::of_message(number, &to, message.caller.as_ref(), &message.value)
                })
            }
            Table::Egress => Some(Self::of_egress(number, StoredEgress::decode(number, stored())?.message)),
            Table::Cancellations => Some(Self {
                number: Some(number),
                sender_id_hash: Some(hash.to_string()),
                ..Self::of_bytes(&entry.value)
            }),
            // Other tables do not have numbered keys.
            Table::Meta | Table::Positions | Table::State | Table::Due => None,
        }
    }

    fn of_egress(number: u64, message: EgressMessage) -> Self {
        let (number, egress) = (Some(number), Some(message.egress().to_string()));
        match message {
            EgressMessage::Record { stream, record, .. } => Self {
                number,
                egress,
                stream: stream.map(|stream| stream.to_string()),
                partition_key: Some(record.partition_key.to_string()),
                explicit_hash_key: record.explicit_hash_key.map(|key| key.to_string()),
                ..Self::of_bytes(&record.data)
            },
            EgressMessage::Invalid { value, error, .. } => Self {
                number,
                egress,
                error: Some(error.to_string()),
                typename: Some(value.typename.to_string()),
                ..Self::of_bytes(value.bytes.as_deref().unwrap_or_default())
            },
        }
    }

    fn of_message(number: u64, to: &Address, caller: Option<&Address>, value: &Value) -> Self {
        Self {
            number: Some(number),
            function: Some(to.function.to_string()),
            id: Some(to.id.to_string()),
            caller: caller.map(Place::of),
            ..Self::of_value(value)
        }
    }

    /// A state of an address, without the address.
    pub(super) fn of_state(name: &str, stored: &StoredValue) -> Self {
        Self {
            name: Some(name.to_owned()),
            expires: stored.expires.map(|expires| expires.to_string()),
            ..Self::of_value(&stored.value)
        }
    }

    /// A value: as JSON for StateFun's own types, otherwise as text, or in base64 if it is not UTF-8.
    fn of_value(value: &Value) -> Self {
        let typename = Some(value.typename.to_string());
        match (primitive(value), &value.bytes) {
            (Some(value), _) => Self { typename, value: Some(value), ..Self::default() },
            (None, Some(bytes)) => Self { typename, ..Self::of_bytes(bytes) },
            (None, None) => Self { typename, ..Self::default() },
        }
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let (payload, payload_base64) = text_or_base64(bytes);
        Self { payload: payload.map(str::to_owned), payload_base64, ..Self::default() }
    }
}

/// A value of one of StateFun's own types as JSON; `None` for other types and for malformed values.
fn primitive(value: &Value) -> Option<Json> {
    // JSON has no NaN and no infinity, so these become strings.
    let number = |number: f64| Json::from(number).as_f64().map_or_else(|| number.to_string().into(), Json::from);
    match &*value.typename {
        bool::TYPENAME => value.read::<bool>().ok().map(Json::from),
        i32::TYPENAME => value.read::<i32>().ok().map(Json::from),
        i64::TYPENAME => value.read::<i64>().ok().map(Json::from),
        // The shortest decimal form of the f32, which is not that of the f64 closest to it.
        f32::TYPENAME => value.read::<f32>().ok().map(|it| number(it.to_string().parse().unwrap_or(f64::from(it)))),
        f64::TYPENAME => value.read::<f64>().ok().map(number),
        String::TYPENAME => value.read::<String>().ok().map(Json::from),
        _ => None,
    }
}

/// A position as it is stored: `unread`, `finished`, a sequence number, or `<sequence number>/<sub-sequence number>`
/// inside an aggregated record.
pub(super) fn position_text(position: ShardPosition) -> String {
    match position {
        ShardPosition::Unread => "unread".to_owned(),
        ShardPosition::Finished => "finished".to_owned(),
        ShardPosition::At(at) => match at.extent {
            Extent::All => at.sequence_number.to_string(),
            Extent::UpTo(sub) => format!("{}/{sub}", at.sequence_number),
        },
    }
}

/// Where reading started, as it is stored.
pub(super) fn start_text(start: StartPosition) -> String {
    match start {
        StartPosition::TrimHorizon => "trim-horizon".to_owned(),
        StartPosition::AtTimestamp(at) => format!("at-timestamp {at}"),
        StartPosition::Latest | StartPosition::AtSequenceNumber(_) | StartPosition::AfterSequenceNumber(_) => {
            start.to_string()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: &Value, expect: &str) {
        let line = serde_json::to_string(&Line::of_value(value)).unwrap();
        assert_eq!(line, expect);
    }

    #[test]
    fn values_are_shown_by_their_types() {
        check(&Value::of(&true), r#"{"type":"io.statefun.types/bool","value":true}"#);
        check(&Value::of(&false), r#"{"type":"io.statefun.types/bool","value":false}"#);
        check(&Value::of(&-7_i32), r#"{"type":"io.statefun.types/int","value":-7}"#);
        check(&Value::of(&i64::MAX), r#"{"type":"io.statefun.types/long","value":9223372036854775807}"#);
        check(&Value::of(&0.1_f32), r#"{"type":"io.statefun.types/float","value":0.1}"#);
        check(&Value::of(&f64::NAN), r#"{"type":"io.statefun.types/double","value":"NaN"}"#);
        check(&Value::of(&f32::NEG_INFINITY), r#"{"type":"io.statefun.types/float","value":"-inf"}"#);
        check(&Value::of(&"ä\n".to_owned()), r#"{"type":"io.statefun.types/string","value":"ä\n"}"#);
        check(&Value::new("example/json", r#"{"a":1}"#), r#"{"type":"example/json","payload":"{\"a\":1}"}"#);
        check(&Value::new("example/blob", vec![255, 0]), r#"{"type":"example/blob","payloadBase64":"/wA="}"#);
        // Bytes that are not valid for their type.
        check(&Value::new(i64::TYPENAME, vec![255]), r#"{"type":"io.statefun.types/long","payloadBase64":"/w=="}"#);
    }
}
