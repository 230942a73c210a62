//! Failures in a row of the calls that read a shard: which of them are retried, and when.

use std::time::Duration;

use statefun_kinesis_client::{Backoff, Error, ErrorKind};
use statefun_kinesis_types::{StartPosition, Timestamp};

/// Unexpected answers in a row before they count as a permanent failure.
pub(crate) const UNEXPECTED_MAX: u32 = 5;

/// How far this machine's clock may be ahead of the service's. The service rejects a start at a time that it has not
/// reached; within this distance the rejection means "not yet".
pub(crate) const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(120);

/// Failures since the last success.
#[derive(Debug)]
pub(crate) struct Failures {
    backoff: Backoff,
    in_a_row: u32,
    unexpected: u32,
}

impl Failures {
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self { backoff, in_a_row: 0, unexpected: 0 }
    }

    /// Failures in a row.
    pub(crate) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// A call succeeded.
    pub(crate) fn reset(&mut self) {
        (self.in_a_row, self.unexpected) = (0, 0);
    }

    /// Counts a failure whose delay does not come from the backoff.
    pub(crate) fn count(&mut self) {
        self.in_a_row = self.in_a_row.saturating_add(1);
    }

    /// Counts a failure that is retried, and returns the delay before that, which is `at_least` so long.
    pub(crate) fn delay(&mut self, at_least: Duration, random: &mut fastrand::Rng) -> Duration {
        let delay = self.backoff.delay(self.in_a_row, random);
        self.count();
        delay.max(at_least)
    }

    /// How long the service asks to wait before the retry.
    ///
    /// # Errors
    ///
    /// A failure that no retry will mend.
    pub(crate) fn check(&mut self, error: Error) -> Result<Duration, Error> {
        if error.kind() == ErrorKind::Unexpected {
            self.unexpected += 1;
            if self.unexpected >= UNEXPECTED_MAX {
                return Err(error);
            }
        } else if !error.kind().is_retryable() {
            return Err(error);
        }
        Ok(error.retry_after().unwrap_or_default())
    }
}

/// How long to wait before reading can start at a time that the service has not reached by its own clock; `None` when the
/// error means something else. `today` is the time of day.
pub(crate) fn until_service_reaches(from: StartPosition, error: &Error, today: Timestamp) -> Option<Duration> {
    let StartPosition::AtTimestamp(time) = from else { return None };
    let is_ahead = error.kind() == ErrorKind::InvalidArgument && today < time.after(CLOCK_AHEAD_MAX);
    is_ahead.then(|| time.since(today))
}
