//! Whether the run is working.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime},
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use statefun_kinesis_types::Timestamp;

use super::{
    process::Process,
    snapshot::{Durable, RunSnapshot, Snapshot, Sources},
};
use crate::clients::ClientCredentials;

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
        let (credentials, now) = sources.credentials();
        credentials.iter().try_for_each(|credentials| check_credentials(credentials, now))?;
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

/// Fails when calls cannot be signed: the credentials have expired, or never came, and their source fails. Credentials
/// that are good in spite of a source that fails are no reason.
fn check_credentials(credentials: &ClientCredentials, now: Timestamp) -> Result<(), String> {
    let ClientCredentials { region, source, status } = credentials;
    match status.failing_since {
        Some(since) if !status.is_usable(now) => Err(format!(
            "calls to AWS in {region} cannot be signed: the credentials (`{source}`) cannot be loaded since {since}, see the \
             log"
        )),
        Some(_) | None => Ok(()),
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

#[cfg(test)]
mod tests {
    use statefun_kinesis_aws::CredentialsStatus;

    use super::*;

    #[test]
    fn only_calls_that_cannot_be_signed_make_a_run_not_ready() {
        let at = Timestamp::from_millis;
        for (loaded, expires, failing, ready) in [
            (None, None, None, true),
            (Some(0), None, None, true),
            (Some(0), Some(200), None, true),
            // The source fails, and the credentials are still good.
            (Some(0), Some(200), Some(50), true),
            (Some(0), None, Some(50), true),
            (Some(0), Some(100), Some(50), false),
            (None, None, Some(50), false),
        ] {
            let status = CredentialsStatus {
                loaded_at: loaded.map(at),
                expires_at: expires.map(at),
                failing_since: failing.map(at),
                failures: 0,
            };
            let credentials = ClientCredentials { region: "eu-west-1".to_owned(), source: "profile", status };
            let checked = check_credentials(&credentials, at(100));
            assert_eq!(checked.is_ok(), ready, "{status:?}: {checked:?}");
            if let Err(why) = checked {
                assert!(why.contains("eu-west-1") && why.contains("`profile`"), "{why}");
            }
        }
    }
}
