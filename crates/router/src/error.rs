use statefun_kinesis_consumer::ConsumerError;
use statefun_kinesis_producer::ProducerError;
use statefun_kinesis_types::{SequenceNumber, ShardId, StreamArn, TypeName};

use crate::{EgressError, FunctionError, InvalidRecord};

/// Why a router could not be built: something that the module asks for is not there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// An ingress cannot be read.
    #[error("ingress {ingress} cannot be read")]
    Ingress {
        /// The ingress.
        ingress: TypeName,
        /// What is wrong.
        source: ConsumerError,
    },
    /// An egress cannot be written.
    #[error("egress {egress} cannot be written")]
    Egress {
        /// The egress.
        egress: TypeName,
        /// What is wrong.
        source: ProducerError,
    },
}

/// Why a run ended before it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
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
    /// A record cannot become a message. Its position does not move.
    #[error(transparent)]
    InvalidRecord(Box<RecordError>),
    /// Functions failed for good.
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
    /// An egress failed for good.
    #[error(transparent)]
    Egress(EgressError),
}

/// A record that cannot become a message, named by its place.
#[derive(Debug, thiserror::Error)]
#[error("invalid record: stream {stream}, {shard}, sequence number {sequence_number}")]
#[non_exhaustive]
pub struct RecordError {
    /// The record's stream.
    pub stream: StreamArn,
    /// The record's shard.
    pub shard: ShardId,
    /// The record's place in the shard.
    pub sequence_number: SequenceNumber,
    /// What is wrong with it.
    pub source: InvalidRecord,
}
