//! The bytes of the messages, written down by hand from the field numbers of Apache StateFun 3.x.

use std::fmt::Debug;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use statefun_kinesis_protocol::egress::KinesisEgressRecord;
use statefun_kinesis_protocol::reqreply::{
    Address, DelayedInvocation, EgressMessage, ExpirationSpec, FromFunction, IncompleteInvocationContext, Invocation,
    InvocationBatchRequest, InvocationResponse, Metadata, OutgoingMessage, PersistedValue, PersistedValueMutation,
    PersistedValueSpec, ToFunction, TypedValue, expiration_spec::ExpireMode, from_function::Response,
    persisted_value_mutation::MutationType, to_function::Request,
};
use statefun_kinesis_protocol::{AddressRef, BatchRequest, InvocationRef, MetadataRef, Primitive, StateRef, ValueRef};

/// A field with a length: its key, its length, its bytes.
fn field(tag: u32, content: impl AsRef<[u8]>) -> Vec<u8> {
    let content = content.as_ref();
    let key = tag << 3 | 2;
    let mut bytes = if key < 0x80 { vec![key as u8] } else { vec![key as u8 | 0x80, (key >> 7) as u8] };
    assert!(content.len() < 0x80, "the vectors are short, so that each length is one byte");
    bytes.push(content.len() as u8);
    bytes.extend(content);
    bytes
}

#[track_caller]
fn check<M: Message + Default + PartialEq + Debug>(message: M, bytes: &[u8]) {
    assert_eq!(message.encode_to_vec(), bytes, "written");
    assert_eq!(M::decode(bytes).expect("the bytes are a message"), message, "read");
}

