mod blocked;
mod builder;
mod carry;
mod egress;
mod error;
mod failures;
mod latency;
mod lock;
mod reads;
mod run;
mod shared;

pub use blocked::{BlockReason, Blocked};
pub use builder::{DeadLetters, StatefulFunctions, StatefulFunctionsBuilder};
pub use error::StartError;
pub use latency::InvocationLatency;
