//! The durable checkpoint: what is written, when, and how a restart reads it.

mod driver;
mod format;
mod restore;
mod status;
mod write;

pub(crate) use driver::{Checkpoint, Source};
pub use format::StoredValue;
pub(crate) use restore::{Restored, restore};
pub use status::CheckpointStatus;
pub(crate) use write::Moment;
