//! The seam between this project and Kinesis Data Streams.
//!
//! [`KinesisClient`] is what a backend implements: the AWS SDK, an in-memory fake, anything that speaks Kinesis. It has
//! no default bodies, is object safe, and each method lists the behaviour that the conformance suite holds every
//! backend to. [`KinesisClientExt`] is what callers add on top. Powers that not every caller needs are traits of their
//! own: [`KinesisAdmin`] makes, reshapes and removes streams, [`FanOutClient`] reads by enhanced fan-out.
//! [`PositionStore`] and [`CheckpointStore`] are the other seam: where the positions of readers are kept.
//!
//! ```
//! use statefun_kinesis_client::{KinesisClient, KinesisClientExt, Result, ShardFilter};
//! use statefun_kinesis_types::{StartPosition, StreamRef};
//!
//! /// Counts what a stream holds right now, shard by shard.
//! async fn count(client: &dyn KinesisClient, stream: &StreamRef) -> Result<usize> {
//!     let mut count = 0;
//!     for shard in client.all_shards(stream, ShardFilter::FromTrimHorizon).await? {
//!         let mut next = Some(client.get_shard_iterator(stream, &shard.id, StartPosition::TrimHorizon).await?);
//!         while let Some(iterator) = next {
//!             let page = client.get_records(&iterator, 1_000).await?;
//!             count += page.records.len();
//!             next = page.next_iterator.filter(|_| !page.behind_latest.is_zero());
//!         }
//!     }
//!     Ok(count)
//! }
//! ```
//!
//! There is no retrying here and no pacing: a call is one request, and an [`Error`] has an [`ErrorKind`]. Its
//! [`Treatment`] says who is at fault and how long the call is retried, the same for reading and writing, and [`Patience`]
//! counts the time. [`Backoff`] is the delay that the project's own retry loops share, and [`InstantExt`] adds a
//! duration to an instant without overflow. [`forward_client!`] implements the traits for a type that wraps a client.

mod admin;
mod backoff;
mod checkpoint;
mod client;
mod clock;
mod error;
mod ext;
mod fan_out;
mod fault;
mod forward;
mod instant;
mod subscription;
mod values;

pub use admin::KinesisAdmin;
pub use backoff::Backoff;
pub use checkpoint::{CheckpointError, CheckpointStore, PositionStore};
pub use client::KinesisClient;
pub use clock::{Clock, SystemClock};
pub use error::{Error, ErrorKind, Operation, RETRY_AFTER_MAX, Result};
pub use ext::{KinesisClientExt, PutRecordError};
pub use fan_out::{ConsumerPage, ConsumerPageRequest, ConsumerStatus, FanOutClient, StreamConsumer};
pub use fault::{Fault, PATIENCE, Patience, Retry, Treatment};
pub use instant::InstantExt;
pub use subscription::{Subscription, SubscriptionEvent};
pub use values::{
    ChildShard, PageToken, Placement, PutFailure, PutOutcome, RecordDistribution, RecordPage, ShardFilter,
    ShardIterator, ShardPage, ShardPageRequest, StreamMode, StreamStatus, StreamSummary,
};

/// What [`forward_client!`] names in the code that it makes.
#[doc(hidden)]
pub mod forwarding {
    pub use async_trait::async_trait;
    pub use statefun_kinesis_types::{
        ConsumerArn, ConsumerName, HashKey, PutRecord, ShardId, StartPosition, StreamArn, StreamName, StreamRef,
    };
}
