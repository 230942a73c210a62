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
use statefun_kinesis_types::{Address, InvalidValue, PutRecord, TypeName};

/// Why the body of an answer is not valid.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidAnswer {
    #[error("the answer is not a message of the StateFun protocol")]
    Undecodable(#[from] DecodeError),
    #[error("the answer has a message without a target")]
    NoTarget,
    #[error("the answer has an invalid name")]
    Name(#[from] InvalidValue),
    #[error("a message to the egress {egress} has the type `{typename}`, but `{KINESIS_EGRESS_RECORD}` is expected")]
    NotARecord { egress: TypeName, typename: String },
    #[error("a message to the egress {egress} cannot be decoded as a record")]
    UndecodableRecord { egress: TypeName, source: DecodeError },
    #[error("a record for the egress {egress} is invalid")]
    InvalidRecord { egress: TypeName, source: InvalidValue },
}

/// Decodes an answer. An empty body is valid and has no effects.
pub(crate) fn read(body: Bytes) -> Result<Answer, InvalidAnswer> {
    match FromFunction::decode(body)?.response {
        None => Ok(Answer::Handled(Effects::default())),
        Some(Response::InvocationResult(response)) => effects(response).map(Answer::Handled),
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
    if argument.typename != KINESIS_EGRESS_RECORD {
        return Err(InvalidAnswer::NotARecord { egress, typename: argument.typename });
    }
    let record = match KinesisEgressRecord::decode(argument.value) {
        Ok(record) => record,
        Err(source) => return Err(InvalidAnswer::UndecodableRecord { egress, source }),
    };
    let read = || {
        let stream = if record.stream.is_empty() { None } else { Some(record.stream.parse()?) };
        let mut put = PutRecord::new(record.partition_key.parse()?, record.value_bytes.clone());
        if !record.explicit_hash_key.is_empty() {
            put = put.with_explicit_hash_key(record.explicit_hash_key.parse()?);
        }
        Ok((stream, put))
    };
    match read() {
        Ok((stream, record)) => Ok(EgressMessage { egress, stream, record }),
        Err(source) => Err(InvalidAnswer::InvalidRecord { egress, source }),
    }
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
