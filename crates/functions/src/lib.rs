//! Stateful functions: the runtime that joins mailboxes to a store, to streams, and to remote or in-process functions.
//!
//! A [`Router`](statefun_kinesis_router::Router) delivers messages to [`StatefulFunctions`]. It calls the function of
//! each message and applies the function's effects. Functions are [`Function`]s of a [`Registry`] in this process (its
//! page has an example), or endpoints of a module: the `remote` crate's `RemoteEndpoint` calls them over HTTP. At its
//! core are the [`Mailboxes`], a state machine without I/O in its own crate, whose types this crate re-exports.
//!
//! It keeps StateFun's guarantees: one request per address at a time, with the backlog as the next batch; messages of
//! one sender to one address in order; effects all or none; states that expire; delayed messages that can be cancelled.
//! A failing address is retried while all others continue.
//!
//! States, messages, delayed messages, records for egresses and read positions are in one [store]. Every second one
//! commit makes all of them durable together, so that a run after a crash continues as if the crash had not happened.
//! [`StatefulFunctions`] documents what is exactly once, what is at least once, and what it costs.
//!
//! The crate does not choose the directory of a store and does not check that a store fits the module. The program that
//! builds the functions does both.
//!
//! [store]: StatefulFunctionsBuilder::store

mod checkpoint;
mod in_process;
mod runtime;

pub use checkpoint::{CheckpointStatus, NumberedEntry, StoredValue, TOTALS, decode_totals, upgrade_entries};
pub use in_process::{Context, Function, Registry, StateError};
pub use runtime::{
    BlockReason, Blocked, DeadLetters, InvocationLatency, StartError, StatefulFunctions, StatefulFunctionsBuilder,
};
pub use statefun_kinesis_mailboxes::{
    Answer, BoxError, Changes, Cut, Delayed, DuePlace, Effects, EgressMessage, Expiration, Failure, Found,
    FunctionCounts, FunctionTotals, GroupId, GroupSettings, Image, Invoke, InvokeError, InvokeErrorKind, Limits,
    Mailboxes, Message, MessagePlace, Now, Origin, Payload, Read, ReadId, Refused, Request, RequestId, Restored,
    StateChange, StateSpec, StoredCancellation, StoredEgress, StoredKey, StoredMessage, StoredState, StoredTimer,
    TimerKey, Totals, UnknownFunction, Usage, Value, ValueSpec,
};
pub use statefun_kinesis_module::{EndpointSpec, FailureHandling, FunctionPattern, GiveUp};
