//! Counts of what a consumer has done.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use statefun_kinesis_client::{Error, ErrorKind, Operation};
use statefun_kinesis_types::{ShardId, StreamArn};

use crate::InvalidKind;

/// Counts of a [`Consumer`](crate::Consumer), readable while it runs and after its end. Clones share the same counts.
///
/// Counted per call and per batch, never per record.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<[Arc<StreamCounters>]>);

impl Metrics {
    pub(crate) fn new(streams: impl IntoIterator<Item = Arc<StreamCounters>>) -> Self {
        Self(streams.into_iter().collect())
    }

    /// The shards of which a batch was dropped.
    pub(crate) fn shards_with_dropped_batches(&self) -> Vec<(StreamArn, ShardId)> {
        let of_stream = |stream: &Arc<StreamCounters>| -> Vec<(StreamArn, ShardId)> {
            let shards = lock(&stream.shards);
            let dropped = shards.iter().filter(|(_, shard)| shard.dropped_batches.load(Relaxed) > 0);
            dropped.map(|(id, _)| (stream.stream.clone(), id.clone())).collect()
        };
        self.0.iter().flat_map(of_stream).collect()
    }

    /// The present counts of each stream, in the order in which the builder was given the streams.
    pub fn snapshot(&self) -> Vec<StreamMetrics> {
        self.0.iter().map(|stream| stream.snapshot()).collect()
    }
}

/// How a stream is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReadingMode {
    /// By GetRecords.
    Polling,
    /// By SubscribeToShard.
    FanOut,
}

/// The counts of a stream at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamMetrics {
    /// The stream.
    pub stream: StreamArn,
    /// How it is read now. With enhanced fan-out a stream is still polled while no consumer can be registered.
    pub mode: ReadingMode,
    /// Calls to the service since reading began, those that failed included.
    pub calls: Vec<(Operation, u64)>,
    /// Calls and subscriptions that failed, by kind of failure. All were retried, except one that ended reading.
    pub retries: Vec<(ErrorKind, u64)>,
    /// Records that were read; of an aggregated record its user records count.
    pub records: u64,
    /// Bytes that were read, keys included, as the service counts them.
    pub bytes: u64,
    /// Aggregated records that were unpacked.
    pub aggregates: u64,
    /// User records of aggregates that were left out because they belong to another shard, to which the KPL sends them
    /// again.
    pub out_of_range: u64,
    /// Invalid records, by kind.
    pub invalid: Vec<(InvalidKind, u64)>,
    /// Of these, those that were stored in the dead-letter stream.
    pub dead_letters: u64,
    /// Batches that the caller dropped without [`Batch::done`](crate::Batch::done) while the stream was read. Each keeps
    /// the position of its shard where it is until the next start.
    pub dropped_batches: u64,
    /// The shards that are being read, and those that wait for acknowledgements.
    pub shards: Vec<ShardMetrics>,
}

/// The counts of a shard at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardMetrics {
    /// The shard.
    pub shard: ShardId,
    /// How far reading was behind the newest record at the last answer (`MillisBehindLatest`); `None` before the
    /// first one.
    pub behind_latest: Option<Duration>,
    /// Records that were read; of an aggregated record its user records count.
    pub records: u64,
    /// Batches that the caller dropped without [`Batch::done`](crate::Batch::done) while the shard was read.
    pub dropped_batches: u64,
}

/// The operations that are counted, in the order of their counters.
const OPERATIONS: [Operation; 5] = [
    Operation::GetRecords,
    Operation::GetShardIterator,
    Operation::SubscribeToShard,
    Operation::ListShards,
    Operation::DescribeStreamSummary,
];

/// The counts of one stream.
#[derive(Debug)]
pub(crate) struct StreamCounters {
    stream: StreamArn,
    fan_out: AtomicBool,
    calls: [AtomicU64; OPERATIONS.len()],
    retries: Mutex<Vec<(ErrorKind, u64)>>,
    records: AtomicU64,
    bytes: AtomicU64,
    aggregates: AtomicU64,
    out_of_range: AtomicU64,
    invalid: Mutex<Vec<(InvalidKind, u64)>>,
    dead_letters: AtomicU64,
    dropped_batches: AtomicU64,
    shards: Mutex<BTreeMap<ShardId, Arc<ShardCounters>>>,
}

