//! The durable checkpoint of one worker: read positions, function state, mailboxes, timers and egress records, changed
//! together in one atomic commit.
//!
//! A [`Store`] holds ordered keys in a few [`Table`]s and has one writer. [`DiskStore`] keeps them in a directory, also
//! when they are more than memory holds; [`MemoryStore`] keeps them in memory, and on a [`MemoryDisk`] that a test
//! fills, slows down and lets crash. Every commit is one [`Commit`]:
//!
//! ```
//! use statefun_kinesis_store::{Commit, MemoryStore, Store, StoreExt, Table, key};
//! use statefun_kinesis_types::Address;
//!
//! # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
//! let store = MemoryStore::new();
//! let counter = Address { function: "example/counter".parse()?, id: "customer-17".into() };
//!
//! let mut commit = Commit::new();
//! commit.put(Table::State, key::state(&counter, "total"), "42");
//! commit.delete(Table::Mailboxes, key::numbered(&counter.id, 7));
//! store.commit(commit).await?; // All of it is durable now.
//!
//! let total = store.get_one(Table::State, key::state(&counter, "total")).await?;
//! assert_eq!(total.as_deref(), Some(&b"42"[..]));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`key`] has the keys: they sort as they are read, and an address lies where the hash of its id does, so that the
//! state of a shard's part of the hash key space can be found and moved. [`positions`] has the positions of a
//! consumer, [`ModuleRecord`] what tells whether a store still fits its module, and [`overview`], [`values_of`] and
//! [`Export`] what people want to see.
//!
//! The store does not know what values mean, decides nothing about when to commit, and repeats no commit by itself.

mod commit;
mod disk;
mod error;
mod inspect;
pub mod key;
mod memory;
mod module;
pub mod positions;
mod range;
mod store;
mod table;
mod wire;

pub use commit::{Change, Changes, Commit, CommitNumber, KEY_MAX_BYTES, VALUE_MAX_BYTES};
pub use disk::{DiskSettings, DiskStore, FORMAT_VERSION, OldEntries, OldEntry};
pub use error::{Error, ErrorKind, Result};
pub use inspect::{Export, Exported, Overview, TableSize, overview, values_of};
pub use memory::{CommitFailure, Fate, MemoryDisk, MemoryStore};
pub use module::{Allow, ModuleChange, ModuleRecord, StreamRecord};
pub use positions::StoredCheckpoints;
pub use range::KeyRange;
pub use store::{Entries, Entry, Page, Store, StoreExt, Usage};
pub use table::Table;
