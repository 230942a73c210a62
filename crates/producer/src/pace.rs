use std::time::{Duration, Instant};

use statefun_kinesis_client::InstantExt as _;
use statefun_kinesis_types::{SHARD_WRITE_BYTES_PER_SECOND, SHARD_WRITE_RECORDS_PER_SECOND};

/// The rate at which one shard is written after it has throttled records: a token bucket for records and one for bytes.
///
/// The buckets are filled at a share of the service's limits. Of what was sent, the part that the shard throttles is taken
/// off the share, so that the share is what the shard has taken. It grows by a fixed amount per second: other producers
/// may write to the shard too, and how much they leave changes. A few records that are throttled at random therefore cost
/// little, and a shard of which others take half is soon written at the other half.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The share of the service's limits that this producer takes.
    share: f64,
    /// Tokens for records.
    records: f64,
    /// Tokens for bytes. Negative after a record that is larger than a full bucket.
    bytes: f64,
    /// When the buckets were filled last.
    filled: Instant,
    /// What was sent, and what was throttled, since the share was adapted last.
    sent: Cost,
    throttled: Cost,
    /// When the share was adapted last.
    adapted: Instant,
    /// When the share was reduced last. What was sent before that says nothing about the new share.
    reduced: Instant,
    /// When the shard throttled last, or a record had to wait for tokens.
    limited: Instant,
}

/// For how many seconds records take up a shard, by the limit that is reached first.
type Cost = f64;

fn cost(bytes: usize) -> Cost {
    let by_bytes = bytes as f64 / SHARD_WRITE_BYTES_PER_SECOND as f64;
    by_bytes.max(1.0 / f64::from(SHARD_WRITE_RECORDS_PER_SECOND))
}

impl Pace {
    const SHARE_MIN: f64 = 0.01;
    /// A shard never takes more than its limits for long.
    const SHARE_MAX: f64 = 1.0;
    /// The most by which the share is reduced at a time: one answer may be an exception.
    const REDUCTION: f64 = 0.7;
    /// By how much the share grows per second.
    const GROWTH_PER_SECOND: f64 = 0.1;
    /// How often the share is adapted.
    const ADAPT_EVERY: Duration = Duration::from_millis(100);
    /// How many seconds' tokens a bucket holds. It is more than passes between two releases, or tokens would be lost.
    const HOLDS_SECONDS: f64 = 0.2;
    /// How many seconds' tokens a large record may take in advance.
    const OWES_SECONDS: f64 = 10.0;
    /// How long a shard must not have been at its limit until it is written without a limit again.
    const FORGET_AFTER: Duration = Duration::from_secs(5);

