//! Every family of metrics: its name, what it means, and where its numbers come from. The page of the documentation is
//! made of this table.

use std::time::SystemTime;

use statefun_kinesis_consumer::{ReadingMode, StreamMetrics};
use statefun_kinesis_functions::{FunctionCounts, Usage};
use statefun_kinesis_producer::Metrics;

use super::{
    exposition::{In, Samples},
    process::Process,
    snapshot::{Durable, FunctionsSnapshot, RunSnapshot, Snapshot},
};

/// A family of metrics.
#[derive(Debug)]
pub(super) struct Family {
    /// What it is about, as a heading of the page.
    #[cfg_attr(not(test), expect(dead_code, reason = "the page is made by its test"))]
    pub(super) about: About,
    /// The name without unit and without `_total` or `_info`.
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) labels: &'static [&'static str],
    /// What it says, as a sentence that ends with a full stop.
    pub(super) help: &'static str,
    /// The name that StateFun has for it.
    pub(super) statefun: Option<&'static str>,
    pub(super) samples: fn(&Snapshot, &mut Samples<'_>),
}

/// What metrics are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Process,
    Ingress,
    Records,
    Function,
    Mailboxes,
    Checkpoint,
    Egress,
}

/// What the numbers of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// It only rises.
    Counter(Option<In>),
    /// It rises and falls.
    Gauge(Option<In>),
    /// Times, in seconds.
    Histogram,
    /// A fact; its value is always 1.
    Info,
}

impl Family {
    /// The name as it is asked for.
    #[cfg(test)]
    pub(super) fn full_name(&self) -> String {
        let unit = |unit: Option<In>| unit.map_or("", In::suffix);
        match self.kind {
            Kind::Counter(of) => format!("{}{}_total", self.name, unit(of)),
            Kind::Gauge(of) => format!("{}{}", self.name, unit(of)),
            Kind::Histogram => format!("{}{}", self.name, unit(Some(In::Seconds))),
            Kind::Info => format!("{}_info", self.name),
        }
    }
}

const COUNTER: Kind = Kind::Counter(None);
const GAUGE: Kind = Kind::Gauge(None);

