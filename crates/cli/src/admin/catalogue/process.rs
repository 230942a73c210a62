//! Metrics of the process.

use std::time::SystemTime;

use super::{
    family::{Family, GAUGE, Section, family},
    kind::{Kind, Unit},
};
use crate::admin::{process::Process, snapshot::Snapshot};

pub(super) const FAMILIES: &[Family] = &[
    family(Section::Process, "statefun_build", Kind::Info, &["version"], "The version of the program.", |all, to| {
        to.fact([all.version]);
    }),
    family(Section::Process, "statefun_ready", GAUGE, &[], "1 while /readyz returns 200, else 0.", |all, to| {
        to.count([], all.ready.into())
    }),
    family(
        Section::Process,
        "statefun_uptime",
        Kind::Gauge(Some(Unit::Seconds)),
        &[],
        "Time since the start of the run.",
        |all, to| to.real([], all.uptime.as_secs_f64()),
    ),
    family(
        Section::Process,
        "process_start_time",
        Kind::Gauge(Some(Unit::Seconds)),
        &[],
        "Start time of the run, in seconds since 1970.",
        |all, to| {
            let since = all.started_at.duration_since(SystemTime::UNIX_EPOCH);
            to.real([], since.unwrap_or_default().as_secs_f64());
        },
    ),
    family(
        Section::Process,
        "process_cpu",
        Kind::Counter(Some(Unit::Seconds)),
        &[],
        "CPU time of the process, in user and system mode. This and the following metrics exist only on Linux.",
        |all, to| of_process(all, |process| to.real([], process.cpu_seconds)),
    ),
    family(
        Section::Process,
        "process_resident_memory",
        Kind::Gauge(Some(Unit::Bytes)),
        &[],
        "Resident memory of the process.",
        |all, to| of_process(all, |process| to.count([], process.resident_bytes)),
    ),
    family(Section::Process, "process_open_fds", GAUGE, &[], "Open file descriptors, including sockets.", |all, to| {
        of_process(all, |process| to.count([], process.open_files));
    }),
    family(
        Section::Process,
        "process_max_fds",
        GAUGE,
        &[],
        "Limit of open file descriptors; missing when there is no limit.",
        |all, to| {
            of_process(all, |process| {
                if let Some(most) = process.max_files {
                    to.count([], most);
                }
            });
        },
    ),
    family(Section::Process, "process_threads", GAUGE, &[], "Threads of the process.", |all, to| {
        of_process(all, |process| to.count([], process.threads));
    }),
];

fn of_process(all: &Snapshot, tell: impl FnOnce(&Process)) {
    if let Some(process) = &all.process {
        tell(process);
    }
}
