//! Kinesis streams as ordered batches of records, right about resharding.
//!
//! A [`Consumer`] reads N streams of N shards each through any [`KinesisClient`](statefun_kinesis_client::KinesisClient).
//! It finds shards, reads parents to their end before their children, keeps to the five calls and 2 MiB per second that
//! a shard gives, replaces expired iterators, tries again what fails for a while, and reads no further ahead than it is
//! told to. What comes out is [`Batch`]es, each of one shard and in its order. Who acknowledges a batch moves the
//! position of its shard in the [`CheckpointStore`]; the next consumer goes on behind it.
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
//! There is no enhanced fan-out here, no de-aggregation of KPL records, no store that outlives the process, and no
//! sharing of shards among several consumers: one consumer reads all shards of its streams.

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
