use crate::GivenUp;

/// A snapshot of what a producer has done since it was built, and of its state now.
///
/// Records are user records: an aggregate counts as the records in it. Bytes are data and partition keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metrics {
    /// Records that are queued or in flight now.
    pub outstanding_records: usize,
    /// Their bytes.
    pub outstanding_bytes: usize,
    /// Requests that are in flight now.
    pub in_flight_requests: usize,
    /// Shards that throttle, so that they are written at a limited rate now.
    pub paced_shards: usize,
    /// Records that were stored.
    pub stored_records: u64,
    /// Their bytes.
    pub stored_bytes: u64,
    /// Records that failed permanently and whose receipts resolved to the error.
    pub failed_records: u64,
    /// Records that failed permanently and were skipped.
    pub skipped_records: u64,
    /// Records that failed permanently and are in the dead-letter stream.
    pub dead_lettered_records: u64,
    /// Requests that were sent.
    pub requests: u64,
    /// Records in these requests as the service counts them: an aggregate is one.
    pub request_records: u64,
    /// Requests that failed as a whole.
    pub failed_requests: u64,
    /// Times that a record was throttled.
    pub throttled_records: u64,
    /// Times that a record had to be retried.
    pub retried_records: u64,
    /// Aggregates that were stored on a shard to which not all of their records belong, and were sent again.
    pub misplaced_aggregates: u64,
    /// Times that the shards of the stream were listed.
    pub shard_listings: u64,
}

impl Metrics {
    /// The records that failed permanently, by outcome.
    pub fn given_up(&self) -> GivenUp {
        GivenUp {
            failed: self.failed_records,
            skipped: self.skipped_records,
            dead_lettered: self.dead_lettered_records,
        }
    }
}
