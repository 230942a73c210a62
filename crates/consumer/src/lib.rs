//! Kinesis streams as ordered batches of records, right about resharding.
//!
//! A [`Consumer`] reads N streams of N shards each through any [`KinesisClient`](statefun_kinesis_client::KinesisClient),
//! by polling or by enhanced fan-out. It finds shards, reads parents to their end before their children, keeps to what a
//! shard gives, replaces expired iterators and lost subscriptions, takes KPL aggregates apart, tries again what fails for
//! a while, and reads no further ahead than it is told to. What comes out is [`Batch`]es, each of one shard and in its
//! order. Who acknowledges a batch moves the position of its shard in the [`CheckpointStore`]; the next consumer goes on
//! behind it. The [`guide`] has more programs like this one:
//!
//! ```
//! use std::sync::Arc;
//!
//! use statefun_kinesis_client::{KinesisAdmin, KinesisClientExt};
//! use statefun_kinesis_consumer::Consumer;
//! use statefun_kinesis_fake::FakeKinesis;
//! use statefun_kinesis_types::{PutRecord, StartupPosition, StreamName, StreamRef};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kinesis = FakeKinesis::new();
//! let orders: StreamName = "orders".parse()?;
//! kinesis.create_stream(&orders, 4).await?;
//! let orders = StreamRef::from(orders);
//! kinesis.put_record(&orders, PutRecord::new("customer-17".parse()?, "one cup")).await??;
//!
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
//! Delivery is at least once: what was not acknowledged when a consumer ended is delivered by the next one.
//!
//! There is no sharing of shards among several consumers: one consumer reads all shards of its streams. How a stream
//! distributes its records is looked at when reading begins; a stream that changes it asks for a restart.

mod ack;
mod batch;
mod builder;
mod consumer;
mod context;
mod cursor;
mod dead_letter;
mod error;
mod fan_out;
mod file;
mod graph;
pub mod guide;
mod invalid;
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
pub use statefun_kinesis_client::{CheckpointError, CheckpointStore, PositionStore};
pub use statefun_kinesis_types::{CheckpointChanges, Extent, Position, ShardPosition, StreamCheckpoint};
