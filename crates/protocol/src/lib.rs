//! The messages of Stateful Functions: what a runtime and remote functions say to each other ([`reqreply`]), what
//! functions send to a Kinesis egress ([`egress`]), and the primitive types of the SDKs ([`Primitive`]).
//!
//! ```
//! use prost::Message;
//! use statefun_kinesis_protocol::{Primitive, egress::KinesisEgressRecord, reqreply::TypedValue};
//!
//! // A message of the primitive type `long`, as an SDK makes it.
//! let delta = TypedValue::of(&7_i64);
//! assert_eq!(delta.typename, "io.statefun.types/long");
//! assert_eq!(i64::from_bytes(&delta.value)?, 7);
//!
//! let record = KinesisEgressRecord { partition_key: "customer-17".into(), ..Default::default() };
//! assert_eq!(record.encode_to_vec(), b"\x0a\x0bcustomer-17");
//! # Ok::<(), statefun_kinesis_protocol::DecodeError>(())
//! ```
//!
//! The types are made of the files in `proto` and committed, so that who uses the crate builds nothing but Rust; a test
//! generates them again and compares. Payloads are [`bytes::Bytes`]: decoding an answer from `Bytes` copies none of them.
//! Fields of newer peers are skipped. [`BatchRequest`] writes a request from borrowed parts, without building one first.
//!
//! There is no transport here and nothing about what the messages bring about.

/// What remote functions and their runtime say to each other: package `io.statefun.sdk.reqreply`.
pub mod reqreply {
    include!("generated/io.statefun.sdk.reqreply.rs");
}

/// What functions send to egresses: package `io.statefun.sdk.egress`.
pub mod egress {
    include!("generated/io.statefun.sdk.egress.rs");

    /// The type name of a [`KinesisEgressRecord`] in the argument of an egress message.
    pub const KINESIS_EGRESS_RECORD: &str = "type.googleapis.com/io.statefun.sdk.egress.KinesisEgressRecord";
}

pub mod metadata;
mod primitive;
mod request;

pub use primitive::Primitive;
pub use prost::DecodeError;
pub use request::{AddressRef, BatchRequest, InvocationRef, MetadataRef, StateRef, ValueRef};
