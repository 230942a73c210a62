use std::time::Duration;

use statefun_kinesis_types::Timestamp;

/// The current time by two clocks.
///
/// Delayed messages and expiring states use the time of day, which may be set forwards or back. Delays between attempts
/// use a monotonic clock, so that they end when they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The time of day.
    pub time: Timestamp,
    /// The time since a fixed instant, by a monotonic clock.
    pub elapsed: Duration,
}

impl From<Timestamp> for Now {
    /// For programs whose clock is never set, such as simulations. Both clocks count from 1970.
    fn from(time: Timestamp) -> Self {
        Self { time, elapsed: time.since(Timestamp::EPOCH) }
    }
}
