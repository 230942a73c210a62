use std::time::{Duration, Instant};

/// Later than any instant that matters to a producer. [`Instant`] can be this far ahead on every platform.
const FAR: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The instant `after` from `start`.
///
/// Durations come from settings and from the service (`Retry-After`), and may be as long as [`Duration::MAX`]: their sum
/// with an instant saturates instead of panicking.
pub(crate) fn deadline(start: Instant, after: Duration) -> Instant {
    start.checked_add(after.min(FAR)).unwrap_or(start)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_is_exact_up_to_ten_years_and_never_overflows() {
        let start = Instant::now();
        for seconds in [0, 1, 3_600, FAR.as_secs()] {
            let after = Duration::from_secs(seconds);
            assert_eq!(deadline(start, after) - start, after);
        }
        for after in [Duration::MAX, Duration::from_secs(u64::MAX), FAR + Duration::from_nanos(1)] {
            assert_eq!(deadline(start, after) - start, FAR);
        }
    }
}
