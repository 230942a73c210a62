//! The contents of requests, and the decoding of answers.

use std::{
    io::Write as _,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request as HttpRequest, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use prost::Message as _;
use statefun_kinesis_mailboxes::{
    Answer, Delayed, Effects, EgressMessage, Expiration, Invoke, InvokeErrorKind, Message, Origin, StateChange,
    StateSpec, Value,
};
use statefun_kinesis_protocol::{
    egress::{KINESIS_EGRESS_RECORD, KinesisEgressRecord},
    reqreply::{
        self, DelayedInvocation, ExpirationSpec, FromFunction, IncompleteInvocationContext, InvocationResponse,
        OutgoingMessage, PersistedValueMutation, PersistedValueSpec, ToFunction, TypedValue, from_function,
        to_function,
    },
};
use statefun_kinesis_remote::RemoteEndpoint;
use statefun_kinesis_types::{HashKey, PutRecord};

use crate::scene::*;

#[tokio::test]
async fn a_request_says_all_that_a_function_needs() {
    let seen: Arc<Mutex<Vec<HttpRequest<Bytes>>>> = Arc::default();
    let log = Arc::clone(&seen);
    let server = Server::start(move |request| {
        log.lock().unwrap().push(request);
        answer(result(InvocationResponse::default()))
    });
    assert_eq!(server.endpoint().invoke(&request(), LONG).await.unwrap(), no_effects());

    let seen = seen.lock().unwrap().remove(0);
    assert_eq!((seen.method().as_str(), seen.uri().path()), ("POST", "/serve/f"));
    for (name, value) in
        [("content-type", "application/octet-stream"), ("accept", "application/octet-stream"), ("host", "localhost")]
    {
        assert_eq!(seen.headers()[name], value, "{name}");
    }
    assert_eq!(seen.headers()["content-length"], seen.body().len().to_string().as_str());
    let Some(to_function::Request::Invocation(batch)) = ToFunction::decode(seen.into_body()).unwrap().request else {
        panic!("it is no batch");
    };
    assert_eq!(batch.target, Some(wire_address("1")));
    let states: Vec<_> = batch.state.into_iter().map(|state| (state.state_name, state.state_value)).collect();
    assert_eq!(states, [("set".to_owned(), Some(typed("state"))), ("unset".to_owned(), None)]);
    let messages: Vec<_> = batch.invocations.into_iter().map(|message| (message.caller, message.argument)).collect();
    let expect = [(None, Some(typed("hello"))), (Some(wire_address("2")), Some(typed("")))];
    assert_eq!(messages, expect);
}

#[tokio::test]
async fn a_message_says_which_record_it_came_from_if_that_is_wanted() {
    const STREAM: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/orders";
    const SEQUENCE_NUMBER: &str = "49590338271490256608559692538361571095921575989136588898";
    let seen: Arc<Mutex<Vec<HttpRequest<Bytes>>>> = Arc::default();
    let log = Arc::clone(&seen);
    let server = Server::start(move |request| {
        log.lock().unwrap().push(request);
        answer(result(InvocationResponse::default()))
    });
    let origin = |is_sent, explicit_hash_key: Option<HashKey>| {
        Some(Arc::new(Origin {
            stream: STREAM.parse().unwrap(),
            shard: "shardId-000000000007".parse().unwrap(),
            sequence_number: SEQUENCE_NUMBER.parse().unwrap(),
            sub_sequence_number: 3,
            arrival: "2026-11-23T02:00:00.123Z".parse().unwrap(),
            explicit_hash_key: explicit_hash_key.map(Box::new),
            is_sent,
            is_last: true,
        }))
    };
    let message = |origin| Message { caller: None, value: Value::new("t/text", "hello"), origin };
    let messages =
        [origin(false, Some(HashKey::MAX)), origin(true, None), None, origin(true, Some(HashKey::MAX))].map(message);
    let mut request = request();
    request.messages = messages.into();
    assert_eq!(server.endpoint().invoke(&request, LONG).await.unwrap(), no_effects());

    let body = seen.lock().unwrap().remove(0).into_body();
    let Some(to_function::Request::Invocation(batch)) = ToFunction::decode(body).unwrap().request else {
        panic!("it is no batch");
    };
    let metadata: Vec<Vec<(String, String)>> = batch
        .invocations
        .into_iter()
        .map(|message| {
            let metadata = message.argument.unwrap().metadata.into_iter();
            metadata.inspect(|entry| assert!(entry.has_value)).map(|entry| (entry.key, entry.value)).collect()
        })
        .collect();
    let entry = |(key, value): (&str, &str)| (key.to_owned(), value.to_owned());
    let always = [
        ("kinesis.streamArn", STREAM),
        ("kinesis.shardId", "shardId-000000000007"),
        ("kinesis.sequenceNumber", SEQUENCE_NUMBER),
        ("kinesis.subSequenceNumber", "3"),
        ("kinesis.approximateArrivalTimestamp", "2026-11-23T02:00:00.123Z"),
    ]
    .map(entry);
    let explicit = ("kinesis.explicitHashKey", "340282366920938463463374607431768211455");
    let all = always.iter().cloned().chain([entry(explicit)]).collect();
    assert_eq!(metadata, [vec![], always.to_vec(), vec![], all]);
}

#[tokio::test]
async fn an_answer_brings_its_effects_in_order() {
    let delayed = |delay_in_ms, cancellation_token: &str, is_cancellation_request: bool| DelayedInvocation {
        delay_in_ms,
        target: (!is_cancellation_request).then(|| wire_address("3")),
        argument: Some(typed("later")),
        is_cancellation_request,
        cancellation_token: cancellation_token.into(),
    };
    let mutation = |mutation_type, name: &str, state_value| PersistedValueMutation {
        mutation_type,
        state_name: name.into(),
        state_value,
    };
    let record = |stream: &str, explicit_hash_key: &str| reqreply::EgressMessage {
        egress_namespace: "t".into(),
        egress_type: "out".into(),
        argument: Some(TypedValue {
            typename: KINESIS_EGRESS_RECORD.into(),
            has_value: true,
            value: KinesisEgressRecord {
                partition_key: "k".into(),
                value_bytes: Bytes::from_static(b"v"),
                stream: stream.into(),
                explicit_hash_key: explicit_hash_key.into(),
            }
            .encode_to_vec()
            .into(),
            ..TypedValue::default()
        }),
    };
    const ARN: &str = "arn:aws:kinesis:us-east-1:123456789012:stream/other";
    let response = InvocationResponse {
        state_mutations: vec![mutation(1, "a", Some(typed("x"))), mutation(0, "b", None)],
        outgoing_messages: vec![
            OutgoingMessage { target: Some(wire_address("2")), argument: Some(typed("now")) },
            OutgoingMessage { target: Some(wire_address("1")), argument: None },
        ],
        delayed_invocations: vec![delayed(7, "t", false), delayed(-7, "", false), delayed(0, "t", true)],
        outgoing_egresses: vec![record("", ""), record("name", "5"), record(ARN, "")],
    };
    let server = Server::start(move |_| answer(result(response.clone())));
    let Answer::Handled(effects) = server.endpoint().invoke(&request(), LONG).await.unwrap() else {
        panic!("nothing is missing");
    };
    let value = |text: &'static str| Value::new("t/text", text);
    let send = |millis, token: Option<&str>| Delayed::Send {
        delay: Duration::from_millis(millis),
        to: address("3"),
        value: value("later"),
        token: token.map(Into::into),
    };
    let put = PutRecord::new("k".parse().unwrap(), "v");
    let out = |stream: Option<&str>, record: &PutRecord| EgressMessage::Record {
        egress: "t/out".parse().unwrap(),
        stream: stream.map(|stream| stream.parse().unwrap()),
        record: record.clone(),
    };
    let expect = Effects {
        messages: vec![(address("2"), value("now")), (address("1"), Value { typename: "".into(), bytes: None })],
        delayed: vec![send(7, Some("t")), send(0, None), Delayed::Cancel { token: "t".into() }],
        egress: vec![
            out(None, &put),
            out(Some("name"), &put.clone().with_explicit_hash_key(HashKey::new(5))),
            out(Some(ARN), &put),
        ],
        states: vec![
            StateChange { name: "a".into(), value: Some(value("x")) },
            StateChange { name: "b".into(), value: None },
        ],
    };
    assert_eq!(effects, expect);
}

#[tokio::test]
async fn an_answer_names_missing_states() {
    let spec = |name: &str, expiration: Option<(i32, i64)>| PersistedValueSpec {
        state_name: name.into(),
        expiration_spec: expiration.map(|(mode, expire_after_millis)| ExpirationSpec { mode, expire_after_millis }),
        type_typename: "t/text".into(),
    };
    let missing_values =
        vec![spec("a", None), spec("b", Some((0, 5))), spec("c", Some((1, 5))), spec("d", Some((2, 6)))];
    let context = IncompleteInvocationContext { missing_values };
    let response = FromFunction { response: Some(from_function::Response::IncompleteInvocationContext(context)) };
    let server = Server::start(move |_| answer(response.clone()));
    let missing = |name: &str, expiration| StateSpec { name: name.into(), typename: "t/text".into(), expiration };
    let expect = Answer::StatesMissing(vec![
        missing("a", Expiration::Never),
        missing("b", Expiration::Never),
        missing("c", Expiration::AfterWrite(Duration::from_millis(5))),
        missing("d", Expiration::AfterInvoke(Duration::from_millis(6))),
    ]);
    assert_eq!(server.endpoint().invoke(&request(), LONG).await.unwrap(), expect);
}

#[tokio::test]
async fn an_empty_answer_has_no_effects() {
    let octets = "application/octet-stream";
    for (status, kind, encoding) in [
        (200, Some(octets), None),
        (204, None, None),
        (200, Some("Application/Octet-Stream; x=1"), None),
        (204, Some("text/html"), None),
        (200, Some("text/html; charset=utf-8"), Some("br")),
        // A7: what a compressing proxy makes of an empty body.
        (204, None, Some("gzip")),
        (200, Some(octets), Some("gzip")),
        (200, Some(octets), Some("GZIP")),
    ] {
        let server = Server::start(move |_| {
            let mut response = Response::builder().status(status);
            for (name, value) in [("content-type", kind), ("content-encoding", encoding)] {
                if let Some(value) = value {
                    response = response.header(name, value);
                }
            }
            response.body(full("")).unwrap()
        });
        assert_eq!(server.endpoint().invoke(&request(), LONG).await.unwrap(), no_effects());
    }
}

/// What the runtime does next depends on the kind of a failure, and on the wait that the server asks for.
#[tokio::test]
async fn a_status_says_what_failed_and_how_long_to_wait() {
    use InvokeErrorKind::{Rejected, TooLarge, Unavailable};
    let secs = |secs| Some(Duration::from_secs(secs));
    let (now, later) = ("Mon, 30 Nov 2026 10:00:00 GMT", "Mon, 30 Nov 2026 10:00:09 GMT");
    for (status, date, wait, expect) in [
        (500, None, None, (Rejected, None)),
        (404, None, Some("7"), (Rejected, secs(7))),
        (413, None, None, (TooLarge, None)),
        (429, None, Some(" 120 "), (Unavailable, secs(120))),
        (502, None, None, (Unavailable, None)),
        (503, None, Some("0"), (Unavailable, secs(0))),
        (503, None, Some("99999999999999999999999"), (Unavailable, secs(u64::MAX))),
        (503, Some(now), Some(later), (Unavailable, secs(9))),
        (503, Some(later), Some(now), (Unavailable, None)),
        (503, None, Some("soon"), (Unavailable, None)),
        (503, None, Some("-5"), (Unavailable, None)),
        (504, None, Some(""), (Unavailable, None)),
    ] {
        let server = Server::start(move |_| {
            let mut response = Response::builder().status(status);
            for (name, value) in [("date", date), ("retry-after", wait)] {
                if let Some(value) = value {
                    response = response.header(name, value);
                }
            }
            response.body(full("")).unwrap()
        });
        let error = server.endpoint().invoke(&request(), LONG).await.unwrap_err();
        assert_eq!((error.kind(), error.wait()), expect, "{status} {wait:?}");
    }
}

#[tokio::test]
async fn a_request_that_is_too_large_names_the_setting() {
    let server =
        Server::start(|_| Response::builder().status(413).body(full("Maximum request body size 1048576")).unwrap());
    let expect = ["does not accept a request of ", "`maxRequestBytes`", "Maximum request body size 1048576"];
    says(server.endpoint().invoke(&request(), LONG).await, &expect);
}

#[tokio::test]
async fn unusable_answers_are_reported() {
    let respond = |status: u16, kind: &'static str, encoding: Option<&'static str>, body: Bytes| {
        Server::start(move |_| {
            let mut response = Response::builder().status(status).header("content-type", kind);
            if let Some(encoding) = encoding {
                response = response.header("content-encoding", encoding);
            }
            response.body(full(body.clone())).unwrap()
        })
    };
    let octets = "application/octet-stream";
    let long = Bytes::from("x".repeat(100_000));
    for (server, expect) in [
        (
            respond(500, "text/plain", None, "KeyError: 'colour'\n".into()),
            ["500 Internal Server Error", "`KeyError: \\'colour\\'`"],
        ),
        (respond(404, "text/html", None, Bytes::new()), ["404 Not Found", "(no body)"]),
        (respond(502, "text/plain", None, long), ["502 Bad Gateway", "xxx…`"]),
        (respond(301, octets, None, Bytes::new()), ["301", ""]),
        (respond(200, "text/html", None, "<html>".into()), ["is of type \"text/html\"", "`<html>`"]),
        (respond(200, octets, None, "<html>".into()), ["cannot be used", "not a message of the StateFun protocol"]),
        (respond(200, octets, Some("br"), "x".into()), ["the encoding `br`", ""]),
        (respond(200, octets, Some("gzip"), "x".into()), ["cannot be decompressed", ""]),
    ] {
        says(server.endpoint().invoke(&request(), LONG).await, &expect);
    }
}

/// A message to an egress.
fn to_egress(egress_type: &str, typename: &str, value: Vec<u8>) -> reqreply::EgressMessage {
    reqreply::EgressMessage {
        egress_namespace: "t".into(),
        egress_type: egress_type.into(),
        argument: Some(TypedValue {
            typename: typename.into(),
            has_value: true,
            value: value.into(),
            ..TypedValue::default()
        }),
    }
}

#[tokio::test]
async fn an_answer_without_a_target_or_an_egress_is_an_error() {
    let nowhere = to_egress("", KINESIS_EGRESS_RECORD, vec![]);
    for (response, expect) in [
        (InvocationResponse { outgoing_egresses: vec![nowhere], ..Default::default() }, "an invalid name"),
        (
            InvocationResponse { outgoing_messages: vec![OutgoingMessage::default()], ..Default::default() },
            "a message without a target",
        ),
    ] {
        let server = Server::start(move |_| answer(result(response.clone())));
        says(server.endpoint().invoke(&request(), LONG).await, &[expect]);
    }
}

#[tokio::test]
async fn an_invalid_record_does_not_make_the_rest_of_its_answer_invalid() {
    let record = |partition_key: &str, stream: &str, explicit_hash_key: &str| {
        let record = KinesisEgressRecord {
            partition_key: partition_key.into(),
            stream: stream.into(),
            explicit_hash_key: explicit_hash_key.into(),
            ..Default::default()
        };
        to_egress("out", KINESIS_EGRESS_RECORD, record.encode_to_vec())
    };
    let long = "k".repeat(300);
    let two_to_the_128th = "340282366920938463463374607431768211456";
    let cases = [
        (to_egress("out", "t/text", vec![7]), "it has the type `t/text`, but `type.googleapis.com/"),
        (to_egress("out", KINESIS_EGRESS_RECORD, vec![0xff]), "it cannot be decoded"),
        (record("", "", ""), "`` is not a valid partition key: expected 1 to 256"),
        (record(&long, "", ""), "kkk…` is not a valid partition key"),
        (record("k", "no such name", ""), "`no such name` is not a valid stream name"),
        (record("k", "", "-1"), "`-1` is not a valid hash key"),
        (record("k", "", "abc"), "`abc` is not a valid hash key"),
        (record("k", "", two_to_the_128th), "is not a valid hash key"),
    ];
    let messages: Vec<_> = cases.iter().map(|(message, _)| message.clone()).chain([record("k", "", "")]).collect();
    let response = InvocationResponse { outgoing_egresses: messages, ..Default::default() };
    let server = Server::start(move |_| answer(result(response.clone())));
    let Answer::Handled(effects) = server.endpoint().invoke(&request(), LONG).await.unwrap() else {
        panic!("nothing is missing");
    };
    let (valid, invalid) = effects.egress.split_last().unwrap();
    assert_eq!(valid.record().unwrap().partition_key.as_str(), "k");
    for (message, (sent, expect)) in invalid.iter().zip(&cases) {
        let EgressMessage::Invalid { egress, value, error } = message else { panic!("{message:?}") };
        let sent = sent.argument.as_ref().unwrap();
        assert_eq!(
            (egress.as_str(), &*value.typename, &value.bytes),
            ("t/out", &*sent.typename, &Some(sent.value.clone()))
        );
        assert!(error.contains(expect), "{error}");
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    packed.write_all(bytes).unwrap();
    packed.finish().unwrap()
}

/// An answer of about so many bytes.
fn answer_of(bytes: usize) -> FromFunction {
    let argument = TypedValue {
        value: vec![0; bytes].into(),
        has_value: true,
        typename: "t/text".into(),
        ..TypedValue::default()
    };
    let outgoing_messages = vec![OutgoingMessage { target: Some(wire_address("2")), argument: Some(argument) }];
    result(InvocationResponse { outgoing_messages, ..Default::default() })
}

#[tokio::test]
async fn an_answer_may_be_packed_and_is_bounded() {
    const LIMIT: u32 = 100_000;
    for (bytes, coding, fits) in [
        (99_900, "", true),
        (100_000, "", false),
        (99_900, "gzip", true),
        (99_900, "GZip", true),
        (100_000, "gzip", false),
    ] {
        let packed = !coding.is_empty();
        let server = Server::start(move |request| {
            assert_eq!(request.headers()["accept-encoding"], "gzip");
            let body = answer_of(bytes).encode_to_vec();
            let response = Response::builder().header("content-type", "application/octet-stream");
            if packed {
                return response.header("content-encoding", coding).body(full(gzip(&body))).unwrap();
            }
            // In chunks, without a content length.
            let pieces: Vec<_> =
                body.chunks(1_000).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
            response.body(BodyExt::boxed(StreamBody::new(futures::stream::iter(pieces)))).unwrap()
        });
        let mut spec = server.spec();
        spec.transport.payload_max_bytes = LIMIT.try_into().unwrap();
        let answered = RemoteEndpoint::new(&spec).unwrap().invoke(&request(), LONG).await;
        if fits {
            let Answer::Handled(effects) = answered.unwrap() else { panic!("nothing is missing") };
            assert_eq!(effects.messages[0].1.payload_len(), bytes);
        } else {
            says(answered, &["100000 bytes that `payload_max_bytes` allows"]);
        }
    }
}

#[tokio::test]
async fn an_answer_with_any_success_counts() {
    let server = Server::start(|_| {
        let mut response = answer(result(InvocationResponse::default()));
        *response.status_mut() = StatusCode::ACCEPTED;
        response
    });
    assert_eq!(server.endpoint().invoke(&request(), LONG).await.unwrap(), no_effects());
}
