//! Limits of the service, as of November 2026.
//!
//! Source of every number, unless said otherwise: AWS documentation, "Quotas and limits" of Kinesis Data Streams, and
//! the API reference. What a stream may vary (the record size) is a default here; the value of a stream comes from
//! DescribeStreamSummary.

use std::time::Duration;

/// Longest partition key, in Unicode characters; the shortest has one.
pub const PARTITION_KEY_MAX_CHARS: usize = 256;

/// Most bytes of a record (data and partition key together) on a stream that does not set its own maximum: 1 MiB.
pub const RECORD_MAX_BYTES: usize = 1 << 20;

/// Most records of one PutRecords request.
pub const PUT_RECORDS_MAX_RECORDS: usize = 500;

/// Most bytes of one PutRecords request, data and partition keys together: 10 MiB.
pub const PUT_RECORDS_MAX_BYTES: usize = 10 << 20;

/// Most records of one GetRecords answer.
pub const GET_RECORDS_MAX_RECORDS: usize = 10_000;

/// Most bytes of one GetRecords answer: 10 MiB.
pub const GET_RECORDS_MAX_BYTES: usize = 10 << 20;

/// How long a shard iterator lives after it was handed out: 5 minutes.
pub const ITERATOR_LIFETIME: Duration = Duration::from_secs(300);

/// Most shards of one ListShards page (API reference, `MaxResults`).
pub const LIST_SHARDS_MAX_RESULTS: usize = 10_000;

/// GetRecords calls that one shard takes per second, over all its polling readers.
pub const SHARD_READ_CALLS_PER_SECOND: u32 = 5;

/// Bytes per second that one shard gives to all its polling readers together: 2 MiB.
pub const SHARD_READ_BYTES_PER_SECOND: usize = 2 << 20;

/// Bytes per second that one shard takes: 1 MiB.
pub const SHARD_WRITE_BYTES_PER_SECOND: usize = 1 << 20;

/// Records per second that one shard takes.
pub const SHARD_WRITE_RECORDS_PER_SECOND: u32 = 1_000;

/// How long a stream keeps records unless told otherwise: 24 hours.
pub const RETENTION_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_the_numbers_of_the_service() {
        assert_eq!(RECORD_MAX_BYTES, 1_048_576);
        assert_eq!((PUT_RECORDS_MAX_BYTES, GET_RECORDS_MAX_BYTES), (10_485_760, 10_485_760));
        assert_eq!((SHARD_READ_BYTES_PER_SECOND, SHARD_WRITE_BYTES_PER_SECOND), (2_097_152, 1_048_576));
        assert_eq!(ITERATOR_LIFETIME, Duration::from_secs(5 * 60));
        assert_eq!(RETENTION_DEFAULT.as_secs(), 86_400);
    }
}
