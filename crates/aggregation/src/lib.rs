//! The aggregated record format of the Kinesis Producer Library (KPL): many user records in one Kinesis record.
//!
//! A shard takes 1 000 records a second whatever their size, so that small records waste most of its bytes. Writers of
//! the KPL family pack many *user records* into one record of the stream; readers of the KCL family unpack them. An
//! [`Aggregator`] packs, [`decode`] unpacks, byte for byte as those expect.
//!
//! ```
//! use statefun_kinesis_aggregation::{Aggregator, Decoded, decode};
//! use statefun_kinesis_types::PutRecord;
//!
//! let mut aggregator = Aggregator::new(51_200, 1_000);
//! for (key, data) in [("customer-17", "one cup"), ("customer-4", "two cups"), ("customer-17", "a pot")] {
//!     aggregator.push(&PutRecord::new(key.parse()?, data))?;
//! }
//! let record = aggregator.finish().expect("three records are waiting");
//!
//! let Decoded::Aggregate(aggregate) = decode(&record.data) else { panic!("it is an aggregate") };
//! let found: Vec<_> = aggregate.iter().map(|user| (user.partition_key.to_string(), user.data)).collect();
//! assert_eq!(found[2], ("customer-17".to_owned(), "a pot".into()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The format
//!
//! `F3 89 9A C2`, then a protocol buffers message, then the MD5 of the message's bytes:
//!
//! ```text
//! message AggregatedRecord {
//!   repeated string partition_key_table = 1;
//!   repeated string explicit_hash_key_table = 2;
//!   repeated Record records = 3;
//! }
//! message Record {
//!   required uint64 partition_key_index = 1;
//!   optional uint64 explicit_hash_key_index = 2;
//!   required bytes data = 3;
//!   repeated Tag tags = 4;
//! }
//! ```
//!
//! The codec is written by hand: the message has three fields, payloads stay slices of what was read, a key is copied
//! once per aggregate and not once per record, and fields that a newer writer adds are skipped.
//!
//! # What is not here
//!
//! Which records may share an aggregate, because it takes the shard map of a stream: all user records of an aggregate
//! have to belong to the shard that it lands on. The producer of this project knows that.

mod decode;
mod encode;
mod wire;

pub use decode::{Aggregate, Corrupt, Decoded, UserRecord, UserRecords, decode};
pub use encode::{Aggregator, Full, Unsealed};

/// The first four bytes of every aggregated record.
pub const MAGIC: [u8; 4] = [0xF3, 0x89, 0x9A, 0xC2];

/// Bytes of the MD5 at the end of every aggregated record.
const DIGEST_BYTES: usize = 16;

/// Bytes that an aggregated record has beside its message: the magic bytes and the MD5.
pub const OVERHEAD_BYTES: usize = MAGIC.len() + DIGEST_BYTES;
