use std::time::Duration;

use statefun_kinesis_client::Backoff;
use statefun_kinesis_types::{GET_RECORDS_MAX_RECORDS, SHARD_READ_BYTES_PER_SECOND, SHARD_READ_CALLS_PER_SECOND};

/// How fast a [`Consumer`](crate::Consumer) reads, how far ahead, and how long it waits.
///
/// The defaults suit the service. Every value is valid: zero counts as the smallest value that makes sense, and no
/// duration is too long.
///
/// ```
/// use std::time::Duration;
/// use statefun_kinesis_consumer::Settings;
///
/// // Two other applications poll the same stream: leave them their share of the five calls per second.
/// let settings =
///     Settings { read_calls_per_second: 2, poll_idle_max: Duration::from_secs(2), ..Settings::default() };
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most records of one GetRecords call, 1 to 10 000. Default: 10 000, the service's most.
    pub max_records_per_call: usize,
    /// GetRecords calls per second and shard. Default: 5, the limit of a shard for all its polling readers together; an
    /// emulator may permit more.
    pub read_calls_per_second: u32,
    /// Bytes per second and shard, keys included. Default: 2 MiB, the limit of a shard for all its polling readers together.
    pub read_bytes_per_second: usize,
    /// Wait after the first empty answer of a shard before it is polled again. Default: 250 ms, as in Flink.
    pub poll_idle_min: Duration,
    /// Longest such wait; it doubles with each empty answer. This is the most that an idle shard adds to the latency of its
    /// next record. Default: 1 s.
    pub poll_idle_max: Duration,
    /// How often to look for new shards. Default: 10 s, as in Flink. The children of a shard that was read to its end are
    /// looked for at once.
    pub discovery_interval: Duration,
    /// Most records that are read ahead: in calls in flight and in batches not handed out yet, over all shards. Default:
    /// 100 000.
    pub prefetch_records: usize,
    /// Most bytes of the same records, keys included. Default: 64 MiB. An answer can be larger than expected, up to the
    /// service's 10 MiB; no call starts then until there is room again.
    pub prefetch_bytes: usize,
    /// Whether to keep user records of aggregates that belong to another shard. Default: `false`, as in the KCL, because the
    /// KPL sends them again. A writer that puts keys of several shards into one aggregate does not; with `true`, its records
    /// are read where they are, and those of a KPL are read twice and out of order after a split.
    pub keep_out_of_range_records: bool,
    /// Delays before a failed call is retried. Default: 100 ms to 10 s.
    pub backoff: Backoff,
    /// Least time between two saves of positions. Default: 1 s. After a crash, batches are read again that were acknowledged
    /// up to this long before it. With zero a position is saved as soon as it moves.
    pub checkpoint_interval: Duration,
    /// How long [`build`](crate::ConsumerBuilder::build) waits for a stream that is CREATING and for an unavailable service.
    /// Default: 2 minutes. After the start, an unavailable service is retried without limit.
    pub startup_timeout: Duration,
    /// Seed of the jitter in delays. Default: `None`, a random one for each consumer.
    pub seed: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_records_per_call: GET_RECORDS_MAX_RECORDS,
            read_calls_per_second: SHARD_READ_CALLS_PER_SECOND,
            read_bytes_per_second: SHARD_READ_BYTES_PER_SECOND,
            poll_idle_min: Duration::from_millis(250),
            poll_idle_max: Duration::from_secs(1),
            discovery_interval: Duration::from_secs(10),
            prefetch_records: 100_000,
            prefetch_bytes: 64 << 20,
            keep_out_of_range_records: false,
            backoff: Backoff::default(),
            checkpoint_interval: Duration::from_secs(1),
            startup_timeout: Duration::from_secs(120),
            seed: None,
        }
    }
}

impl Settings {
    /// The same settings with every value in its range.
    pub(crate) fn in_range(mut self) -> Self {
        self.prefetch_records = self.prefetch_records.max(1);
        self.prefetch_bytes = self.prefetch_bytes.max(1);
        self.max_records_per_call =
            self.max_records_per_call.clamp(1, GET_RECORDS_MAX_RECORDS).min(self.prefetch_records);
        self.read_calls_per_second = self.read_calls_per_second.max(1);
        self.read_bytes_per_second = self.read_bytes_per_second.max(1);
        self.poll_idle_min = self.poll_idle_min.max(Duration::from_millis(1));
        self.poll_idle_max = self.poll_idle_max.max(self.poll_idle_min);
        self.discovery_interval = self.discovery_interval.max(Duration::from_millis(10));
        self
    }
}