/// A family that StateFun does not have.
const fn family(
    about: About,
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
    samples: fn(&Snapshot, &mut Samples<'_>),
) -> Family {
    Family { about, name, kind, labels, help, statefun: None, samples }
}

impl Family {
    /// The same under the name that StateFun has for it.
    const fn known_as(mut self, statefun: &'static str) -> Self {
        self.statefun = Some(statefun);
        self
    }
}

const STREAM: &[&str] = &["ingress", "stream"];
const SHARD: &[&str] = &["ingress", "stream", "shard"];
const FUNCTION: &[&str] = &["function"];
const TO: &[&str] = &["egress", "stream"];

/// All families, in the order of the text and of the page.
pub(super) const FAMILIES: &[Family] = &[
    family(About::Process, "statefun_build", Kind::Info, &["version"], "The program.", |all, to| {
        to.fact([all.version]);
    }),
    family(
        About::Process,
        "statefun_ready",
        GAUGE,
        &[],
        "1 while /readyz says that the run does its work, else 0.",
        |all, to| to.count([], all.ready.into()),
    ),
    family(
        About::Process,
        "statefun_uptime",
        Kind::Gauge(Some(In::Seconds)),
        &[],
        "Time since the start of the run.",
        |all, to| to.real([], all.uptime.as_secs_f64()),
    ),
    family(
        About::Process,
        "process_start_time",
        Kind::Gauge(Some(In::Seconds)),
        &[],
        "When the run was started, in seconds since 1970.",
        |all, to| {
            let since = all.started_at.duration_since(SystemTime::UNIX_EPOCH);
            to.real([], since.unwrap_or_default().as_secs_f64());
        },
    ),
    family(
        About::Process,
        "process_cpu",
        Kind::Counter(Some(In::Seconds)),
        &[],
        "CPU time of the process, in user and system mode. On Linux, as what follows.",
        |all, to| of_process(all, |process| to.real([], process.cpu_seconds)),
    ),
    family(
        About::Process,
        "process_resident_memory",
        Kind::Gauge(Some(In::Bytes)),
        &[],
        "Memory of the process that is in RAM.",
        |all, to| of_process(all, |process| to.count([], process.resident_bytes)),
    ),
    family(About::Process, "process_open_fds", GAUGE, &[], "Open files, sockets among them.", |all, to| {
        of_process(all, |process| to.count([], process.open_files));
    }),
    family(
        About::Process,
        "process_max_fds",
        GAUGE,
        &[],
        "Files that the process may have open at most; left out when there is no limit.",
        |all, to| {
            of_process(all, |process| {
                if let Some(most) = process.max_files {
                    to.count([], most);
                }
            });
        },
    ),
    family(About::Process, "process_threads", GAUGE, &[], "Threads of the process.", |all, to| {
        of_process(all, |process| to.count([], process.threads));
    }),
    family(
        About::Ingress,
        "statefun_ingress_reading",
        Kind::Info,
        &["ingress", "stream", "mode"],
        "How a stream is read: polling (GetRecords) or fan-out (SubscribeToShard).",
        |all, to| {
            each_stream(all, |ingress, stream| {
                let mode = match stream.mode {
                    ReadingMode::Polling => "polling",
                    ReadingMode::FanOut => "fan-out",
                    _ => "other",
                };
                to.fact([ingress, stream.stream.as_str(), mode]);
            });
        },
    ),
    family(
        About::Ingress,
        "statefun_ingress_records",
        COUNTER,
        STREAM,
        "Records that were read; of an aggregated record its user records count.",
        |all, to| per_stream(all, to, |stream| stream.records),
    ),
    family(
        About::Ingress,
        "statefun_ingress_read",
        Kind::Counter(Some(In::Bytes)),
        STREAM,
        "Bytes that were read, keys included, as the service counts them.",
        |all, to| per_stream(all, to, |stream| stream.bytes),
    ),
    family(About::Ingress, "statefun_ingress_shards", GAUGE, STREAM, "Shards that are being read now.", |all, to| {
        per_stream(all, to, |stream| stream.shards.len() as u64)
    }),
    family(
        About::Ingress,
        "statefun_ingress_behind_latest",
        Kind::Gauge(Some(In::Seconds)),
        SHARD,
        "How far reading was behind the newest record of the shard at the last answer; left out before the first one.",
        |all, to| {
            each_stream(all, |ingress, stream| {
                for shard in &stream.shards {
                    if let Some(behind) = shard.behind_latest {
                        let labels = [ingress, stream.stream.as_str(), shard.shard.as_str()];
                        to.real(labels, behind.as_secs_f64());
                    }
                }
            });
        },
    )
    .known_as("millisBehindLatest"),
    family(
        About::Ingress,
        "statefun_ingress_shard_records",
        COUNTER,
        SHARD,
        "Records that were read of a shard, until it is finished.",
        |all, to| {
            each_stream(all, |ingress, stream| {
                for shard in &stream.shards {
                    to.count([ingress, stream.stream.as_str(), shard.shard.as_str()], shard.records);
                }
            });
        },
    ),
    family(
        About::Ingress,
        "statefun_ingress_calls",
        COUNTER,
        &["ingress", "stream", "operation"],
        "Calls to the service, those that failed included.",
        |all, to| {
            each_stream(all, |ingress, stream| {
                for (operation, calls) in &stream.calls {
                    to.count([ingress, stream.stream.as_str(), operation.name()], *calls);
                }
            });
        },
    ),
    family(
        About::Ingress,
        "statefun_ingress_retries",
        COUNTER,
        &["ingress", "stream", "error"],
        "Calls and subscriptions that failed and were tried again, by what went wrong.",
        |all, to| {
            each_stream(all, |ingress, stream| {
                for (error, retries) in &stream.retries {
                    to.count([ingress, stream.stream.as_str(), &error.to_string().replace(' ', "_")], *retries);
                }
            });
        },
    ),
    family(
        About::Ingress,
        "statefun_ingress_aggregates",
        COUNTER,
        STREAM,
        "Aggregated records that were taken apart.",
        |all, to| per_stream(all, to, |stream| stream.aggregates),
    ),
    family(
        About::Ingress,
        "statefun_ingress_out_of_range_records",
        COUNTER,
        STREAM,
        "User records that were left out because they belong to another shard; their writer sends them again.",
        |all, to| per_stream(all, to, |stream| stream.out_of_range),
    ),
    family(
        About::Ingress,
        "statefun_ingress_invalid_records",
        COUNTER,
        &["ingress", "stream", "reason"],
        "Records that could not be used, by the reason: corrupt-aggregate, missing-partition-key or undecodable.",
        |all, to| {
            each_stream(all, |ingress, stream| {
                for (reason, records) in &stream.invalid {
                    to.count([ingress, stream.stream.as_str(), reason.as_str()], *records);
                }
            });
        },
    ),
    family(
        About::Ingress,
        "statefun_ingress_dead_letters",
        COUNTER,
        STREAM,
        "Records of these that were stored in the dead-letter stream.",
        |all, to| per_stream(all, to, |stream| stream.dead_letters),
    ),
    family(
        About::Records,
        "statefun_records_taken",
        COUNTER,
        &[],
        "Records of all ingresses that were taken out of the prefetch, to be routed.",
        |all, to| of_run(all, |run| to.count([], run.counts.records_in)),
    ),
    family(
        About::Records,
        "statefun_messages_routed",
        COUNTER,
        &[],
        "Messages that records became: one per record and target.",
        |all, to| of_run(all, |run| to.count([], run.counts.messages)),
    ),
    family(
        About::Records,
        "statefun_records_done",
        COUNTER,
        &[],
        "Records that are done: handled, and all that came of them stored.",
        |all, to| of_run(all, |run| to.count([], run.counts.records_done)),
    ),
    family(
        About::Records,
        "statefun_record_latency",
        Kind::Histogram,
        &[],
        "Time from the arrival of a record at Kinesis until it was done.",
        |all, to| {
            of_run(all, |run| {
                let latency = &run.latency;
                to.times([], latency.buckets.iter().copied(), latency.records, latency.sum);
            });
        },
    ),
    family(
        About::Function,
        "statefun_function_in",
        COUNTER,
        FUNCTION,
        "Messages that came for the function.",
        |all, to| per_function(all, to, |counts| counts.messages_in),
    )
    .known_as("in"),
    family(
        About::Function,
        "statefun_function_out_local",
        COUNTER,
        FUNCTION,
        "Messages to functions that the function sent, delayed ones too.",
        |all, to| per_function(all, to, |counts| counts.messages_out),
    )
    .known_as("outLocal"),
    family(
        About::Function,
        "statefun_function_out_egress",
        COUNTER,
        FUNCTION,
        "Messages to egresses that the function sent.",
        |all, to| per_function(all, to, |counts| counts.egress_out),
    )
    .known_as("outEgress"),
    family(
        About::Function,
        "statefun_function_num_backlog",
        GAUGE,
        FUNCTION,
        "Messages for the function that wait now.",
        |all, to| per_function(all, to, |counts| counts.backlog),
    )
    .known_as("numBacklog"),
    family(
        About::Function,
        "statefun_function_inflight_async_ops",
        GAUGE,
        FUNCTION,
        "Requests to the function that are in flight now.",
        |all, to| per_function(all, to, |counts| counts.in_flight),
    )
    .known_as("inflightAsyncOps"),
    family(
        About::Function,
        "statefun_function_remote_invocation_failures",
        COUNTER,
        FUNCTION,
        "Requests to the function that failed, each attempt.",
        |all, to| per_function(all, to, |counts| counts.failures),
    )
    .known_as("remoteInvocationFailures"),
    family(
        About::Function,
        "statefun_function_remote_invocation_latency",
        Kind::Histogram,
        FUNCTION,
        "Time that a request to the function took, each attempt, those that failed too.",
        |all, to| {
            of_functions(all, |functions| {
                for (function, latency) in &functions.latencies {
                    to.times([function.as_str()], latency.buckets(), latency.requests(), latency.sum());
                }
            });
        },
    )
    .known_as("remoteInvocationLatency"),
    family(
        About::Mailboxes,
        "statefun_mailbox_messages",
        GAUGE,
        &[],
        "Messages that are not handled, those in flight too.",
        |all, to| of_mailboxes(all, to, |usage| usage.messages),
    ),
    family(
        About::Mailboxes,
        "statefun_mailbox",
        Kind::Gauge(Some(In::Bytes)),
        &[],
        "Memory that they take, roughly.",
        |all, to| of_mailboxes(all, to, |usage| usage.bytes),
    ),
    family(About::Mailboxes, "statefun_mailboxes", GAUGE, &[], "Addresses with messages.", |all, to| {
        of_mailboxes(all, to, |usage| usage.mailboxes);
    }),
    family(
        About::Mailboxes,
        "statefun_addresses",
        GAUGE,
        &[],
        "Addresses with messages or states that are in memory.",
        |all, to| of_mailboxes(all, to, |usage| usage.instances),
    ),
    family(
        About::Mailboxes,
        "statefun_delayed_messages",
        GAUGE,
        &[],
        "Delayed messages that are not due yet.",
        |all, to| of_mailboxes(all, to, |usage| usage.timers),
    ),
    family(
        About::Mailboxes,
        "statefun_unacknowledged_records",
        GAUGE,
        &[],
        "Records that functions sent and that their egress has not stored.",
        |all, to| of_mailboxes(all, to, |usage| usage.egress_records),
    ),
    family(
        About::Mailboxes,
        "statefun_unacknowledged",
        Kind::Gauge(Some(In::Bytes)),
        &[],
        "Bytes of these records.",
        |all, to| of_mailboxes(all, to, |usage| usage.egress_bytes),
    ),
    family(
        About::Checkpoint,
        "statefun_checkpoint_age",
        Kind::Gauge(Some(In::Seconds)),
        &[],
        "How far the last durable moment lies back: what a crash now would make the next start do again.",
        |all, to| {
            of_checkpoint(all, |durable| {
                if let Some(age) = durable.age {
                    to.real([], age.as_secs_f64());
                }
            });
        },
    ),
    family(About::Checkpoint, "statefun_checkpoints", COUNTER, &[], "Checkpoints that were written.", |all, to| {
        of_checkpoint(all, |durable| to.count([], durable.status.commits));
    }),
    family(
        About::Checkpoint,
        "statefun_checkpoint_failures",
        COUNTER,
        &[],
        "Times that a checkpoint could not be written, and was tried again.",
        |all, to| of_checkpoint(all, |durable| to.count([], durable.status.failures)),
    ),
    family(
        About::Checkpoint,
        "statefun_checkpoint_written",
        Kind::Counter(Some(In::Bytes)),
        &[],
        "Bytes of all checkpoints, keys and values.",
        |all, to| of_checkpoint(all, |durable| to.count([], durable.status.bytes)),
    ),
    family(
        About::Checkpoint,
        "statefun_checkpoint_last",
        Kind::Gauge(Some(In::Bytes)),
        &[],
        "Bytes of the last one.",
        |all, to| of_checkpoint(all, |durable| to.count([], durable.status.last_bytes)),
    ),
    family(
        About::Checkpoint,
        "statefun_checkpoint_last_entries",
        GAUGE,
        &[],
        "Entries that the last one changed.",
        |all, to| of_checkpoint(all, |durable| to.count([], durable.status.last_changes)),
    ),
    family(
        About::Checkpoint,
        "statefun_checkpoint_last_duration",
        Kind::Gauge(Some(In::Seconds)),
        &[],
        "Time that the last one took, from its cut until it was durable.",
        |all, to| of_checkpoint(all, |durable| to.real([], durable.status.last_took.as_secs_f64())),
    ),
    family(
        About::Checkpoint,
        "statefun_checkpoint_last_hold",
        Kind::Gauge(Some(In::Seconds)),
        &[],
        "Time for which its cut held the mailboxes.",
        |all, to| of_checkpoint(all, |durable| to.real([], durable.status.last_held.as_secs_f64())),
    ),
    family(About::Egress, "statefun_egress_records", COUNTER, TO, "Records that the stream has stored.", |all, to| {
        per_egress(all, to, |producer| producer.stored_records)
    }),
    family(
        About::Egress,
        "statefun_egress_stored",
        Kind::Counter(Some(In::Bytes)),
        TO,
        "Bytes of these records, data and partition keys.",
        |all, to| per_egress(all, to, |producer| producer.stored_bytes),
    ),
    family(
        About::Egress,
        "statefun_egress_given_up_records",
        COUNTER,
        &["egress", "stream", "handling"],
        "Records that failed for good, by what became of them: failed, skipped or dead-lettered.",
        |all, to| {
            of_run(all, |run| {
                for of in &run.egresses {
                    let producer = &of.producer;
                    for (handling, records) in [
                        ("failed", producer.failed_records),
                        ("skipped", producer.skipped_records),
                        ("dead-lettered", producer.dead_lettered_records),
                    ] {
                        to.count([of.egress.as_str(), of.stream.as_str(), handling], records);
                    }
                }
            });
        },
    ),
    family(
        About::Egress,
        "statefun_egress_outstanding_records",
        GAUGE,
        TO,
        "Records that are queued or on their way.",
        |all, to| per_egress(all, to, |producer| producer.outstanding_records as u64),
    ),
    family(
        About::Egress,
        "statefun_egress_outstanding",
        Kind::Gauge(Some(In::Bytes)),
        TO,
        "Bytes of these records.",
        |all, to| per_egress(all, to, |producer| producer.outstanding_bytes as u64),
    ),
    family(
        About::Egress,
        "statefun_egress_inflight_requests",
        GAUGE,
        TO,
        "PutRecords requests that are on their way.",
        |all, to| per_egress(all, to, |producer| producer.in_flight_requests as u64),
    ),
    family(
        About::Egress,
        "statefun_egress_paced_shards",
        GAUGE,
        TO,
        "Shards that throttle, and are written at a pace.",
        |all, to| per_egress(all, to, |producer| producer.paced_shards as u64),
    ),
    family(About::Egress, "statefun_egress_requests", COUNTER, TO, "PutRecords requests.", |all, to| {
        per_egress(all, to, |producer| producer.requests);
    }),
    family(
        About::Egress,
        "statefun_egress_request_records",
        COUNTER,
        TO,
        "Records in these requests as the service counts them: an aggregate is one.",
        |all, to| per_egress(all, to, |producer| producer.request_records),
    ),
    family(
        About::Egress,
        "statefun_egress_failed_requests",
        COUNTER,
        TO,
        "Requests that failed as a whole.",
        |all, to| per_egress(all, to, |producer| producer.failed_requests),
    ),
    family(
        About::Egress,
        "statefun_egress_throttled_records",
        COUNTER,
        TO,
        "Times that a record was throttled.",
        |all, to| per_egress(all, to, |producer| producer.throttled_records),
    ),
    family(
        About::Egress,
        "statefun_egress_retried_records",
        COUNTER,
        TO,
        "Times that a record had to be sent again.",
        |all, to| per_egress(all, to, |producer| producer.retried_records),
    ),
    family(
        About::Egress,
        "statefun_egress_misplaced_aggregates",
        COUNTER,
        TO,
        "Aggregates that landed on a shard to which not all of their records belong, and were sent again.",
        |all, to| per_egress(all, to, |producer| producer.misplaced_aggregates),
    ),
    family(
        About::Egress,
        "statefun_egress_shard_listings",
        COUNTER,
        TO,
        "Times that the shards of the stream were listed.",
        |all, to| per_egress(all, to, |producer| producer.shard_listings),
    ),
];

fn of_process(all: &Snapshot, tell: impl FnOnce(&Process)) {
    if let Some(process) = &all.process {
        tell(process);
    }
}

fn of_run(all: &Snapshot, tell: impl FnOnce(&RunSnapshot)) {
    if let Some(run) = &all.run {
        tell(run);
    }
}

fn of_functions(all: &Snapshot, tell: impl FnOnce(&FunctionsSnapshot)) {
    of_run(all, |run| {
        if let Some(functions) = &run.functions {
            tell(functions);
        }
    });
}

fn of_checkpoint(all: &Snapshot, tell: impl FnOnce(&Durable)) {
    of_run(all, |run| {
        if let Some(durable) = &run.checkpoint {
            tell(durable);
        }
    });
}

fn of_mailboxes(all: &Snapshot, to: &mut Samples<'_>, number: fn(&Usage) -> usize) {
    of_functions(all, |functions| to.count([], number(&functions.usage) as u64));
}

fn each_stream(all: &Snapshot, mut tell: impl FnMut(&str, &StreamMetrics)) {
    of_run(all, |run| run.streams.iter().for_each(|(ingress, stream)| tell(ingress.as_str(), stream)));
}

fn per_stream(all: &Snapshot, to: &mut Samples<'_>, number: fn(&StreamMetrics) -> u64) {
    each_stream(all, |ingress, stream| to.count([ingress, stream.stream.as_str()], number(stream)));
}

fn per_function(all: &Snapshot, to: &mut Samples<'_>, number: fn(&FunctionCounts) -> u64) {
    of_functions(all, |functions| {
        for (function, counts) in &functions.counts {
            to.count([function.as_str()], number(counts));
        }
    });
}

fn per_egress(all: &Snapshot, to: &mut Samples<'_>, number: fn(&Metrics) -> u64) {
    of_run(all, |run| {
        for of in &run.egresses {
            to.count([of.egress.as_str(), of.stream.as_str()], number(&of.producer));
        }
    });
}
