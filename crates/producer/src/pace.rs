use std::time::{Duration, Instant};

use statefun_kinesis_client::InstantExt as _;
use statefun_kinesis_types::{SHARD_WRITE_BYTES_PER_SECOND, SHARD_WRITE_RECORDS_PER_SECOND};

/// The rate at which one shard is written after it has throttled records: a token bucket for records and one for bytes.
///
/// The buckets are filled at a share of the service's limits. The share falls by a factor when the shard throttles again,
/// and grows by a fixed amount per second while it does not: other producers may write to the shard too, and how much they
/// leave changes.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The share of the service's limits that this producer takes.
    share: f64,
    /// Tokens for records. Negative after a throttling.
    records: f64,
    /// Tokens for bytes. Negative after a record that is larger than a full bucket.
    bytes: f64,
    /// When the buckets were filled last.
    filled: Instant,
    /// When the share was reduced last.
    reduced: Instant,
    /// When the shard throttled last.
    throttled: Instant,
}

impl Pace {
    /// A shard that has just throttled probably gets only little more than it takes.
    const SHARE_FIRST: f64 = 0.9;
    const SHARE_MIN: f64 = 0.01;
    /// A little over the limit: otherwise it would never be found out that other producers leave more.
    const SHARE_MAX: f64 = 1.1;
    /// The factor by which a throttled record reduces the share.
    const REDUCTION: f64 = 0.7;
    /// By how much the share grows per second without throttling.
    const GROWTH_PER_SECOND: f64 = 0.1;
    /// One answer throttles many records, and the requests in flight are throttled as well: that is one event.
    const REDUCE_EVERY: Duration = Duration::from_millis(200);
    /// How many seconds' tokens a bucket holds: the fewer, the smoother.
    const HOLDS_SECONDS: f64 = 0.2;
    /// How many seconds' tokens a large record may take in advance.
    const OWES_SECONDS: f64 = 10.0;
    /// How long a shard must not throttle until it is written without a limit again.
    const FORGET_AFTER: Duration = Duration::from_secs(5);

    pub(crate) fn new(now: Instant) -> Self {
        Self { share: Self::SHARE_FIRST, records: 0.0, bytes: 0.0, filled: now, reduced: now, throttled: now }
    }

    fn records_per_second(&self) -> f64 {
        self.share * f64::from(SHARD_WRITE_RECORDS_PER_SECOND)
    }

    fn bytes_per_second(&self) -> f64 {
        self.share * SHARD_WRITE_BYTES_PER_SECOND as f64
    }

    /// The tokens of a full bucket for records and of one for bytes. The former is always enough for one record.
    fn full(&self) -> (f64, f64) {
        ((self.records_per_second() * Self::HOLDS_SECONDS).max(1.0), self.bytes_per_second() * Self::HOLDS_SECONDS)
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled);
        self.filled = self.filled.max(now);
        let quiet = now.saturating_duration_since(self.throttled).min(passed).as_secs_f64();
        self.share = (self.share + quiet * Self::GROWTH_PER_SECOND).min(Self::SHARE_MAX);
        let (records, bytes) = self.full();
        self.records = (self.records + self.records_per_second() * passed.as_secs_f64()).min(records);
        self.bytes = (self.bytes + self.bytes_per_second() * passed.as_secs_f64()).min(bytes);
    }

    /// When a record of so many bytes may be sent. One that is larger than a full bucket is sent when the bucket is full.
    pub(crate) fn ready_at(&self, bytes: usize) -> Instant {
        /// Because of rounding, a record could wait for the last thousandth of a token for ever.
        const ENOUGH: f64 = 0.999;
        let (_, full) = self.full();
        let lacks_records = (ENOUGH - self.records).max(0.0) / self.records_per_second();
        let lacks_bytes = ((bytes as f64).min(full) * ENOUGH - self.bytes).max(0.0) / self.bytes_per_second();
        self.filled.saturating_add(Duration::from_secs_f64(lacks_records.max(lacks_bytes)))
    }

    /// Whether a record of so many bytes may be sent now. If so, takes its tokens.
    pub(crate) fn admit(&mut self, now: Instant, bytes: usize) -> bool {
        self.fill(now);
        let admitted = self.ready_at(bytes) <= now;
        if admitted {
            self.records -= 1.0;
            self.bytes = (self.bytes - bytes as f64).max(-self.bytes_per_second() * Self::OWES_SECONDS);
        }
        admitted
    }

    /// Takes note that the shard has throttled a record.
    pub(crate) fn throttled(&mut self, now: Instant) {
        self.fill(now);
        self.throttled = now;
        if now.saturating_duration_since(self.reduced) >= Self::REDUCE_EVERY {
            self.reduced = now;
            self.share = (self.share * Self::REDUCTION).max(Self::SHARE_MIN);
            self.records = self.records.min(0.0);
            self.bytes = self.bytes.min(0.0);
        }
    }

    /// Whether the shard needs no pace any more, provided that no record waits for it.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.throttled) >= Self::FORGET_AFTER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    /// Records of a size that a pace lets go in so many milliseconds, asked every millisecond.
    fn passed(pace: &mut Pace, from: Instant, millis: u32, bytes: usize) -> u32 {
        let mut count = 0;
        for millis in 0..millis {
            while pace.admit(from + millis * MILLI, bytes) {
                count += 1;
            }
        }
        count
    }

    #[test]
    fn a_throttled_shard_gets_most_of_its_limit_and_finds_the_rest_by_and_by() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let first = passed(&mut pace, start, 1_000, 10);
        assert!((850..=960).contains(&first), "{first}");
        let later = passed(&mut pace, start + Duration::from_secs(9), 1_000, 10);
        assert!((1_000..=1_400).contains(&later), "{later}");
        let bytes = passed(&mut pace, start + Duration::from_secs(20), 1_000, 100_000);
        assert!((10..=14).contains(&bytes), "{bytes}");
    }

    #[test]
    fn each_throttling_cuts_the_rate_once_and_never_to_nothing() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        for _ in 0..100 {
            pace.throttled(now);
        }
        let first = passed(&mut pace, now, 1_000, 10);
        assert!((850..=960).contains(&first), "{first}");
        for _ in 0..50 {
            now += Pace::REDUCE_EVERY;
            pace.throttled(now);
        }
        let least = passed(&mut pace, now, 1_000, 10);
        assert!((40..200).contains(&least), "{least}");
    }

    #[test]
    fn a_record_of_any_size_passes_and_is_paid_for_afterwards() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let at = pace.ready_at(10 << 20);
        assert!(at <= start + 201 * MILLI, "{:?}", at - start);
        assert!(pace.admit(at, 10 << 20));
        let next = pace.ready_at(1) - at;
        assert!((8_000..=11_500).contains(&next.as_millis()), "{next:?}");
    }

    #[test]
    fn a_record_that_may_go_at_a_time_may_go_then() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        let mut now = start;
        for bytes in (0..1_000).map(|step| step * 977 % 70_001) {
            // The share grows meanwhile, and a full bucket with it: a second look may be needed, and no more.
            let looks = (1..10).find(|_| {
                now = now.max(pace.ready_at(bytes));
                pace.admit(now, bytes)
            });
            assert!(looks.is_some_and(|looks| looks <= 3), "{bytes} bytes: {looks:?}");
        }
    }
}
