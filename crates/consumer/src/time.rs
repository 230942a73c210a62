//! Instants as Tokio has them, so that tests can pause time, and sums of them that cannot overflow.

use std::time::Duration;

use tokio::time::Instant;

/// About thirty years: later than any wait of this crate ends, and a distance that every platform's clock can express.
const FAR_FUTURE: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

/// The present.
pub(crate) fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// `instant + duration`, or an instant about thirty years later where the sum cannot be expressed. A sum of
/// `Duration::MAX`, which settings and the service may bring, would panic.
pub(crate) fn saturating_add<I>(instant: I, duration: Duration) -> I
where
    I: Copy + std::ops::Add<Duration, Output = I>,
{
    instant + duration.min(FAR_FUTURE)
}
