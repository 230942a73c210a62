//! Kinesis in memory, as awkward as the service: for tests, demos and local runs.
//!
//! [`FakeKinesis`] is a [`KinesisClient`](statefun_kinesis_client::KinesisClient), a
//! [`KinesisAdmin`](statefun_kinesis_client::KinesisAdmin) and a
//! [`FanOutClient`](statefun_kinesis_client::FanOutClient) with the service's semantics: records are routed by hash
//! key, shards split and merge, iterators expire after five minutes, subscriptions end after as long or are taken over,
//! records leave retention, limits are held, and errors have the service's names. Time is virtual: it follows Tokio's clock, so that a test under paused time waits
//! a day in no time. What goes wrong is scripted or seeded with [`Faults`].
//!
//! ```
//! use statefun_kinesis_client::{KinesisAdmin, KinesisClient, KinesisClientExt};
//! use statefun_kinesis_fake::FakeKinesis;
//! use statefun_kinesis_types::{PutRecord, StartPosition, StreamName, StreamRef};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kinesis = FakeKinesis::new();
//! let name: StreamName = "orders".parse()?;
//! kinesis.create_stream(&name, 1).await?;
//!
//! let orders = StreamRef::from(name);
//! let placed = kinesis.put_record(&orders, PutRecord::new("customer-17".parse()?, "one cup")).await?;
//! let iterator = kinesis.get_shard_iterator(&orders, &placed.shard, StartPosition::TrimHorizon).await?;
//! let page = kinesis.get_records(&iterator, 100).await?;
//! assert_eq!(page.records[0].data, "one cup");
//! # Ok(())
//! # }
//! ```
//!
//! There is no network and no disk: what a fake holds ends with its last clone. Limits that
//! concern an account's calls per second are not enforced; those of a shard are, when
//! [asked for](FakeKinesisBuilder::enforce_throughput).

mod clock;
mod consumers;
mod fake;
mod fan_out;
mod faults;
mod numbering;
mod refusal;
mod service;
mod shard;
mod store;
mod stream;
mod subscription;
mod throughput;
mod token;

pub use fake::{FakeKinesis, FakeKinesisBuilder};
pub use faults::{Faults, SubscriptionFault};
