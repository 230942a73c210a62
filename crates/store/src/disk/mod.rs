//! The embedded store: one directory, held by one process.

mod directory;
mod engine;
mod high_water;
mod journal;
mod store;

pub use directory::FORMAT_VERSION;
pub use store::{DiskSettings, DiskStore};
