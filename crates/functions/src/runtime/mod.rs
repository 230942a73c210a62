mod builder;
mod carry;
mod delivery;
mod egress;
mod error;
mod failures;
mod latency;
mod load;
mod shared;

pub use builder::{DeadLetters, StatefulFunctions, StatefulFunctionsBuilder};
pub use error::StartError;
pub use latency::InvocationLatency;
