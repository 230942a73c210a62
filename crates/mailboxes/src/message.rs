use std::sync::Arc;

use bytes::Bytes;
use statefun_kinesis_types::{
    Address, HashKey, InvalidValue, SequenceNumber, ShardId, StreamArn, Timestamp, TypedValue,
};

/// A value of a message or a state, with the name of its type. Cheap to clone.
///
/// Unlike [`TypedValue`] it accepts any text as the name of its type. StateFun's SDKs let functions use any type names
/// for messages among themselves, and the runtime does not need to understand them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    /// The type, usually `namespace/name`.
    pub typename: Arc<str>,
    /// The value's bytes. `None` is an absent value, which differs from an empty one.
    pub bytes: Option<Bytes>,
}

impl Value {
    /// Creates a value that is present.
    pub fn new(typename: impl Into<Arc<str>>, bytes: impl Into<Bytes>) -> Self {
        Self { typename: typename.into(), bytes: Some(bytes.into()) }
    }

    /// The length of the payload in bytes; 0 for an absent value.
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

/// The record that a message of an ingress came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The stream.
    pub stream: StreamArn,
    /// The shard.
    pub shard: ShardId,
    /// The record's sequence number.
    pub sequence_number: SequenceNumber,
    /// Its index in a KPL aggregate; 0 for a record that is not aggregated.
    pub sub_sequence_number: u64,
    /// When Kinesis stored the record.
    pub arrival: Timestamp,
    /// The explicit hash key of a user record of an aggregate that was sent with one. Boxed because hardly any record has
    /// one.
    pub explicit_hash_key: Option<Box<HashKey>>,
    /// Whether requests carry this as metadata of the message.
    pub is_sent: bool,
    /// Whether this is the last message of the record. When it is handled, the record counts as done.
    pub is_last: bool,
}

/// A message to a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The address that sent it; `None` when it came from an ingress.
    pub caller: Option<Address>,
    /// The value.
    pub value: Value,
    /// The record that it came from, shared by the messages of that record; `None` when a function sent it.
    pub origin: Option<Arc<Origin>>,
}

impl Message {
    /// About how many bytes a message takes in addition to its payload: in a mailbox, and for the counters of shared
    /// data.
    const OVERHEAD: usize = 168;

    /// About how many bytes its origin takes.
    const ORIGIN: usize = 144;

    /// Most bytes that the tags and lengths of a message take in a request.
    const FRAMING: usize = 40;

    /// Most bytes of the metadata of a message in a request, without the names of stream and shard: six keys with their
    /// tags (250), a sequence number of up to 129 digits, an index of up to 20, an instant of 24 and a hash key of 39.
    const METADATA: usize = 480;

    /// The bytes of the message in a request, or a few more.
    pub(crate) fn request_bytes(&self) -> usize {
        let caller = self.caller.as_ref().map_or(0, |caller| caller.function.as_str().len() + caller.id.len());
        let metadata = match &self.origin {
            Some(origin) if origin.is_sent => {
                Self::METADATA + origin.stream.as_str().len() + origin.shard.as_str().len()
            }
            Some(_) | None => 0,
        };
        Self::FRAMING + self.value.typename.len() + self.value.payload_len() + caller + metadata
    }

    /// About how many bytes of memory the message takes.
    pub fn footprint(&self) -> usize {
        Self::OVERHEAD + self.value.payload_len() + self.origin.as_ref().map_or(0, |_| Self::ORIGIN)
    }
}