/// The counts of one shard.
#[derive(Debug)]
pub(crate) struct ShardCounters {
    records: AtomicU64,
    dropped_batches: AtomicU64,
    behind_latest_millis: AtomicU64,
}

const UNKNOWN: u64 = u64::MAX;

impl StreamCounters {
    pub(crate) fn new(stream: StreamArn) -> Arc<Self> {
        Arc::new(Self {
            stream,
            fan_out: AtomicBool::new(false),
            calls: Default::default(),
            retries: Mutex::default(),
            records: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            aggregates: AtomicU64::new(0),
            out_of_range: AtomicU64::new(0),
            invalid: Mutex::default(),
            dead_letters: AtomicU64::new(0),
            dropped_batches: AtomicU64::new(0),
            shards: Mutex::default(),
        })
    }

    /// The stream is read in this way from now on.
    pub(crate) fn reads_by(&self, mode: ReadingMode) {
        self.fan_out.store(mode == ReadingMode::FanOut, Relaxed);
    }

    pub(crate) fn called(&self, operation: Operation) {
        if let Some(at) = OPERATIONS.iter().position(|counted| *counted == operation) {
            self.calls[at].fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn retried(&self, error: &Error) {
        count(&self.retries, error.kind());
    }

    pub(crate) fn invalid(&self, kind: InvalidKind) {
        count(&self.invalid, kind);
    }

    pub(crate) fn dead_lettered(&self) {
        self.dead_letters.fetch_add(1, Relaxed);
    }

    pub(crate) fn unpacked(&self, aggregates: u64, out_of_range: u64) {
        self.aggregates.fetch_add(aggregates, Relaxed);
        self.out_of_range.fetch_add(out_of_range, Relaxed);
    }

    pub(crate) fn read(&self, shard: &ShardCounters, records: usize, bytes: usize) {
        self.records.fetch_add(records as u64, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
        shard.records.fetch_add(records as u64, Relaxed);
    }

    /// The counts of a shard whose reading begins.
    pub(crate) fn shard(&self, shard: ShardId) -> Arc<ShardCounters> {
        let counters = ShardCounters::new();
        lock(&self.shards).insert(shard, Arc::clone(&counters));
        counters
    }

    /// Counts a batch that was dropped; returns whether it is the first one of the shard.
    pub(crate) fn dropped(&self, shard: &ShardCounters) -> bool {
        self.dropped_batches.fetch_add(1, Relaxed);
        shard.dropped_batches.fetch_add(1, Relaxed) == 0
    }

    /// A shard is finished: read to its end, and all of it acknowledged.
    pub(crate) fn finished(&self, shard: &ShardId) {
        lock(&self.shards).remove(shard);
    }

    fn snapshot(&self) -> StreamMetrics {
        let calls = OPERATIONS.iter().zip(&self.calls).map(|(operation, count)| (*operation, count.load(Relaxed)));
        let shards = lock(&self.shards).iter().map(|(shard, counters)| counters.snapshot(shard)).collect();
        StreamMetrics {
            stream: self.stream.clone(),
            mode: if self.fan_out.load(Relaxed) { ReadingMode::FanOut } else { ReadingMode::Polling },
            calls: calls.collect(),
            retries: lock(&self.retries).clone(),
            records: self.records.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            aggregates: self.aggregates.load(Relaxed),
            out_of_range: self.out_of_range.load(Relaxed),
            invalid: lock(&self.invalid).clone(),
            dead_letters: self.dead_letters.load(Relaxed),
            dropped_batches: self.dropped_batches.load(Relaxed),
            shards,
        }
    }
}

impl ShardCounters {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            records: AtomicU64::new(0),
            dropped_batches: AtomicU64::new(0),
            behind_latest_millis: AtomicU64::new(UNKNOWN),
        })
    }

    pub(crate) fn behind(&self, behind_latest: Duration) {
        let millis = u64::try_from(behind_latest.as_millis()).unwrap_or(UNKNOWN - 1);
        self.behind_latest_millis.store(millis, Relaxed);
    }

    fn snapshot(&self, shard: &ShardId) -> ShardMetrics {
        let millis = self.behind_latest_millis.load(Relaxed);
        ShardMetrics {
            shard: shard.clone(),
            behind_latest: (millis != UNKNOWN).then(|| Duration::from_millis(millis)),
            records: self.records.load(Relaxed),
            dropped_batches: self.dropped_batches.load(Relaxed),
        }
    }
}

