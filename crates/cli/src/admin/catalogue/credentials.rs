//! Metrics of the credentials for AWS.

use statefun_kinesis_types::Timestamp;

use super::{
    family::{COUNTER, Family, Section, family},
    kind::{Kind, Unit},
    samples::Samples,
};
use crate::admin::snapshot::Snapshot;

const CLIENT: &[&str] = &["region", "source"];

pub(super) const FAMILIES: &[Family] = &[
    family(
        Section::Credentials,
        "statefun_credentials_age",
        Kind::Gauge(Some(Unit::Seconds)),
        CLIENT,
        "Time since the credentials were loaded; missing before the first call has loaded them.",
        |all, to| times(all, to, |loaded, _, now| Some(seconds(loaded, now))),
    ),
    family(
        Section::Credentials,
        "statefun_credentials_expire_in",
        Kind::Gauge(Some(Unit::Seconds)),
        CLIENT,
        "Time until the credentials expire, negative after it; missing when they do not expire. They are reloaded ten minutes \
         before, or when half of their lifetime is over.",
        |all, to| times(all, to, |_, expires, now| expires.map(|at| seconds(now, at))),
    ),
    family(
        Section::Credentials,
        "statefun_credentials_failures",
        COUNTER,
        CLIENT,
        "Failed attempts to load the credentials. The ones in use are kept until they expire.",
        |all, to| {
            for credentials in all.run.iter().flat_map(|run| &run.credentials) {
                to.count([credentials.region.as_str(), credentials.source], credentials.status.failures);
            }
        },
    ),
];

/// A time of each client whose credentials are loaded: from when they were loaded, when they expire, and the time of day.
fn times(all: &Snapshot, to: &mut Samples<'_>, time: fn(Timestamp, Option<Timestamp>, Timestamp) -> Option<f64>) {
    let Some(run) = &all.run else { return };
    for credentials in &run.credentials {
        let status = &credentials.status;
        if let Some(time) = status.loaded_at.and_then(|loaded| time(loaded, status.expires_at, run.now)) {
            to.real([credentials.region.as_str(), credentials.source], time);
        }
    }
}

/// Seconds from one time to another one, negative if that is earlier.
fn seconds(from: Timestamp, to: Timestamp) -> f64 {
    to.as_millis().saturating_sub(from.as_millis()) as f64 / 1_000.0
}
