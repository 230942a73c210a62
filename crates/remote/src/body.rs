//! The body of a request.

use bytes::Bytes;
use statefun_kinesis_mailboxes::{Message, Origin, Request, Value};
use statefun_kinesis_protocol::{
    AddressRef, BatchRequest, InvocationRef, MetadataRef, StateRef, ValueRef,
    metadata::{
        APPROXIMATE_ARRIVAL_TIMESTAMP, EXPLICIT_HASH_KEY, SEQUENCE_NUMBER, SHARD_ID, STREAM_ARN, SUB_SEQUENCE_NUMBER,
    },
};
use statefun_kinesis_types::Address;

/// Encodes a request.
pub(crate) fn encode(request: &Request) -> Bytes {
    let states: Vec<StateRef<'_>> = request
        .states
        .iter()
        .map(|(name, value)| StateRef { name, value: value.as_ref().map(|value| value_ref(value, &[])) })
        .collect();
    // Texts and entries are made first, since the body borrows them. Most requests have none.
    let has_metadata = request.messages.iter().any(|message| sent_origin(message).is_some());
    let messages = if has_metadata { &request.messages[..] } else { &[] };
    let texts: Vec<Option<Texts<'_>>> = messages.iter().map(|message| sent_origin(message).map(Texts::of)).collect();
    let metadata: Vec<Vec<MetadataRef<'_>>> =
        texts.iter().map(|texts| texts.as_ref().map_or_else(Vec::new, Texts::entries)).collect();
    let invocations: Vec<InvocationRef<'_>> = request
        .messages
        .iter()
        .enumerate()
        .map(|(index, message)| InvocationRef {
            caller: message.caller.as_ref().map(address_ref),
            argument: value_ref(&message.value, metadata.get(index).map_or(&[], Vec::as_slice)),
        })
        .collect();
    BatchRequest { target: address_ref(&request.target), states: &states, invocations: &invocations }.encode()
}

/// The record of a message, if the function is to learn about it.
fn sent_origin(message: &Message) -> Option<&Origin> {
    message.origin.as_deref().filter(|origin| origin.is_sent)
}

/// The metadata of a message, as text.
struct Texts<'a> {
    origin: &'a Origin,
    sequence_number: String,
    sub_sequence_number: String,
    arrival: String,
    explicit_hash_key: Option<String>,
}

impl<'a> Texts<'a> {
    fn of(origin: &'a Origin) -> Self {
        Self {
            origin,
            sequence_number: origin.sequence_number.to_string(),
            sub_sequence_number: origin.sub_sequence_number.to_string(),
            arrival: origin.arrival.to_string(),
            explicit_hash_key: origin.explicit_hash_key.as_ref().map(ToString::to_string),
        }
    }

    fn entries(&self) -> Vec<MetadataRef<'_>> {
        let always = [
            (STREAM_ARN, self.origin.stream.as_str()),
            (SHARD_ID, self.origin.shard.as_str()),
            (SEQUENCE_NUMBER, self.sequence_number.as_str()),
            (SUB_SEQUENCE_NUMBER, self.sub_sequence_number.as_str()),
            (APPROXIMATE_ARRIVAL_TIMESTAMP, self.arrival.as_str()),
        ];
        let explicit = self.explicit_hash_key.as_deref().map(|key| (EXPLICIT_HASH_KEY, key));
        always.into_iter().chain(explicit).map(|(key, value)| MetadataRef { key, value }).collect()
    }
}

fn address_ref(address: &Address) -> AddressRef<'_> {
    AddressRef { namespace: address.function.namespace(), name: address.function.name(), id: &address.id }
}

fn value_ref<'a>(value: &'a Value, metadata: &'a [MetadataRef<'a>]) -> ValueRef<'a> {
    ValueRef { typename: &value.typename, value: value.bytes.as_deref(), metadata }
}
