//! The behaviours that every Kinesis client must show, as plain async functions.
//!
//! The traits of `statefun-kinesis-client` list under *Behavior* what each method promises. Here is a module for each
//! method and a function for each promise; [`behaviours`] is the table of them all. To test an implementation of the
//! traits, write a [`Backend`], say in its [`Capabilities`] where it differs from the service, and run the table.
//! Each behaviour makes a stream of its own, waits for what it needs with a deadline, and removes the stream at its
//! end, so that all of them can run side by side.
//!
//! ```
//! use statefun_kinesis_conformance::{Capabilities, behaviours};
//!
//! let emulator = Capabilities::FERROKINESIS;
//! let (mut applicable, mut others) = (0, Vec::new());
//! for behaviour in behaviours() {
//!     match behaviour.not_applicable(&emulator) {
//!         None => applicable += 1, // behaviour.check(&backend).await
//!         Some(requirement) => others.push(format!("{behaviour} asks for a backend {requirement}")),
//!     }
//! }
//! assert!(applicable > 30);
//! assert!(others[0].ends_with("asks for a backend with `streams_by_arn`"), "{}", others[0]);
//! ```
//!
//! For a backend that lives in the test's own process, [`conformance!`] makes a `#[tokio::test]` under paused time of
//! every behaviour. What only a fake can show (scripted faults, exact throughput, retention) is not tested here, and
//! neither is speed.

mod backend;
mod behaviour;
mod catalogue;
mod consumer;
pub mod create_stream;
pub mod delete_stream;
pub mod deregister_stream_consumer;
pub mod describe_stream_consumer;
pub mod describe_stream_summary;
pub mod get_records;
pub mod get_shard_iterator;
pub mod list_shards;
pub mod list_stream_consumers;
pub mod list_streams;
pub mod merge_shards;
pub mod put_records;
pub mod register_stream_consumer;
pub mod split_shard;
mod stream;
pub mod subscribe_to_shard;

pub use backend::{Backend, Capabilities};
pub use behaviour::{Behaviour, Requirement};
pub use catalogue::behaviours;

/// Holds a backend to the behaviour of this name.
///
/// # Panics
///
/// When there is no behaviour of this name, it is not applicable, or the backend does not show it.
pub async fn check(backend: &dyn Backend, name: &str) {
    match behaviours().iter().find(|behaviour| behaviour.name == name) {
        Some(behaviour) => behaviour.check(backend).await,
        None => panic!("there is no behaviour {name}"),
    }
}

/// Makes a module of tests, one under paused Tokio time for every behaviour, each with a backend of its own.
///
/// `conformance! { mod fake_conforms = FakeBackend::new() }` is for backends with all capabilities: known mistakes
/// get no test, and what is not applicable fails. It needs `tokio` with `macros` and `test-util` where it is used.
#[macro_export]
macro_rules! conformance {
    (mod $module:ident = $backend:expr) => {
        $crate::each_behaviour! { tests $module { $backend } }
    };
}
