use std::sync::Arc;

use statefun_kinesis_consumer::{ConsumerError, InvalidRecord};
use statefun_kinesis_producer::ProducerError;
use statefun_kinesis_types::{ShardId, StreamArn, TypeName};

use crate::{EgressError, FunctionError};

/// Why a router could not be built.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// An ingress cannot be read.
    #[error("ingress {ingress} cannot be read")]
    Ingress {
        /// The ingress.
        ingress: TypeName,
        /// The cause.
        source: ConsumerError,
    },
    /// Two entries of an ingress name the same stream, one by its short name and one by its ARN.
    #[error("ingress {ingress} has two entries for stream {stream}: list all targets in one entry")]
    DuplicateStream {
        /// The ingress.
        ingress: TypeName,
        /// The stream.
        stream: StreamArn,
    },
    /// An ingress uses enhanced fan-out but has no client for it.
    #[error("ingress {ingress} uses enhanced fan-out, but has no client for it; set one with `Ingress::fan_out`")]
    NoFanOut {
        /// The ingress.
        ingress: TypeName,
    },
    /// An egress cannot be written.
    #[error("egress {egress} cannot be written")]
    Egress {
        /// The egress.
        egress: TypeName,
        /// The cause.
        source: Arc<ProducerError>,
    },
}

/// Why a run ended with an error.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Reading an ingress failed permanently.
    #[error("reading ingress {ingress} failed")]
    Ingress {
        /// The ingress.
        ingress: TypeName,
        /// The cause.
        source: ConsumerError,
    },
    /// The ingress has no route for the stream of a record.
    #[error("ingress {ingress} has no route for stream {stream}")]
    NoRoute {
        /// The ingress.
        ingress: TypeName,
        /// The stream.
        stream: StreamArn,
    },
    /// A record cannot become a message, and the ingress' `invalidRecordHandling` is `fail`. Its position does not
    /// move.
    #[error(transparent)]
    InvalidRecord(Box<InvalidRecord>),
    /// Functions failed permanently.
    #[error("functions failed")]
    Functions(#[source] FunctionError),
    /// Functions dropped a delivery without completing it, so that the position of its shard could never move again.
    #[error("functions dropped records of stream {stream}, {shard}, without completing them")]
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
