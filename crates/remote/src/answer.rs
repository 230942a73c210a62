//! Decodes answers of StateFun's protocol.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use prost::Message as _;
use statefun_kinesis_mailboxes::{Answer, Delayed, Effects, EgressMessage, Expiration, StateChange, StateSpec, Value};
use statefun_kinesis_protocol::{
    DecodeError,
    egress::{KINESIS_EGRESS_RECORD, KinesisEgressRecord},
    reqreply::{
        self, DelayedInvocation, ExpirationSpec, FromFunction, InvocationResponse, PersistedValueMutation, TypedValue,
        expiration_spec::ExpireMode, from_function::Response, persisted_value_mutation::MutationType,
    },
};
use statefun_kinesis_types::{Address, ErrorChain, InvalidValue, PutRecord, StreamRef, TypeName};

/// Why the body of an answer is not valid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidAnswer {
    #[error("the answer is not a message of the StateFun protocol")]
    Undecodable(#[from] DecodeError),
    #[error("the answer has a message without a target")]
    NoTarget,
    #[error("the answer has an invalid name")]
    Name(#[from] InvalidValue),
}

/// Why a message to an egress is not a valid record. The rest of its answer is valid nevertheless.
#[derive(Debug, thiserror::Error)]
enum InvalidRecord {
    #[error("it has the type `{0}`, but `{KINESIS_EGRESS_RECORD}` is expected")]
    Type(String),
    #[error("it cannot be decoded")]
    Undecodable(#[from] DecodeError),
    #[error(transparent)]
    Field(#[from] InvalidValue),
}

/// Characters of a wrong type that an error shows.
const TYPE_SHOWN_MAX_CHARS: usize = 80;

/// Decodes an answer. An empty body is valid and has no effects.
pub(crate) fn read(body: Bytes) -> Result<Answer, InvalidAnswer> {
    let bytes = body.len();
    match FromFunction::decode(body)?.response {
        None => Ok(Answer::Handled(Effects::default())),
        Some(Response::InvocationResult(response)) => {
            let mut effects = effects(response)?;
            detach(&mut effects, bytes);
            Ok(Answer::Handled(effects))
        }
        Some(Response::IncompleteInvocationContext(context)) => {
            Ok(Answer::StatesMissing(context.missing_values.into_iter().map(state_spec).collect()))
        }
    }
}

fn effects(response: InvocationResponse) -> Result<Effects, InvalidAnswer> {
    let InvocationResponse { state_mutations, outgoing_messages, delayed_invocations, outgoing_egresses } = response;
    Ok(Effects {
        messages: outgoing_messages
            .into_iter()
            .map(|message| Ok((address(message.target)?, value(message.argument.unwrap_or_default()))))
            .collect::<Result<_, InvalidAnswer>>()?,
        delayed: delayed_invocations.into_iter().map(delayed).collect::<Result<_, _>>()?,
        egress: outgoing_egresses.into_iter().map(egress).collect::<Result<_, _>>()?,
        states: state_mutations.into_iter().map(state_change).collect(),
    })
}

/// Copies the values of effects out of their answer, which has that many bytes.
///
/// Decoded values are parts of the answer's body, and each keeps the whole body in memory. A value may stay for days (a
/// state, a delayed message, a message that waits), so it must not keep more than it is counted for. A value that is
/// at least half of the body needs no copy: it keeps at most twice its own size.
fn detach(effects: &mut Effects, body: usize) {
    let detach = |bytes: &mut Bytes| {
        if bytes.len() < body / 2 {
            *bytes = Bytes::copy_from_slice(bytes);
        }
    };
    let Effects { messages, delayed, egress, states } = effects;
    let sent = messages.iter_mut().map(|(_, value)| value);
    let delayed = delayed.iter_mut().filter_map(|delayed| match delayed {
        Delayed::Send { value, .. } => Some(value),
        Delayed::Cancel { .. } => None,
    });
    let states = states.iter_mut().filter_map(|change| change.value.as_mut());
    sent.chain(delayed).chain(states).filter_map(|value| value.bytes.as_mut()).for_each(detach);
    for message in egress {
        match message {
            EgressMessage::Record { record, .. } => detach(&mut record.data),
            EgressMessage::Invalid { value, .. } => value.bytes.iter_mut().for_each(&detach),
        }
    }
}

fn address(address: Option<reqreply::Address>) -> Result<Address, InvalidAnswer> {
    let reqreply::Address { namespace, r#type, id } = address.ok_or(InvalidAnswer::NoTarget)?;
    Ok(Address { function: format!("{namespace}/{}", r#type).parse()?, id: id.into() })
}

fn value(value: TypedValue) -> Value {
    Value { typename: value.typename.into(), bytes: value.has_value.then_some(value.value) }
}

fn delayed(delayed: DelayedInvocation) -> Result<Delayed, InvalidAnswer> {
    let token: Arc<str> = delayed.cancellation_token.into();
    if delayed.is_cancellation_request {
        return Ok(Delayed::Cancel { token });
    }
    Ok(Delayed::Send {
        delay: Duration::from_millis(u64::try_from(delayed.delay_in_ms).unwrap_or(0)),
        to: address(delayed.target)?,
        value: value(delayed.argument.unwrap_or_default()),
        token: (!token.is_empty()).then_some(token),
    })
}

fn egress(message: reqreply::EgressMessage) -> Result<EgressMessage, InvalidAnswer> {
    let egress: TypeName = format!("{}/{}", message.egress_namespace, message.egress_type).parse()?;
    let argument = message.argument.unwrap_or_default();
    Ok(match record(&argument) {
        Ok((stream, record)) => EgressMessage::Record { egress, stream, record },
        Err(error) => {
            EgressMessage::Invalid { egress, value: value(argument), error: ErrorChain(&error).to_string().into() }
        }
    })
}

/// The record that a function sent, and the stream that it names.
fn record(argument: &TypedValue) -> Result<(Option<StreamRef>, PutRecord), InvalidRecord> {
    if argument.typename != KINESIS_EGRESS_RECORD {
        return Err(InvalidRecord::Type(argument.typename.chars().take(TYPE_SHOWN_MAX_CHARS).collect()));
    }
    let record = KinesisEgressRecord::decode(argument.value.clone())?;
    let stream = if record.stream.is_empty() { None } else { Some(record.stream.parse()?) };
    let mut put = PutRecord::new(record.partition_key.parse()?, record.value_bytes);
    if !record.explicit_hash_key.is_empty() {
        put = put.with_explicit_hash_key(record.explicit_hash_key.parse()?);
    }
    Ok((stream, put))
}

fn state_change(mutation: PersistedValueMutation) -> StateChange {
    let value = match mutation.mutation_type() {
        MutationType::Delete => None,
        MutationType::Modify => mutation.state_value.map(value),
    };
    StateChange { name: mutation.state_name.into(), value }
}

fn state_spec(spec: reqreply::PersistedValueSpec) -> StateSpec {
    let expiration = spec.expiration_spec.map_or(Expiration::Never, |expiration: ExpirationSpec| {
        let after = Duration::from_millis(u64::try_from(expiration.expire_after_millis).unwrap_or(0));
        match expiration.mode() {
            ExpireMode::None => Expiration::Never,
            ExpireMode::AfterWrite => Expiration::AfterWrite(after),
            ExpireMode::AfterInvoke => Expiration::AfterInvoke(after),
        }
    });
    StateSpec { name: spec.state_name.into(), typename: spec.type_typename.into(), expiration }
}

#[cfg(test)]
mod tests {
    use statefun_kinesis_protocol::reqreply::FromFunction;

    use super::*;

    fn typed(bytes: usize) -> TypedValue {
        TypedValue {
            typename: "t/bytes".into(),
            has_value: true,
            value: vec![7; bytes].into(),
            ..TypedValue::default()
        }
    }

    fn target() -> Option<reqreply::Address> {
        Some(reqreply::Address { namespace: "t".into(), r#type: "f".into(), id: "1".into() })
    }

    /// An answer with one value of each kind, each of so many bytes.
    fn answer(state: usize, message: usize, delayed: usize, record: usize) -> Bytes {
        let record = KinesisEgressRecord {
            partition_key: "key".into(),
            value_bytes: vec![7; record].into(),
            ..KinesisEgressRecord::default()
        };
        let record = TypedValue {
            typename: KINESIS_EGRESS_RECORD.into(),
            has_value: true,
            value: record.encode_to_vec().into(),
            ..TypedValue::default()
        };
        let response = InvocationResponse {
            state_mutations: vec![PersistedValueMutation {
                mutation_type: MutationType::Modify.into(),
                state_name: "s".into(),
                state_value: Some(typed(state)),
            }],
            outgoing_messages: vec![reqreply::OutgoingMessage { target: target(), argument: Some(typed(message)) }],
            delayed_invocations: vec![DelayedInvocation {
                target: target(),
                argument: Some(typed(delayed)),
                ..DelayedInvocation::default()
            }],
            outgoing_egresses: vec![reqreply::EgressMessage {
                egress_namespace: "t".into(),
                egress_type: "out".into(),
                argument: Some(record),
            }],
        };
        FromFunction { response: Some(Response::InvocationResult(response)) }.encode_to_vec().into()
    }

    /// The sizes of the values that are parts of the answer, and so keep all of it in memory.
    fn parts_of_the_answer(body: Bytes) -> Vec<usize> {
        let memory = body.as_ptr_range();
        let Ok(Answer::Handled(effects)) = read(body.clone()) else { panic!("the answer is valid") };
        let Effects { messages, delayed, egress, states } = &effects;
        let values =
            messages.iter().map(|(_, value)| value).chain(delayed.iter().filter_map(|delayed| match delayed {
                Delayed::Send { value, .. } => Some(value),
                Delayed::Cancel { .. } => None,
            }));
        let values = values.chain(states.iter().filter_map(|change| change.value.as_ref()));
        let bytes: Vec<&Bytes> = values
            .filter_map(|value| value.bytes.as_ref())
            .chain(egress.iter().map(|message| match message {
                EgressMessage::Record { record, .. } => &record.data,
                EgressMessage::Invalid { value, .. } => value.bytes.as_ref().expect("it has a value"),
            }))
            .collect();
        assert_eq!(bytes.len(), 4, "one of each kind");
        bytes.into_iter().filter(|bytes| memory.contains(&bytes.as_ptr())).map(|bytes| bytes.len()).collect()
    }

    #[test]
    fn a_value_keeps_at_most_twice_its_size_in_memory() {
        const SMALL: usize = 100;
        const LARGE: usize = 10_000;
        for large in 0..4 {
            let size = |kind| if kind == large { LARGE } else { SMALL };
            let body = answer(size(0), size(1), size(2), size(3));
            assert_eq!(parts_of_the_answer(body), [LARGE], "the large one is not copied, the others are");
        }
        assert!(parts_of_the_answer(answer(SMALL, SMALL, SMALL, SMALL)).is_empty());
    }
}
