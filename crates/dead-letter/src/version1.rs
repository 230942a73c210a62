//! Decodes the two formats of version 1, one of ingresses and one of egresses.

use serde::Deserialize;

use crate::{
    DecodeError, EgressOrigin, IngressOrigin, Origin,
    envelope::{Part, decode_data, parse, parse_some},
    letter::Head,
};

/// The fields of both formats. Letters of ingresses name a shard, those of egresses do not.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    reason: String,
    message: String,
    stream: String,
    shard: Option<String>,
    sequence_number: Option<String>,
    sub_sequence_number: Option<u64>,
    arrival: Option<String>,
    partition_key: Option<String>,
    explicit_hash_key: Option<String>,
    attempts: Option<u32>,
    may_be_stored: Option<bool>,
    part: u64,
    parts: u64,
    data: String,
}

/// Decodes an envelope of version 1.
pub(crate) fn decode(json: &[u8]) -> Result<Part, DecodeError> {
    let envelope: Envelope = serde_json::from_slice(json).map_err(|error| DecodeError::NotADeadLetter(error.into()))?;
    let missing = DecodeError::MissingField;
    let origin = match envelope.shard {
        Some(shard) => Origin::Ingress(IngressOrigin {
            stream: parse("stream", &envelope.stream)?,
            shard: parse("shard", &shard)?,
            sequence_number: parse(
                "sequenceNumber",
                &envelope.sequence_number.ok_or_else(|| missing("sequenceNumber"))?,
            )?,
            sub_sequence_number: envelope.sub_sequence_number.unwrap_or(0),
            arrival: parse("arrival", &envelope.arrival.ok_or_else(|| missing("arrival"))?)?,
        }),
        None => Origin::Egress(EgressOrigin {
            egress: None,
            stream: Some(parse("stream", &envelope.stream)?),
            explicit_hash_key: parse_some("explicitHashKey", envelope.explicit_hash_key)?,
            attempts: envelope.attempts.ok_or_else(|| missing("attempts"))?,
            may_be_stored: envelope.may_be_stored.ok_or_else(|| missing("mayBeStored"))?,
        }),
    };
    let head = Head {
        origin,
        reason: envelope.reason.into(),
        message: envelope.message,
        partition_key: parse_some("partitionKey", envelope.partition_key)?,
        value_type: None,
    };
    let data = Some(decode_data(&envelope.data)?);
    Ok(Part { head, check: None, part: envelope.part, parts: envelope.parts, data })
}
