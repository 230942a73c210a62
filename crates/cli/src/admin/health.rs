//! Whether the run does its work.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    process::Process,
    snapshot::{Durable, RunSnapshot, Snapshot, Sources},
};

/// What the endpoint knows about the run.
#[derive(Debug)]
pub(super) struct Watched {
    /// By the clock of the machine, to be told.
    started_at: SystemTime,
    started: Instant,
    /// There when reading begins.
    sources: OnceLock<Sources>,
    /// Cancelled when the run is to stop.
    shutdown: CancellationToken,
}

impl Watched {
    pub(super) fn new(shutdown: CancellationToken) -> Self {
        Self { started_at: SystemTime::now(), started: Instant::now(), sources: OnceLock::new(), shutdown }
    }

    /// The run reads from now on.
    pub(super) fn reading(&self, sources: Sources) {
        // A run begins to read once.
        let _ = self.sources.set(sources);
    }

    /// Whether the run does its work; else why it does not.
    ///
    /// # Errors
    ///
    /// What keeps it from its work, in a sentence.
    pub(super) fn ready(&self) -> Result<(), String> {
        if self.shutdown.is_cancelled() {
            return Err("stopping: in-flight records are being finished or saved".to_owned());
        }
        let Some(sources) = self.sources.get() else {
            return Err("starting: the streams of the module are being connected".to_owned());
        };
        if let Some(durable) = sources.checkpoint() {
            fresh(&durable)?;
        }
        match sources.blocked() {
            Some(blocked) if blocked.reason.is_outage() => Err(blocked.to_string()),
            _ => Ok(()),
        }
    }

    /// All numbers now.
    pub(super) fn snapshot(&self) -> Snapshot {
        Snapshot {
            version: env!("CARGO_PKG_VERSION"),
            started_at: self.started_at,
            uptime: self.started.elapsed(),
            ready: self.ready().is_ok(),
            process: Process::now(),
            run: self.sources.get().map(RunSnapshot::take),
        }
    }
}

/// Whether a crash now would be no more than what is to be expected. A checkpoint that is late may be a slow disk; three
/// intervals and ten seconds are more than that.
fn fresh(durable: &Durable) -> Result<(), String> {
    let Durable { status, age } = durable;
    let Some(age) = *age else { return Err("starting: the first checkpoint is not durable yet".to_owned()) };
    let oldest = status.interval.saturating_mul(3).saturating_add(Duration::from_secs(10));
    if age <= oldest {
        return Ok(());
    }
    let failing = if status.failing_since.is_some() { "; writing it fails, as the log says" } else { "" };
    let (age, oldest) = (age.as_secs(), oldest.as_secs());
    Err(format!("the last durable checkpoint is {age} s old, and {oldest} s is too old{failing}"))
}
