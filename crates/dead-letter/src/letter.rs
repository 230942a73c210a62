use std::borrow::Cow;

use bytes::Bytes;
use statefun_kinesis_types::{Address, InvalidValue, PARTITION_KEY_MAX_CHARS, PartitionKey, PutRecord, TypeName};

use crate::{EgressOrigin, EncodeError, FunctionOrigin, IngressOrigin, Origin, envelope, reason};

/// Most characters of a message. Longer messages are cut.
pub const MESSAGE_MAX_CHARS: usize = 1_000;

/// Least bytes of payload in each part except the last. A limit that leaves less is an error, because most of the
/// stream would be envelopes.
pub const PART_MIN_BYTES: usize = 512;

/// A record or message that failed permanently: its original bytes, why it failed and where it came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    pub(crate) head: Head,
    pub(crate) data: Option<Bytes>,
}

/// All of a letter except its payload.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Head {
    pub(crate) origin: Origin,
    pub(crate) reason: Cow<'static, str>,
    pub(crate) message: String,
    pub(crate) partition_key: Option<PartitionKey>,
    pub(crate) value_type: Option<TypeName>,
}

impl DeadLetter {
    /// Creates the dead letter of a record that was read but could not become messages.
    ///
    /// `reason` is a code for programs (see [`reason`]), `message` is for people and is cut after
    /// [`MESSAGE_MAX_CHARS`].
    pub fn from_ingress(
        origin: IngressOrigin,
        partition_key: Option<PartitionKey>,
        data: Bytes,
        reason: &'static str,
        message: &str,
    ) -> Self {
        let origin = Origin::Ingress(origin);
        let head = Head { origin, reason: reason.into(), message: cut(message), partition_key, value_type: None };
        Self { head, data: Some(data) }
    }

    /// Creates the dead letter of a message that a function did not handle, with the reason
    /// [`reason::FUNCTION_FAILED`].
    ///
    /// Pass no `value_type` if the type is not of the form `<namespace>/<name>`; functions may send any text as a type.
    /// `message` is for people and is cut after [`MESSAGE_MAX_CHARS`].
    pub fn from_function(
        origin: FunctionOrigin,
        value_type: Option<TypeName>,
        value: Option<Bytes>,
        message: &str,
    ) -> Self {
        let head = Head {
            origin: Origin::Function(origin),
            reason: reason::FUNCTION_FAILED.into(),
            message: cut(message),
            partition_key: None,
            value_type,
        };
        Self { head, data: value }
    }

    /// Creates the dead letter of a record that was not stored in its stream.
    ///
    /// `reason` is a code for programs (see [`reason`]), `message` is for people and is cut after
    /// [`MESSAGE_MAX_CHARS`].
    pub fn from_egress(
        origin: EgressOrigin,
        partition_key: PartitionKey,
        data: Bytes,
        reason: &'static str,
        message: &str,
    ) -> Self {
        let head = Head {
            origin: Origin::Egress(origin),
            reason: reason.into(),
            message: cut(message),
            partition_key: Some(partition_key),
            value_type: None,
        };
        Self { head, data: Some(data) }
    }

    /// Creates the dead letter of a message to an egress that is not a valid record, with the reason
    /// [`reason::INVALID_RECORD`]. `value_type` and `value` are those of the message.
    ///
    /// Pass no `value_type` if the type is not of the form `<namespace>/<name>`. `message` is for people and is cut after
    /// [`MESSAGE_MAX_CHARS`].
    pub fn from_invalid_record(
        origin: EgressOrigin,
        value_type: Option<TypeName>,
        value: Option<Bytes>,
        message: &str,
    ) -> Self {
        let head = Head {
            origin: Origin::Egress(origin),
            reason: reason::INVALID_RECORD.into(),
            message: cut(message),
            partition_key: None,
            value_type,
        };
        Self { head, data: value }
    }

    /// Where the record or message failed.
    pub fn origin(&self) -> &Origin {
        &self.head.origin
    }

