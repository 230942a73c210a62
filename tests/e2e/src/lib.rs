//! What the end-to-end cases stand on: the server and the program that `cargo xtask e2e` hands to them.
//!
//! A case is an async function that gets a [`Case`]: names for streams of its own, a client, and the means to run the
//! program under test. Cases run side by side, each on streams that no other case knows, so that they can be run again
//! on the same server. They never wait for a while: they wait until something is true, with a deadline.
//!
//! The cases themselves are the test target `e2e`, which `cargo test --workspace` leaves out: they need a server.

mod case;
mod control;
mod environment;
mod fault;
mod faulty_proxy;
mod gate;
mod limit;
mod local_functions;
mod program;
mod refused;
mod relay;
mod schedule;
mod streams;
mod suite;

pub use case::{Case, PATIENCE, until};
pub use control::Control;
pub use environment::Environment;
pub use fault::{Canned, Fault};
pub use faulty_proxy::FaultyProxy;
pub use gate::Gate;
pub use local_functions::{Call, LocalFunctions};
pub use program::{Ended, Files, Program};
pub use refused::Refused;
pub use relay::Relay;
pub use schedule::{Chance, Seed, number, seconds};
pub use streams::{Put, StreamReader, Text, per_key};
pub use suite::Suite;