fn address(id: &str) -> Address {
    Address { namespace: "ns".into(), r#type: "fn".into(), id: id.into() }
}

fn address_bytes(id: &str) -> Vec<u8> {
    [field(1, "ns"), field(2, "fn"), field(3, id)].concat()
}

fn value(bytes: &'static str) -> TypedValue {
    TypedValue {
        typename: "a/b".into(),
        has_value: true,
        value: Bytes::from_static(bytes.as_bytes()),
        ..TypedValue::default()
    }
}

fn value_bytes(bytes: &str) -> Vec<u8> {
    [field(1, "a/b"), vec![0x10, 1], field(3, bytes)].concat()
}

#[test]
fn a_request() {
    let batch = InvocationBatchRequest {
        target: Some(address("7")),
        state: vec![
            PersistedValue { state_name: "set".into(), state_value: Some(value("x")) },
            PersistedValue { state_name: "unset".into(), state_value: None },
        ],
        invocations: vec![
            Invocation { caller: None, argument: Some(value("m")) },
            Invocation { caller: Some(address("8")), argument: Some(value("n")) },
        ],
    };
    let bytes = [
        field(1, address_bytes("7")),
        field(2, [field(1, "set"), field(2, value_bytes("x"))].concat()),
        field(2, field(1, "unset")),
        field(3, field(2, value_bytes("m"))),
        field(3, [field(1, address_bytes("8")), field(2, value_bytes("n"))].concat()),
    ]
    .concat();
    check(batch.clone(), &bytes);
    // Key 100 with a length is 802, which is 0xa2 0x06.
    assert_eq!(field(100, ""), [0xa2, 0x06, 0]);
    check(ToFunction { request: Some(Request::Invocation(batch)) }, &field(100, bytes));
}

#[test]
fn effects() {
    let response = InvocationResponse {
        outgoing_messages: vec![OutgoingMessage { target: Some(address("2")), argument: Some(value("m")) }],
        ..Default::default()
    };
    let bytes = field(2, [field(1, address_bytes("2")), field(2, value_bytes("m"))].concat());
    check(FromFunction { response: Some(Response::InvocationResult(response)) }, &field(100, bytes));

    let mutation = |kind: MutationType, state_value| PersistedValueMutation {
        mutation_type: kind as i32,
        state_name: "s".into(),
        state_value,
    };
    check(mutation(MutationType::Delete, None), &field(2, "s"));
    check(
        mutation(MutationType::Modify, Some(value("v"))),
        &[vec![0x08, 1], field(2, "s"), field(3, value_bytes("v"))].concat(),
    );
    check(
        EgressMessage { egress_namespace: "n".into(), egress_type: "e".into(), argument: Some(value("v")) },
        &[field(1, "n"), field(2, "e"), field(3, value_bytes("v"))].concat(),
    );
    let response = InvocationResponse {
        state_mutations: vec![mutation(MutationType::Delete, None)],
        delayed_invocations: vec![DelayedInvocation { delay_in_ms: 1, ..Default::default() }],
        outgoing_egresses: vec![EgressMessage { egress_type: "e".into(), ..Default::default() }],
        ..Default::default()
    };
    check(response, &[field(1, field(2, "s")), field(3, [0x08, 1]), field(4, field(2, "e"))].concat());
}

#[test]
fn delayed_messages_and_cancellations() {
    let delayed = DelayedInvocation {
        delay_in_ms: 300,
        target: Some(address("2")),
        argument: Some(value("m")),
        is_cancellation_request: false,
        cancellation_token: "t".into(),
    };
    let bytes =
        [vec![0x08, 0xac, 0x02], field(2, address_bytes("2")), field(3, value_bytes("m")), field(11, "t")].concat();
    check(delayed, &bytes);
    let cancellation =
        DelayedInvocation { is_cancellation_request: true, cancellation_token: "t".into(), ..Default::default() };
    check(cancellation, &[vec![0x50, 1], field(11, "t")].concat());
}

#[test]
fn missing_states() {
    let spec = |name: &str, expiration_spec| PersistedValueSpec {
        state_name: name.into(),
        expiration_spec,
        type_typename: "a/b".into(),
    };
    let after_write = ExpirationSpec { mode: ExpireMode::AfterWrite as i32, expire_after_millis: 1000 };
    let after_invoke = ExpirationSpec { mode: ExpireMode::AfterInvoke as i32, expire_after_millis: 1 };
    let context = IncompleteInvocationContext {
        missing_values: vec![spec("p", None), spec("q", Some(after_write)), spec("r", Some(after_invoke))],
    };
    let bytes = [
        field(1, [field(1, "p"), field(3, "a/b")].concat()),
        field(1, [field(1, "q"), field(2, [0x08, 1, 0x10, 0xe8, 0x07]), field(3, "a/b")].concat()),
        field(1, [field(1, "r"), field(2, [0x08, 2, 0x10, 1]), field(3, "a/b")].concat()),
    ]
    .concat();
    check(FromFunction { response: Some(Response::IncompleteInvocationContext(context)) }, &field(101, bytes));
}

#[test]
fn an_empty_answer_has_no_effects() {
    check(FromFunction { response: None }, b"");
    check(FromFunction { response: Some(Response::InvocationResult(InvocationResponse::default())) }, &field(100, ""));
}

#[test]
fn an_absent_value_is_not_an_empty_one() {
    check(
        TypedValue { typename: "a/b".into(), has_value: false, value: Bytes::new(), ..TypedValue::default() },
        &field(1, "a/b"),
    );
    let empty = TypedValue { typename: "a/b".into(), has_value: true, value: Bytes::new(), ..TypedValue::default() };
    check(empty, &[field(1, "a/b"), vec![0x10, 1]].concat());
}

#[test]
fn a_record_for_kinesis() {
    let record = KinesisEgressRecord {
        partition_key: "k".into(),
        value_bytes: Bytes::from_static(b"\x00\xff"),
        stream: "s".into(),
        explicit_hash_key: "0".into(),
    };
    check(record, &[field(1, "k"), field(2, [0, 0xff]), field(3, "s"), field(4, "0")].concat());
}

#[test]
fn fields_of_newer_peers_are_skipped() {
    let read = TypedValue::decode([value_bytes("v"), field(5, "x")].concat().as_slice()).expect("it is a value");
    assert_eq!(read, value("v"));
    // All wire types, in an answer: varint, 64 bits, a length, 32 bits.
    let unknown =
        [vec![0x98, 0x06, 5], vec![0x99, 0x06, 0, 0, 0, 0, 0, 0, 0, 0], field(99, "x"), vec![0x9d, 6, 0, 0, 0, 0]];
    let read = FromFunction::decode([unknown.concat(), field(100, "")].concat().as_slice()).expect("it is an answer");
    assert_eq!(read.response, Some(Response::InvocationResult(InvocationResponse::default())));
}

#[test]
fn invalid_messages_are_rejected() {
    for bytes in [&b"\xff"[..], b"\xa2\x06\x05", b"\xa2\x06\x02\x0a\x7f", b"<html>"] {
        assert!(FromFunction::decode(bytes).is_err(), "{bytes:?}");
    }
}

#[test]
fn payloads_are_not_copied_out_of_an_answer() {
    let body = Bytes::from(value_bytes("payload"));
    let read = TypedValue::decode(body.clone()).expect("it is a value");
    assert!(body.as_ptr_range().contains(&read.value.as_ptr()));
}

#[track_caller]
fn check_primitive<P: Primitive + PartialEq + Debug>(name: &str, value: P, bytes: &[u8]) {
    assert_eq!(P::TYPENAME, format!("io.statefun.types/{name}"));
    assert_eq!(value.to_bytes(), bytes, "{value:?}");
    assert_eq!(P::from_bytes(bytes).expect("the bytes are of the type"), value);
    let typed = TypedValue::of(&value);
    assert_eq!((typed.typename.as_str(), typed.has_value, &*typed.value), (P::TYPENAME, true, bytes));
}

#[test]
fn primitive_values() {
    check_primitive("bool", true, &[0x08, 1]);
    check_primitive("int", -2_i32, &[0x0d, 0xfe, 0xff, 0xff, 0xff]);
    check_primitive("float", 1.5_f32, &[0x0d, 0, 0, 0xc0, 0x3f]);
    check_primitive("long", -2_i64, &[0x09, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
    check_primitive("double", 1.5_f64, &[0x09, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f]);
    check_primitive("string", "añ".to_owned(), &[0x0a, 3, b'a', 0xc3, 0xb1]);
}

#[test]
fn metadata_is_field_4_of_a_value() {
    // As in the continuation of Apache StateFun: key 1, value 2, present 3.
    let entry = Metadata { key: "k".into(), value: "v".into(), has_value: true };
    let value = TypedValue { typename: "a/b".into(), metadata: vec![entry], ..TypedValue::default() };
    let entry = [field(1, "k"), field(2, "v"), vec![3 << 3, 1]].concat();
    check(value, &[field(1, "a/b"), field(4, entry)].concat());
}

#[test]
fn a_default_value_has_no_bytes() {
    check_primitive("bool", false, &[]);
    check_primitive("int", 0_i32, &[]);
    check_primitive("float", 0.0_f32, &[]);
    check_primitive("long", 0_i64, &[]);
    check_primitive("double", 0.0_f64, &[]);
    check_primitive("string", String::new(), &[]);
}

#[test]
fn a_primitive_of_another_type_is_refused() {
    assert!(i64::from_bytes(&5_i32.to_bytes()).is_err());
    assert!(String::from_bytes(&[0x0a, 1, 0xff]).is_err(), "a text is UTF-8");
}

type OwnedValue = (String, Option<Vec<u8>>);

fn some_value() -> impl Strategy<Value = OwnedValue> {
    (".{0,9}", proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)))
}

proptest! {
    #[test]
    fn a_request_of_borrowed_parts_is_the_same_on_the_wire(
        id in ".{0,200}",
        states in proptest::collection::vec((".{0,5}", proptest::option::of(some_value())), 0..4),
        messages in proptest::collection::vec((proptest::option::of(".{0,5}"), some_value()), 0..4),
        metadata in proptest::collection::vec((".{0,9}", ".{0,200}"), 0..4),
    ) {
        let owned = |(typename, value): &OwnedValue| TypedValue {
            typename: typename.clone(),
            has_value: value.is_some(),
            value: value.clone().unwrap_or_default().into(), ..TypedValue::default() };
        let whole = ToFunction { request: Some(Request::Invocation(InvocationBatchRequest {
            target: Some(address(&id)),
            state: states.iter().map(|(name, value)| PersistedValue {
                state_name: name.clone(),
                state_value: value.as_ref().map(owned),
            }).collect(),
            invocations: messages.iter().map(|(caller, value)| Invocation {
                caller: caller.as_ref().map(|id| address(id)),
                argument: Some(TypedValue {
                    metadata: metadata.iter().map(|(key, value)| Metadata {
                        key: key.clone(), value: value.clone(), has_value: true,
                    }).collect(),
                    ..owned(value)
                }),
            }).collect(),
        })) };
        fn of<'a>(id: &'a str) -> AddressRef<'a> { AddressRef { namespace: "ns", name: "fn", id } }
        fn borrowed((typename, value): &OwnedValue) -> ValueRef<'_> {
            ValueRef { typename, value: value.as_deref(), metadata: &[] }
        }
        let states: Vec<_> =
            states.iter().map(|(name, value)| StateRef { name, value: value.as_ref().map(borrowed) }).collect();
        let entries: Vec<_> = metadata.iter().map(|(key, value)| MetadataRef { key, value }).collect();
        let invocations: Vec<_> = messages.iter()
            .map(|(caller, value)| InvocationRef {
                caller: caller.as_deref().map(of),
                argument: ValueRef { metadata: &entries, ..borrowed(value) },
            })
            .collect();
        let request = BatchRequest { target: of(&id), states: &states, invocations: &invocations };
        prop_assert_eq!(request.encode(), whole.encode_to_vec());
    }
}
