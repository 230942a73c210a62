//! Implements [`KinesisClient`], [`KinesisAdmin`] and [`FanOutClient`] with the AWS SDK.
//!
//! [`AwsKinesis`] calls Kinesis Data Streams, or a local server with the same protocol, with a region and credentials
//! as in a module file. Every client has its own, so one process may use several regions and identities.
//!
//! ```
//! use statefun_kinesis_aws::AwsKinesis;
//! use statefun_kinesis_types::{AwsCredentials, AwsRegion, Secret};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // For LocalStack. `AwsKinesis::builder().build()` alone uses the AWS default chain.
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
//! A call is one request. The SDK's own retries are off, because the layers above know more when they retry and pace
//! (an expired iterator, the failed entries of PutRecords, the order of a key). Retries for *credentials* stay on.
//! Errors have the project's [`ErrorKind`] and no type of the SDK. The SDK uses the proxies of `HTTP_PROXY`,
//! `HTTPS_PROXY` and `NO_PROXY`.
//!
//! An answer that lacks a required field is an error of kind [`Incomplete`](statefun_kinesis_client::ErrorKind::Incomplete).
//! The SDK fills in an empty value for such a field: no records, or an empty payload.
//!
//! This crate decodes common answers of GetRecords itself instead of the SDK. Reading then takes about a third less
//! time for records of 100 bytes, and half for those of 1 KiB (`benches/read.rs`). A test with random answers checks
//! that the results are the same.
//!
//! Subscriptions of enhanced fan-out use HTTP/2 if the server supports it, as Kinesis does, many over one connection.
//! The time limit of calls does not apply to them. A subscription fails when no event arrives for [`EVENT_TIMEOUT`],
//! because a connection whose other side is gone would otherwise wait for ever.
//!
//! [`KinesisClient`]: statefun_kinesis_client::KinesisClient
//! [`KinesisAdmin`]: statefun_kinesis_client::KinesisAdmin
//! [`FanOutClient`]: statefun_kinesis_client::FanOutClient
//! [`ErrorKind`]: statefun_kinesis_client::ErrorKind

#[cfg(test)]
mod absence;
mod admin;
mod answer;
mod build_error;
mod builder;
mod client;
mod code;
mod connections;
mod credentials;
mod endpoint;
mod event_fields;
mod failure;
mod fan_out;
mod kept_credentials;
#[cfg(test)]
mod loopback;
mod named_credentials;
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
pub use kept_credentials::CredentialsStatus;
