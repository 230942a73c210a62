//! Writes records to Kinesis streams: in batches, in order per partition key, also through partial failures.
//!
//! PutRecords may store some records of a request and not others, and it does not keep the order within a request. With a
//! [`Producer`], every record is stored, or reported as failed to its [`Receipt`]; records of one partition key are stored
//! in the order in which they were sent, whatever has to be sent again; memory is bounded, and senders wait when a stream
//! is slower than they are.
//!
//! ```
//! use std::sync::Arc;
//! use statefun_kinesis_fake::FakeKinesis;
//! use statefun_kinesis_producer::{Producer, PutRecord, StreamName};
//! # use statefun_kinesis_client::KinesisAdmin;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kinesis = FakeKinesis::new();
//! let orders: StreamName = "orders".parse()?;
//! kinesis.create_stream(&orders, 2).await?;
//!
//! let producer = Producer::builder(Arc::new(kinesis.clone()), orders.clone()).build().await?;
//! let receipt = producer.send(PutRecord::new("customer-17".parse()?, "one cup")).await?;
//! let stored = receipt.await?;
//! producer.close().await;
//!
//! let (shard, record) = &kinesis.records(&orders.into())[0];
//! assert_eq!((shard, record.sequence_number), (&stored.shard, stored.sequence_number));
//! # Ok(())
//! # }
//! ```
//!
//! A program needs this crate and a client: all types that the signatures name are here too.
//!
//! # Order
//!
//! Records of one key are stored in the order of their `send` calls, whatever has to be sent again meanwhile. The program
//! does not have to wait for a receipt before the next `send`.
//!
//! ```
//! # use std::sync::Arc;
//! # use statefun_kinesis_client::KinesisAdmin;
//! # use statefun_kinesis_fake::FakeKinesis;
//! # use statefun_kinesis_producer::{Producer, PutRecord, StreamName};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let kinesis = FakeKinesis::new();
//! # let orders: StreamName = "orders".parse()?;
//! # kinesis.create_stream(&orders, 1).await?;
//! # let producer = Producer::builder(Arc::new(kinesis.clone()), orders.clone()).build().await?;
//! // The service rejects the first of them once.
//! kinesis.faults().fail_next_entries(|index, _| index == 0);
//! let records = ["ordered", "paid", "shipped"].map(|state| PutRecord::new("order-1".parse().unwrap(), state));
//! let delivered = producer.send_all(records.to_vec()).await?.await?;
//!
//! let positions: Vec<_> = delivered.stored().map(|stored| stored.sequence_number).collect();
//! assert!(positions.is_sorted());
//! # Ok(())
//! # }
//! ```
//!
//! Of each key, one record is in flight at a time; the next one is sent when it is stored. PutRecords may store a later
//! record of a request although an earlier one fails, and a retry would come too late: so a request never has two records
//! of the same key. Nor can the next one be sent in another request before the answer, since only the answer says whether a
//! record has failed. A single key is therefore written at one record per round trip. Meanwhile other keys go on, in up to
//! [`Settings::max_in_flight_requests`] requests, so that a stream of many keys is written at full speed.
//!
//! Aggregation lifts the limit of a single key: an aggregate is stored as a whole or not at all, so that each round trip
//! carries as many records of a key as fit. [`Order::None`] lifts it too, and gives up the order. On a stream whose record
//! distribution is AUTO, keys have no order anyway, and there is no such limit.
//!
//! When a record fails permanently, the records of its key that wait behind it fail too ([`Reason::PredecessorFailed`]),
//! unless [`OnFailure`] says otherwise: a program that starts again from the failed record finds nothing stored out of
//! order. A request without an answer may have been carried out. Its records are sent again, so that a record may be stored
//! more than once; the first copies are in order.
//!
//! # Throttling
//!
//! The program does not have to do anything about it. A record that its shard throttles is retried at the rate of that
//! shard, which adapts to what the service takes. The records of all such shards are sent together, at most ten times per
//! second and shard, so that a shard at its limit is written by few large requests; other shards are not held up. When the queue is full
//! ([`Settings::max_outstanding_records`]), `send` waits. A record that is not stored in time fails, and [`OnFailure`] says
//! what is done about it:
//!
//! ```
//! # use std::{num::NonZeroU32, sync::Arc, time::Duration};
//! # use statefun_kinesis_client::KinesisAdmin;
//! # use statefun_kinesis_fake::FakeKinesis;
//! use statefun_kinesis_producer::{Handling, LogLevel, OnFailure, Producer, Settings};
//! # use statefun_kinesis_producer::{PutRecord, StreamName};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! # let kinesis = FakeKinesis::new();
//! # let (orders, letters): (StreamName, StreamName) = ("orders".parse()?, "letters".parse()?);
//! # kinesis.create_stream(&orders, 1).await?;
//! # kinesis.create_stream(&letters, 1).await?;
//! # let client = Arc::new(kinesis.clone());
//! # kinesis.faults().fail_entries(|_, record| record.partition_key.as_str() == "busy");
//! let to = Producer::builder(client.clone(), letters).build().await?;
//! let producer = Producer::builder(client, orders)
//!     .settings(Settings { give_up_after: Duration::from_secs(60), ..Settings::default() })
//!     .on_failure(OnFailure::DeadLetter { to, log: LogLevel::Warn })
//!     .build()
//!     .await?;
//!
//! let receipt = producer.send(PutRecord::new("busy".parse()?, "one cup")).await?;
//! # kinesis.faults().fail_entries(|_, record| record.partition_key.as_str() == "busy" && !record.data.starts_with(b"{"));
//! let error = receipt.await.unwrap_err();
//! assert_eq!(error.handling(), Handling::DeadLettered);
//! # Ok(())
//! # }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! #     tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(example())
//! # }
//! ```
//!
//! # Small records
//!
//! A shard takes 1 000 records per second whatever their size. With [`Settings::aggregation`] many are stored as one, in
//! the format of the Kinesis Producer Library, which the consumer of this project and all of the KCL family read.
//!
//! ```
//! # use std::sync::Arc;
//! # use statefun_kinesis_client::KinesisAdmin;
//! # use statefun_kinesis_fake::FakeKinesis;
//! use statefun_kinesis_producer::{Aggregation, Producer, Settings};
//! # use statefun_kinesis_producer::{PutRecord, StreamName};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let kinesis = FakeKinesis::new();
//! # let clicks: StreamName = "clicks".parse()?;
//! # kinesis.create_stream(&clicks, 1).await?;
//! let settings = Settings { aggregation: Some(Aggregation::default()), ..Settings::default() };
//! let producer = Producer::builder(Arc::new(kinesis.clone()), clicks.clone()).settings(settings).build().await?;
//! let events = (0..500).map(|number| PutRecord::new("visitor-4".parse().unwrap(), format!("click {number}")));
//! let delivered = producer.send_all(events.collect()).await?.await?;
//!
//! assert_eq!(kinesis.records(&clicks.into()).len(), 1);
//! assert_eq!(delivered.get(499).map(|stored| stored.sub_sequence_number), Some(499));
//! assert_eq!(producer.metrics().stored_records, 500);
//! # Ok(())
//! # }
//! ```
//!
//! The records of an aggregate belong to one shard, as the shards were listed last. When the stream is resharded meanwhile,
//! an aggregate may be stored on a shard to which not all of its records belong. Readers would drop some or all of them. So
//! it is sent again as a whole with the new shards before any of its records is acknowledged. On a stream whose record
//! distribution is AUTO, aggregation is an error ([`ProducerError::AggregationUnderAuto`]).
//!
//! # Ending
//!
//! [`Producer::close`] stores the records that are queued, and [`Producer::close_within`] as many as it can in a given time.
//! When the last clone is dropped without either, no record is lost silently: those that are not in flight fail at once with
//! [`Reason::Closed`], and those in flight are completed by the answer to their request.
//!
//! # What is not here
//!
//! Clients and their credentials ([`Clients`] provides them), and reading. The maximum record size and the record
//! distribution are read from the stream once, when its producer is built; when the size is reduced later, records that are
//! too large are rejected by the service.

