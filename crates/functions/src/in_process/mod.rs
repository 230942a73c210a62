mod context;
mod registry;

pub use context::{Context, StateError};
pub use registry::{Function, Registry};