    /// The pace of a shard that has just throttled: until now it has taken all that it can, so that the buckets are empty.
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            share: Self::SHARE_MAX,
            records: 0.0,
            bytes: 0.0,
            filled: now,
            sent: 0.0,
            throttled: 0.0,
            adapted: now,
            // A request that was sent just now was sent without a pace, and says nothing about it either.
            reduced: now.saturating_add(Duration::from_nanos(1)),
            limited: now,
        }
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
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.filled = self.filled.max(now);
        self.adapt(now, passed);
        let (records, bytes) = self.full();
        self.records = (self.records + self.records_per_second() * passed).min(records);
        self.bytes = (self.bytes + self.bytes_per_second() * passed).min(bytes);
    }

    fn adapt(&mut self, now: Instant, passed: f64) {
        self.share = (self.share + passed * Self::GROWTH_PER_SECOND).min(Self::SHARE_MAX);
        if now.saturating_duration_since(self.adapted) < Self::ADAPT_EVERY {
            return;
        }
        self.adapted = now;
        let (sent, throttled) = (std::mem::take(&mut self.sent), std::mem::take(&mut self.throttled));
        if throttled > 0.0 {
            self.reduced = now;
            // An answer comes after what it is about was sent. So it is measured by what is sent in the same time at least.
            let taken = 1.0 - throttled / sent.max(self.share * Self::ADAPT_EVERY.as_secs_f64());
            self.share = (self.share * taken.max(Self::REDUCTION)).max(Self::SHARE_MIN);
        }
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
            self.sent += cost(bytes);
            self.records -= 1.0;
            self.bytes = (self.bytes - bytes as f64).max(-self.bytes_per_second() * Self::OWES_SECONDS);
        } else {
            self.limited = now;
        }
        admitted
    }

    /// Takes note that the shard has throttled a record of so many bytes, in a request that was sent at that time.
    pub(crate) fn throttled(&mut self, now: Instant, sent: Instant, bytes: usize) {
        self.limited = now;
        // Otherwise all requests that were sent at one share would reduce it one after the other.
        if sent >= self.reduced {
            self.throttled += cost(bytes);
        }
    }

    /// Whether the shard needs no pace any more, provided that no record waits for it.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.limited) >= Self::FORGET_AFTER
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

    /// A second of records of ten bytes, sent every 100 ms. Of each step, the shard throttles as many as `throttles` says.
    /// Returns how many were sent and how many throttled.
    fn second(pace: &mut Pace, now: &mut Instant, mut throttles: impl FnMut(u32) -> u32) -> (u32, u32) {
        let (mut sent, mut throttled) = (0, 0);
        for _ in 0..10 {
            *now += 100 * MILLI;
            let count = passed(pace, *now, 1, 10);
            let refused = throttles(count);
            (0..refused).for_each(|_| pace.throttled(*now + 20 * MILLI, *now, 10));
            sent += count;
            throttled += refused;
        }
        (sent, throttled)
    }

    #[test]
    fn a_throttled_shard_gets_its_limit_and_no_more() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        for seconds in [0, 1, 9] {
            let records = passed(&mut pace, start + Duration::from_secs(seconds), 1_000, 10);
            let saved = if seconds == 9 { 200 } else { 0 };
            assert!((990..=1_002 + saved).contains(&records), "{records}");
        }
        let bytes = passed(&mut pace, start + Duration::from_secs(20), 1_000, 100_000);
        assert!((10..=13).contains(&bytes), "{bytes}");
    }

    #[test]
    fn the_share_is_what_the_shard_takes() {
        for per_step in [5, 20, 50, 90] {
            let mut now = Instant::now();
            let mut pace = Pace::new(now);
            (0..5).for_each(|_| _ = second(&mut pace, &mut now, |sent| sent.saturating_sub(per_step)));
            let (sent, throttled) = second(&mut pace, &mut now, |sent| sent.saturating_sub(per_step));
            // The share grows by ten records per second and step, and this much is throttled again.
            assert!(sent - throttled >= per_step * 95 / 10, "{per_step}: {sent} sent, {throttled} throttled");
            assert!(throttled <= 20, "{per_step}: {sent} sent, {throttled} throttled");
        }
    }

    #[test]
    fn a_shard_that_others_leave_is_found_out_within_seconds() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        (0..5).for_each(|_| _ = second(&mut pace, &mut now, |sent| sent.saturating_sub(50)));
        (0..6).for_each(|_| _ = second(&mut pace, &mut now, |_| 0));
        assert!(second(&mut pace, &mut now, |_| 0).0 >= 990);
    }

    #[test]
    fn records_that_are_throttled_at_random_cost_little() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        let mut number = 0;
        let mut throttles = |sent| {
            // Every two hundredth record.
            let before = number / 200;
            number += sent;
            number / 200 - before
        };
        let sent: u32 = (0..60).map(|_| second(&mut pace, &mut now, &mut throttles).0).sum();
        assert!(sent >= 60 * 970, "{sent}");
    }

    #[test]
    fn what_was_sent_before_a_reduction_does_not_reduce_the_share_again() {
        let start = Instant::now();
        let mut pace = Pace::new(start);
        // Ten steps are in flight when the first answer comes back, and half of each is throttled.
        let mut now = start;
        let steps: Vec<_> = (0..10)
            .map(|_| {
                now += 100 * MILLI;
                (now, passed(&mut pace, now, 1, 10))
            })
            .collect();
        for (sent, count) in steps {
            now += 100 * MILLI;
            (0..count / 2).for_each(|_| pace.throttled(now, sent, 10));
            pace.fill(now);
        }
        assert!(pace.share >= Pace::REDUCTION, "{}", pace.share);
    }

    #[test]
    fn a_share_is_never_nothing() {
        let mut now = Instant::now();
        let mut pace = Pace::new(now);
        (0..60).for_each(|_| _ = second(&mut pace, &mut now, |sent| sent));
        let (sent, _) = second(&mut pace, &mut now, |sent| sent);
        assert!((10..100).contains(&sent), "{sent}");
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
