//! The codes of the field `reason`.
//!
//! The meaning of a code never changes. Readers of dead letters have to expect codes that they do not know.

/// Ingress: an aggregated record by its magic bytes and its MD5 whose content cannot be decoded.
pub const CORRUPT_AGGREGATE: &str = "corrupt-aggregate";
/// Ingress: the record has no partition key, and its reader needs one.
pub const MISSING_PARTITION_KEY: &str = "missing-partition-key";
/// Ingress: the payload is not what its reader expects.
pub const UNDECODABLE: &str = "undecodable";
/// Function: all attempts to have the function handle the message failed.
pub const FUNCTION_FAILED: &str = "function-failed";
/// Egress: the record is larger than the stream takes.
pub const TOO_LARGE: &str = "too-large";
/// Egress: no attempt within the time or the number of attempts that are allowed was successful.
pub const GAVE_UP: &str = "gave-up";
/// Egress: the service rejects the record, however often it is sent.
pub const REJECTED: &str = "rejected";
/// Egress: records may not be sent to the stream.
pub const NOT_ALLOWED: &str = "not-allowed";
/// Egress: the stream does not exist, or cannot be described.
pub const NO_STREAM: &str = "no-stream";
