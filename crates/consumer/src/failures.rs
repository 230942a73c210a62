//! Failures in a row of the calls that read a shard: which of them are retried, and when.

use std::time::{Duration, Instant};

use statefun_kinesis_client::{Backoff, Error, ErrorKind, Patience};
use statefun_kinesis_types::{StartPosition, Timestamp};

/// How far this machine's clock may be ahead of the service's. The service rejects a start at a time that it has not
/// reached; within this distance the rejection means "not yet".
pub(crate) const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(120);

/// Answers in a row that leave open whether a shard has ended before a listing is asked: fewer are a hiccup.
const DOUBTFUL_ANSWERS: u32 = 3;

/// Longest wait before a shard is read again of which it is open whether it has ended: its children wait.
const DOUBT_RETRY_MAX: Duration = Duration::from_secs(1);

/// Failures since the last success.
#[derive(Debug)]
pub(crate) struct Failures {
    backoff: Backoff,
    in_a_row: u32,
    patience: Patience,
    doubt: Option<Doubt>,
}

/// Answers in a row that leave open whether the shard has ended.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    since: Instant,
    answers: u32,
}

impl Failures {
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self { backoff, in_a_row: 0, patience: Patience::default(), doubt: None }
    }

    /// Failures in a row.
    pub(crate) fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// A call succeeded.
    pub(crate) fn reset(&mut self) {
        (self.in_a_row, self.doubt) = (0, None);
        self.patience.reset();
    }

    /// An answer leaves open whether the shard has ended. Returns whether so many did in a row that a listing has to tell.
    pub(crate) fn doubt(&mut self, now: Instant) -> bool {
        let doubt = self.doubt.get_or_insert(Doubt { since: now, answers: 0 });
        doubt.answers = doubt.answers.saturating_add(1);
        doubt.answers >= DOUBTFUL_ANSWERS
    }

    /// Since when all answers have left open whether the shard has ended.
    pub(crate) fn doubt_since(&self) -> Option<Instant> {
        self.doubt.map(|doubt| doubt.since)
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

    /// The same after an answer that leaves open whether the shard has ended.
    pub(crate) fn doubt_delay(&mut self, random: &mut fastrand::Rng) -> Duration {
        self.delay(Duration::ZERO, random).min(DOUBT_RETRY_MAX)
    }

    /// How long the service asks to wait before the retry.
    ///
    /// # Errors
    ///
    /// A failure that no retry will mend.
    pub(crate) fn check(&mut self, now: Instant, error: Error) -> Result<Duration, Error> {
        if error.kind() == ErrorKind::NotFound {
            // Whether the shard, the stream or neither is gone, only other calls can say.
            self.doubt(now);
            return Err(error);
        }
        // It says nothing about the end of the shard, and may explain the answers before it: a proxy that spoils answers
        // may also send empty ones.
        self.doubt = None;
        if self.patience.allows_retry(now, error.kind()) {
            Ok(error.retry_after().unwrap_or_default())
        } else {
            Err(error)
        }
    }
}

/// How long to wait before reading can start at a time that the service has not reached by its own clock; `None` when the
/// error means something else. `today` is the time of day.
pub(crate) fn until_service_reaches(from: StartPosition, error: &Error, today: Timestamp) -> Option<Duration> {
    let StartPosition::AtTimestamp(time) = from else { return None };
    let is_ahead = error.kind() == ErrorKind::InvalidArgument && today < time.after(CLOCK_AHEAD_MAX);
    is_ahead.then(|| time.since(today))
}
