use statefun_kinesis_store::Error;

use crate::{EndpointError, UnknownFunction};

/// Why stateful functions could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An endpoint cannot be used.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// What the store has cannot be read.
    #[error("what was stored of functions cannot be read")]
    Store(#[from] Error),
    /// The store has messages or states of a function that nobody serves any more.
    #[error("the store has messages or states for a function of an earlier run")]
    Unserved(#[from] UnknownFunction),
}
