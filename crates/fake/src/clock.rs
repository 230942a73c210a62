use std::time::Duration;

use statefun_kinesis_client::Clock;
use statefun_kinesis_types::Timestamp;
use tokio::time::Instant;

/// The fake's time of day: an epoch, and since then what Tokio's clock has counted.
///
/// Under paused Tokio time it stands still until the test advances it or everything sleeps; on an ordinary runtime,
/// and outside of one, it goes with the machine's clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VirtualClock {
    epoch: Timestamp,
    start: Instant,
}

impl VirtualClock {
    pub(crate) fn starting_at(epoch: Timestamp) -> Self {
        Self { epoch, start: Instant::now() }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(self.start)
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        self.epoch.after(self.elapsed())
    }
}
