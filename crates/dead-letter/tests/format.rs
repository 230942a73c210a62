//! The JSON of dead letters, as other programs see it.

use bytes::Bytes;
use serde_json::{Value, json};
use statefun_kinesis_dead_letter::{
    DeadLetter, DeadLetterReader, DecodeError, EgressOrigin, EncodeError, FunctionOrigin, IngressOrigin,
    MESSAGE_MAX_CHARS, Origin, PART_MIN_BYTES, reason,
};
use statefun_kinesis_types::{Address, HashKey};

const ARN: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/orders";

fn ingress_origin() -> IngressOrigin {
    IngressOrigin {
        stream: ARN.parse().unwrap(),
        shard: "shardId-000000000003".parse().unwrap(),
        sequence_number: "49590338271490256608559692538361571095921575989136588898".parse().unwrap(),
        sub_sequence_number: 7,
        arrival: "2026-11-23T02:00:00.000Z".parse().unwrap(),
    }
}

fn address(function: &str, id: &str) -> Address {
    Address { function: function.parse().unwrap(), id: id.into() }
}

fn from_ingress(data: impl Into<Bytes>) -> DeadLetter {
    let key = Some("customer-17".parse().unwrap());
    DeadLetter::from_ingress(ingress_origin(), key, data.into(), reason::UNDECODABLE, "it is not an order")
}

fn from_function(value: Option<Bytes>) -> DeadLetter {
    let origin = FunctionOrigin {
        function: address("example/greeter", "customer-17"),
        caller: Some(address("example/orders", "4")),
        ingress: Some(ingress_origin()),
        attempts: 5,
        first_attempt: Some("2026-11-23T02:00:01.500Z".parse().unwrap()),
    };
    DeadLetter::from_function(origin, Some("example/order".parse().unwrap()), value, "the endpoint answered 500")
}

fn from_egress(data: impl Into<Bytes>) -> DeadLetter {
    let origin = EgressOrigin {
        egress: Some("example/notifications".parse().unwrap()),
        stream: Some("notifications".parse().unwrap()),
        explicit_hash_key: Some(HashKey::new(7)),
        attempts: 3,
        may_be_stored: true,
    };
    DeadLetter::from_egress(origin, "customer-17".parse().unwrap(), data.into(), reason::GAVE_UP, "gave up")
}

/// The one envelope of a letter.
#[track_caller]
fn json_of(letter: &DeadLetter) -> Value {
    let envelopes = letter.encode(usize::MAX).unwrap();
    assert_eq!(envelopes.len(), 1);
    assert!(!envelopes[0].contains(&b'\n'), "one line");
    serde_json::from_slice(&envelopes[0]).unwrap()
}

fn read(json: &Value) -> Result<Option<DeadLetter>, DecodeError> {
    DeadLetterReader::new().read(json.to_string().as_bytes())
}

#[test]
fn a_letter_of_an_ingress_names_the_record_that_was_read() {
    let letter = from_ingress("one cup");
    let expected = json!({
        "version": 2,
        "origin": "ingress",
        "reason": "undecodable",
        "message": "it is not an order",
        "ingress": {
            "stream": ARN,
            "shard": "shardId-000000000003",
            "sequenceNumber": "49590338271490256608559692538361571095921575989136588898",
            "subSequenceNumber": 7,
            "arrival": "2026-11-23T02:00:00.000Z",
        },
        "partitionKey": "customer-17",
        "size": 7,
        // printf 'one cup' | md5sum
        "md5": "cbed10a415e4009422f4c1c9909682f7",
        "part": 1,
        "parts": 1,
        "data": "b25lIGN1cA==",
    });
    assert_eq!(json_of(&letter), expected);
    assert_eq!(read(&expected).unwrap(), Some(letter));
}

#[test]
fn a_letter_of_a_function_names_the_address_and_its_caller() {
    let letter = from_function(Some("one cup".into()));
    let json = json_of(&letter);
    assert_eq!((&json["origin"], &json["reason"]), (&json!("function"), &json!("function-failed")));
    assert_eq!(
        json["function"],
        json!({
            "type": "example/greeter",
            "id": "customer-17",
            "callerType": "example/orders",
            "callerId": "4",
            "attempts": 5,
            "firstAttempt": "2026-11-23T02:00:01.500Z",
        })
    );
    assert_eq!(json["ingress"]["shard"], "shardId-000000000003");
    assert_eq!((&json["valueType"], &json["data"]), (&json!("example/order"), &json!("b25lIGN1cA==")));
    assert_eq!(json.get("partitionKey"), None);
    assert_eq!(read(&json).unwrap(), Some(letter));
}

#[test]
fn an_absent_value_is_not_an_empty_one() {
    for value in [None, Some(Bytes::new())] {
        let letter = from_function(value.clone());
        let json = json_of(&letter);
        assert_eq!(json["data"], value.map_or(Value::Null, |_| json!("")));
        assert_eq!(read(&json).unwrap(), Some(letter));
    }
}

