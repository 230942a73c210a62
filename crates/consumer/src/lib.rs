//! Kinesis shards as ordered batches of records, right about resharding.

mod ack;
mod batch;
mod builder;
mod checkpoint;
mod consumer;
mod error;
mod graph;
mod pace;
mod prefetch;
mod reader;
mod saver;
mod service;
mod settings;
mod shard;
mod stream;

pub use ack::Acknowledgement;
pub use batch::{Batch, BatchOrigin};
pub use builder::ConsumerBuilder;
pub use checkpoint::{
    CheckpointChanges, CheckpointError, CheckpointStore, MemoryCheckpoints, Position, ShardPosition, StreamCheckpoint,
};
pub use consumer::Consumer;
pub use error::ConsumerError;
pub use settings::Settings;
