//! Reads Kinesis streams as ordered batches of records, also across resharding.
//!
//! A [`Consumer`] reads any number of streams through any [`KinesisClient`], by polling or by enhanced fan-out. It finds
//! shards, reads parents to their end before their children, keeps within the limits of a shard, replaces expired
//! iterators and lost subscriptions, unpacks KPL aggregates, retries what is retryable, and bounds how far it reads ahead.
//! It gives [`Batch`]es, each of one shard and in its order. Acknowledging a batch moves the position of its shard, which is
//! saved in the [`CheckpointStore`]; the next consumer continues there. The [`guide`] has more programs like this one:
//!
//! ```
//! use std::sync::Arc;
//!
//! use statefun_kinesis_consumer::{Consumer, StartupPosition, StreamRef};
//! # use statefun_kinesis_client::{KinesisAdmin, KinesisClientExt};
//! # use statefun_kinesis_fake::FakeKinesis;
//! # use statefun_kinesis_types::PutRecord;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let kinesis = FakeKinesis::new();
//! # kinesis.create_stream(&"orders".parse()?, 4).await?;
//! let orders: StreamRef = "orders".parse()?;
//! # kinesis.put_record(&orders, PutRecord::new("customer-17".parse()?, "one cup")).await?;
//! let builder = Consumer::builder(Arc::new(kinesis)).stream(orders).start(StartupPosition::TrimHorizon);
//! let mut consumer = builder.build().await?;
//! if let Some(batch) = consumer.next().await.transpose()? {
//!     for record in batch.records() {
//!         println!("{} {}: {:?}", batch.stream(), batch.shard(), record.data);
//!     }
//!     batch.done();
//! }
//! consumer.close().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Delivery is at least once: the next consumer repeats batches that were not acknowledged, and after a crash also those
//! that were acknowledged since the last save ([`Settings::checkpoint_interval`]).
//!
//! Several consumers do not share shards: one consumer reads all shards of its streams. How a stream distributes its records
//! is read once at the start; restart the consumer after changing it.

// Imports have one direction. From the bottom up:
//   error, settings, metrics, time, lock, stream                        what everything names
//   pace, prefetch, unpack, cursor, graph, progress                     state machines without I/O
//   hold, saver, file, memory                                           positions
//   invalid, dead_letter; ack, batch                                    batches and their records
//   fan_out, registration, stream_client                                calls about a stream
//   shard, subscription; context; poller, subscriber; pages             reading a shard
//   shard_reader, stream_reader                                         the tasks of shards and streams
//   supervisor, consumer; startup, builder                              the whole
// One exception: `error` and `metrics` name the public types of `invalid`.
mod ack;
mod batch;
mod builder;
mod consumer;
mod context;
mod cursor;
mod dead_letter;
mod error;
mod failures;
mod fan_out;
mod file;
mod graph;
pub mod guide;
mod hold;
mod invalid;
mod invalid_handling;
mod lock;
mod memory;
mod metrics;
mod pace;
mod pages;
mod poller;
mod prefetch;
mod progress;
mod registration;
mod saver;
mod settings;
mod shard;
mod shard_end;
mod shard_reader;
mod startup;
mod stream;
mod stream_client;
mod stream_reader;
mod subscriber;
mod subscription;
mod supervisor;
mod time;
mod unpack;

pub use ack::Acknowledgement;
pub use batch::{Batch, BatchOrigin};
pub use builder::ConsumerBuilder;
pub use consumer::Consumer;
pub use error::ConsumerError;
pub use fan_out::FanOut;
pub use file::FileCheckpoints;
pub use invalid::{InvalidKind, InvalidRecord};
pub use memory::MemoryCheckpoints;
pub use metrics::{Metrics, ReadingMode, ShardMetrics, StreamMetrics};
pub use saver::Positions;
pub use settings::Settings;

// What the signatures of this crate name, so that a program needs this crate and a client only.
pub use async_trait::async_trait;
pub use statefun_kinesis_client::{
    Backoff, CheckpointError, CheckpointStore, Clock, ConsumerStatus, Error as ClientError, ErrorKind, FanOutClient,
    KinesisClient, Operation, PositionStore, StreamStatus, SystemClock,
};
pub use statefun_kinesis_types::{
    CheckpointChanges, ConsumerName, Extent, InvalidRecordHandling, InvalidValue, LogLevel, PartitionKey, Position,
    Record, SequenceNumber, ShardId, ShardPosition, StartPosition, StartupPosition, StreamArn, StreamCheckpoint,
    StreamName, StreamRef, Timestamp,
};
pub use tokio_util::sync::CancellationToken;
