//! The state machine of stateful functions: mailboxes, states and delayed messages of addresses. No I/O, no async.
//!
//! [`Mailboxes`] take messages, return requests, and apply the answers. The next [cut](Mailboxes::cut) has all changes,
//! for the caller to write to a store. Data that does not fit into memory is read back from the store.
//!
//! ```
//! use statefun_kinesis_mailboxes::{Answer, Effects, GroupSettings, Limits, Mailboxes, Message, Value};
//! use statefun_kinesis_types::{Address, Timestamp};
//!
//! let mut mailboxes = Mailboxes::new(Limits::default());
//! let everything = mailboxes.add_group(GroupSettings::default());
//! mailboxes.serve_namespace("example", everything);
//!
//! let anna = Address { function: "example/greeter".parse()?, id: "anna".into() };
//! let hello = Message { caller: None, value: Value::new("example/greeting", "hello"), origin: None };
//! mailboxes.deliver([(anna.clone(), hello)])?;
//!
//! let now = Timestamp::EPOCH;
//! let request = mailboxes.next_request(now).expect("there is a message");
//! assert_eq!((&request.target, request.messages.len()), (&anna, 1));
//! mailboxes.answered(request.id, Answer::Handled(Effects::default()), now)?;
//! assert_eq!(mailboxes.usage().messages, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! They keep StateFun's guarantees: one request per address at a time, with the backlog as the next batch; messages of
//! one sender to one address in order; effects all or none; states that expire; delayed messages that can be cancelled.
//!
//! `statefun-kinesis-functions` is the runtime that connects them to a store, to streams and to functions.

mod apply;
mod arrivals;
mod breaker;
mod change;
mod cuts;
mod due;
mod durability;
mod effect;
mod egress;
mod entry;
mod eviction;
mod functions;
mod group;
mod ids;
mod image;
mod instances;
mod invoke;
mod journal;
mod limits;
mod loading;
mod loads;
mod machine;
mod mailbox;
mod message;
mod now;
mod payload;
mod reading;
mod reads;
mod removed;
mod request;
mod restore;
mod schedule;
mod slots;
mod state;
mod stored;
mod timers;
mod turns;

pub use apply::{Answer, Refused};
pub use change::{Changes, Cut};
pub use effect::{Delayed, Effects, EgressMessage, Expiration, StateChange, StateSpec};
pub use entry::{
    FunctionTotals, Restored, StoredCancellation, StoredEgress, StoredKey, StoredMessage, StoredState, StoredTimer,
    TimerKey, Totals,
};
pub use functions::{FunctionCounts, UnknownFunction};
pub use group::{GroupId, GroupSettings};
pub use image::Image;
pub use invoke::{Invoke, InvokeError, InvokeErrorKind};
pub use limits::{Limits, Usage};
pub use machine::Mailboxes;
pub use message::{Message, Origin, Value};
pub use now::Now;
pub use payload::{BoxError, Payload, ValueSpec};
pub use reads::{DuePlace, Found, MessagePlace, Read, ReadId};
pub use request::{Failure, Request, RequestId};
