mod builder;
mod carry;
mod delivery;
mod egress;
mod failures;
mod shared;

pub use builder::{DeadLetters, StatefulFunctions, StatefulFunctionsBuilder};