#[test]
fn a_letter_of_an_egress_names_where_the_record_was_to_go() {
    let letter = from_egress("one cup");
    let json = json_of(&letter);
    assert_eq!(
        json["egress"],
        json!({
            "id": "example/notifications",
            "stream": "notifications",
            "explicitHashKey": "7",
            "attempts": 3,
            "mayBeStored": true,
        })
    );
    assert_eq!((&json["origin"], &json["partitionKey"]), (&json!("egress"), &json!("customer-17")));
    assert_eq!(read(&json).unwrap(), Some(letter));
}

#[test]
fn unknown_fields_are_ignored_wherever_they_are() {
    for letter in [from_ingress("a"), from_function(Some("b".into())), from_egress("c")] {
        let mut json = json_of(&letter);
        json["later"] = json!({ "any": [1, 2] });
        for origin in ["ingress", "function", "egress"] {
            if let Some(object) = json.get_mut(origin) {
                object["later"] = json!(null);
            }
        }
        assert_eq!(read(&json).unwrap(), Some(letter));
    }
}

#[test]
fn an_unknown_version_is_named_whatever_else_is_in_the_envelope() {
    for version in [0, 3, u64::MAX] {
        let error = read(&json!({ "version": version, "payload": 1 })).unwrap_err();
        assert!(matches!(error, DecodeError::UnknownVersion(found) if found == version), "{error:?}");
        assert!(error.to_string().contains(&version.to_string()), "{error}");
    }
}

#[test]
fn what_is_not_a_dead_letter_is_an_error() {
    for bytes in [&b""[..], b"one cup", b"{}", b"[]", br#"{"version":"2"}"#, br#"{"version":2}"#, b"\xff"] {
        let error = DeadLetterReader::new().read(bytes).unwrap_err();
        assert!(matches!(error, DecodeError::NotADeadLetter(_)), "{error:?}");
    }
}

#[test]
fn an_error_names_the_field() {
    #[track_caller]
    fn check(letter: &DeadLetter, pointer: &str, value: Value, says: &str) {
        let mut json = json_of(letter);
        *json.pointer_mut(pointer).unwrap() = value;
        let error = read(&json).unwrap_err();
        assert!(error.to_string().contains(says), "{error}");
    }
    let (ingress, function, egress) = (from_ingress("a"), from_function(Some("b".into())), from_egress("c"));
    check(&ingress, "/ingress", json!(null), "`ingress`");
    check(&function, "/function", json!(null), "`function`");
    check(&egress, "/egress", json!(null), "`egress`");
    check(&ingress, "/ingress/stream", json!("orders"), "`ingress.stream`");
    check(&ingress, "/ingress/shard", json!(""), "`ingress.shard`");
    check(&ingress, "/ingress/sequenceNumber", json!("x"), "`ingress.sequenceNumber`");
    check(&ingress, "/ingress/arrival", json!("today"), "`ingress.arrival`");
    check(&ingress, "/partitionKey", json!(""), "`partitionKey`");
    check(&function, "/function/type", json!("greeter"), "`function.type`");
    check(&function, "/function/callerType", json!(null), "`function.callerType`");
    check(&function, "/function/callerId", json!(null), "`function.callerId`");
    check(&function, "/function/firstAttempt", json!("x"), "`function.firstAttempt`");
    check(&function, "/valueType", json!("order"), "`valueType`");
    check(&egress, "/egress/id", json!("x"), "`egress.id`");
    check(&egress, "/egress/stream", json!(""), "`egress.stream`");
    check(&egress, "/egress/explicitHashKey", json!("-1"), "`egress.explicitHashKey`");
    check(&egress, "/data", json!("!"), "`data`");
    check(&egress, "/part", json!(0), "`part`");
    check(&egress, "/part", json!(2), "`part`");
}

#[test]
fn a_damaged_payload_is_found() {
    for (field, value) in [("data", json!("eA==")), ("size", json!(2)), ("md5", json!("0"))] {
        let mut json = json_of(&from_egress("c"));
        json[field] = value;
        assert!(matches!(read(&json), Err(DecodeError::Damaged)), "{json}");
    }
}

#[test]
fn a_payload_in_parts_comes_back_in_any_order_with_repeats_and_among_others() {
    let payload = |first: u8| -> Bytes { (0..5_000_u32).map(|byte| first ^ (byte % 251) as u8).collect() };
    let (one, other) = (from_ingress(payload(0)), from_ingress(payload(1)));
    let (one_parts, other_parts) = (one.encode(2_000).unwrap(), other.encode(2_000).unwrap());
    assert!(one_parts.len() > 3);
    let mut reader = DeadLetterReader::new();
    let (last, before) = one_parts.split_last().unwrap();
    for part in before.iter().rev().chain(&before[..2]).chain(&other_parts[1..]) {
        assert_eq!(reader.read(part).unwrap(), None);
    }
    assert_eq!(reader.incomplete(), 2);
    assert_eq!(reader.read(last).unwrap(), Some(one));
    assert_eq!(reader.read(&other_parts[0]).unwrap(), Some(other));
    assert_eq!(reader.incomplete(), 0);
}

