use std::{
    fmt,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use hdrhistogram::Histogram;
use statefun_kinesis_types::{Record, Timestamp};

/// Counters of a router. They are updated per batch, so that they cost little.
#[derive(Debug)]
pub struct Progress {
    records_in: AtomicU64,
    bytes_in: AtomicU64,
    messages: AtomicU64,
    records_out: AtomicU64,
    bytes_out: AtomicU64,
    records_done: AtomicU64,
    records_invalid: AtomicU64,
    latency: Mutex<Latency>,
}

/// A snapshot of [`Progress`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Records that were read.
    pub records_in: u64,
    /// Bytes of the payloads that were read.
    pub bytes_in: u64,
    /// Messages that were delivered to functions: one per record and target.
    pub messages: u64,
    /// Records that egress streams acknowledged.
    pub records_out: u64,
    /// Bytes of the payloads that egress streams acknowledged.
    pub bytes_out: u64,
    /// Records of ingresses that are done. With stateless functions a record is done when it is handled and all records
    /// that were sent for it are stored; with stateful functions, when all its messages are handled.
    pub records_done: u64,
    /// Records that could not become messages, and were skipped or put into a dead-letter stream.
    pub records_invalid: u64,
}

/// The latency of records, from their arrival at Kinesis until they were done, by the time of day and in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LatencySummary {
    /// The median.
    pub p50: Duration,
    /// The 95th percentile.
    pub p95: Duration,
    /// The 99th percentile.
    pub p99: Duration,
    /// The maximum.
    pub max: Duration,
}

/// The latency of records as a histogram.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LatencyHistogram {
    /// The number of records per bound. A record counts at the first bound that it does not exceed; one above the last
    /// bound counts at none.
    pub buckets: Vec<(Duration, u64)>,
    /// The number of all records, including those above the last bound.
    pub records: u64,
    /// The sum of all latencies, within 1 %.
    pub sum: Duration,
}

/// A histogram with two significant digits, from 1 ms to a day. Longer latencies count as a day.
struct Latency(Histogram<u64>);

impl Latency {
    const HIGHEST_MS: u64 = 24 * 60 * 60 * 1_000;

    fn new() -> Self {
        Self(Histogram::new_with_bounds(1, Self::HIGHEST_MS, 2).expect("the library supports these bounds and digits"))
    }
}

impl fmt::Debug for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Latency({} records)", self.0.len())
    }
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self {
            records_in: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            messages: AtomicU64::new(0),
            records_out: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            records_done: AtomicU64::new(0),
            records_invalid: AtomicU64::new(0),
            latency: Mutex::new(Latency::new()),
        }
    }

    pub(crate) fn read(&self, records: u64, bytes: u64) {
        self.records_in.fetch_add(records, Relaxed);
        self.bytes_in.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn rejected(&self) {
        self.records_invalid.fetch_add(1, Relaxed);
    }

    pub(crate) fn routed(&self, messages: u64) {
        self.messages.fetch_add(messages, Relaxed);
    }

    pub(crate) fn stored(&self, records: u64, bytes: u64) {
        self.records_out.fetch_add(records, Relaxed);
        self.bytes_out.fetch_add(bytes, Relaxed);
    }

    /// The number of records that were read but neither done nor rejected.
    pub(crate) fn unfinished(&self) -> u64 {
        let counts = self.counts();
        counts.records_in.saturating_sub(counts.records_done + counts.records_invalid)
    }

    pub(crate) fn done(&self, arrivals: &[Timestamp], now: Timestamp) {
        self.records_done.fetch_add(arrivals.len() as u64, Relaxed);
        let mut latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        for arrival in arrivals {
            let millis = now.since(*arrival).as_millis().min(u128::from(Latency::HIGHEST_MS)) as u64;
            latency.0.saturating_record(millis);
        }
    }

    /// Returns the current counts.
    pub fn counts(&self) -> Counts {
        Counts {
            records_in: self.records_in.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            messages: self.messages.load(Relaxed),
            records_out: self.records_out.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            records_done: self.records_done.load(Relaxed),
            records_invalid: self.records_invalid.load(Relaxed),
        }
    }

    /// Returns the latencies of the records that are done, for bounds in rising order. Bounds are rounded to two
    /// significant digits of their milliseconds.
    pub fn latency_histogram(&self, bounds: &[Duration]) -> LatencyHistogram {
        let mut buckets: Vec<_> = bounds.iter().map(|bound| (*bound, 0)).collect();
        let (mut records, mut millis) = (0_u64, 0_u64);
        let latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        for step in latency.0.iter_recorded() {
            let (count, highest) = (step.count_at_value(), step.value_iterated_to());
            records += count;
            millis = millis.saturating_add(latency.0.median_equivalent(highest).saturating_mul(count));
            let least = Duration::from_millis(latency.0.lowest_equivalent(highest));
            let at = bounds.partition_point(|bound| *bound < least);
            if let Some((_, bucket)) = buckets.get_mut(at) {
                *bucket += count;
            }
        }
        LatencyHistogram { buckets, records, sum: Duration::from_millis(millis) }
    }

    /// Returns the latencies of the records that are done; `None` while no record is done.
    pub fn latency(&self) -> Option<LatencySummary> {
        let latency = self.latency.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |quantile| Duration::from_millis(latency.0.value_at_quantile(quantile));
        (!latency.0.is_empty()).then(|| LatencySummary {
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            max: Duration::from_millis(latency.0.max()),
        })
    }
}

/// The arrival times of a batch's records, so that the payloads need not be kept for the latency.
pub(crate) fn arrivals(records: &[Record]) -> Vec<Timestamp> {
    records.iter().map(|record| record.approximate_arrival).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_are_counted_by_bounds() {
        let progress = Progress::new();
        let (now, second) = (Timestamp::from_millis(100_000_000), Duration::from_secs(1));
        let took = |millis: u64| Timestamp::from_millis(now.as_millis() - millis as i64);
        progress.done(&[0, 1, 10, 11, 1_000, 1_020, 90_000].map(took), now);
        let found = progress.latency_histogram(&[Duration::from_millis(10), second, second * 10]);
        assert_eq!(found.buckets, [(Duration::from_millis(10), 3), (second, 2), (second * 10, 1)]);
        assert_eq!(found.records, 7);
        let sum = Duration::from_millis(92_042);
        assert!(found.sum.abs_diff(sum) < sum / 100, "{:?}", found.sum);
    }
}
