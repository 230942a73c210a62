//! The embedded store: one directory, held by one process.

mod directory;
mod engine;
mod files;
mod high_water;
mod journal;
mod store;
mod upgrade;

pub use directory::FORMAT_VERSION;
pub use store::{DiskSettings, DiskStore};
pub use upgrade::{OldEntries, OldEntry};