/// Counts something that is rare and has few kinds.
fn count<K: Copy + PartialEq>(counts: &Mutex<Vec<(K, u64)>>, kind: K) {
    let mut counts = lock(counts);
    match counts.iter_mut().find(|(known, _)| *known == kind) {
        Some((_, count)) => *count += 1,
        None => counts.push((kind, 1)),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_event_changes_its_own_counts_and_no_others() {
        let stream: StreamArn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders".parse().unwrap();
        let [zero, one] = ["shardId-000000000000", "shardId-000000000001"].map(|id| id.parse::<ShardId>().unwrap());
        let counters = StreamCounters::new(stream.clone());
        let metrics = Metrics::new([Arc::clone(&counters)]);
        let mut expect = StreamMetrics {
            stream: stream.clone(),
            mode: ReadingMode::Polling,
            calls: OPERATIONS.map(|operation| (operation, 0)).to_vec(),
            retries: Vec::new(),
            records: 0,
            bytes: 0,
            aggregates: 0,
            out_of_range: 0,
            invalid: Vec::new(),
            dead_letters: 0,
            dropped_batches: 0,
            shards: Vec::new(),
        };
        let mut check = |change: &dyn Fn(&mut StreamMetrics)| {
            change(&mut expect);
            assert_eq!(metrics.snapshot(), std::slice::from_ref(&expect));
        };
        check(&|_| {});
        for mode in [ReadingMode::FanOut, ReadingMode::Polling, ReadingMode::FanOut] {
            counters.reads_by(mode);
            check(&|expect| expect.mode = mode);
        }
        for (at, operation) in OPERATIONS.into_iter().enumerate() {
            for count in 1..3 {
                counters.called(operation);
                check(&|expect| expect.calls[at].1 = count);
            }
        }
        counters.called(Operation::PutRecords);
        check(&|_| {});
        for retries in [
            &[(ErrorKind::Throttled, 1)][..],
            &[(ErrorKind::Throttled, 2)],
            &[(ErrorKind::Throttled, 2), (ErrorKind::Timeout, 1)],
        ] {
            let kind = if retries.len() == 1 { ErrorKind::Throttled } else { ErrorKind::Timeout };
            counters.retried(&Error::new(Operation::GetRecords, kind, "as the test wants it"));
            check(&|expect| expect.retries = retries.to_vec());
        }
        counters.invalid(InvalidKind::CorruptAggregate);
        check(&|expect| expect.invalid = vec![(InvalidKind::CorruptAggregate, 1)]);
        counters.dead_lettered();
        check(&|expect| expect.dead_letters = 1);
        for total in 1..3 {
            counters.unpacked(3, 5);
            check(&|expect| (expect.aggregates, expect.out_of_range) = (3 * total, 5 * total));
        }

        let [of_zero, _of_one] = [&zero, &one].map(|shard| counters.shard(shard.clone()));
        let new = |shard| ShardMetrics { shard, behind_latest: None, records: 0, dropped_batches: 0 };
        check(&|expect| expect.shards = [&zero, &one].map(|shard| new(shard.clone())).to_vec());
        for total in 1..3 {
            counters.read(&of_zero, 7, 11);
            check(&|expect| {
                (expect.records, expect.bytes, expect.shards[0].records) = (7 * total, 11 * total, 7 * total);
            });
        }
        // The longest delay is not taken for an unknown one.
        let longest = Duration::from_millis(u64::MAX - 1);
        for (behind, shown) in
            [(Duration::from_micros(1_500_999), Duration::from_millis(1_500)), (Duration::MAX, longest)]
        {
            of_zero.behind(behind);
            check(&|expect| expect.shards[0].behind_latest = Some(shown));
        }
        assert_eq!(metrics.shards_with_dropped_batches(), []);
        for total in 1..3 {
            assert_eq!(counters.dropped(&of_zero), total == 1, "the first one of the shard");
            check(&|expect| (expect.dropped_batches, expect.shards[0].dropped_batches) = (total, total));
            assert_eq!(metrics.shards_with_dropped_batches(), [(stream.clone(), zero.clone())]);
        }
        counters.finished(&zero);
        check(&|expect| _ = expect.shards.remove(0));
    }
}
