//! Tests of the behaviours that every store must have, as plain async functions.
//!
//! The trait [`Store`] lists the promises of each method under *Behavior*. This crate has a module for each method and
//! a function for each promise; [`behaviours`] returns a table of all. Most functions take an empty store. Those about
//! restarts and about a second writer take a [`Backend`], which can open the same data again.
//!
//! To test a store of your own, write a [`Backend`] and run the table, or use [`store_conformance!`] to make a
//! `#[tokio::test]` of each behaviour:
//!
//! ```
//! use std::sync::Arc;
//!
//! use async_trait::async_trait;
//! use statefun_kinesis_store::{MemoryDisk, Store};
//! use statefun_kinesis_store_conformance::{Backend, behaviours};
//!
//! struct InMemory(MemoryDisk);
//!
//! #[async_trait]
//! impl Backend for InMemory {
//!     async fn open(&self) -> Arc<dyn Store> {
//!         Arc::new(self.0.open().expect("no other handle holds it"))
//!     }
//!
//!     async fn restart(&self, _: Arc<dyn Store>) -> Arc<dyn Store> {
//!         self.0.crash();
//!         self.open().await
//!     }
//!
//!     async fn take_over(&self) -> Option<Arc<dyn Store>> {
//!         Some(Arc::new(self.0.take_over()))
//!     }
//! }
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! for behaviour in behaviours() {
//!     // Each is given data of its own.
//!     behaviour.check(&InMemory(MemoryDisk::new())).await;
//! }
//! # });
//! # Ok::<(), std::io::Error>(())
//! ```
//!
//! The crate does not test speed, or how a store fails when its disk is full, damaged or slow.
//!
//! [`Store`]: statefun_kinesis_store::Store

mod backend;
mod behaviour;
mod catalogue;
pub mod commit;
mod contents;
pub mod get;
pub mod last_commit;
pub mod load;
pub mod scan;
pub mod usage;

pub use backend::Backend;
pub use behaviour::Behaviour;
pub use catalogue::behaviours;

/// Checks the behaviour of this name on a backend.
///
/// # Panics
///
/// When there is no behaviour of this name, or the backend does not have it.
pub async fn check(backend: &dyn Backend, name: &str) {
    match behaviours().iter().find(|behaviour| behaviour.name == name) {
        Some(behaviour) => behaviour.check(backend).await,
        None => panic!("there is no behaviour {name}"),
    }
}

/// Makes a module of tests, one for every behaviour, under paused Tokio time and with a backend of its own.
///
/// `store_conformance! { mod my_store_conforms = MyBackend::new() }` needs `tokio` with `macros`, `rt` and `test-util`
/// where it is used.
#[macro_export]
macro_rules! store_conformance {
    (mod $module:ident = $backend:expr) => {
        $crate::each_behaviour! { tests $module { $backend } }
    };
}
