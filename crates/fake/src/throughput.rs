use std::time::Duration;

use statefun_kinesis_types::{
    SHARD_READ_BYTES_PER_SECOND, SHARD_READ_CALLS_PER_SECOND, SHARD_WRITE_BYTES_PER_SECOND,
    SHARD_WRITE_RECORDS_PER_SECOND, Timestamp,
};

/// GetShardIterator calls that one shard takes per second (API reference, GetShardIterator).
const SHARD_ITERATORS_PER_SECOND: u32 = 5;

/// What one shard gives and takes per second. Each limit is a bucket that holds one second's worth.
#[derive(Clone, Debug)]
pub(crate) struct ShardThroughput {
    write_records: Bucket,
    write_bytes: Bucket,
    read_calls: Bucket,
    read_bytes: Bucket,
    iterators: Bucket,
}

impl ShardThroughput {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            write_records: Bucket::full(SHARD_WRITE_RECORDS_PER_SECOND.into(), now),
            write_bytes: Bucket::full(SHARD_WRITE_BYTES_PER_SECOND as i64, now),
            read_calls: Bucket::full(SHARD_READ_CALLS_PER_SECOND.into(), now),
            read_bytes: Bucket::full(SHARD_READ_BYTES_PER_SECOND as i64, now),
            iterators: Bucket::full(SHARD_ITERATORS_PER_SECOND.into(), now),
        }
    }

    /// Whether the shard takes a record of so many bytes now; if so, it is counted.
    pub(crate) fn admit_write(&mut self, bytes: usize, now: Timestamp) -> bool {
        let bytes = bytes as i64;
        let admitted = self.write_records.has(1, now) && self.write_bytes.has(bytes, now);
        if admitted {
            self.write_records.take(1);
            self.write_bytes.take(bytes);
        }
        admitted
    }

    /// Whether the shard answers a GetRecords call now; if so, the call is counted.
    pub(crate) fn admit_read(&mut self, now: Timestamp) -> bool {
        let admitted = self.read_bytes.has(0, now) && self.read_calls.has(1, now);
        if admitted {
            self.read_calls.take(1);
        }
        admitted
    }

    /// Counts the answer of an admitted call.
    ///
    /// An answer may be larger than a second's worth, and is then paid for in full from now on: after 10 MiB the shard
    /// gives nothing for five seconds (API reference, GetRecords).
    pub(crate) fn count_read(&mut self, bytes: usize) {
        self.read_bytes.take(bytes as i64);
        if bytes > SHARD_READ_BYTES_PER_SECOND {
            self.read_bytes.owe(bytes as i64);
        }
    }

    /// Whether the shard gives an iterator now; if so, it is counted.
    pub(crate) fn admit_iterator(&mut self, now: Timestamp) -> bool {
        let admitted = self.iterators.has(1, now);
        if admitted {
            self.iterators.take(1);
        }
        admitted
    }
}

/// What one subscription gives per second: as much as the shard does, but each for itself.
#[derive(Clone, Debug)]
pub(crate) struct PushThroughput(Bucket);

impl PushThroughput {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self(Bucket::full(SHARD_READ_BYTES_PER_SECOND as i64, now))
    }

    /// How long the next event has to wait; an event is paid for in full by the wait behind it.
    pub(crate) fn wait(&mut self, now: Timestamp) -> Duration {
        if self.0.has(0, now) {
            return Duration::ZERO;
        }
        let owed = self.0.thousandths.unsigned_abs();
        Duration::from_millis(owed.div_ceil(self.0.per_second.unsigned_abs()))
    }

    /// Counts an event that was pushed.
    pub(crate) fn count(&mut self, bytes: usize) {
        self.0.take(bytes as i64);
    }
}

/// A token bucket in thousandths of a token, so that a millisecond is never too short to count.
#[derive(Clone, Debug)]
struct Bucket {
    per_second: i64,
    thousandths: i64,
    at: Timestamp,
}

impl Bucket {
    fn full(per_second: i64, now: Timestamp) -> Self {
        Self { per_second, thousandths: per_second * 1_000, at: now }
    }

    /// Whether there is enough for `amount`. More than a full bucket is enough for anything: what is larger than a
    /// second's worth could otherwise never pass.
    fn has(&mut self, amount: i64, now: Timestamp) -> bool {
        let passed = i64::try_from(now.since(self.at).as_millis()).unwrap_or(i64::MAX);
        self.thousandths = self.thousandths.saturating_add(self.per_second.saturating_mul(passed));
        self.thousandths = self.thousandths.min(self.per_second * 1_000);
        self.at = now;
        self.thousandths >= amount.min(self.per_second) * 1_000
    }

    fn take(&mut self, amount: i64) {
        self.thousandths -= amount * 1_000;
    }

    fn owe(&mut self, amount: i64) {
        self.thousandths = -amount * 1_000;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_second_takes_a_thousand_records() {
        let mut shard = ShardThroughput::new(at(0));
        let mut taken = |millis| (0..2_000).filter(|_| shard.admit_write(10, at(millis))).count();
        assert_eq!([taken(0), taken(0), taken(1), taken(251), taken(9_000)], [1_000, 0, 1, 250, 1_000]);
    }

    #[test]
    fn a_second_takes_a_mebibyte_and_a_small_record_fits_behind_a_refused_one() {
        let mut shard = ShardThroughput::new(at(0));
        assert!(shard.admit_write(MIB - 100, at(0)));
        assert!(!shard.admit_write(101, at(0)));
        assert!(shard.admit_write(100, at(0)));
        assert!(!shard.admit_write(1, at(0)));
    }

    #[test]
    fn a_large_record_passes_a_full_bucket_and_is_paid_for_afterwards() {
        let mut shard = ShardThroughput::new(at(0));
        assert!(shard.admit_write(10 * MIB, at(0)));
        assert!(!shard.admit_write(1, at(9_000)));
        assert!(shard.admit_write(1, at(9_001)));
    }

    #[test]
    fn a_second_takes_five_reads() {
        let mut shard = ShardThroughput::new(at(0));
        let mut taken = |millis| (0..10).filter(|_| shard.admit_read(at(millis))).count();
        assert_eq!([taken(0), taken(199), taken(200), taken(5_000)], [5, 0, 1, 5]);
    }

    #[test]
    fn ten_mebibytes_are_followed_by_five_seconds_of_nothing() {
        let mut shard = ShardThroughput::new(at(0));
        assert!(shard.admit_read(at(0)));
        shard.count_read(10 * MIB);
        assert!(!shard.admit_read(at(4_999)));
        assert!(shard.admit_read(at(5_000)));
    }

    #[test]
    fn a_subscription_gives_two_mebibytes_a_second() {
        let mut push = PushThroughput::new(at(0));
        let mut now = 0;
        for _ in 0..42 {
            now += i64::try_from(push.wait(at(now)).as_millis()).unwrap();
            assert!(push.wait(at(now)).is_zero());
            push.count(MIB);
        }
        // Two were saved up, and the last one may be owed: 39 are paid for.
        assert_eq!(now, 19_500);
    }

    #[test]
    fn two_mebibytes_a_second_pass() {
        let mut shard = ShardThroughput::new(at(0));
        for call in 0..100 {
            assert!(shard.admit_read(at(call * 500)));
            shard.count_read(MIB);
        }
    }
}
