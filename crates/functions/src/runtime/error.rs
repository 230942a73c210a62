use statefun_kinesis_module::FunctionPattern;
use statefun_kinesis_store::Error;
use statefun_kinesis_types::StreamRef;

use crate::UnknownFunction;

/// Why [`StatefulFunctionsBuilder::build`](crate::StatefulFunctionsBuilder::build) failed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An endpoint puts messages into a stream of dead letters, and the builder has no
    /// [`DeadLetters`](crate::DeadLetters) to write them.
    #[error("failed messages of {functions} go to dead letters in {stream}, but the builder has no `dead_letters`")]
    NoDeadLetters {
        /// The functions.
        functions: FunctionPattern,
        /// The stream of the dead letters.
        stream: StreamRef,
    },
    /// The store cannot be read.
    #[error("cannot read the functions' data from the store")]
    Store(#[from] Error),
    /// The store has messages or states of a function that is not registered any more.
    #[error("the store has messages or states for a function of an earlier run")]
    Unserved(#[from] UnknownFunction),
}
