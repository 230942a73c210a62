//! Encodes and decodes dead letters.
//!
//! A record or message that failed permanently can be stored in a dead-letter stream instead of being dropped. The
//! [`DeadLetter`] has the original bytes, why it failed, and where it came from. Ingresses, functions and egresses
//! write the same format, so that one program can read all dead letters and send them again.
//!
//! ```
//! use statefun_kinesis_dead_letter::{DeadLetter, DeadLetterReader, FunctionOrigin, Origin};
//! use statefun_kinesis_types::Address;
//!
//! let origin = FunctionOrigin {
//!     function: Address { function: "example/greeter".parse()?, id: "customer-17".into() },
//!     caller: None,
//!     ingress: None,
//!     attempts: 5,
//!     first_attempt: None,
//! };
//! let (value_type, value) = (Some("example/order".parse()?), Some("one cup".into()));
//! let letter = DeadLetter::from_function(origin, value_type, value, "the endpoint answered 500");
//!
//! // The records for a dead-letter stream with up to 1 MiB per record: one here, or more for a larger payload.
//! let records = letter.to_records(1 << 20)?;
//! assert_eq!(records[0].partition_key.as_str(), "customer-17");
//!
//! // Reads it back.
//! let mut reader = DeadLetterReader::new();
//! let found = reader.read(&records[0].data)?.expect("the letter has one part");
//! assert_eq!(found.data().unwrap(), "one cup");
//! assert!(matches!(found.origin(), Origin::Function(origin) if origin.attempts == 5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The format
//!
//! One line of JSON (UTF-8) per record of the dead-letter stream. Fields without a value are omitted. Readers have to
//! ignore unknown fields; a change that old readers would misunderstand gets a new `version`.
//!
//! | field | value |
//! |---|---|
//! | `version` | 2 |
//! | `origin` | where it failed: `ingress`, `function` or `egress` |
//! | `reason` | a code for programs, see [`reason`] |
//! | `message` | what happened, for people; at most 1 000 characters |
//! | `ingress` | the record that was read: always with origin `ingress`, and with origin `function` if known |
//! | `ingress.stream`, `ingress.shard` | the stream's ARN and the shard's id |
//! | `ingress.sequenceNumber`, `ingress.subSequenceNumber` | the record's position; the latter is 0 except for user records of aggregates |
//! | `ingress.arrival` | when Kinesis stored the record, such as `2026-11-23T02:00:00.000Z` |
//! | `function` | the function instance, only with origin `function` |
//! | `function.type`, `function.id` | its address |
//! | `function.callerType`, `function.callerId` | the address of the function that sent the message, if a function did |
//! | `function.attempts` | how often the function was invoked with the message |
//! | `function.firstAttempt` | when the first attempt was made, if known |
//! | `egress` | the record that could not be sent, only with origin `egress` |
//! | `egress.id` | the egress' id in the module file, if there is one |
//! | `egress.stream` | the stream that the record was meant for, as its sender named it: a name or an ARN; not if it named none, and not with the reason `invalid-record` |
//! | `egress.explicitHashKey` | the record's explicit hash key in decimal, if it has one |
//! | `egress.attempts` | how many requests had the record |
//! | `egress.mayBeStored` | whether one of these requests may have stored it nevertheless |
//! | `partitionKey` | the record's partition key, if it has one; not with origin `function`, and not with the reason `invalid-record` |
//! | `valueType` | the type of the message's value, only with origin `function` or the reason `invalid-record`, and only when it is `<namespace>/<name>` |
//! | `size` | bytes of the original payload |
//! | `md5` | the MD5 of the original payload, in lower-case hexadecimal |
//! | `part`, `parts` | 1 and 1, unless the payload was cut to fit into records of the dead-letter stream |
//! | `data` | the original payload, or this part of it, in base64 (RFC 4648 §4, padded); `null` for a message whose value is absent |
//!
//! The parts of a payload are records with the same partition key, in order. All of their fields except `part` and
//! `data` are equal. A part may be stored twice; both are the same part then.
//!
//! # Version 1
//!
//! Earlier releases wrote two formats with `version` 1: one of ingresses and one of egresses, both flat and without
//! `origin`, `md5` and `valueType`. [`DeadLetterReader`] reads both.
//!
//! # What it does not do
//!
//! It does not write to streams or read from them. The runtime's producer, consumer and functions write dead letters.

mod envelope;
mod error;
mod letter;
mod origin;
mod reader;
pub mod reason;
mod version1;

pub use error::{DecodeError, EncodeError};
pub use letter::{DeadLetter, MESSAGE_MAX_CHARS, PART_MIN_BYTES};
pub use origin::{EgressOrigin, FunctionOrigin, IngressOrigin, Origin};
pub use reader::DeadLetterReader;
