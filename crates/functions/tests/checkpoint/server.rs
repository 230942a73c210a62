//! The same functions in a separate server, behind HTTP on a socket.
//!
//! Paused time and sockets do not mix by themselves: time jumps to the next timer as soon as every task waits, also
//! when what they wait for is on a socket. So time stands while a request or an answer is on its way. It goes on while
//! a function works, which may sleep or hang.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request as HttpRequest, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use statefun_kinesis_functions::{
    Answer, Delayed, Effects, EgressMessage, EndpointSpec, Expiration, GroupSettings, Invoke, InvokeError, Limits,
    Mailboxes, Message, Registry, Request, StateChange, StateSpec, Value,
};
use statefun_kinesis_protocol::{
    egress::{KINESIS_EGRESS_RECORD, KinesisEgressRecord},
    reqreply::{
        self, DelayedInvocation, FromFunction, IncompleteInvocationContext, InvocationResponse, OutgoingMessage,
        PersistedValueMutation, PersistedValueSpec, ToFunction, TypedValue, from_function::Response as Said,
        persisted_value_mutation::MutationType, to_function,
    },
};
use statefun_kinesis_remote::RemoteEndpoint;
use statefun_kinesis_types::{Address, Timestamp};
use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::task::AbortOnDropHandle;

/// Longer than any call.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// A server of functions, which lives longer than the runs that call it.
#[derive(Debug)]
pub(crate) struct Server {
    folder: TempDir,
    wire: Arc<Wire>,
    _accepting: AbortOnDropHandle<()>,
}

impl Server {
    pub(crate) fn start(registry: Registry) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("f.sock")).unwrap();
        let wire = Arc::<Wire>::default();
        let serving = Arc::new(Serving { registry, wire: Arc::clone(&wire), template: template() });
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&serving)));
            }
        });
        Self { folder, wire, _accepting: AbortOnDropHandle::new(accepting) }
    }

    /// A client that calls the functions, through an endpoint of a module file.
    pub(crate) fn endpoint(&self) -> Arc<dyn Invoke> {
        let url = format!("http+unix://{}/serve", self.folder.path().join("f.sock").display());
        let spec = EndpointSpec::new("sim/*".parse().unwrap(), url.parse().unwrap());
        Arc::new(Caller { endpoint: RemoteEndpoint::new(&spec).unwrap(), wire: Arc::clone(&self.wire) })
    }
}

/// Calls an endpoint, and stops the clock while a request or an answer is in transit.
#[derive(Debug)]
struct Caller {
    endpoint: RemoteEndpoint,
    wire: Arc<Wire>,
}

#[async_trait]
impl Invoke for Caller {
    async fn invoke(&self, request: &Request, time: Duration) -> Result<Answer, InvokeError> {
        let _call = self.wire.call(&request.target);
        self.endpoint.invoke(request, time).await
    }
}

/// The calls that their callers still wait for. An address has at most one.
#[derive(Debug, Default)]
struct Wire {
    calls: Mutex<Calls>,
}

#[derive(Debug, Default)]
struct Calls {
    last: u64,
    /// The number of each call, and what stops the clock while it is in transit.
    open: HashMap<Address, (u64, Option<StandingTime>)>,
}

/// A call that its caller waits for.
struct Call<'a> {
    wire: &'a Wire,
    address: Address,
}

impl Wire {
    fn call(&self, address: &Address) -> Call<'_> {
        let mut calls = self.calls.lock().unwrap();
        calls.last += 1;
        let call = (calls.last, Some(StandingTime::new()));
        calls.open.insert(address.clone(), call);
        Call { wire: self, address: address.clone() }
    }

    /// Notes that the call has reached the server, which starts the clock. Returns its number if its caller still
    /// waits.
    fn arrived(&self, address: &Address) -> Option<u64> {
        let mut calls = self.calls.lock().unwrap();
        let (number, time) = calls.open.get_mut(address)?;
        *time = None;
        Some(*number)
    }

    /// Notes that the answer leaves the server, which stops the clock unless the caller has given up.
    fn answers(&self, address: &Address, number: u64) {
        if let Some((open, time)) = self.calls.lock().unwrap().open.get_mut(address)
            && *open == number
        {
            *time = Some(StandingTime::new());
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.wire.calls.lock().unwrap().open.remove(&self.address);
    }
}

/// Keeps paused time from advancing. Tokio does not advance it while a blocking thread is running.
#[derive(Debug)]
struct StandingTime {
    /// The thread waits until this is gone.
    _working: mpsc::Sender<Infallible>,
}

impl StandingTime {
    fn new() -> Self {
        let (working, done) = mpsc::channel::<Infallible>();
        drop(tokio::task::spawn_blocking(move || done.recv()));
        Self { _working: working }
    }
}

struct Serving {
    registry: Registry,
    wire: Arc<Wire>,
    template: Request,
}