    /// Why it failed, as a code for programs; see [`reason`].
    pub fn reason(&self) -> &str {
        &self.head.reason
    }

    /// Why it failed, for people.
    pub fn message(&self) -> &str {
        &self.head.message
    }

    /// The record's partition key; `None` for a message of a function, an invalid record, and a record without one.
    pub fn partition_key(&self) -> Option<&PartitionKey> {
        self.head.partition_key.as_ref()
    }

    /// The type of the message's value; `None` for a valid record, and for a type that is not of the form
    /// `<namespace>/<name>`.
    pub fn value_type(&self) -> Option<&TypeName> {
        self.head.value_type.as_ref()
    }

    /// The original payload; `None` for a message whose value is absent, which differs from an empty one.
    pub fn data(&self) -> Option<&Bytes> {
        self.data.as_ref()
    }

    /// Returns the original payload by value; see [`data`](Self::data).
    pub fn into_data(self) -> Option<Bytes> {
        self.data
    }

    /// Encodes the letter as JSON: one envelope, or several if one would have more than `max_bytes`.
    ///
    /// # Errors
    ///
    /// [`EncodeError::LimitTooSmall`] when `max_bytes` leaves less than [`PART_MIN_BYTES`] of payload per envelope.
    pub fn encode(&self, max_bytes: usize) -> Result<Vec<Bytes>, EncodeError> {
        envelope::encode(self, max_bytes)
    }

    /// Encodes the letter as records for a dead-letter stream. `max_record_bytes` is the stream's limit of data and
    /// partition key together.
    ///
    /// The records have to be stored in this order. Their partition key is that of the failed record. For a message it
    /// is the function's id, for a record without a key the sequence number, and for an invalid record the name of the
    /// stream or the egress.
    ///
    /// # Errors
    ///
    /// [`EncodeError::LimitTooSmall`] when `max_record_bytes` leaves less than [`PART_MIN_BYTES`] of payload per
    /// record. The limit of every Kinesis stream is at least 1 MiB.
    pub fn to_records(&self, max_record_bytes: usize) -> Result<Vec<PutRecord>, EncodeError> {
        let key = self.record_key().map_err(EncodeError::NoPartitionKey)?;
        let envelopes = self.encode(max_record_bytes.saturating_sub(key.size())).map_err(|error| match error {
            EncodeError::LimitTooSmall { needed, .. } => {
                EncodeError::LimitTooSmall { limit: max_record_bytes, needed: needed + key.size() }
            }
            EncodeError::NoPartitionKey(_) => error,
        })?;
        Ok(envelopes.into_iter().map(|envelope| PutRecord::new(key.clone(), envelope)).collect())
    }

    /// The partition key of the letter's records. All have the same one, so that Kinesis keeps their order.
    fn record_key(&self) -> Result<PartitionKey, InvalidValue> {
        if let Some(key) = &self.head.partition_key {
            return Ok(key.clone());
        }
        match &self.head.origin {
            Origin::Ingress(origin) => origin.sequence_number.to_string().parse(),
            Origin::Function(FunctionOrigin { function: Address { function, id }, .. }) => {
                // An id may be empty or too long for a partition key. Then the function's name is used.
                PartitionKey::try_from(id.clone()).or_else(|_| shortened(function.as_str()).parse())
            }
            Origin::Egress(EgressOrigin { egress, stream, .. }) => match (stream, egress) {
                (Some(stream), _) => stream.name().as_str().parse(),
                (None, Some(egress)) => shortened(egress.as_str()).parse(),
                (None, None) => self.head.reason.parse(),
            },
        }
    }
}

/// As much of a name as fits into a partition key.
fn shortened(name: &str) -> String {
    name.chars().take(PARTITION_KEY_MAX_CHARS).collect()
}

fn cut(message: &str) -> String {
    message.chars().take(MESSAGE_MAX_CHARS).collect()
}
