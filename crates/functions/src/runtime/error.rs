use statefun_kinesis_module::FunctionPattern;
use statefun_kinesis_store::Error;
use statefun_kinesis_types::StreamRef;

use crate::UnknownFunction;

/// Why stateful functions could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Messages of functions become dead letters, and no [`DeadLetters`](crate::DeadLetters) were given.
    #[error("messages of {functions} become dead letters in {stream}, and no dead letters were given to the builder")]
    NoDeadLetters {
        /// The functions.
        functions: FunctionPattern,
        /// The stream of the dead letters.
        stream: StreamRef,
    },
    /// What the store has cannot be read.
    #[error("what was stored of functions cannot be read")]
    Store(#[from] Error),
    /// The store has messages or states of a function that nobody serves any more.
    #[error("the store has messages or states for a function of an earlier run")]
    Unserved(#[from] UnknownFunction),
}
