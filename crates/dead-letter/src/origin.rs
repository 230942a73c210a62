use statefun_kinesis_types::{Address, HashKey, SequenceNumber, ShardId, StreamArn, StreamRef, Timestamp, TypeName};

/// Where a record or message failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// When it was read: it could not be turned into messages.
    Ingress(IngressOrigin),
    /// In a function.
    Function(FunctionOrigin),
    /// When it was sent to a stream.
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
    /// When the service took the record.
    pub arrival: Timestamp,
}

/// A message that a function did not handle.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FunctionOrigin {
    /// The function instance that the message was for.
    pub function: Address,
    /// The function instance that sent the message; none for a message of an ingress.
    pub caller: Option<Address>,
    /// The record that the message came from, directly or by way of other functions, if it is known.
    pub ingress: Option<IngressOrigin>,
    /// How often the function was invoked with the message, since it was sent alone.
    pub attempts: u32,
    /// When the first of these was made, if it is known.
    pub first_attempt: Option<Timestamp>,
}

/// A record that was not stored in the stream that it was meant for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EgressOrigin {
    /// The egress' id in the module file; none for a producer that belongs to no module.
    pub egress: Option<TypeName>,
    /// The stream, as the record's sender named it.
    pub stream: StreamRef,
    /// The record's explicit hash key.
    pub explicit_hash_key: Option<HashKey>,
    /// How many requests carried the record.
    pub attempts: u32,
    /// Whether one of them may have stored the record nevertheless.
    pub may_be_stored: bool,
}
