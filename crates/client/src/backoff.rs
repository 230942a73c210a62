use std::time::Duration;

use crate::Error;

/// Delays between attempts: they double from `base` to `cap`, and each is drawn between half of that and all of it.
///
/// The draw keeps many callers that failed together from coming back together. It comes from the caller's generator,
/// so that a simulation can repeat it.
///
/// ```
/// use std::time::Duration;
/// use statefun_kinesis_client::Backoff;
///
/// let mut random = fastrand::Rng::with_seed(1);
/// let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
/// let third = backoff.delay(2, &mut random);
/// assert!((Duration::from_millis(200)..=Duration::from_millis(400)).contains(&third));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    base: Duration,
    cap: Duration,
}

impl Backoff {
    /// Delays that start at `base` and never exceed `cap`.
    pub const fn new(base: Duration, cap: Duration) -> Self {
        Self { base, cap }
    }

    /// The delay after so many failures before the last one: 0 for the first.
    ///
    /// Half of it at least, and all of it at most, of `base` doubled for each failure before, up to `cap`.
    pub fn delay(&self, failures: u32, random: &mut fastrand::Rng) -> Duration {
        self.longest(failures).mul_f64(0.5 + random.f64() / 2.0)
    }

    /// The longest delay after so many failures before the last one, for a caller that fails alone and has to be
    /// foreseeable: `base` doubled for each failure before, up to `cap`.
    pub fn longest(&self, failures: u32) -> Duration {
        self.base.saturating_mul(2_u32.saturating_pow(failures)).min(self.cap)
    }

    /// The delay before the retry of a call that failed so: that of [`delay`](Self::delay), or the one that the service
    /// asked for when it is longer.
    pub fn delay_after(&self, error: &Error, failures: u32, random: &mut fastrand::Rng) -> Duration {
        self.delay(failures, random).max(error.retry_after().unwrap_or_default())
    }
}

impl Default for Backoff {
    /// From 100 ms to 10 s.
    fn default() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, Operation};

    #[test]
    fn delays_grow_to_the_cap_and_never_beyond() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(10));
        let mut random = fastrand::Rng::with_seed(7);
        for failures in [0, 1, 2, 3, 6, 7, 31, 32, u32::MAX] {
            let full =
                Duration::from_millis(100).saturating_mul(2_u32.saturating_pow(failures)).min(Duration::from_secs(10));
            for _ in 0..100 {
                let delay = backoff.delay(failures, &mut random);
                assert!(full / 2 <= delay && delay <= full, "{failures}: {delay:?}");
            }
        }
    }

    #[test]
    fn longest_delays_double_from_the_base_to_the_cap() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        for (failures, most_ms) in [(0, 100), (1, 200), (5, 3_200), (6, 5_000), (7, 5_000), (u32::MAX, 5_000)] {
            assert_eq!(backoff.longest(failures), Duration::from_millis(most_ms), "{failures}");
        }
    }

    #[test]
    fn a_service_that_asks_for_more_time_gets_it() {
        let backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(1));
        let mut random = fastrand::Rng::with_seed(7);
        let error = |delay| Error::new(Operation::GetRecords, ErrorKind::Throttled, "").with_retry_after(delay);
        assert_eq!(backoff.delay_after(&error(Duration::from_secs(7)), 0, &mut random), Duration::from_secs(7));
        assert!(backoff.delay_after(&error(Duration::ZERO), 0, &mut random) >= Duration::from_millis(500));
        let unasked = Error::new(Operation::GetRecords, ErrorKind::Throttled, "");
        assert!(backoff.delay_after(&unasked, 0, &mut random) >= Duration::from_millis(500));
    }
}
