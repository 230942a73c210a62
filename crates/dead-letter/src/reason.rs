//! The codes of the field `reason`.
//!
//! The meaning of a code never changes. Readers of dead letters have to expect codes that they do not know.

/// Ingress: the record is a KPL aggregate by its magic bytes and its MD5, but its content cannot be decoded.
pub const CORRUPT_AGGREGATE: &str = "corrupt-aggregate";
/// Ingress: the record has no partition key, and its reader needs one.
pub const MISSING_PARTITION_KEY: &str = "missing-partition-key";
/// Ingress: the payload cannot be decoded.
pub const UNDECODABLE: &str = "undecodable";
/// Function: all invocations of the function with the message failed.
pub const FUNCTION_FAILED: &str = "function-failed";
/// Egress: the record exceeds the size limit of the stream.
pub const TOO_LARGE: &str = "too-large";
/// Egress: all attempts within the allowed time or number failed.
pub const GAVE_UP: &str = "gave-up";
/// Egress: the service rejects the record, however often it is sent.
pub const REJECTED: &str = "rejected";
/// Egress: the stream is not allowed.
pub const NOT_ALLOWED: &str = "not-allowed";
/// Egress: the record names no stream and its egress has none either, or the stream does not exist or cannot be described.
pub const NO_STREAM: &str = "no-stream";
/// Egress: what the function sent is not a valid record, for example because its partition key is too long. The payload
/// is what the function sent, and not the record's data.
pub const INVALID_RECORD: &str = "invalid-record";
