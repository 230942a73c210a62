//! Stateful functions: the runtime that joins mailboxes to a store, to streams, and to remote or in-process functions.
//!
//! [`StatefulFunctions`] is what a [`Router`](statefun_kinesis_router::Router) gives messages to. It gives them to what
//! handles them, the [`Function`]s of a [`Registry`], which has an example, or endpoints of a module, and applies what came
//! of it. Remote functions over HTTP are the `remote` crate's `RemoteEndpoint`. Its heart is [`Mailboxes`], a state machine without I/O in a crate of its own, whose types are
//! here too.
//!
//! What StateFun promises holds: one request per address at a time with the backlog as the next batch, messages of one
//! sender to one address in order, effects all or none, states that expire, delayed messages that can be cancelled. A
//! failing address is retried while all others go on.
//!
//! States, messages, delayed messages, records for egresses and read positions are in one [store] and move by its commits:
//! they become durable together, every second, and a restart after a crash at any instant goes on as if there had been
//! none. [`StatefulFunctions`] says what is exactly once and what is not, and what it costs.
//!
//! The crate does not decide where a store is, nor whether it still fits a module; the program that builds the functions
//! does.
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
    Answer, BoxError, Changes, Cut, Delayed, DuePlace, Effects, EgressMessage, Expiration, Found, FunctionCounts,
    FunctionTotals, GroupId, GroupSettings, Image, Invoke, InvokeError, Limits, Mailboxes, Message, MessagePlace, Now,
    Origin, Payload, Read, ReadId, Refused, Request, RequestId, Restored, StateChange, StateSpec, StoredCancellation,
    StoredEgress, StoredKey, StoredMessage, StoredState, StoredTimer, TimerKey, Totals, UnknownFunction, Usage, Value,
    ValueSpec,
};
pub use statefun_kinesis_module::{EndpointSpec, FailureHandling, FunctionPattern, GiveUp};