async fn serve(stream: UnixStream, serving: Arc<Serving>) {
    let service = service_fn(move |request: HttpRequest<Incoming>| {
        let serving = Arc::clone(&serving);
        async move {
            let body = request.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>(match serving.answer(body).await {
                Ok(answer) => Response::new(Full::new(Bytes::from(answer.encode_to_vec()))),
                Err(error) => {
                    let mut response = Response::new(Full::new(Bytes::from(error.to_string())));
                    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                    response
                }
            })
        }
    });
    let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
    // When a client disappears, as in a crash, its requests end.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

impl Serving {
    async fn answer(&self, body: Bytes) -> Result<FromFunction, InvokeError> {
        let Some(to_function::Request::Invocation(batch)) = ToFunction::decode(body).unwrap().request else {
            panic!("it is no batch");
        };
        let mut request = self.template.clone();
        request.target = address(batch.target.unwrap());
        let states = batch.state.into_iter().map(|state| (state.state_name.into(), state.state_value.map(value)));
        request.states = states.collect();
        let messages = batch.invocations.into_iter().map(|invocation| Message {
            caller: invocation.caller.map(address),
            value: value(invocation.argument.unwrap()),
            origin: None,
        });
        request.messages = messages.collect();

        let call = self.wire.arrived(&request.target);
        let answer = self.registry.invoke(&request, LONG).await;
        if let Some(call) = call {
            self.wire.answers(&request.target, call);
        }
        let said = match answer? {
            Answer::Handled(effects) => Said::InvocationResult(result(effects)),
            Answer::StatesMissing(missing) => {
                let missing_values = missing.into_iter().map(spec).collect();
                Said::IncompleteInvocationContext(IncompleteInvocationContext { missing_values })
            }
        };
        Ok(FromFunction { response: Some(said) })
    }
}

/// A request: outside of mailboxes, one is made of another one.
fn template() -> Request {
    let mut mailboxes = Mailboxes::new(Limits::default());
    let group = mailboxes.add_group(GroupSettings::default());
    mailboxes.serve_namespace("sim", group);
    let to = Address { function: "sim/any".parse().unwrap(), id: "any".into() };
    let message = Message { caller: None, value: Value::new("sim/text", "any"), origin: None };
    mailboxes.deliver([(to, message)]).unwrap();
    mailboxes.next_request(Timestamp::EPOCH).unwrap()
}

fn address(address: reqreply::Address) -> Address {
    let function = format!("{}/{}", address.namespace, address.r#type);
    Address { function: function.parse().unwrap(), id: address.id.into() }
}

fn value(value: TypedValue) -> Value {
    Value { typename: value.typename.into(), bytes: value.has_value.then_some(value.value) }
}

fn wire_address(address: &Address) -> reqreply::Address {
    let function = &address.function;
    reqreply::Address {
        namespace: function.namespace().to_owned(),
        r#type: function.name().to_owned(),
        id: address.id.to_string(),
    }
}

fn wire_value(value: Value) -> TypedValue {
    let has_value = value.bytes.is_some();
    TypedValue {
        typename: value.typename.to_string(),
        has_value,
        value: value.bytes.unwrap_or_default(),
        ..TypedValue::default()
    }
}

fn spec(spec: StateSpec) -> PersistedValueSpec {
    assert_eq!(spec.expiration, Expiration::Never);
    PersistedValueSpec {
        state_name: spec.name.to_string(),
        expiration_spec: None,
        type_typename: spec.typename.to_string(),
    }
}

fn result(effects: Effects) -> InvocationResponse {
    let Effects { messages, delayed, egress, states } = effects;
    let messages = messages
        .into_iter()
        .map(|(to, value)| OutgoingMessage { target: Some(wire_address(&to)), argument: Some(wire_value(value)) });
    InvocationResponse {
        state_mutations: states.into_iter().map(mutation).collect(),
        outgoing_messages: messages.collect(),
        delayed_invocations: delayed.into_iter().map(wire_delayed).collect(),
        outgoing_egresses: egress.into_iter().map(wire_record).collect(),
    }
}

fn mutation(StateChange { name, value }: StateChange) -> PersistedValueMutation {
    let kind = if value.is_some() { MutationType::Modify } else { MutationType::Delete };
    PersistedValueMutation {
        mutation_type: kind.into(),
        state_name: name.to_string(),
        state_value: value.map(wire_value),
    }
}

fn wire_delayed(delayed: Delayed) -> DelayedInvocation {
    match delayed {
        Delayed::Send { delay, to, value, token } => DelayedInvocation {
            delay_in_ms: delay.as_millis().try_into().unwrap(),
            target: Some(wire_address(&to)),
            argument: Some(wire_value(value)),
            is_cancellation_request: false,
            cancellation_token: token.map_or_else(String::new, |token| token.to_string()),
        },
        Delayed::Cancel { token } => DelayedInvocation {
            delay_in_ms: 0,
            target: None,
            argument: None,
            is_cancellation_request: true,
            cancellation_token: token.to_string(),
        },
    }
}

fn wire_record(message: EgressMessage) -> reqreply::EgressMessage {
    let EgressMessage::Record { egress, stream, record } = message else { panic!("{message:?}") };
    assert!(stream.is_none() && record.explicit_hash_key.is_none(), "nothing here names a stream or a hash key");
    let (namespace, name) = egress.as_str().split_once('/').unwrap();
    let record = KinesisEgressRecord {
        partition_key: record.partition_key.to_string(),
        value_bytes: record.data,
        stream: String::new(),
        explicit_hash_key: String::new(),
    };
    reqreply::EgressMessage {
        egress_namespace: namespace.to_owned(),
        egress_type: name.to_owned(),
        argument: Some(TypedValue {
            typename: KINESIS_EGRESS_RECORD.into(),
            has_value: true,
            value: record.encode_to_vec().into(),
            ..TypedValue::default()
        }),
    }
}
