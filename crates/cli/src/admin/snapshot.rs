//! All numbers of a run at one moment.

use std::{
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use statefun_kinesis_client::Clock;
use statefun_kinesis_consumer::{Metrics, StreamMetrics};
use statefun_kinesis_functions::{
    Blocked, CheckpointStatus, FunctionCounts, InvocationLatency, StatefulFunctions, Usage,
};
use statefun_kinesis_router::{
    Counts, EgressMetrics, EgressStreamMetrics, GivenUp, LatencyHistogram, Progress, Router,
};
use statefun_kinesis_types::{FunctionType, Timestamp, TypeName};

use super::process::Process;
use crate::{backend::Backend, clients::ClientCredentials};

/// Where the numbers of a run come from.
#[derive(Debug)]
pub(crate) struct Sources {
    progress: Arc<Progress>,
    consumers: Vec<(TypeName, Metrics)>,
    egresses: EgressMetrics,
    /// Weak, so that monitoring does not keep the functions alive after the run.
    functions: Weak<StatefulFunctions>,
    /// The clock of the run's checkpoints.
    clock: Arc<dyn Clock>,
    /// The clients and their credentials.
    backend: Arc<Backend>,
}

impl Sources {
    /// The numbers of a router, and of its functions if they are stateful.
    pub(crate) fn new(
        router: &Router,
        functions: Weak<StatefulFunctions>,
        clock: Arc<dyn Clock>,
        backend: Arc<Backend>,
    ) -> Self {
        Self {
            progress: router.progress(),
            consumers: router.consumer_metrics(),
            egresses: router.egress_metrics(),
            functions,
            clock,
            backend,
        }
    }

    /// The credentials of the clients, and the time of day.
    pub(super) fn credentials(&self) -> (Vec<ClientCredentials>, Timestamp) {
        // They expire by the system's clock, which may not be the clock of the run.
        (self.backend.credentials(), Timestamp::now())
    }

    /// Why reading is paused, if it is.
    pub(super) fn blocked(&self) -> Option<Blocked> {
        self.functions.upgrade()?.blocked()
    }

    /// The durable checkpoint, if there is a durable store.
    pub(super) fn checkpoint(&self) -> Option<Durable> {
        let functions = self.functions.upgrade().filter(|functions| functions.has_durable_store())?;
        let status = functions.checkpoint();
        Some(Durable { status, age: status.age(self.clock.now()) })
    }
}

/// The durable checkpoint of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Durable {
    pub(super) status: CheckpointStatus,
    /// The age of the last durable checkpoint; `None` before the first.
    pub(super) age: Option<Duration>,
}

/// All numbers.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) version: &'static str,
    pub(super) started_at: SystemTime,
    pub(super) uptime: Duration,
    pub(super) ready: bool,
    pub(super) process: Option<Process>,
    /// `None` until reading begins.
    pub(super) run: Option<RunSnapshot>,
}

impl Snapshot {
    /// The streams that are read, each with its ingress.
    pub(super) fn streams(&self) -> impl Iterator<Item = &(TypeName, StreamMetrics)> {
        self.run.iter().flat_map(|run| &run.streams)
    }

    /// The streams that are written to.
    pub(super) fn egresses(&self) -> impl Iterator<Item = &EgressStreamMetrics> {
        self.run.iter().flat_map(|run| &run.egresses)
    }

    /// The records that reached no stream, by egress.
    pub(super) fn given_up(&self) -> impl Iterator<Item = &(TypeName, GivenUp)> {
        self.run.iter().flat_map(|run| &run.given_up)
    }

    /// The stateful functions of the run, if it has some.
    pub(super) fn functions(&self) -> Option<&FunctionsSnapshot> {
        self.run.as_ref()?.functions.as_ref()
    }

    /// The durable checkpoint of the run, if it has one.
    pub(super) fn checkpoint(&self) -> Option<&Durable> {
        self.run.as_ref()?.checkpoint.as_ref()
    }
}

/// The numbers of a run.
#[derive(Debug)]
pub(super) struct RunSnapshot {
    pub(super) counts: Counts,
    pub(super) latency: LatencyHistogram,
    /// By ingress.
    pub(super) streams: Vec<(TypeName, StreamMetrics)>,
    pub(super) egresses: Vec<EgressStreamMetrics>,
    /// Records that reached no stream, by egress.
    pub(super) given_up: Vec<(TypeName, GivenUp)>,
    /// `None` when the functions are stateless.
    pub(super) functions: Option<FunctionsSnapshot>,
    /// `None` without a durable store.
    pub(super) checkpoint: Option<Durable>,
    pub(super) credentials: Vec<ClientCredentials>,
    /// The time of day at which the credentials were looked at.
    pub(super) now: Timestamp,
}

/// The numbers of stateful functions.
#[derive(Debug)]
pub(super) struct FunctionsSnapshot {
    pub(super) usage: Usage,
    pub(super) counts: Vec<(FunctionType, FunctionCounts)>,
    pub(super) latencies: Vec<(FunctionType, InvocationLatency)>,
    /// Why reading is paused, if it is.
    pub(super) blocked: Option<Blocked>,
}

impl RunSnapshot {
    /// Bounds of the record latency: from that of a run close to its streams to the default retention of a stream.
    const BOUNDS: [Duration; 16] = {
        let millis = [
            10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000, 1_800_000, 7_200_000,
            86_400_000,
        ];
        let mut bounds = [Duration::ZERO; 16];
        let mut at = 0;
        while at < bounds.len() {
            bounds[at] = Duration::from_millis(millis[at]);
            at += 1;
        }
        bounds
    };

    pub(super) fn take(sources: &Sources) -> Self {
        let of_ingress = |(ingress, metrics): &(TypeName, Metrics)| {
            let ingress = ingress.clone();
            metrics.snapshot().into_iter().map(move |stream| (ingress.clone(), stream))
        };
        let mut egresses = sources.egresses.snapshot();
        egresses.sort_by(|a, b| (&a.egress, &a.stream).cmp(&(&b.egress, &b.stream)));
        let (credentials, now) = sources.credentials();
        Self {
            counts: sources.progress.counts(),
            latency: sources.progress.latency_histogram(&Self::BOUNDS),
            streams: sources.consumers.iter().flat_map(of_ingress).collect(),
            egresses,
            given_up: sources.egresses.given_up(),
            functions: sources.functions.upgrade().map(|functions| FunctionsSnapshot::take(&functions)),
            checkpoint: sources.checkpoint(),
            credentials,
            now,
        }
    }
}

impl FunctionsSnapshot {
    fn take(functions: &StatefulFunctions) -> Self {
        let (counts, latencies) = (functions.counts(), functions.latencies());
        Self { usage: functions.usage(), counts, latencies, blocked: functions.blocked() }
    }
}
