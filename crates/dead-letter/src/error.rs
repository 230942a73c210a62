use std::error::Error;

use statefun_kinesis_types::InvalidValue;

/// Why a dead letter cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The size limit of records is too small for the envelope.
    #[error("a dead letter needs records of at least {needed} bytes, and its stream takes {limit} bytes per record")]
    LimitTooSmall {
        /// The limit of bytes per record.
        limit: usize,
        /// The bytes per record that the envelope needs, with a minimum of payload in each record.
        needed: usize,
    },

    /// The dead letter has no field that is valid as the partition key of its records.
    #[error("a dead letter has no field that is valid as its partition key")]
    NoPartitionKey(#[source] InvalidValue),
}

/// Why bytes cannot be decoded as a dead letter.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not a JSON object with the fields of a dead letter.
    #[error("not a dead letter")]
    NotADeadLetter(#[source] Box<dyn Error + Send + Sync>),

    /// The dead letter was written by a newer release.
    #[error("the dead letter has version {0}, which is not supported; this release reads versions 1 and 2")]
    UnknownVersion(u64),

    /// A field that the dead letter's origin requires is missing.
    #[error("the dead letter has no field `{0}`")]
    MissingField(&'static str),

    /// A field has an invalid value.
    #[error("the field `{field}` of the dead letter is invalid")]
    InvalidField {
        /// The path of the field, such as `ingress.shard`.
        field: &'static str,
        /// The cause.
        source: Box<dyn Error + Send + Sync>,
    },

    /// The payload is not the original one: its size or its MD5 differs from the envelope's fields.
    #[error("the payload of the dead letter is damaged: its size or MD5 is not that of the original")]
    Damaged,
}
