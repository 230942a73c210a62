//! Records as JSON Lines: the input of `--input` and the output of `--output`.

use std::{borrow::Cow, fmt::Write as _};

use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use statefun_kinesis_client::Placement;
use statefun_kinesis_types::{HashKey, PartitionKey, PutRecord, StreamArn, StreamRef};

/// One line of an input file.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct InputLine<'a> {
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    partition_key: Cow<'a, str>,
    data: Option<String>,
    data_base64: Option<String>,
    #[serde(borrow)]
    explicit_hash_key: Option<Cow<'a, str>>,
}

/// A record of an input file, and its stream.
#[derive(Debug)]
pub(crate) struct InputRecord {
    pub(crate) stream: StreamArn,
    pub(crate) record: PutRecord,
}

/// Reads one line of an input file.
///
/// # Errors
///
/// Says what is wrong, as a text that can follow `file:line: `.
pub(crate) fn read_line(
    line: &str,
    find_stream: impl FnOnce(&StreamRef) -> Result<(StreamArn, usize), String>,
) -> Result<InputRecord, String> {
    let line: InputLine<'_> = serde_json::from_str(line).map_err(|error| {
        // The caller adds the line number of the file; the parser's is always 1.
        let text = error.to_string();
        let text = text.split(" at line ").next().unwrap_or_default();
        format!("not a record: {text} (column {})", error.column())
    })?;
    let stream: StreamRef = line.stream.parse().map_err(|error| format!("stream: {error}"))?;
    let (stream, max_record_bytes) = find_stream(&stream)?;
    let key: PartitionKey = line.partition_key.parse().map_err(|error| format!("partitionKey: {error}"))?;
    let data = match (line.data, line.data_base64) {
        (Some(text), None) => Bytes::from(text),
        (None, Some(text)) => {
            BASE64_STANDARD.decode(text).map(Bytes::from).map_err(|error| format!("dataBase64: {error}"))?
        }
        (Some(_), Some(_)) => return Err("both `data` and `dataBase64`: use exactly one".into()),
        (None, None) => return Err("neither `data` nor `dataBase64`: use exactly one".into()),
    };
    let mut record = PutRecord::new(key, data);
    if let Some(key) = line.explicit_hash_key {
        let key: HashKey = key.parse().map_err(|error| format!("explicitHashKey: {error}"))?;
        record = record.with_explicit_hash_key(key);
    }
    if record.size() > max_record_bytes {
        return Err(format!(
            "the record has {} bytes with its partition key; the stream takes {max_record_bytes} at most",
            record.size()
        ));
    }
    Ok(InputRecord { stream, record })
}

/// One line of an output file.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OutputLine<'a> {
    stream: &'a str,
    partition_key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explicit_hash_key: Option<String>,
    shard_id: &'a str,
    sequence_number: String,
}

/// Adds the line of a stored record. UTF-8 is written as text, other data in base64.
pub(crate) fn write_line(out: &mut String, stream: &StreamRef, record: &PutRecord, placement: &Placement) {
    let (data, data_base64) = text_or_base64(&record.data);
    let name = stream.name();
    let line = OutputLine {
        stream: name.as_str(),
        partition_key: record.partition_key.as_str(),
        data,
        data_base64,
        explicit_hash_key: record.explicit_hash_key.map(|key| key.to_string()),
        shard_id: placement.shard.as_str(),
        sequence_number: placement.sequence_number.to_string(),
    };
    push_json_line(out, &line);
}

/// Bytes as text if they are UTF-8, else in base64. Exactly one of the two is set.
pub(crate) fn text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(BASE64_STANDARD.encode(bytes))),
    }
}

/// Adds a value as one line of JSON.
pub(crate) fn push_json_line(out: &mut String, value: &impl Serialize) {
    // Strings and numbers always have a JSON form, and writing to a string cannot fail.
    if let Ok(line) = serde_json::to_string(value) {
        let _ = writeln!(out, "{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(stream: &StreamRef) -> Result<(StreamArn, usize), String> {
        let arn: StreamArn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders".parse().unwrap();
        (stream.name() == arn.name())
            .then_some((arn, 64))
            .ok_or_else(|| format!("no ingress reads the stream {stream}"))
    }

    #[track_caller]
    fn refused(line: &str, says: &str) {
        let error = read_line(line, find).expect_err("the line must be refused");
        assert!(error.contains(says), "{error}");
    }

    #[test]
    fn a_line_is_a_record() {
        let line = r#"{"stream":"orders","partitionKey":"k","dataBase64":"AP8=","explicitHashKey":"7"}"#;
        let read = read_line(line, find).unwrap();
        assert_eq!(read.record.data[..], [0, 255]);
        assert_eq!(read.record.hash_key(), HashKey::new(7));
        let mut out = String::new();
        let placement = Placement { shard: "shardId-000000000000".parse().unwrap(), sequence_number: 5_u64.into() };
        write_line(&mut out, &StreamRef::Arn(read.stream), &read.record, &placement);
        assert_eq!(
            out,
            "{\"stream\":\"orders\",\"partitionKey\":\"k\",\"dataBase64\":\"AP8=\",\"explicitHashKey\":\"7\",\
             \"shardId\":\"shardId-000000000000\",\"sequenceNumber\":\"5\"}\n"
        );
    }

    #[test]
    fn a_broken_line_says_what_is_wrong() {
        refused("{", "not a record: EOF");
        refused(r#"{"stream":"orders"}"#, "missing field `partitionKey`");
        refused(r#"{"stream":"orders","partitionKey":"k","payload":"x"}"#, "unknown field `payload`");
        refused(r#"{"stream":"orders","partitionKey":"k"}"#, "neither `data` nor `dataBase64`");
        refused(r#"{"stream":"orders","partitionKey":"k","data":"","dataBase64":""}"#, "both `data` and `dataBase64`");
        refused(r#"{"stream":"orders","partitionKey":"k","dataBase64":"*"}"#, "dataBase64: ");
        refused(r#"{"stream":"other","partitionKey":"k","data":""}"#, "no ingress reads the stream other");
        refused(r#"{"stream":"o r","partitionKey":"k","data":""}"#, "stream: ");
        refused(r#"{"stream":"orders","partitionKey":"","data":""}"#, "1 to 256 Unicode characters");
        refused(&format!(r#"{{"stream":"orders","partitionKey":"{}","data":""}}"#, "x".repeat(257)), "1 to 256");
        refused(&format!(r#"{{"stream":"orders","partitionKey":"k","data":"{}"}}"#, "x".repeat(64)), "has 65 bytes");
        refused(r#"{"stream":"orders","partitionKey":"k","data":"","explicitHashKey":"-1"}"#, "explicitHashKey: ");
    }
}
