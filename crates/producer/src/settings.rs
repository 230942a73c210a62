use std::{num::NonZeroU32, time::Duration};

use statefun_kinesis_client::Backoff;

/// The limits, delays and formats of a producer.
///
/// Set the fields that differ and take the others from the default:
///
/// ```
/// use std::time::Duration;
/// use statefun_kinesis_producer::Settings;
///
/// let settings = Settings { linger: Duration::from_millis(50), ..Settings::default() };
/// # assert_eq!(settings.max_outstanding_records.get(), 1_000);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Most records that are queued or in flight at a time. Further senders wait.
    ///
    /// Records of a batch that are not queued yet do not count: they are still in the batch, and
    /// [`send_all`](crate::Producer::send_all) returns when all of them are queued. All shards share the bound. A shard that
    /// takes less than it is sent fills it in the end, and then the others are written at its rate too.
    ///
    /// Default: 1 000, as StateFun's `maxOutstandingRecords`. It bounds throughput too: no more than this many records are
    /// stored per round trip. Some 150 records per shard are enough to write shards at their limits.
    pub max_outstanding_records: NonZeroU32,

    /// Most bytes, data and partition keys together, that are queued or in flight at a time. Further senders wait. A single
    /// record that is larger is queued when no other record is outstanding.
    ///
    /// Default: 64 MiB, six full requests. With records of less than 64 KiB, the default number of records is reached
    /// first.
    pub max_outstanding_bytes: NonZeroU32,

    /// How long records wait at most for others that share their request or their aggregate, while requests are in flight.
    ///
    /// When no request is in flight, records are sent at once. Otherwise they wait until the answers have come back or so
    /// much time has passed since the last request was sent. They do not wait either when they fill a request, or an
    /// aggregate, or when a flush or a close begins. Records of shards that throttle are sent together every 5 to 100 ms
    /// instead, as many as their shards take.
    ///
    /// Default: 5 ms. That is little beside the round trip of a request, and enough for the records of several callers to
    /// come together.
    pub linger: Duration,

    /// Which records keep their order.
    ///
    /// Default: [`Order::PerPartitionKey`].
    pub order: Order,

    /// Whether small records are stored together as one, in the format of the Kinesis Producer Library.
    ///
    /// Default: none, since readers have to know the format. The consumer of this project does, and all of the KCL family.
    pub aggregation: Option<Aggregation>,

    /// Most requests in flight at a time. With [`Order::PerPartitionKey`], no two of them ever have records of the same
    /// partition key.
    ///
    /// Default: 16.
    pub max_in_flight_requests: NonZeroU32,

    /// How long a request may take. After that it counts as timed out, and its records are sent again: they may be stored
    /// twice, and the first copies are in order.
    ///
    /// Default: 30 s, enough for a full request of 10 MiB over a slow line.
    pub request_timeout: Duration,

    /// Delays between the attempts to store a record.
    ///
    /// Default: 100 ms to 2 s. A shard's limits are per second, so that longer delays leave capacity unused while the
    /// records of the key wait. Records that a shard throttles wait for the rate of their shard instead, as soon as the
    /// stream's shards are known.
    pub backoff: Backoff,

    /// How long a record is retried, from its first request on. It fails when the next attempt would be later than that.
    /// Building the producer waits as long for a stream that is being created.
    ///
    /// Default: 2 minutes.
    pub give_up_after: Duration,

    /// Most attempts to store a record before it fails. A request that failed as a whole does not use them up: only
    /// [`give_up_after`](Self::give_up_after) bounds those.
    ///
    /// Default: none, so that [`give_up_after`](Self::give_up_after) alone decides.
    pub max_attempts: Option<NonZeroU32>,

    /// Seed of the random part of all delays, for runs that have to be repeatable.
    ///
    /// Default: none, so that each producer has its own.
    pub seed: Option<u64>,
}

impl Default for Settings {
    fn default() -> Self {
        const RECORDS: NonZeroU32 = NonZeroU32::new(1_000).unwrap();
        const BYTES: NonZeroU32 = NonZeroU32::new(64 << 20).unwrap();
        const REQUESTS: NonZeroU32 = NonZeroU32::new(16).unwrap();
        Self {
            max_outstanding_records: RECORDS,
            max_outstanding_bytes: BYTES,
            linger: Duration::from_millis(5),
            order: Order::PerPartitionKey,
            aggregation: None,
            max_in_flight_requests: REQUESTS,
            request_timeout: Duration::from_secs(30),
            backoff: Backoff::new(Duration::from_millis(100), Duration::from_secs(2)),
            give_up_after: Duration::from_secs(120),
            max_attempts: None,
            seed: None,
        }
    }
}

/// Which records keep their order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Order {
    /// Those of one partition key are stored in the order in which they were sent, whatever has to be sent again. Of each
    /// key, one record is in flight at a time, or one aggregate.
    #[default]
    PerPartitionKey,
    /// None. Any number of records of a key are in flight, and a record that is retried is stored behind later ones.
    ///
    /// A stream whose record distribution is AUTO is always written like this: it has no order per key.
    None,
}

/// How large an aggregate may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Aggregation {
    /// Most bytes of an aggregate, data and partition key together, and never more than the stream takes as one record. A
    /// record that does not fit is stored by itself.
    ///
    /// Default: 51 200, as in the Kinesis Producer Library.
    pub max_bytes: NonZeroU32,
    /// Most records of an aggregate.
    ///
    /// Default: 2^32 − 1, as in the Kinesis Producer Library.
    pub max_records: NonZeroU32,
}

impl Default for Aggregation {
    fn default() -> Self {
        const BYTES: NonZeroU32 = NonZeroU32::new(51_200).unwrap();
        Self { max_bytes: BYTES, max_records: NonZeroU32::MAX }
    }
}
