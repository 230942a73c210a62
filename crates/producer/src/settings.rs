use std::{num::NonZeroU32, time::Duration};

use statefun_kinesis_client::Backoff;

/// How much a producer holds, how long it waits and when it gives up.
///
/// Set what differs and take the rest from the default:
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
    /// Most records that are queued or on their way at a time. Who sends more waits.
    ///
    /// Default 1 000: StateFun's `maxOutstandingRecords`. Below a few thousand it is also what bounds throughput:
    /// no more than this many records are stored per round trip.
    pub max_outstanding_records: NonZeroU32,

    /// Most bytes, data and partition keys together, that are queued or on their way at a time. Who sends more waits.
    /// A record that is larger than this alone passes when nothing else is outstanding.
    ///
    /// Default 64 MiB: six full requests, so that the default number of records binds first unless they are larger
    /// than 64 KiB.
    pub max_outstanding_bytes: NonZeroU32,

    /// How long a record waits for others to share its request, or its aggregate: until so much time has passed since
    /// the last request left. A record that comes after a quiet while leaves at once.
    ///
    /// Nor does it wait when a request is full, while a flush or a close is under way, when the queue is full and a
    /// sender waits for room, or when it has waited for a record of its own key or for a retry already.
    ///
    /// Default 5 ms: little beside the round trip of a request, enough for a burst of callers to meet. The first record
    /// of all waits as well.
    pub linger: Duration,

    /// Which records keep their order.
    ///
    /// Default [`Order::PerPartitionKey`].
    pub order: Order,

    /// Whether small records travel together as one, in the format of the Kinesis Producer Library.
    ///
    /// Default none: readers have to know the format. The consumer of this project does, and all of the KCL family.
    pub aggregation: Option<Aggregation>,

    /// Most requests on their way at a time. With [`Order::PerPartitionKey`], no two of them ever carry the same
    /// partition key.
    ///
    /// Default 16.
    pub max_in_flight_requests: NonZeroU32,

    /// How long a request may take. It is then given up as timed out, and its records are sent again: they may be
    /// stored twice, still in order.
    ///
    /// Default 30 s: a full request of 10 MiB over a slow line.
    pub request_timeout: Duration,

    /// Delays between tries of a record that was refused.
    ///
    /// Default 100 ms to 2 s: a shard's limits are per second, so that a longer wait leaves capacity unused while the
    /// record's key stands still. Records that a shard throttles do not wait by this but by the shard's pace, once the
    /// stream's shards are known.
    pub backoff: Backoff,

    /// How long a record is tried, counted from its first request. It is given up instead of waiting beyond that.
    /// Building the producer waits as long for a stream that is being created.
    ///
    /// Default 2 minutes.
    pub give_up_after: Duration,

    /// Most requests that carry a record before it is given up. Those that only serve to find a record among others
    /// that the service refuses do not count.
    ///
    /// Default none: [`give_up_after`](Self::give_up_after) alone decides.
    pub max_attempts: Option<NonZeroU32>,

    /// Seed of the random part of all delays, for runs that shall be repeatable.
    ///
    /// Default none: a new one for each producer.
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
    /// Those of one partition key are stored in the order in which they were sent, whatever has to be sent again. Of
    /// each key, one record is on its way at a time, or one aggregate.
    #[default]
    PerPartitionKey,
    /// None. Any number of records of a key are on their way, and what fails is stored behind what came later.
    ///
    /// A stream whose record distribution is AUTO is always written like this: it has no order per key to keep.
    None,
}

/// How large an aggregate may become.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Aggregation {
    /// Most bytes of an aggregate, data and partition key together. A record that does not fit travels alone. Never
    /// more than the stream takes as one record.
    ///
    /// Default 51 200, as in the Kinesis Producer Library.
    pub max_bytes: NonZeroU32,
    /// Most records of an aggregate.
    ///
    /// Default 2^32 − 1, as in the Kinesis Producer Library.
    pub max_records: NonZeroU32,
}

impl Default for Aggregation {
    fn default() -> Self {
        const BYTES: NonZeroU32 = NonZeroU32::new(51_200).unwrap();
        Self { max_bytes: BYTES, max_records: NonZeroU32::MAX }
    }
}
