use std::sync::Arc;

use statefun_kinesis_consumer::{ConsumerError, InvalidRecord};
use statefun_kinesis_producer::ProducerError;
use statefun_kinesis_types::{ShardId, StreamArn, TypeName};

use crate::{EgressError, FunctionError};

/// Why a router could not be built: something that the module asks for is not there.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// An ingress cannot be read.
    #[error("ingress {ingress} cannot be read")]
    Ingress {
        /// The ingress.
        ingress: TypeName,
        /// What is wrong.
        source: ConsumerError,
    },
    /// Two entries of an ingress turned out to be the same stream, one by its name and one by its ARN.
    #[error("ingress {ingress} has two entries for stream {stream}: list all targets in one entry")]
    DuplicateStream {
        /// The ingress.
        ingress: TypeName,
        /// The stream.
        stream: StreamArn,
    },
    /// An ingress asks for enhanced fan-out and was given no client for it.
    #[error("ingress {ingress} asks for enhanced fan-out, which its client does not offer")]
    NoFanOut {
        /// The ingress.
        ingress: TypeName,
    },
    /// An egress cannot be written.
    #[error("egress {egress} cannot be written")]
    Egress {
        /// The egress.
        egress: TypeName,
        /// What is wrong.
        source: Arc<ProducerError>,
    },
}

/// Why a run ended before it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// An ingress cannot be read any more.
    #[error("ingress {ingress} cannot be read any more")]
    Ingress {
        /// The ingress.
        ingress: TypeName,
        /// What is wrong.
        source: ConsumerError,
    },
    /// A record came from a stream that the ingress has no route for.
    #[error("ingress {ingress} has no route for stream {stream}")]
    NoRoute {
        /// The ingress.
        ingress: TypeName,
        /// The stream.
        stream: StreamArn,
    },
    /// A record cannot become a message, and the ingress says that this is to fail. Its position does not move.
    #[error(transparent)]
    InvalidRecord(Box<InvalidRecord>),
    /// Functions failed permanently.
    #[error("functions failed")]
    Functions(#[source] FunctionError),
    /// Functions dropped a delivery without completing it, so that the position of its shard could never move again.
    #[error("functions dropped records of stream {stream}, {shard}, without saying that they are done")]
    Dropped {
        /// The stream.
        stream: StreamArn,
        /// The shard.
        shard: ShardId,
    },
    /// An egress failed permanently.
    #[error(transparent)]
    Egress(EgressError),
}