mod builder;
mod dead_letter;
mod delivered;
mod driver;
mod error;
mod flush;
mod inner;
mod key_hash;
mod machine;
mod metrics;
mod on_failure;
mod pace;
mod policy;
mod producer;
mod producers;
mod queue;
mod receipt;
mod record_meta;
mod request;
mod settings;
mod shard_map;
mod status;
mod task_failure;
mod unsendable;
mod untracked;

pub use builder::ProducerBuilder;
pub use delivered::{Delivered, Stored};
pub use error::{Failure, Handling, ProducerError, Reason, SendError};
pub use metrics::Metrics;
pub use on_failure::OnFailure;
pub use producer::Producer;
pub use producers::{Clients, Producers, ProducersBuilder};
pub use receipt::{BatchReceipt, Receipt};
pub use settings::{Aggregation, Order, Settings};
pub use task_failure::TaskFailure;
pub use unsendable::{GivenUp, Unsendable};

#[doc(no_inline)]
pub use statefun_kinesis_client::{Backoff, Error as ClientError, ErrorKind, KinesisClient, PutFailure, StreamStatus};
#[doc(no_inline)]
pub use statefun_kinesis_types::{
    HashKey, LogLevel, PartitionKey, PutRecord, SequenceNumber, ShardId, StreamArn, StreamName, StreamRef, TypeName,
};
