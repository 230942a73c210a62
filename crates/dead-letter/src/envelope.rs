//! Encodes and decodes the JSON of version 2.

use std::{fmt::Display, str::FromStr};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};
use statefun_kinesis_types::{Address, InvalidValue};

use crate::{
    DeadLetter, DecodeError, EgressOrigin, EncodeError, FunctionOrigin, IngressOrigin, Origin, PART_MIN_BYTES,
    letter::Head,
};

pub(crate) const VERSION: u64 = 2;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    version: u64,
    origin: Kind,
    reason: String,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ingress: Option<Ingress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    function: Option<Function>,
    #[serde(skip_serializing_if = "Option::is_none")]
    egress: Option<Egress>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_type: Option<String>,
    size: u64,
    md5: String,
    part: u64,
    parts: u64,
    data: Option<String>,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Ingress,
    Function,
    Egress,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ingress {
    stream: String,
    shard: String,
    sequence_number: String,
    sub_sequence_number: u64,
    arrival: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Function {
    #[serde(rename = "type")]
    function: String,
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_type: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    caller_id: Option<String>,
    attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_attempt: Option<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Egress {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    explicit_hash_key: Option<String>,
    attempts: u32,
    may_be_stored: bool,
}

/// The length of a payload in base64: four bytes for each three, rounded up.
const fn base64_bytes(bytes: usize) -> usize {
    bytes.div_ceil(3) * 4
}

pub(crate) fn encode(letter: &DeadLetter, max_bytes: usize) -> Result<Vec<Bytes>, EncodeError> {
    let payload = letter.data.as_deref().unwrap_or_default();
    let mut envelope = Envelope::new(letter);
    let mut with_part = |part: usize, parts: usize, data: &[u8]| {
        (envelope.part, envelope.parts) = (part as u64, parts as u64);
        envelope.data = letter.data.as_ref().map(|_| STANDARD.encode(data));
        // Serializing strings and numbers cannot fail.
        serde_json::to_vec(&envelope).unwrap_or_default()
    };
    let whole = with_part(1, 1, &[]).len() + base64_bytes(payload.len());
    if whole <= max_bytes {
        return Ok(vec![with_part(1, 1, payload).into()]);
    }
    // The number of parts depends on the length of the part numbers. No part number is longer than the number of
    // payload bytes, so an envelope that is measured with that number is never too short.
    let without_payload = with_part(payload.len(), payload.len(), &[]).len();
    let room = max_bytes.saturating_sub(without_payload) / 4 * 3;
    if room < PART_MIN_BYTES {
        let needed = whole.min(without_payload + base64_bytes(PART_MIN_BYTES));
        return Err(EncodeError::LimitTooSmall { limit: max_bytes, needed });
    }
    let parts = payload.len().div_ceil(room);
    Ok((1..).zip(payload.chunks(room)).map(|(part, data)| with_part(part, parts, data).into()).collect())
}

impl Envelope {
    /// Creates the envelope of a letter, without payload.
    fn new(letter: &DeadLetter) -> Self {
        let Head { origin, reason, message, partition_key, value_type } = &letter.head;
        let payload = letter.data.as_deref().unwrap_or_default();
        let (kind, ingress, function, egress) = match origin {
            Origin::Ingress(origin) => (Kind::Ingress, Some(origin.into()), None, None),
            Origin::Function(origin) => {
                (Kind::Function, origin.ingress.as_ref().map(Ingress::from), Some(origin.into()), None)
            }
            Origin::Egress(origin) => (Kind::Egress, None, None, Some(origin.into())),
        };
        Self {
            version: VERSION,
            origin: kind,
            reason: reason.clone().into_owned(),
            message: message.clone(),
            ingress,
            function,
            egress,
            partition_key: text(partition_key),
            value_type: text(value_type),
            size: payload.len() as u64,
            md5: hexadecimal(payload),
            part: 1,
            parts: 1,
            data: None,
        }
    }
}

impl From<&IngressOrigin> for Ingress {
    fn from(origin: &IngressOrigin) -> Self {
        let IngressOrigin { stream, shard, sequence_number, sub_sequence_number, arrival } = origin;
        Self {
            stream: stream.to_string(),
            shard: shard.to_string(),
            sequence_number: sequence_number.to_string(),
            sub_sequence_number: *sub_sequence_number,
            arrival: arrival.to_string(),
        }
    }
}

impl From<&FunctionOrigin> for Function {
    fn from(origin: &FunctionOrigin) -> Self {
        let FunctionOrigin { function, caller, ingress: _, attempts, first_attempt } = origin;
        Self {
            function: function.function.to_string(),
            id: function.id.to_string(),
            caller_type: caller.as_ref().map(|caller| caller.function.to_string()),
            caller_id: caller.as_ref().map(|caller| caller.id.to_string()),
            attempts: *attempts,
            first_attempt: text(first_attempt),
        }
    }
}

impl From<&EgressOrigin> for Egress {
    fn from(origin: &EgressOrigin) -> Self {
        let EgressOrigin { egress, stream, explicit_hash_key, attempts, may_be_stored } = origin;
        Self {
            id: text(egress),
            stream: text(stream),
            explicit_hash_key: text(explicit_hash_key),
            attempts: *attempts,
            may_be_stored: *may_be_stored,
        }
    }
}

fn text(value: &Option<impl Display>) -> Option<String> {
    value.as_ref().map(ToString::to_string)
}

/// The MD5 of a payload in lower-case hexadecimal.
pub(crate) fn hexadecimal(payload: &[u8]) -> String {
    format!("{:032x}", u128::from_be_bytes(Md5::digest(payload).into()))
}

/// A decoded envelope.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) head: Head,
    /// Size and MD5 of the whole payload; `None` in version 1.
    pub(crate) check: Option<(u64, String)>,
    /// The number of the part, from 1.
    pub(crate) part: u64,
    pub(crate) parts: u64,
    pub(crate) data: Option<Bytes>,
}

/// Decodes an envelope of version 2.
pub(crate) fn decode(json: &[u8]) -> Result<Part, DecodeError> {
    let envelope: Envelope = serde_json::from_slice(json).map_err(|error| DecodeError::NotADeadLetter(error.into()))?;
    let ingress = envelope.ingress.map(TryInto::try_into).transpose()?;
    let origin = match envelope.origin {
        Kind::Ingress => Origin::Ingress(ingress.ok_or(DecodeError::MissingField("ingress"))?),
        Kind::Function => {
            let function = envelope.function.ok_or(DecodeError::MissingField("function"))?;
            Origin::Function(function.with_ingress(ingress)?)
        }
        Kind::Egress => {
            let egress = envelope.egress.ok_or(DecodeError::MissingField("egress"))?;
            Origin::Egress(egress.try_into()?)
        }
    };
    let head = Head {
        origin,
        reason: envelope.reason.into(),
        message: envelope.message,
        partition_key: parse_some("partitionKey", envelope.partition_key)?,
        value_type: parse_some("valueType", envelope.value_type)?,
    };
    let check = Some((envelope.size, envelope.md5));
    let data = envelope.data.map(|data| decode_data(&data)).transpose()?;
    Ok(Part { head, check, part: envelope.part, parts: envelope.parts, data })
}

impl TryFrom<Ingress> for IngressOrigin {
    type Error = DecodeError;

    fn try_from(ingress: Ingress) -> Result<Self, DecodeError> {
        Ok(Self {
            stream: parse("ingress.stream", &ingress.stream)?,
            shard: parse("ingress.shard", &ingress.shard)?,
            sequence_number: parse("ingress.sequenceNumber", &ingress.sequence_number)?,
            sub_sequence_number: ingress.sub_sequence_number,
            arrival: parse("ingress.arrival", &ingress.arrival)?,
        })
    }
}

impl Function {
    fn with_ingress(self, ingress: Option<IngressOrigin>) -> Result<FunctionOrigin, DecodeError> {
        let caller = match (self.caller_type, self.caller_id) {
            (Some(function), Some(id)) => {
                Some(Address { function: parse("function.callerType", &function)?, id: id.into() })
            }
            (None, None) => None,
            (None, Some(_)) => return Err(DecodeError::MissingField("function.callerType")),
            (Some(_), None) => return Err(DecodeError::MissingField("function.callerId")),
        };
        Ok(FunctionOrigin {
            function: Address { function: parse("function.type", &self.function)?, id: self.id.into() },
            caller,
            ingress,
            attempts: self.attempts,
            first_attempt: parse_some("function.firstAttempt", self.first_attempt)?,
        })
    }
}

impl TryFrom<Egress> for EgressOrigin {
    type Error = DecodeError;

    fn try_from(egress: Egress) -> Result<Self, DecodeError> {
        Ok(Self {
            egress: parse_some("egress.id", egress.id)?,
            stream: parse_some("egress.stream", egress.stream)?,
            explicit_hash_key: parse_some("egress.explicitHashKey", egress.explicit_hash_key)?,
            attempts: egress.attempts,
            may_be_stored: egress.may_be_stored,
        })
    }
}

pub(crate) fn parse<T: FromStr<Err = InvalidValue>>(field: &'static str, text: &str) -> Result<T, DecodeError> {
    text.parse().map_err(|source: InvalidValue| DecodeError::InvalidField { field, source: source.into() })
}

pub(crate) fn parse_some<T: FromStr<Err = InvalidValue>>(
    field: &'static str,
    text: Option<String>,
) -> Result<Option<T>, DecodeError> {
    text.map(|text| parse(field, &text)).transpose()
}

pub(crate) fn decode_data(data: &str) -> Result<Bytes, DecodeError> {
    let decoded = STANDARD.decode(data);
    decoded.map(Bytes::from).map_err(|source| DecodeError::InvalidField { field: "data", source: source.into() })
}
