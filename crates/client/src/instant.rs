use std::time::Duration;

/// The longest time that [`InstantExt::saturating_add`] adds: 30 years of 365 days.
///
/// Tokio uses the same span for a sleep of `Duration::MAX`: 100 years overflow the clock of some systems.
const FAR_FUTURE: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// Sums of instants and durations that cannot overflow.
///
/// `Instant + Duration` panics when the sum is out of range, and a `Duration::MAX` in the settings, which stands for
/// "never", is enough for that. Everywhere where a duration comes from settings or from a service, this takes its place.
///
/// ```
/// use std::time::Duration;
/// use statefun_kinesis_client::InstantExt as _;
/// use tokio::time::Instant;
///
/// # let _context = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
/// # let _context = _context.enter();
/// let now = Instant::now();
/// assert_eq!(now.saturating_add(Duration::from_secs(1)), now + Duration::from_secs(1));
/// assert!(now.saturating_add(Duration::MAX) > now + Duration::from_secs(60 * 60 * 24 * 365));
/// ```
pub trait InstantExt: Sized {
    /// The instant so much later. More than 30 years count as 30 years, which Tokio's timers accept; where the clock
    /// itself ends before, the instant stays where it is.
    #[must_use]
    fn saturating_add(self, duration: Duration) -> Self;
}

impl InstantExt for std::time::Instant {
    fn saturating_add(self, duration: Duration) -> Self {
        self.checked_add(duration.min(FAR_FUTURE)).unwrap_or(self)
    }
}

impl InstantExt for tokio::time::Instant {
    fn saturating_add(self, duration: Duration) -> Self {
        self.checked_add(duration.min(FAR_FUTURE)).unwrap_or(self)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, sleep_until, timeout};

    use super::*;

    const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

    #[tokio::test(start_paused = true)]
    async fn ordinary_durations_are_added_exactly() {
        let now = Instant::now();
        for duration in [Duration::ZERO, Duration::from_nanos(1), 29 * YEAR, 30 * YEAR] {
            assert_eq!(now.saturating_add(duration) - now, duration);
        }
        let now = std::time::Instant::now();
        assert_eq!(now.saturating_add(YEAR) - now, YEAR);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_duration_neither_panics_nor_ends_a_timer() {
        let far = Instant::now().saturating_add(Duration::MAX);
        assert_eq!(far - Instant::now(), 30 * YEAR);
        assert!(std::time::Instant::now().saturating_add(Duration::MAX) > std::time::Instant::now() + 29 * YEAR);
        assert!(timeout(YEAR, sleep_until(far)).await.is_err(), "the timer waits longer than a year");
    }

    #[test]
    fn sums_of_sums_stay_within_the_clock() {
        let mut last = Instant::now();
        for _ in 0..1_000_000 {
            let next = last.saturating_add(Duration::MAX);
            assert!(next >= last);
            last = next;
        }
    }
}
