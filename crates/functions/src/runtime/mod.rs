mod blocked;
mod builder;
mod egress;
mod error;
mod failure_log;
mod failures;
mod latency;
mod lock;
mod reads;
mod requests;
mod run;
mod shared;

pub use blocked::{BlockReason, Blocked};
pub use builder::{DeadLetters, StatefulFunctions, StatefulFunctionsBuilder};
pub use error::StartError;
pub use latency::InvocationLatency;
