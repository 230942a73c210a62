use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use prost::Message;
use statefun_kinesis_protocol::egress::{KINESIS_EGRESS_RECORD, KinesisEgressRecord};
use statefun_kinesis_protocol::reqreply::{
    Address, DelayedInvocation, EgressMessage, FromFunction, IncompleteInvocationContext, InvocationBatchRequest,
    InvocationResponse, OutgoingMessage, PersistedValueMutation, PersistedValueSpec, ToFunction, TypedValue,
    from_function::Response as Outcome, persisted_value_mutation::MutationType, to_function::Request as Asked,
};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// The type of the only state that functions have here.
const STATE_TYPE: &str = "e2e/state";
const STATE: &str = "state";

/// A request to a function, and what it answers.
#[derive(Debug)]
pub struct Call {
    /// The name of the function, without its namespace.
    pub function: String,
    /// The id of the address.
    pub id: String,
    /// The state of the address. What is in it afterwards is its new one.
    pub state: Option<Bytes>,
    /// The messages, oldest first.
    pub messages: Vec<Bytes>,
    namespace: String,
    answer: InvocationResponse,
}

impl Call {
    /// Sends a message to a function of the same namespace, after so many milliseconds if there are any.
    pub fn send(&mut self, function: &str, id: &str, value: impl Into<Bytes>, after_millis: i64) {
        let target = Address { namespace: self.namespace.clone(), r#type: function.to_owned(), id: id.to_owned() };
        let argument = Some(typed("e2e/message", value.into()));
        if after_millis > 0 {
            self.answer.delayed_invocations.push(DelayedInvocation {
                delay_in_ms: after_millis,
                target: Some(target),
                argument,
                ..Default::default()
            });
        } else {
            self.answer.outgoing_messages.push(OutgoingMessage { target: Some(target), argument });
        }
    }

    /// Sends a record to an egress of the same namespace, for the stream of this name.
    pub fn emit(&mut self, egress: &str, stream: &str, value: impl Into<Bytes>) {
        let record = KinesisEgressRecord {
            partition_key: self.id.clone(),
            value_bytes: value.into(),
            stream: stream.to_owned(),
            ..Default::default()
        };
        self.answer.outgoing_egresses.push(EgressMessage {
            egress_namespace: self.namespace.clone(),
            egress_type: egress.to_owned(),
            argument: Some(typed(KINESIS_EGRESS_RECORD, record.encode_to_vec().into())),
        });
    }
}

fn typed(typename: &str, value: Bytes) -> TypedValue {
    TypedValue { typename: typename.to_owned(), has_value: true, value, ..TypedValue::default() }
}

/// Functions in the process of the cases, over HTTP: for loads under which those of an SDK would take most of the
/// machine. They have a thread of their own, and end with this value.
#[derive(Debug)]
pub struct LocalFunctions {
    address: SocketAddr,
    _end: oneshot::Sender<Infallible>,
}

impl LocalFunctions {
    /// Serves a function, which is called once for each request.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub fn serve(function: impl Fn(&mut Call) + Send + Sync + 'static) -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    _ = ended => Ok(()),
                    failed = accept(listener, Arc::new(function)) => failed,
                }
            })
        });
        Ok(Self { address, _end: end })
    }

    /// Where the functions are, for a module file.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

async fn accept(
    listener: std::net::TcpListener,
    function: Arc<impl Fn(&mut Call) + Send + Sync + 'static>,
) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        let (connection, _) = listener.accept().await?;
        connection.set_nodelay(true)?;
        let function = Arc::clone(&function);
        let service = service_fn(move |request| respond(Arc::clone(&function), request));
        // A connection that breaks is its caller's to report.
        tokio::spawn(async { http1::Builder::new().serve_connection(TokioIo::new(connection), service).await });
    }
}

async fn respond(
    function: Arc<impl Fn(&mut Call)>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    Ok(match answer(&*function, body) {
        Ok(answer) => Response::new(Full::new(answer.encode_to_vec().into())),
        Err(error) => {
            let mut response = Response::new(Full::new(format!("{error:#}").into()));
            *response.status_mut() = StatusCode::BAD_REQUEST;
            response
        }
    })
}

fn answer(function: &impl Fn(&mut Call), body: Bytes) -> Result<FromFunction> {
    let Some(Asked::Invocation(batch)) = ToFunction::decode(body)?.request else { anyhow::bail!("no batch") };
    let InvocationBatchRequest { target, state, invocations } = batch;
    let Address { namespace, r#type, id } = target.context("a target")?;
    let states: BTreeMap<String, Option<TypedValue>> =
        state.into_iter().map(|state| (state.state_name, state.state_value)).collect();
    let Some(state) = states.get(STATE) else {
        let state = PersistedValueSpec {
            state_name: STATE.to_owned(),
            expiration_spec: None,
            type_typename: STATE_TYPE.to_owned(),
        };
        let missing = IncompleteInvocationContext { missing_values: vec![state] };
        return Ok(FromFunction { response: Some(Outcome::IncompleteInvocationContext(missing)) });
    };
    let before = state.clone().filter(|state| state.has_value).map(|state| state.value);
    let messages = invocations.into_iter().filter_map(|call| Some(call.argument?.value)).collect();
    let answer = InvocationResponse::default();
    let mut call = Call { function: r#type, id, state: before.clone(), messages, namespace, answer };
    function(&mut call);
    let mut answer = call.answer;
    if call.state != before {
        answer.state_mutations.push(PersistedValueMutation {
            mutation_type: MutationType::Modify.into(),
            state_name: STATE.to_owned(),
            state_value: call.state.map(|value| typed(STATE_TYPE, value)),
        });
    }
    Ok(FromFunction { response: Some(Outcome::InvocationResult(answer)) })
}
