use std::fmt::Debug;

use statefun_kinesis_types::Timestamp;

/// The time of day, where it has to be the service's rather than the machine's.
///
/// Production uses [`SystemClock`]; the in-memory fake has one that follows Tokio's clock, paused or not.
pub trait Clock: Debug + Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}
