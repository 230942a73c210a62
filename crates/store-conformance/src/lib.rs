//! The behaviours that every store must show, as plain async functions.
//!
//! The trait [`Store`] lists under *Behavior* what each method promises. Here is a module for each method and a function
//! for each promise; [`behaviours`] is the table of them all. Most functions are given a store that is empty. Those about
//! restarts and about a second writer are given a [`Backend`], which can open the same data again.
//!
//! Whoever implements [`Store`] writes a [`Backend`] and runs the table, or lets [`store_conformance!`] make a
//! `#[tokio::test]` of every behaviour:
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
//! How a store fails when its disk is full, damaged or slow is not tested here, and neither is speed.
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

/// Holds a backend to the behaviour of this name.
///
/// # Panics
///
/// When there is no behaviour of this name, or the backend does not show it.
pub async fn check(backend: &dyn Backend, name: &str) {
    match behaviours().iter().find(|behaviour| behaviour.name == name) {
        Some(behaviour) => behaviour.check(backend).await,
        None => panic!("there is no behaviour {name}"),
    }
}

/// Makes a module of tests, one under paused Tokio time for every behaviour, each with a backend of its own.
///
/// `store_conformance! { mod my_store_conforms = MyBackend::new() }` needs `tokio` with `macros`, `rt` and `test-util`
/// where it is used.
#[macro_export]
macro_rules! store_conformance {
    (mod $module:ident = $backend:expr) => {
        $crate::each_behaviour! { tests $module { $backend } }
    };
}
