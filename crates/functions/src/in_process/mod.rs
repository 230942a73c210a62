mod context;
mod payload;
mod registry;

pub use context::{BoxError, Context, StateError};
pub use payload::{Payload, ValueSpec};
pub use registry::{Function, Registry};
