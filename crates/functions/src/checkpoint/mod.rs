//! The durable checkpoint: what is written, when, and how a restart reads it.

mod driver;
mod format;
mod numbers;
mod restore;
mod status;
mod upgrade;
mod write;

pub(crate) use driver::{Checkpoint, Source};
pub use format::StoredValue;
pub use numbers::NextNumbers;
pub(crate) use restore::{Restored, restore};
pub use status::CheckpointStatus;
pub use upgrade::upgrade_entries;
pub(crate) use write::Moment;
