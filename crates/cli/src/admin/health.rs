//! Whether the run is working.

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

/// The run as the endpoint sees it.
#[derive(Debug)]
pub(super) struct MonitoredRun {
    /// By the system clock, for the metric.
    started_at: SystemTime,
    started: Instant,
    /// Set when reading begins.
    sources: OnceLock<Sources>,
    /// Cancelled when the run has to stop.
    shutdown: CancellationToken,
}

impl MonitoredRun {
    pub(super) fn new(shutdown: CancellationToken) -> Self {
        Self { started_at: SystemTime::now(), started: Instant::now(), sources: OnceLock::new(), shutdown }
    }

    /// Tells the endpoint that reading begins.
    pub(super) fn reading(&self, sources: Sources) {
        // Reading begins only once per run.
        let _ = self.sources.set(sources);
    }

    /// Whether the run is working.
    ///
    /// # Errors
    ///
    /// The reason why it is not, as a sentence.
    pub(super) fn ready(&self) -> Result<(), String> {
        if self.shutdown.is_cancelled() {
            return Err("stopping: in-flight records are being finished or saved".to_owned());
        }
        let Some(sources) = self.sources.get() else {
            return Err("starting: connecting to the streams of the module".to_owned());
        };
        if let Some(durable) = sources.checkpoint() {
            check_age(&durable)?;
        }
        match sources.blocked() {
            Some(blocked) if blocked.reason.is_outage() => Err(blocked.to_string()),
            _ => Ok(()),
        }
    }

    /// All numbers at this moment.
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

/// Fails when the last durable checkpoint is too old. A slow disk may delay a checkpoint, so the limit is three intervals
/// and ten seconds.
fn check_age(durable: &Durable) -> Result<(), String> {
    let Durable { status, age } = durable;
    let Some(age) = *age else { return Err("starting: the first checkpoint is not durable yet".to_owned()) };
    let oldest = status.interval.saturating_mul(3).saturating_add(Duration::from_secs(10));
    if age <= oldest {
        return Ok(());
    }
    let failing = if status.failing_since.is_some() { "; writing checkpoints fails, see the log" } else { "" };
    let (age, oldest) = (age.as_secs(), oldest.as_secs());
    Err(format!("the last durable checkpoint is {age} s old, and the limit is {oldest} s{failing}"))
}
