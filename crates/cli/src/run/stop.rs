//! How a run is asked to stop.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio_util::sync::CancellationToken;

use crate::{ExitCode, failure::Failure, signals::Signals, terminal};

/// Listens for the signals that stop a run.
#[derive(Debug)]
pub(super) struct Stop {
    shutdown: CancellationToken,
    is_reading: Arc<AtomicBool>,
}

impl Stop {
    /// Listens from now on. A start may wait for streams, and the first process of a container ignores every signal that
    /// it does not listen to.
    ///
    /// # Errors
    ///
    /// When the system does not let the process listen to signals.
    pub(super) fn listen() -> Result<Self, Failure> {
        let (shutdown, is_reading) = (CancellationToken::new(), Arc::new(AtomicBool::new(false)));
        tokio::spawn(stop_on_signals(Signals::listen()?, shutdown.clone(), Arc::clone(&is_reading)));
        Ok(Self { shutdown, is_reading })
    }

    /// Cancelled when the run has to stop.
    pub(super) const fn token(&self) -> &CancellationToken {
        &self.shutdown
    }

    /// From now on the first signal lets the run finish or save its in-flight records.
    pub(super) fn reading_begins(&self) {
        self.is_reading.store(true, Ordering::Release);
    }
}

/// Stops the run at the first SIGINT or SIGTERM, and the process at the second, or at the first before reading begins.
async fn stop_on_signals(mut signals: Signals, shutdown: CancellationToken, is_reading: Arc<AtomicBool>) {
    signals.next().await;
    if !is_reading.load(Ordering::Acquire) {
        terminal::tell("stopped before reading began");
        std::process::exit(ExitCode::Done as i32);
    }
    terminal::tell("stopping: in-flight records are being finished or saved; a second signal stops at once");
    shutdown.cancel();
    signals.next().await;
    terminal::tell("stopped at once; in-flight records were not finished");
    std::process::exit(ExitCode::Interrupted as i32);
}
