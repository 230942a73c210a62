//! Stateful functions: mailboxes, states and timers of addresses, and remote functions that are called over HTTP.
//!
//! [`StatefulFunctions`] is what a [`Router`](statefun_kinesis_router::Router) gives messages to. It asks those who handle
//! them, [`RemoteEndpoint`]s of a module file or the [`Function`]s of a [`Registry`], which has an example, and applies what
//! came of it. Its heart is [`Mailboxes`], a state machine without I/O:
//!
//! ```
//! use statefun_kinesis_functions::{Answer, Effects, GroupSettings, Limits, Mailboxes, Message, Value};
//! use statefun_kinesis_types::{Address, Timestamp};
//!
//! let mut mailboxes = Mailboxes::new(Limits::default());
//! let everything = mailboxes.add_group(GroupSettings::default());
//! mailboxes.serve_namespace("example", everything);
//!
//! let anna = Address { function: "example/greeter".parse()?, id: "anna".into() };
//! let hello = Message { caller: None, value: Value::new("example/greeting", "hello"), origin: None };
//! mailboxes.deliver("a ticket", [(anna.clone(), hello)])?;
//!
//! let now = Timestamp::EPOCH;
//! let request = mailboxes.next_request(now).expect("there is a message");
//! assert_eq!((&request.target, request.messages.len()), (&anna, 1));
//! mailboxes.answered(request.id, Answer::Handled(Effects::default()), now)?;
//! assert_eq!(mailboxes.take_finished(), ["a ticket"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What StateFun promises holds: one request per address at a time with the backlog as the next batch, messages of one
//! sender to one address in order, effects all or none, states that expire, delayed messages that can be cancelled. A
//! failing address waits and is tried again while all others go on.
//!
//! With a [store](StatefulFunctionsBuilder::store) all of it is durable: states, messages, delayed messages, records for
//! egresses and read positions become durable together, every second, and a restart after a crash at any instant goes on
//! as if there had been none. [`StatefulFunctions`] says what is exactly once and what is not, and what it costs. States
//! may then be larger than memory: what was not used for longest is put out of it, up to [`Limits::state_bytes`]. Without
//! a store everything is in memory: positions move only when all that came of a record is done, so that a restart loses
//! no record and repeats some; states and delayed messages end with the process.
//!
//! The crate does not decide where a store is, nor whether it still fits a module; who builds the functions does.

mod checkpoint;
mod effect;
mod in_process;
mod invoke;
mod mailboxes;
mod message;
mod remote;
mod runtime;

pub use checkpoint::{CheckpointStatus, NextNumbers, StoredValue, upgrade_entries};
pub use effect::{Delayed, Effects, EgressMessage, Expiration, StateChange, StateSpec};
pub use in_process::{BoxError, Context, Function, Payload, Registry, StateError, ValueSpec};
pub use invoke::{Invoke, InvokeError};
pub use mailboxes::{
    Answer, Changes, Cut, FunctionCounts, GroupId, GroupSettings, Image, Limits, Mailboxes, Refused, Request,
    RequestId, StoredEgress, StoredMessage, StoredState, StoredTimer, UnknownFunction, Usage,
};
pub use message::{Message, Origin, Value};
pub use remote::{EndpointError, RemoteEndpoint};
pub use runtime::{DeadLetters, InvocationLatency, StartError, StatefulFunctions, StatefulFunctionsBuilder};
