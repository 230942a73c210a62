use std::sync::Arc;

use bytes::Bytes;
use statefun_kinesis_types::{Address, InvalidValue, SequenceNumber, ShardId, StreamArn, Timestamp, TypedValue};

/// A value with the name of its type, as messages and states carry it. Cheap to clone.
///
/// Unlike [`TypedValue`] it takes any text as the name of its type: SDKs let functions name the types of what they send
/// to each other as they like, and nothing on the way has to understand it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The type, usually `namespace/name`.
    pub typename: Arc<str>,
    /// The value's bytes. `None` is an absent value, which differs from an empty one.
    pub bytes: Option<Bytes>,
}

impl Value {
    /// A value that is there.
    pub fn new(typename: impl Into<Arc<str>>, bytes: impl Into<Bytes>) -> Self {
        Self { typename: typename.into(), bytes: Some(bytes.into()) }
    }

    /// Bytes of the payload.
    pub fn payload_len(&self) -> usize {
        self.bytes.as_ref().map_or(0, Bytes::len)
    }
}

impl From<TypedValue> for Value {
    fn from(value: TypedValue) -> Self {
        Self { typename: value.typename.as_str().into(), bytes: value.value }
    }
}

impl TryFrom<Value> for TypedValue {
    type Error = InvalidValue;

    fn try_from(value: Value) -> Result<Self, InvalidValue> {
        Ok(Self { typename: value.typename.parse()?, value: value.bytes })
    }
}

/// The record that a message of an ingress was made of: where it stands and when it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The stream.
    pub stream: StreamArn,
    /// The shard.
    pub shard: ShardId,
    /// The record's place in the shard.
    pub sequence_number: SequenceNumber,
    /// Its place in the aggregate that carried it; 0 for a plain record.
    pub sub_sequence_number: u64,
    /// When the service took the record.
    pub arrival: Timestamp,
    /// Whether this message is the last one that was made of the record: with it the record counts as done.
    pub is_last: bool,
}

/// A message to a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The function that sent it; `None` when it came through an ingress.
    pub caller: Option<Address>,
    /// What was sent.
    pub value: Value,
    /// The record that it was made of, shared by the messages of that record; `None` when a function sent it.
    pub origin: Option<Arc<Origin>>,
}

impl Message {
    /// What a message takes beside its payload, about: its place in a mailbox, and the counters of what it shares.
    const OVERHEAD: usize = 168;

    /// What its origin takes, about.
    const ORIGIN: usize = 144;

    /// About how many bytes of memory the message keeps.
    pub fn footprint(&self) -> usize {
        Self::OVERHEAD + self.value.payload_len() + self.origin.as_ref().map_or(0, |_| Self::ORIGIN)
    }
}
