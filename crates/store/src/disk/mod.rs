//! The embedded store: one directory, held by one process.

mod directory;
mod engine;
mod files;
mod high_water;
mod journal;
mod old_entries;
mod settings;
mod store;
mod upgrade;

pub use directory::FORMAT_VERSION;
pub use old_entries::{OldEntries, OldEntry};
pub use settings::DiskSettings;
pub use store::DiskStore;
