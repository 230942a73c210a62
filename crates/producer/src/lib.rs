//! Records to a Kinesis stream: in batches, in order per partition key, through partial failures.
//!
//! PutRecords stores some records of a request and refuses others, and it does not even keep the order within a
//! request. A [`Producer`] makes of it what a program wants: every record is stored, or reported as failed to its
//! [`Receipt`]; records of one partition key are stored in the order in which they were sent, whatever has to be sent
//! again; memory is bounded, and a stream that does not keep up slows down those who send.
//!
//! ```
//! use std::sync::Arc;
//! use statefun_kinesis_client::KinesisAdmin;
//! use statefun_kinesis_fake::FakeKinesis;
//! use statefun_kinesis_producer::Producer;
//! use statefun_kinesis_types::{PutRecord, StreamName};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let kinesis = FakeKinesis::new();
//! let orders: StreamName = "orders".parse()?;
//! kinesis.create_stream(&orders, 2).await?;
//!
//! let producer = Producer::builder(Arc::new(kinesis.clone()), orders.clone()).build().await?;
//! let receipt = producer.send(PutRecord::new("customer-17".parse()?, "one cup")).await?;
//! let placement = receipt.await?;
//! producer.close().await;
//!
//! let (shard, record) = &kinesis.records(&orders.into())[0];
//! assert_eq!((shard, record.sequence_number), (&placement.shard, placement.sequence_number));
//! # Ok(())
//! # }
//! ```
//!
//! # In order
//!
//! Records of one key are stored in the order of their `send` calls, whatever has to be sent again meanwhile. Nobody has
//! to wait for a receipt before the next `send`.
//!
//! ```
//! # use std::sync::Arc;
//! # use statefun_kinesis_client::KinesisAdmin;
//! # use statefun_kinesis_fake::FakeKinesis;
//! # use statefun_kinesis_producer::Producer;
//! # use statefun_kinesis_types::{PutRecord, StreamName};
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let kinesis = FakeKinesis::new();
//! # let orders: StreamName = "orders".parse()?;
//! # kinesis.create_stream(&orders, 1).await?;
//! # let producer = Producer::builder(Arc::new(kinesis.clone()), orders.clone()).build().await?;
//! // The service refuses the first of them once.
//! kinesis.faults().fail_next_entries(|index, _| index == 0);
//! let records = ["ordered", "paid", "shipped"].map(|state| PutRecord::new("order-1".parse().unwrap(), state));
//! let delivered = producer.send_all(records.to_vec()).await?.await?;
//!
//! let places: Vec<_> = delivered.stored().map(|stored| stored.sequence_number).collect();
//! assert!(places.is_sorted());
//! # Ok(())
//! # }
//! ```
//!
//! Of each key, one record is on its way at a time; the next leaves when it is stored. PutRecords may store a later entry
//! of a request although an earlier one fails, and a repeat would come too late: so the same key never stands in a
//! request twice. Nor can the next one leave in another request before the answer, from which alone a failure is known. A
//! single key is written at one record per round trip for that; other keys go on meanwhile, in up to
//! [`Settings::max_in_flight_requests`] requests, and a stream of many keys at full speed. Aggregation lifts the limit: an
//! aggregate is stored as a whole or not at all, so that a round trip carries as many records of a key as fit. So does
//! [`Order::None`], which gives the order up; keys have none anyway on a stream whose record distribution is AUTO, and pay
//! for none there.
//!
//! When a record fails for good, those of its key that wait behind it fail too ([`Reason::PredecessorFailed`]), unless
//! [`OnFailure`] says otherwise: a caller that starts again from the failed one finds nothing stored out of order. A
//! request without an answer may have been carried out. Its records are sent again, so that a record may be stored more
//! than once; the first copies are still in order.
//!
//! # Throttling
//!
//! Nothing has to be done about it. A record that its shard throttles goes again at the pace of that shard, which follows
//! what the service takes; other shards are not held up. When the queue is full ([`Settings::max_outstanding_records`]),
//! `send` waits. What is not stored in time is given up, and what happens then is a choice:
//!
//! ```
//! # use std::{num::NonZeroU32, sync::Arc, time::Duration};
//! # use statefun_kinesis_client::KinesisAdmin;
//! # use statefun_kinesis_fake::FakeKinesis;
//! use statefun_kinesis_producer::{Handling, OnFailure, Producer, Settings};
//! # use statefun_kinesis_types::{PutRecord, StreamName};
//! use statefun_kinesis_types::LogLevel;
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
//! # Small events
//!
//! A shard takes 1 000 records a second whatever their size. With [`Settings::aggregation`] many travel as one, in the
//! format of the Kinesis Producer Library, which the consumer of this project and all of the KCL family read.
//!
//! ```
//! # use std::sync::Arc;
//! # use statefun_kinesis_client::KinesisAdmin;
//! # use statefun_kinesis_fake::FakeKinesis;
//! use statefun_kinesis_producer::{Aggregation, Producer, Settings};
//! # use statefun_kinesis_types::{PutRecord, StreamName};
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
//! Records that share an aggregate belong to one shard, as the last listing of the shards has it. When the stream is
//! resharded meanwhile, an aggregate may land where not all of its records belong; readers would drop some or all of
//! them, so that it is sent again as a whole under the new shards, before anything is acknowledged. On a stream under
//! AUTO it is refused ([`ProducerError::AggregationUnderAuto`]).
//!
//! # Ending
//!
//! [`Producer::close`] stores what is queued, and [`Producer::close_within`] as much of it as there is time for. Dropping
//! the last clone without either loses nothing silently: what no request carries is reported to its receipt as
//! [`Reason::Closed`] at once, and what one carries by its answer.
//!
//! # What is not here
//!
//! Clients and their credentials ([`Clients`] is where they come from), and any knowledge of readers. The record size and
//! the record distribution are read from the stream once, when its producer is built; a size that is lowered later shows
//! as records that the service rejects.

mod dead_letter;
mod driver;
mod error;
mod flush;
mod fresh;
mod key_hash;
mod lane;
mod machine;
mod metrics;
mod pace;
mod policy;
mod producer;
mod producers;
mod queue;
mod receipt;
mod request;
mod settings;
mod shard_map;
mod shared;
mod slips;

pub use error::{Failure, Handling, ProducerError, Reason, SendError};
pub use metrics::Metrics;
pub use policy::OnFailure;
pub use producer::{Producer, ProducerBuilder};
pub use producers::{Clients, Producers, ProducersBuilder};
pub use receipt::{BatchReceipt, Delivered, Receipt, Stored};
pub use settings::{Aggregation, Order, Settings};
