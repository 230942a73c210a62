//! Writes checkpoints to the store, and reads them at a start.

mod driver;
mod format;
mod restore;
mod status;
mod upgrade;
mod write;

pub(crate) use driver::{Checkpoint, Source};
pub use format::{NumberedEntry, StoredValue, TOTALS, decode_totals};
pub(crate) use restore::{damaged, decode, place, restore, specs_by_function};
pub use status::CheckpointStatus;
pub use upgrade::upgrade_entries;
pub(crate) use write::Moment;
