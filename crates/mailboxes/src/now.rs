use std::time::Duration;

use statefun_kinesis_types::Timestamp;

/// The time by two clocks.
///
/// Delayed messages and expiring states go by the time of day, which may be set forwards or back. Waits between attempts
/// go by a clock that only goes forwards, so that they end when they should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The time of day.
    pub time: Timestamp,
    /// The time since an instant that is always the same one, by a clock that never goes back.
    pub elapsed: Duration,
}

impl From<Timestamp> for Now {
    /// For programs whose clock is never set, such as simulations: the time since 1970 by both clocks.
    fn from(time: Timestamp) -> Self {
        Self { time, elapsed: time.since(Timestamp::EPOCH) }
    }
}
