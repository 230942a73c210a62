//! The declarations of a Stateful Functions module: ingresses, egresses and endpoints, as plain values.
//!
//! ```
//! use statefun_kinesis_module::{EgressSpec, IngressSpec, OutOfRangeRecords, StreamRoute};
//!
//! let orders = StreamRoute::new(
//!     "arn:aws:kinesis:us-east-1:123456789012:stream/orders".parse::<statefun_kinesis_types::StreamArn>()?,
//!     "example/Order".parse()?,
//!     vec!["example/order-handler".parse()?],
//! );
//! let ingress = IngressSpec::new("example/orders".parse()?, vec![orders]);
//! let egress = EgressSpec::new("example/notifications".parse()?, "notifications".parse()?);
//! assert_eq!(ingress.streams.len(), 1);
//! assert!(egress.aggregation.is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The `spec` crate reads module files in YAML into these values, and re-exports them. A program that builds its
//! ingresses and egresses in code needs only this crate and compiles no YAML parser.
//!
//! A field that is `None` uses the default of the consumer or the producer.

mod authority;
mod client;
mod egress;
mod endpoint;
mod ingress;
mod module;

pub use authority::{InvalidAuthority, check_authority};
pub use client::{ClientProperties, ClientSpec};
pub use egress::{AggregationSpec, EgressOrder, EgressSpec, FailedRecordHandling};
pub use endpoint::{
    EndpointSpec, FailureHandling, FunctionPattern, GiveUp, InvalidPattern, InvalidUrlTemplate, TransportSpec,
    UrlTemplate,
};
pub use ingress::{ConsumerLifecycle, ConsumerSpec, IngressSpec, OutOfRangeRecords, RecordMetadata, StreamRoute};
pub use module::Module;
pub use statefun_kinesis_types::{InvalidRecordHandling, LogLevel, StartupPosition};
