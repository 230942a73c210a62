//! The AWS SDK behind [`KinesisClient`], [`KinesisAdmin`] and [`FanOutClient`].
//!
//! [`AwsKinesis`] talks to Kinesis Data Streams, or to a local server that speaks the same protocol, with a region and
//! credentials as a module file names them. Every client has its own: two ingresses and an egress may use three
//! regions and three identities in one process.
//!
//! ```
//! use statefun_kinesis_aws::AwsKinesis;
//! use statefun_kinesis_types::{AwsCredentials, AwsRegion, Secret};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // LocalStack; `AwsKinesis::builder().build()` alone takes everything from the AWS default chain.
//! let client = AwsKinesis::builder()
//!     .region(AwsRegion::CustomEndpoint { endpoint: "http://localhost:4566".into(), id: "us-east-1".into() })
//!     .credentials(AwsCredentials::Basic {
//!         access_key_id: Secret::new("test"),
//!         secret_access_key: Secret::new("test"),
//!         session_token: None,
//!     })
//!     .build()
//!     .await?;
//! assert_eq!(client.region(), Some("us-east-1"));
//! # Ok(())
//! # }
//! ```
//!
//! A call is one request. The SDK's own retries are off, because the layers above retry and pace with more knowledge
//! (an expired iterator, the failed entries of PutRecords, the order of a key); retries for *credentials* stay on.
//! Errors carry the project's [`ErrorKind`] and no type of the SDK. Proxies are honoured as the SDK does it:
//! `HTTP_PROXY`, `HTTPS_PROXY` and `NO_PROXY`.
//!
//! Answers to GetRecords of the common shape are decoded by this crate, not by the SDK: reading takes about a third less
//! time for records of 100 bytes, and half for those of 1 KiB (`benches/read.rs`). What comes of it is the same, which a
//! test of random answers holds it to.
//!
//! Subscriptions of enhanced fan-out come over HTTP/2 where the server speaks it, as the service does, many over one
//! connection. No limit on the time of a call cuts one off; it ends as failed when nothing has come for
//! [`EVENT_TIMEOUT`], because a connection whose other side is gone would be silent for ever.
//!
//! [`KinesisClient`]: statefun_kinesis_client::KinesisClient
//! [`KinesisAdmin`]: statefun_kinesis_client::KinesisAdmin
//! [`FanOutClient`]: statefun_kinesis_client::FanOutClient
//! [`ErrorKind`]: statefun_kinesis_client::ErrorKind

mod admin;
mod answer;
mod build_error;
mod builder;
mod client;
mod code;
mod connections;
mod credentials;
mod endpoint;
mod failure;
mod fan_out;
mod profile;
mod record_page;
mod region;
#[cfg(test)]
mod replay;
mod role;
mod sdk;

pub use build_error::BuildError;
pub use builder::{AwsKinesisBuilder, CONNECT_TIMEOUT, EVENT_TIMEOUT, OPERATION_TIMEOUT};
pub use client::AwsKinesis;
pub use endpoint::check_endpoint;
