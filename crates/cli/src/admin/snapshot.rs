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
use statefun_kinesis_router::{Counts, EgressMetrics, EgressStreamMetrics, LatencyHistogram, Progress, Router};
use statefun_kinesis_types::{FunctionType, TypeName};

use super::process::Process;

/// Where the numbers of a run come from.
#[derive(Debug)]
pub(crate) struct Sources {
    progress: Arc<Progress>,
    consumers: Vec<(TypeName, Metrics)>,
    egresses: EgressMetrics,
    /// They end with the run, and not with those who look at them.
    functions: Weak<StatefulFunctions>,
    /// The clock by which the run dates its checkpoints.
    clock: Arc<dyn Clock>,
}

impl Sources {
    /// The numbers of a router, and of its functions if these have any.
    pub(crate) fn new(router: &Router, functions: Weak<StatefulFunctions>, clock: Arc<dyn Clock>) -> Self {
        Self {
            progress: router.progress(),
            consumers: router.consumer_metrics(),
            egresses: router.egress_metrics(),
            functions,
            clock,
        }
    }

    /// Why reading waits, if it does.
    pub(super) fn blocked(&self) -> Option<Blocked> {
        self.functions.upgrade()?.blocked()
    }

    /// How durable checkpoints are doing, if there are any.
    pub(super) fn checkpoint(&self) -> Option<Durable> {
        let functions = self.functions.upgrade().filter(|functions| functions.has_durable_store())?;
        let status = functions.checkpoint();
        Some(Durable { status, age: status.age(self.clock.now()) })
    }
}

/// How durable the run is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Durable {
    pub(super) status: CheckpointStatus,
    /// How far the last durable moment lies back; none before the first.
    pub(super) age: Option<Duration>,
}

/// What there is to tell.
#[derive(Debug)]
pub(super) struct Snapshot {
    pub(super) version: &'static str,
    pub(super) started_at: SystemTime,
    pub(super) uptime: Duration,
    pub(super) ready: bool,
    pub(super) process: Option<Process>,
    /// There from the moment on in which reading begins.
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

    /// The stateful functions of the run, if it has some.
    pub(super) fn functions(&self) -> Option<&FunctionsSnapshot> {
        self.run.as_ref()?.functions.as_ref()
    }

    /// The durable checkpoint of the run, if it has one.
    pub(super) fn checkpoint(&self) -> Option<&Durable> {
        self.run.as_ref()?.checkpoint.as_ref()
    }
}

/// What there is to tell of a run.
#[derive(Debug)]
pub(super) struct RunSnapshot {
    pub(super) counts: Counts,
    pub(super) latency: LatencyHistogram,
    /// By ingress.
    pub(super) streams: Vec<(TypeName, StreamMetrics)>,
    pub(super) egresses: Vec<EgressStreamMetrics>,
    /// There when functions keep mailboxes and states.
    pub(super) functions: Option<FunctionsSnapshot>,
    /// There with a store.
    pub(super) checkpoint: Option<Durable>,
}

/// What there is to tell of stateful functions.
#[derive(Debug)]
pub(super) struct FunctionsSnapshot {
    pub(super) usage: Usage,
    pub(super) counts: Vec<(FunctionType, FunctionCounts)>,
    pub(super) latencies: Vec<(FunctionType, InvocationLatency)>,
    /// Why reading waits, if it does.
    pub(super) blocked: Option<Blocked>,
}

impl RunSnapshot {
    /// Bounds of the time from the arrival of a record to its end: from what a run beside its streams takes to the
    /// oldest record that a stream holds by default.
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
        Self {
            counts: sources.progress.counts(),
            latency: sources.progress.latency_histogram(&Self::BOUNDS),
            streams: sources.consumers.iter().flat_map(of_ingress).collect(),
            egresses,
            functions: sources.functions.upgrade().map(|functions| FunctionsSnapshot::take(&functions)),
            checkpoint: sources.checkpoint(),
        }
    }
}

impl FunctionsSnapshot {
    fn take(functions: &StatefulFunctions) -> Self {
        let (mut counts, mut latencies) = (functions.counts(), functions.latencies());
        counts.sort_by(|(a, _), (b, _)| a.cmp(b));
        latencies.sort_by(|(a, _), (b, _)| a.cmp(b));
        Self { usage: functions.usage(), counts, latencies, blocked: functions.blocked() }
    }
}
