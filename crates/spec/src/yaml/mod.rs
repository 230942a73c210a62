//! From text to trees of nodes that know their places. Nothing here knows what a module is.

mod input;
mod limits;
mod load;
mod node;
mod offsets;
mod secrets;
mod syntax;

pub use limits::MODULE_MAX_BYTES;
pub(crate) use load::{Loaded, load};
pub(crate) use node::{Kind, Node, Scalar, Value};
pub(crate) use secrets::{Secrets, user_of};
