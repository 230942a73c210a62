use std::sync::Arc;

use bytes::Bytes;
use statefun_kinesis_module::RecordMetadata;
use statefun_kinesis_types::{
    Address, FunctionType, HashKey, InvalidValue, PartitionKey, Record, SequenceNumber, ShardId, StreamArn, Timestamp,
    TypeName, TypedValue,
};

use crate::Route;

/// Records of one shard with their messages. The bytes of the records are shared, never copied.
///
/// Per record there is one message for each target, in the order of the targets, and records keep the order of their
/// shard.
#[derive(Debug)]
pub struct RoutedBatch {
    ingress: TypeName,
    stream: StreamArn,
    shard: ShardId,
    records: Vec<Record>,
    record_metadata: RecordMetadata,
    messages: Messages,
}

#[derive(Debug)]
enum Messages {
    /// One message per record and target, computed from the route.
    Routed(Arc<Route>),
    /// The messages that a deserializer made of the records.
    Deserialized(Vec<OwnedMessage>),
}

/// A message that a [`Deserializer`](crate::Deserializer) made.
#[derive(Debug)]
struct OwnedMessage {
    record: usize,
    to: Address,
    value: TypedValue,
}

impl RoutedBatch {
    /// Addresses each record to each target of the route, by its partition key. Returns the records without a partition
    /// key separately, because they have no address.
    pub fn route(route: Arc<Route>, shard: ShardId, mut records: Vec<Record>) -> (Self, Vec<Record>) {
        let keyless = records.extract_if(.., |record| record.partition_key.is_none()).collect();
        let (ingress, stream, record_metadata) = (route.ingress.clone(), route.stream.clone(), route.record_metadata);
        (Self { ingress, stream, shard, records, record_metadata, messages: Messages::Routed(route) }, keyless)
    }

    pub(crate) fn deserialized(
        ingress: TypeName,
        stream: StreamArn,
        shard: ShardId,
        records: Vec<Record>,
        record_metadata: RecordMetadata,
        messages: MessageCollector,
    ) -> Self {
        Self { ingress, stream, shard, records, record_metadata, messages: Messages::Deserialized(messages.messages) }
    }

    /// The ingress of the records.
    pub fn ingress(&self) -> &TypeName {
        &self.ingress
    }

    /// The stream of the records.
    pub fn stream(&self) -> &StreamArn {
        &self.stream
    }

    /// The shard of the records.
    pub fn shard(&self) -> &ShardId {
        &self.shard
    }

    /// The records, in the order of their shard.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// What remote functions learn about the records.
    pub fn record_metadata(&self) -> RecordMetadata {
        self.record_metadata
    }

    /// The number of messages.
    pub fn message_count(&self) -> usize {
        match &self.messages {
            Messages::Routed(route) => self.records.len() * route.targets.len(),
            Messages::Deserialized(messages) => messages.len(),
        }
    }

    /// The messages, record by record and target by target.
    pub fn messages(&self) -> impl Iterator<Item = Message<'_>> {
        let (routed, deserialized) = match &self.messages {
            Messages::Routed(route) => (Some(route), &[][..]),
            Messages::Deserialized(messages) => (None, messages.as_slice()),
        };
        let routed = routed.into_iter().flat_map(move |route| {
            self.records.iter().filter_map(|record| Some((record, record.partition_key.as_ref()?))).flat_map(
                move |(record, key)| {
                    route.targets.iter().map(move |function| Message {
                        function,
                        id: Id::Key(key),
                        value_type: &route.value_type,
                        payload: Some(&record.data),
                        record,
                        batch: self,
                    })
                },
            )
        });
        let deserialized = deserialized.iter().map(move |message| Message {
            function: &message.to.function,
            id: Id::Text(&message.to.id),
            value_type: &message.value.typename,
            payload: message.value.value.as_ref(),
            record: &self.records[message.record],
            batch: self,
        });
        routed.chain(deserialized)
    }
}

/// A message to a function. It is borrowed from its batch, so that no bytes are copied.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    function: &'a FunctionType,
    id: Id<'a>,
    value_type: &'a TypeName,
    payload: Option<&'a Bytes>,
    record: &'a Record,
    batch: &'a RoutedBatch,
}

#[derive(Clone, Copy, Debug)]
enum Id<'a> {
    Key(&'a PartitionKey),
    Text(&'a Arc<str>),
}

impl<'a> Message<'a> {
    /// The target function.
    pub fn function(&self) -> &'a FunctionType {
        self.function
    }

    /// The id of the function's instance.
    pub fn id(&self) -> &'a str {
        match self.id {
            Id::Key(key) => key.as_str(),
            Id::Text(id) => id,
        }
    }

    /// Returns the id as a partition key, for writing a record.
    ///
    /// # Errors
    ///
    /// When a deserializer chose an id that is not a valid partition key: an empty one, or one of more than 256
    /// characters.
    pub fn partition_key(&self) -> Result<PartitionKey, InvalidValue> {
        match self.id {
            Id::Key(key) => Ok(key.clone()),
            Id::Text(id) => PartitionKey::try_from(Arc::clone(id)),
        }
    }

    /// Returns the target address, owned.
    pub fn to_address(&self) -> Address {
        let id = match self.id {
            Id::Key(key) => key.clone().into(),
            Id::Text(id) => id.clone(),
        };
        Address { function: self.function.clone(), id }
    }

    /// The type of the value.
    pub fn value_type(&self) -> &'a TypeName {
        self.value_type
    }

    /// The bytes of the value; `None` when the value is absent.
    pub fn payload(&self) -> Option<&'a Bytes> {
        self.payload
    }

    /// Returns the type and the bytes, owned. The bytes are shared.
    pub fn to_value(&self) -> TypedValue {
        TypedValue { typename: self.value_type.clone(), value: self.payload.cloned() }
    }

    /// The ingress of the message.
    pub fn ingress(&self) -> &'a TypeName {
        &self.batch.ingress
    }

    /// The stream of the message's record.
    pub fn stream(&self) -> &'a StreamArn {
        &self.batch.stream
    }

    /// The shard of the message's record.
    pub fn shard(&self) -> &'a ShardId {
        &self.batch.shard
    }

    /// The sequence number of the message's record.
    pub fn sequence_number(&self) -> SequenceNumber {
        self.record.sequence_number
    }

    /// The index of the record in a KPL aggregate; 0 for a record that is not aggregated.
    pub fn sub_sequence_number(&self) -> u64 {
        self.record.sub_sequence_number
    }

    /// The explicit hash key of the message's record, if it is a user record of an aggregate that was sent with one.
    pub fn explicit_hash_key(&self) -> Option<HashKey> {
        self.record.explicit_hash_key()
    }

    /// When Kinesis stored the record.
    pub fn arrival(&self) -> Timestamp {
        self.record.approximate_arrival
    }
}

/// Collects the messages that a [`Deserializer`](crate::Deserializer) makes of a record.
#[derive(Debug, Default)]
pub struct MessageCollector {
    messages: Vec<OwnedMessage>,
    record: usize,
}

impl MessageCollector {
    /// Adds a message. Messages of one record are delivered in the order in which they were added.
    pub fn push(&mut self, to: Address, value: TypedValue) {
        self.messages.push(OwnedMessage { record: self.record, to, value });
    }

    /// Collects the messages of one record. After an error, none of them is kept.
    pub(crate) fn collect<E>(&mut self, record: usize, make: impl FnOnce(&mut Self) -> Result<(), E>) -> Result<(), E> {
        self.record = record;
        let before = self.messages.len();
        let made = make(self);
        if made.is_err() {
            self.messages.truncate(before);
        }
        made
    }
}
