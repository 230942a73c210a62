use statefun_kinesis_types::{Address, HashKey, SequenceNumber, ShardId, StreamArn, StreamRef, Timestamp, TypeName};

/// Where a record or message failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// In an ingress: the record could not become messages.
    Ingress(IngressOrigin),
    /// In a function: the message was not handled.
    Function(FunctionOrigin),
    /// In an egress: the record was not stored.
    Egress(EgressOrigin),
}

/// A record that was read from a stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IngressOrigin {
    /// The stream.
    pub stream: StreamArn,
    /// The shard.
    pub shard: ShardId,
    /// The record's position in the shard.
    pub sequence_number: SequenceNumber,
    /// The position of a user record in its aggregate, from 0; 0 for any other record.
    pub sub_sequence_number: u64,
    /// When Kinesis stored the record.
    pub arrival: Timestamp,
}

/// A message that a function did not handle.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FunctionOrigin {
    /// The target of the message.
    pub function: Address,
    /// The sender of the message; `None` for a message of an ingress.
    pub caller: Option<Address>,
    /// The record that the message came from, if known.
    pub ingress: Option<IngressOrigin>,
    /// How often the function was invoked with the message, since it was sent alone.
    pub attempts: u32,
    /// When the first of these attempts was made, if known.
    pub first_attempt: Option<Timestamp>,
}

/// A record that was not stored in its stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EgressOrigin {
    /// The egress' id in the module file; `None` for a producer outside of a module.
    pub egress: Option<TypeName>,
    /// The stream, as the record's sender named it; `None` if it named none, or sent something that is not a record.
    pub stream: Option<StreamRef>,
    /// The record's explicit hash key.
    pub explicit_hash_key: Option<HashKey>,
    /// How many requests had the record.
    pub attempts: u32,
    /// Whether one of these requests may have stored the record nevertheless.
    pub may_be_stored: bool,
}
