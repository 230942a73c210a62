//! The progress of a run on stderr.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use statefun_kinesis_router::Progress;
use tokio::task::JoinHandle;
use tracing::info;

use crate::{summary, terminal::ProgressLine};

/// Reports the progress: continuously on a terminal, from time to time elsewhere.
#[derive(Debug)]
pub(super) struct Reporter(JoinHandle<()>);

impl Reporter {
    pub(super) fn start(progress: Arc<Progress>, started: Instant) -> Self {
        Self(tokio::spawn(report(progress, started)))
    }

    /// Stops, and waits until the progress line is gone, so that the next text does not get mixed up with it.
    pub(super) async fn stop(self) {
        self.0.abort();
        let _ = self.0.await;
    }
}

async fn report(progress: Arc<Progress>, started: Instant) {
    const TERMINAL: Duration = Duration::from_millis(200);
    const PLAIN: Duration = Duration::from_secs(30);
    let line = ProgressLine::start();
    let interval = if line.is_some() { TERMINAL } else { PLAIN };
    let mut seen = progress.counts();
    loop {
        tokio::time::sleep(interval).await;
        let counts = progress.counts();
        match &line {
            Some(line) => line.set(summary::on_the_way(&counts, started.elapsed())),
            None if counts != seen => info!("{}", summary::on_the_way(&counts, started.elapsed())),
            None => {}
        }
        seen = counts;
    }
}
