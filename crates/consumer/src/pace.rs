//! The pace of calls to a shard.

use std::time::{Duration, Instant};

/// A token bucket that holds one token and may go into debt, which waiting pays off.
///
/// One token keeps calls evenly apart, so that no window of a second sees more calls than the rate permits. Bytes need
/// the debt: the size of an answer is known only after the call.
#[derive(Debug)]
pub(crate) struct TokenBucket {
    /// Time per token, in nanoseconds; a fraction, because a byte takes less than one.
    nanos_per_token: f64,
    paid_until: Option<Instant>,
}

impl TokenBucket {
    pub(crate) fn per_second(tokens: f64) -> Self {
        Self { nanos_per_token: 1e9 / tokens, paid_until: None }
    }

    /// When the next token can be taken; `None` is at once.
    pub(crate) fn ready_at(&self) -> Option<Instant> {
        self.paid_until
    }

    /// Takes tokens, also more than there are.
    pub(crate) fn take(&mut self, now: Instant, tokens: f64) {
        let cost = Duration::from_nanos((self.nanos_per_token * tokens).ceil() as u64);
        self.paid_until = Some(self.paid_until.map_or(now, |paid| paid.max(now)) + cost);
    }
}

/// The pace of GetRecords calls to one shard, whose limit other readers of the shard share.
///
/// The distance between calls starts at the shard's limit. It doubles when a call is throttled, and shrinks by a tenth with
/// each call that succeeds, so that several such readers come to equal shares.
#[derive(Debug)]
pub(crate) struct CallPace {
    least: Duration,
    distance: Duration,
    next: Option<Instant>,
}

impl CallPace {
    /// Longest distance between calls, however often they are throttled.
    const DISTANCE_MAX: Duration = Duration::from_secs(2);

    pub(crate) fn per_second(calls: u32) -> Self {
        let least = Duration::from_secs(1) / calls;
        Self { least, distance: least, next: None }
    }

    /// When the next call may start; `None` is at once.
    pub(crate) fn ready_at(&self) -> Option<Instant> {
        self.next
    }

    pub(crate) fn called(&mut self, now: Instant) {
        self.next = Some(now + self.distance);
    }

    pub(crate) fn succeeded(&mut self) {
        self.distance = (self.distance * 9 / 10).max(self.least);
    }

    pub(crate) fn throttled(&mut self) {
        self.distance = (self.distance * 2).min(Self::DISTANCE_MAX.max(self.least));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Calls as early as the pace permits, or later by the given milliseconds; gives the times of the calls.
    fn calls(pace: &mut CallPace, start: Instant, idle: &[u64]) -> Vec<Instant> {
        let mut now = start;
        idle.iter()
            .map(|&millis| {
                now = pace.ready_at().map_or(now, |at| at.max(now)) + Duration::from_millis(millis);
                pace.called(now);
                now
            })
            .collect()
    }

    proptest! {
        #[test]
        fn no_second_sees_more_calls_than_permitted(
            per_second in 1_u32..50,
            idle in prop::collection::vec(prop_oneof![3 => Just(0), 1 => 0_u64..3_000], 1..60),
        ) {
            let start = Instant::now();
            let calls = calls(&mut CallPace::per_second(per_second), start, &idle);
            for first in &calls {
                let window = calls.iter().filter(|at| *at >= first && **at < *first + Duration::from_secs(1));
                // A second does not divide evenly into every number of calls.
                prop_assert!(window.count() <= per_second as usize + 1);
            }
        }

        #[test]
        fn bytes_never_exceed_the_rate_by_more_than_one_answer(
            answers in prop::collection::vec(0_u32..10 << 20, 1..60),
        ) {
            let rate = f64::from(2 << 20);
            let mut bucket = TokenBucket::per_second(rate);
            let start = Instant::now();
            let (mut now, mut before) = (start, 0.0);
            for bytes in answers {
                now = bucket.ready_at().map_or(now, |at| at.max(now));
                // Everything but the answer that comes now has been paid for by waiting.
                prop_assert!(before <= rate * (now - start).as_secs_f64() + 1.0);
                bucket.take(now, f64::from(bytes));
                before += f64::from(bytes);
            }
        }
    }

    #[test]
    fn five_calls_fit_into_a_second_and_not_a_sixth() {
        let start = Instant::now();
        let calls = calls(&mut CallPace::per_second(5), start, &[0; 11]);
        let window = |from: u64| {
            let from = start + Duration::from_millis(from);
            calls.iter().filter(|at| **at >= from && **at < from + Duration::from_secs(1)).count()
        };
        assert_eq!((window(0), window(1), window(500), window(1_000)), (5, 5, 5, 5));
    }

    #[test]
    fn an_answer_of_ten_mebibytes_is_paid_for_with_five_seconds() {
        let start = Instant::now();
        let mut bucket = TokenBucket::per_second(f64::from(2 << 20));
        bucket.take(start, f64::from(10 << 20));
        assert_eq!(bucket.ready_at(), Some(start + Duration::from_secs(5)));
    }

    #[test]
    fn a_throttled_reader_slows_down_and_comes_back() {
        let start = Instant::now();
        let mut pace = CallPace::per_second(5);
        pace.throttled();
        pace.throttled();
        pace.called(start);
        assert_eq!(pace.ready_at(), Some(start + Duration::from_millis(800)));
        for _ in 0..100 {
            pace.throttled();
        }
        pace.called(start);
        assert_eq!(pace.ready_at(), Some(start + CallPace::DISTANCE_MAX));
        for _ in 0..100 {
            pace.succeeded();
        }
        pace.called(start);
        assert_eq!(pace.ready_at(), Some(start + Duration::from_millis(200)));
    }
}
