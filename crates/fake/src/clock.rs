use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use statefun_kinesis_client::Clock;
use statefun_kinesis_types::Timestamp;
use tokio::time::Instant;

/// The fake's time of day: an epoch, and since then what Tokio's clock has counted.
///
/// Under paused Tokio time it stands still until the test advances it or everything sleeps; on an ordinary runtime,
/// and outside of one, it goes with the machine's clock. A fake that outlives a runtime whose time was advanced never
/// sees it go back: it stands still until the next clock has caught up.
#[derive(Clone, Debug)]
pub(crate) struct VirtualClock {
    epoch: Timestamp,
    start: Instant,
    latest_millis: Arc<AtomicI64>,
}

impl VirtualClock {
    pub(crate) fn starting_at(epoch: Timestamp) -> Self {
        Self { epoch, start: Instant::now(), latest_millis: Arc::new(AtomicI64::new(epoch.as_millis())) }
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        let elapsed = Instant::now().saturating_duration_since(self.start);
        let now = self.epoch.after(elapsed).as_millis();
        Timestamp::from_millis(self.latest_millis.fetch_max(now, Ordering::Relaxed).max(now))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn paused<T>(future: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime can be made").block_on(future)
    }

    #[test]
    fn time_never_goes_back_between_runtimes() {
        let day = Duration::from_secs(86_400);
        let clock = VirtualClock::starting_at(Timestamp::EPOCH);
        let late = paused(async {
            tokio::time::advance(day).await;
            clock.now()
        });
        assert!(late >= Timestamp::EPOCH.after(day));
        assert_eq!(paused(async { clock.now() }), late);
        assert_eq!(clock.now(), late);
    }
}
