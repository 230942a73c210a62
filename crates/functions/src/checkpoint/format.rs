//! Encodes and decodes values in the store.
//!
//! The values are small protobuf messages. They are part of the format on disk: fields may be added but never changed,
//! so that values of older programs stay readable. The keys are those of [`statefun_kinesis_store::key`].

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use statefun_kinesis_types::{Address, FunctionType, HashKey, PutRecord, Timestamp};

use crate::{
    EgressMessage, Expiration, FunctionTotals, Message, Origin, StateSpec, StoredCancellation, StoredEgress,
    StoredMessage, StoredState, StoredTimer, Totals, Value,
};

#[derive(Clone, PartialEq, prost::Message)]
struct StateFormat {
    #[prost(string, tag = "1")]
    typename: String,
    #[prost(bytes = "bytes", tag = "2")]
    bytes: Bytes,
    #[prost(sint64, optional, tag = "3")]
    expires_millis: Option<i64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AddressFormat {
    #[prost(string, tag = "1")]
    function: String,
    #[prost(string, tag = "2")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct MessageFormat {
    #[prost(message, required, tag = "1")]
    to: AddressFormat,
    #[prost(message, optional, tag = "2")]
    caller: Option<AddressFormat>,
    #[prost(string, tag = "3")]
    typename: String,
    #[prost(bytes = "bytes", optional, tag = "4")]
    bytes: Option<Bytes>,
    #[prost(message, optional, tag = "5")]
    origin: Option<OriginFormat>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OriginFormat {
    #[prost(string, tag = "1")]
    stream: String,
    #[prost(string, tag = "2")]
    shard: String,
    /// In decimal, as the service writes it.
    #[prost(string, tag = "3")]
    sequence_number: String,
    #[prost(uint64, tag = "4")]
    sub_sequence_number: u64,
    #[prost(sint64, tag = "5")]
    arrival_millis: i64,
    /// Other messages of the record follow this one.
    #[prost(bool, tag = "6")]
    is_not_last: bool,
    /// Requests carry it as metadata.
    #[prost(bool, tag = "7")]
    is_sent: bool,
    /// In decimal, as the service writes it.
    #[prost(string, optional, tag = "8")]
    explicit_hash_key: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TimerFormat {
    #[prost(message, required, tag = "1")]
    message: MessageFormat,
    #[prost(sint64, tag = "2")]
    at_millis: i64,
    #[prost(string, optional, tag = "3")]
    token: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EgressFormat {
    #[prost(string, tag = "1")]
    egress: String,
    #[prost(string, optional, tag = "2")]
    stream: Option<String>,
    #[prost(string, tag = "3")]
    partition_key: String,
    /// In decimal, as the service writes it.
    #[prost(string, optional, tag = "4")]
    explicit_hash_key: Option<String>,
    #[prost(bytes = "bytes", tag = "5")]
    data: Bytes,
    /// The id of the address that sent it. Format 1 does not have it.
    #[prost(string, tag = "6")]
    sender: String,
    /// What was sent instead of a valid record. Then stream, key, hash key and data are not set.
    #[prost(message, optional, tag = "7")]
    invalid: Option<InvalidFormat>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct InvalidFormat {
    #[prost(string, tag = "1")]
    typename: String,
    #[prost(bytes = "bytes", optional, tag = "2")]
    value: Option<Bytes>,
    #[prost(string, tag = "3")]
    error: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CancellationFormat {
    #[prost(message, required, tag = "1")]
    sender: AddressFormat,
    #[prost(string, tag = "2")]
    token: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TotalsFormat {
    #[prost(uint64, tag = "1")]
    next_message: u64,
    #[prost(uint64, tag = "2")]
    next_timer: u64,
    #[prost(uint64, tag = "3")]
    next_record: u64,
    #[prost(message, repeated, tag = "4")]
    functions: Vec<FunctionTotalsFormat>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FunctionTotalsFormat {
    #[prost(string, tag = "1")]
    function: String,
    #[prost(uint64, tag = "2")]
    messages: u64,
    #[prost(uint64, tag = "3")]
    timers: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SpecsFormat {
    #[prost(message, repeated, tag = "1")]
    specs: Vec<SpecFormat>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SpecFormat {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    typename: String,
    #[prost(uint64, optional, tag = "3")]
    after_write_nanos: Option<u64>,
    #[prost(uint64, optional, tag = "4")]
    after_invoke_nanos: Option<u64>,
}

impl AddressFormat {
    fn of(address: &Address) -> Self {
        Self { function: address.function.as_str().to_owned(), id: address.id.as_ref().to_owned() }
    }

    fn address(self) -> Option<Address> {
        Some(Address { function: self.function.parse().ok()?, id: self.id.into() })
    }
}

impl MessageFormat {
    fn of(to: &Address, message: &Message) -> Self {
        Self {
            to: AddressFormat::of(to),
            caller: message.caller.as_ref().map(AddressFormat::of),
            typename: message.value.typename.as_ref().to_owned(),
            bytes: message.value.bytes.clone(),
            origin: message.origin.as_deref().map(OriginFormat::of),
        }
    }

    fn message(self) -> Option<(Address, Message)> {
        let caller = match self.caller {
            Some(caller) => Some(caller.address()?),
            None => None,
        };
        let value = Value { typename: self.typename.into(), bytes: self.bytes };
        let origin = match self.origin {
            Some(origin) => Some(Arc::new(origin.origin()?)),
            None => None,
        };
        Some((self.to.address()?, Message { caller, value, origin }))
    }
}

impl OriginFormat {
    fn of(origin: &Origin) -> Self {
        Self {
            stream: origin.stream.as_str().to_owned(),
            shard: origin.shard.as_str().to_owned(),
            sequence_number: origin.sequence_number.to_string(),
            sub_sequence_number: origin.sub_sequence_number,
            arrival_millis: origin.arrival.as_millis(),
            is_not_last: !origin.is_last,
            is_sent: origin.is_sent,
            explicit_hash_key: origin.explicit_hash_key.as_ref().map(ToString::to_string),
        }
    }

    fn origin(self) -> Option<Origin> {
        Some(Origin {
            stream: self.stream.parse().ok()?,
            shard: self.shard.parse().ok()?,
            sequence_number: self.sequence_number.parse().ok()?,
            sub_sequence_number: self.sub_sequence_number,
            arrival: Timestamp::from_millis(self.arrival_millis),
            explicit_hash_key: match self.explicit_hash_key {
                Some(key) => Some(Box::new(key.parse().ok()?)),
                None => None,
            },
            is_sent: self.is_sent,
            is_last: !self.is_not_last,
        })
    }
}

/// A state's value in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredValue {
    /// The value.
    pub value: Value,
    /// When it expires; `None` when it does not. An expired value may stay in the store for a while.
    pub expires: Option<Timestamp>,
}

impl StoredValue {
    /// Decodes a value of the table [`State`](statefun_kinesis_store::Table::State). Returns `None` when it is not
    /// valid.
    pub fn decode(stored: impl Into<Bytes>) -> Option<Self> {
        let StateFormat { typename, bytes, expires_millis } = StateFormat::decode(stored.into()).ok()?;
        let expires = expires_millis.map(Timestamp::from_millis);
        Some(Self { value: Value { typename: typename.into(), bytes: Some(bytes) }, expires })
    }
}

/// Encodes the value of a state; `None` when the state is not set.
pub(super) fn encode_state(state: &StoredState) -> Option<Bytes> {
    let value = state.value.as_ref()?;
    let format = StateFormat {
        typename: value.typename.as_ref().to_owned(),
        bytes: value.bytes.clone()?,
        expires_millis: state.expires.map(Timestamp::as_millis),
    };
    Some(format.encode_to_vec().into())
}

/// An entry of the store whose key is the id of an address and a number; see [`statefun_kinesis_store::key::numbered`].
pub trait NumberedEntry: Sized {
    /// Encodes the value.
    fn encode(&self) -> Bytes;

    /// Decodes a value. Returns `None` when it is not valid.
    fn decode(number: u64, stored: impl Into<Bytes>) -> Option<Self>;
}

/// An entry of the table [`Mailboxes`](statefun_kinesis_store::Table::Mailboxes).
impl NumberedEntry for StoredMessage {
    fn encode(&self) -> Bytes {
        MessageFormat::of(&self.to, &self.message).encode_to_vec().into()
    }

    fn decode(number: u64, stored: impl Into<Bytes>) -> Option<Self> {
        let (to, message) = MessageFormat::decode(stored.into()).ok()?.message()?;
        Some(Self { id: number, to, message })
    }
}

/// An entry of the table [`Timers`](statefun_kinesis_store::Table::Timers).
impl NumberedEntry for StoredTimer {
    fn encode(&self) -> Bytes {
        let message = MessageFormat::of(&self.to, &self.message);
        let token = self.token.as_ref().map(|token| token.as_ref().to_owned());
        TimerFormat { message, at_millis: self.at.as_millis(), token }.encode_to_vec().into()
    }

    fn decode(number: u64, stored: impl Into<Bytes>) -> Option<Self> {
        let TimerFormat { message, at_millis, token } = TimerFormat::decode(stored.into()).ok()?;
        let (to, message) = message.message()?;
        let at = Timestamp::from_millis(at_millis);
        Some(Self { id: number, at, to, message, token: token.map(Into::into) })
    }
}

/// An entry of the table [`Cancellations`](statefun_kinesis_store::Table::Cancellations).
impl NumberedEntry for StoredCancellation {
    fn encode(&self) -> Bytes {
        let format =
            CancellationFormat { sender: AddressFormat::of(&self.sender), token: self.token.as_ref().to_owned() };
        format.encode_to_vec().into()
    }

    fn decode(number: u64, stored: impl Into<Bytes>) -> Option<Self> {
        let CancellationFormat { sender, token } = CancellationFormat::decode(stored.into()).ok()?;
        Some(Self { id: number, sender: sender.address()?, token: token.into() })
    }
}

/// An entry of the table [`Egress`](statefun_kinesis_store::Table::Egress).
impl NumberedEntry for StoredEgress {
    fn encode(&self) -> Bytes {
        let sender = self.sender.as_ref().to_owned();
        let format = match &self.message {
            EgressMessage::Record { egress, stream, record } => EgressFormat {
                egress: egress.as_str().to_owned(),
                stream: stream.as_ref().map(ToString::to_string),
                partition_key: record.partition_key.as_str().to_owned(),
                explicit_hash_key: record.explicit_hash_key.map(|key| key.to_string()),
                data: record.data.clone(),
                sender,
                invalid: None,
            },
            EgressMessage::Invalid { egress, value, error } => EgressFormat {
                egress: egress.as_str().to_owned(),
                sender,
                invalid: Some(InvalidFormat {
                    typename: value.typename.as_ref().to_owned(),
                    value: value.bytes.clone(),
                    error: error.as_ref().to_owned(),
                }),
                ..EgressFormat::default()
            },
        };
        format.encode_to_vec().into()
    }

    fn decode(number: u64, stored: impl Into<Bytes>) -> Option<Self> {
        let EgressFormat { egress, stream, partition_key, explicit_hash_key, data, sender, invalid } =
            EgressFormat::decode(stored.into()).ok()?;
        let egress = egress.parse().ok()?;
        if let Some(InvalidFormat { typename, value, error }) = invalid {
            let value = Value { typename: typename.into(), bytes: value };
            let message = EgressMessage::Invalid { egress, value, error: error.into() };
            return Some(Self { id: number, sender: sender.into(), message });
        }
        let explicit_hash_key = match explicit_hash_key {
            Some(key) => Some(key.parse::<HashKey>().ok()?),
            None => None,
        };
        let mut record = PutRecord::new(partition_key.parse().ok()?, data);
        record.explicit_hash_key = explicit_hash_key;
        let stream = match stream {
            Some(stream) => Some(stream.parse().ok()?),
            None => None,
        };
        let message = EgressMessage::Record { egress, stream, record };
        Some(Self { id: number, sender: sender.into(), message })
    }
}

/// The name of the [totals](Totals) in the table [`Meta`](statefun_kinesis_store::Table::Meta).
pub const TOTALS: &str = "totals";

pub(super) fn encode_totals(totals: &Totals) -> Bytes {
    let of_function = |of: &FunctionTotals| FunctionTotalsFormat {
        function: of.function.as_str().to_owned(),
        messages: of.messages,
        timers: of.timers,
    };
    let format = TotalsFormat {
        next_message: totals.next_message,
        next_timer: totals.next_timer,
        next_record: totals.next_record,
        functions: totals.functions.iter().map(of_function).collect(),
    };
    format.encode_to_vec().into()
}

/// Decodes the value of [`TOTALS`]. Returns `None` when it is not valid.
pub fn decode_totals(stored: Bytes) -> Option<Totals> {
    let TotalsFormat { next_message, next_timer, next_record, functions } = TotalsFormat::decode(stored).ok()?;
    let of_function = |FunctionTotalsFormat { function, messages, timers }| {
        Some(FunctionTotals { function: function.parse().ok()?, messages, timers })
    };
    let functions = functions.into_iter().map(of_function).collect::<Option<_>>()?;
    Some(Totals { next_message, next_timer, next_record, functions })
}

/// The prefix of the names in the table [`Meta`](statefun_kinesis_store::Table::Meta) whose values are the states that
/// each function declared.
pub(super) const SPECS: &str = "states/";

/// The name of a function's declared states.
pub(super) fn specs_name(function: &FunctionType) -> String {
    format!("{SPECS}{}", function.as_str())
}

pub(super) fn encode_specs(specs: &[StateSpec]) -> Bytes {
    let nanos = |after: Duration| Some(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
    let format = |spec: &StateSpec| SpecFormat {
        name: spec.name.as_ref().to_owned(),
        typename: spec.typename.as_ref().to_owned(),
        after_write_nanos: if let Expiration::AfterWrite(after) = spec.expiration { nanos(after) } else { None },
        after_invoke_nanos: if let Expiration::AfterInvoke(after) = spec.expiration { nanos(after) } else { None },
    };
    SpecsFormat { specs: specs.iter().map(format).collect() }.encode_to_vec().into()
}

/// Decodes the states that a function declared, in the order of their declaration.
pub(super) fn decode_specs(stored: Bytes) -> Option<Vec<StateSpec>> {
    let spec = |format: SpecFormat| StateSpec {
        name: format.name.into(),
        typename: format.typename.into(),
        expiration: match (format.after_write_nanos, format.after_invoke_nanos) {
            (Some(after), _) => Expiration::AfterWrite(Duration::from_nanos(after)),
            (None, Some(after)) => Expiration::AfterInvoke(Duration::from_nanos(after)),
            (None, None) => Expiration::Never,
        },
    };
    Some(SpecsFormat::decode(stored).ok()?.specs.into_iter().map(spec).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(id: &str) -> Address {
        Address { function: "example/counter".parse().unwrap(), id: id.into() }
    }

    fn message(caller: Option<&str>, bytes: Option<&'static str>) -> Message {
        let value = Value { typename: "any text".into(), bytes: bytes.map(Bytes::from) };
        Message { caller: caller.map(address), value, origin: None }
    }

    fn hex(bytes: &Bytes) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn encoded_values_decode_to_the_same() {
        for (expires, bytes) in [(None, ""), (Some(Timestamp::from_millis(1)), "42")] {
            let value = Value::new("t/x", bytes);
            let stored = StoredValue { value: value.clone(), expires };
            let state = StoredState { address: address("a"), name: "total".into(), value: Some(value), expires };
            assert_eq!(StoredValue::decode(encode_state(&state).unwrap()), Some(stored));
        }
        let unset = StoredState { address: address("a"), name: "total".into(), value: None, expires: None };
        assert_eq!(encode_state(&unset), None);
        for message in [message(None, None), message(Some("b"), Some("")), message(Some(""), Some("hello"))] {
            let stored = StoredMessage { id: 7, to: address("ü\0"), message: message.clone() };
            assert_eq!(StoredMessage::decode(7, stored.encode()), Some(stored));
            for token in [None, Some(""), Some("token")] {
                let (at, token) = (Timestamp::from_millis(-1), token.map(Into::into));
                let stored = StoredTimer { id: 8, at, to: address(""), message: message.clone(), token };
                assert_eq!(StoredTimer::decode(8, stored.encode()), Some(stored));
            }
        }
        for (stream, hash) in [(None, None), (Some("orders"), Some("340282366920938463463374607431768211455"))] {
            let mut record = PutRecord::new("key".parse().unwrap(), "data");
            record.explicit_hash_key = hash.map(|hash| hash.parse().unwrap());
            let stream = stream.map(|stream| stream.parse().unwrap());
            let message = EgressMessage::Record { egress: "example/out".parse().unwrap(), stream, record };
            let stored = StoredEgress { id: 9, sender: "a".into(), message };
            assert_eq!(StoredEgress::decode(9, stored.encode()), Some(stored));
        }
        for bytes in [None, Some(""), Some("not a record")] {
            let value = Value { typename: "any text".into(), bytes: bytes.map(Bytes::from) };
            let egress = "example/out".parse().unwrap();
            let message = EgressMessage::Invalid { egress, value, error: "it has no key".into() };
            let stored = StoredEgress { id: 9, sender: "a".into(), message };
            assert_eq!(StoredEgress::decode(9, stored.encode()), Some(stored));
        }
        for (is_sent, is_last, hash) in [(false, false, None), (true, false, Some(HashKey::MAX)), (false, true, None)] {
            let mut from_a_record = message(None, Some("x"));
            from_a_record.origin = Some(Arc::new(Origin {
                stream: "arn:aws:kinesis:us-east-1:123456789012:stream/orders".parse().unwrap(),
                shard: "shardId-000000000000".parse().unwrap(),
                sequence_number: "49590338271490256608559692538361571095921575989136588898".parse().unwrap(),
                sub_sequence_number: 3,
                arrival: Timestamp::from_millis(-5),
                explicit_hash_key: hash.map(Box::new),
                is_sent,
                is_last,
            }));
            let stored = StoredMessage { id: 10, to: address("a"), message: from_a_record };
            assert_eq!(StoredMessage::decode(10, stored.encode()), Some(stored));
        }
        let stored = StoredCancellation { id: 11, sender: address("a"), token: "token".into() };
        assert_eq!(StoredCancellation::decode(11, stored.encode()), Some(stored));
        let of_function = FunctionTotals { function: "example/counter".parse().unwrap(), messages: 4, timers: 5 };
        for functions in [vec![], vec![of_function]] {
            let totals = Totals { next_message: 1, next_timer: 2, next_record: 3, functions };
            assert_eq!(decode_totals(encode_totals(&totals)), Some(totals));
        }
        let week = Duration::from_secs(7 * 24 * 60 * 60);
        let expirations = [Expiration::Never, Expiration::AfterWrite(Duration::ZERO), Expiration::AfterInvoke(week)];
        let spec = |expiration| StateSpec { name: "total".into(), typename: "t/x".into(), expiration };
        let specs = expirations.map(spec).to_vec();
        assert_eq!(decode_specs(encode_specs(&specs)), Some(specs));
    }

    /// Existing stores have these values, so the encoding must not change.
    #[test]
    fn encodings_do_not_change() {
        let value = Some(Value::new("t/x", "42"));
        let expires = Some(Timestamp::from_millis(1));
        let state = StoredState { address: address("a"), name: "total".into(), value, expires };
        assert_eq!(hex(&encode_state(&state).unwrap()), "0a03742f78120234321802");
        let stored = StoredMessage { id: 7, to: address("a"), message: message(Some("b"), Some("x")) };
        let [to, caller] = ["61", "62"].map(|id| format!("120a0f{}1201{id}", hex(&"example/counter".into())));
        let to = format!("0a14{}", to.trim_start_matches("12"));
        let rest = format!("1a08{}220178", hex(&"any text".into()));
        assert_eq!(hex(&stored.encode()), format!("{to}1214{}{rest}", caller.trim_start_matches("12")));
    }

    #[test]
    fn unknown_fields_are_ignored() {
        let mut stored = message_bytes();
        // Field 100, a text.
        stored.extend_from_slice(&[0xa2, 0x06, 0x01, b'x']);
        assert!(StoredMessage::decode(1, stored).is_some());
    }

    #[test]
    fn invalid_values_decode_to_none() {
        assert_eq!(StoredMessage::decode(1, "what is this?"), None);
        assert_eq!(StoredMessage::decode(1, ""), None);
        assert_eq!(StoredTimer::decode(1, "what is this?"), None);
        assert_eq!(StoredEgress::decode(1, ""), None);
        assert_eq!(StoredValue::decode("what is this?"), None);
    }

    fn message_bytes() -> Vec<u8> {
        StoredMessage { id: 1, to: address("a"), message: message(None, Some("x")) }.encode().to_vec()
    }
}
