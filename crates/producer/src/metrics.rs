/// What a producer has done since it was built, and how it stands now: a snapshot.
///
/// Records are user records; an aggregate counts as many as it carries. Bytes are data and partition keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Records that are queued or on their way now.
    pub outstanding_records: usize,
    /// Their bytes.
    pub outstanding_bytes: usize,
    /// Requests that are on their way now.
    pub in_flight_requests: usize,
    /// Shards that throttle and are written at a pace now.
    pub paced_shards: usize,
    /// Records that were stored.
    pub stored_records: u64,
    /// Their bytes.
    pub stored_bytes: u64,
    /// Records that failed for good and whose senders were told.
    pub failed_records: u64,
    /// Records that failed for good and were left out.
    pub skipped_records: u64,
    /// Records that failed for good and are in the dead-letter stream.
    pub dead_lettered_records: u64,
    /// Requests that were made.
    pub requests: u64,
    /// Records that they carried as the service counts them: an aggregate is one.
    pub request_records: u64,
    /// Requests that failed as a whole.
    pub failed_requests: u64,
    /// Times that a record was throttled.
    pub throttled_records: u64,
    /// Times that a record has to be sent again.
    pub retried_records: u64,
    /// Aggregates that landed on a shard to which not all of their records belong, and were sent again.
    pub misplaced_aggregates: u64,
    /// Times that the shards of the stream were listed.
    pub shard_listings: u64,
}
