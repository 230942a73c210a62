//! The names of the metadata of a message: what is known about the record that it came from. All values are text.

/// The ARN of the stream.
pub const STREAM_ARN: &str = "kinesis.streamArn";
/// The id of the shard.
pub const SHARD_ID: &str = "kinesis.shardId";
/// The sequence number, in decimal: up to 129 digits.
pub const SEQUENCE_NUMBER: &str = "kinesis.sequenceNumber";
/// The index of a user record in its aggregate, in decimal; 0 for a record that is not aggregated.
pub const SUB_SEQUENCE_NUMBER: &str = "kinesis.subSequenceNumber";
/// When Kinesis stored the record, such as `2026-11-23T02:00:00.000Z`.
pub const APPROXIMATE_ARRIVAL_TIMESTAMP: &str = "kinesis.approximateArrivalTimestamp";
/// The explicit hash key in decimal. Only user records of aggregates have it, if they were sent with one.
pub const EXPLICIT_HASH_KEY: &str = "kinesis.explicitHashKey";