#[test]
fn parts_that_are_too_large_together_are_damaged_before_all_of_them_have_come() {
    let mut first: Value = serde_json::from_slice(&from_ingress(vec![1; 5_000]).encode(2_000).unwrap()[0]).unwrap();
    first["size"] = json!(500);
    assert!(matches!(read(&first), Err(DecodeError::Damaged)));
}

#[test]
fn the_keys_of_records_keep_parts_together_and_are_always_possible() {
    #[track_caller]
    fn check(letter: &DeadLetter, key: &str) {
        let records = letter.to_records(usize::MAX).unwrap();
        assert_eq!((records.len(), records[0].partition_key.as_str(), records[0].explicit_hash_key), (1, key, None));
    }
    check(&from_ingress("a"), "customer-17");
    check(&from_egress("a"), "customer-17");
    check(&from_function(None), "customer-17");
    let without_key = DeadLetter::from_ingress(ingress_origin(), None, Bytes::new(), reason::MISSING_PARTITION_KEY, "");
    check(&without_key, "49590338271490256608559692538361571095921575989136588898");
    for id in [String::new(), "x".repeat(257)] {
        let function = format!("example/{}", "y".repeat(300));
        let origin = FunctionOrigin {
            function: address(&function, &id),
            caller: None,
            ingress: None,
            attempts: 1,
            first_attempt: None,
        };
        check(&DeadLetter::from_function(origin, None, None, ""), &function[..256]);
    }
}

#[test]
fn records_have_no_more_bytes_than_the_limit_with_their_key() {
    let letter = from_egress(vec![0; 1 << 20]);
    let records = letter.to_records(1 << 20).unwrap();
    assert_eq!(records.len(), 2);
    assert!(records.iter().all(|record| record.size() <= 1 << 20), "{:?}", records[0].size());
    let Err(EncodeError::LimitTooSmall { limit: 700, needed }) = letter.to_records(700) else { panic!() };
    assert!(letter.to_records(needed).is_ok() && letter.to_records(needed - 1).is_err());
}

#[test]
fn a_message_is_cut_and_a_letter_that_fits_is_not() {
    let letter = DeadLetter::from_ingress(ingress_origin(), None, Bytes::new(), "r", &"\u{1F980}".repeat(5_000));
    assert_eq!(letter.message().chars().count(), MESSAGE_MAX_CHARS);
    let letter = from_egress(vec![7; PART_MIN_BYTES]);
    let bytes = letter.encode(usize::MAX).unwrap()[0].len();
    assert_eq!(letter.encode(bytes).unwrap().len(), 1);
    let error = letter.encode(bytes - 1).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "a dead letter needs records of at least {bytes} bytes, and its stream takes {} bytes per record",
            bytes - 1
        )
    );
}

#[test]
fn version_1_of_an_ingress_is_read() {
    let part = |part: u32, data: &str| {
        json!({
            "version": 1,
            "reason": "undecodable",
            "message": "it is not an order",
            "stream": ARN,
            "shard": "shardId-000000000003",
            "sequenceNumber": "49590338271490256608559692538361571095921575989136588898",
            "subSequenceNumber": 7,
            "arrival": "2026-11-23T02:00:00.000Z",
            "partitionKey": "customer-17",
            "part": part,
            "parts": 2,
            "data": data,
        })
    };
    let mut reader = DeadLetterReader::new();
    assert_eq!(reader.read(part(2, "Y3Vw").to_string().as_bytes()).unwrap(), None);
    let letter = reader.read(part(1, "b25lIA==").to_string().as_bytes()).unwrap();
    assert_eq!(letter, Some(from_ingress("one cup")));
    let mut without_key = part(1, "b25lIA==");
    (without_key["partitionKey"], without_key["parts"]) = (Value::Null, json!(1));
    assert_eq!(read(&without_key).unwrap().unwrap().partition_key(), None);
}

#[test]
fn version_1_of_an_egress_is_read() {
    let letter = read(&json!({
        "version": 1,
        "reason": "gave-up",
        "message": "gave up",
        "stream": "notifications",
        "partitionKey": "customer-17",
        "explicitHashKey": "7",
        "size": 18,
        "attempts": 3,
        "mayBeStored": true,
        "part": 1,
        "parts": 1,
        "data": "b25lIGN1cA==",
    }));
    let letter = letter.unwrap().unwrap();
    assert_eq!((letter.reason(), letter.message()), ("gave-up", "gave up"));
    assert_eq!(letter.data().unwrap(), "one cup");
    let Origin::Egress(origin) = letter.origin() else { panic!("{letter:?}") };
    assert_eq!((origin.attempts, origin.may_be_stored, &origin.egress), (3, true, &None));
    assert_eq!(origin.explicit_hash_key, Some(HashKey::new(7)));
}
