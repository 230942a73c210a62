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
//! # Order and its price
//!
//! Of each key, one record is on its way at a time; the next leaves when it is stored. Other keys go on meanwhile, in up
//! to [`Settings::max_in_flight_requests`] requests. So a single key is written at one record per round trip, and a
//! stream of many keys at full speed. When a record fails for good, those of its key that wait behind it fail too
//! ([`SendError::PredecessorFailed`]): a caller that starts again from the failed one finds nothing stored out of order.
//!
//! Keys have no order on a stream whose record distribution is AUTO: there the service puts records where it likes.
//!
//! A request without an answer may have been carried out. Its records are sent again, so that a record may be stored
//! more than once; the first copies are still in order.
//!
//! # What is not here
//!
//! No aggregation of small records into larger ones, no pacing by what each shard takes per second (throttled records
//! back off instead), no mode without order. The record size is read from the stream once, when the producer is built.

mod driver;
mod error;
mod flush;
mod machine;
mod producer;
mod queue;
mod receipt;
mod request;
mod settings;
mod shared;

pub use error::{Failure, ProducerError, SendError};
pub use producer::{Producer, ProducerBuilder};
pub use receipt::{BatchReceipt, Receipt};
pub use settings::Settings;
