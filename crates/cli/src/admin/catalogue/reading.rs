//! Metrics of ingresses, and of records from arrival to completion.

use statefun_kinesis_client::ErrorKind;
use statefun_kinesis_consumer::{InvalidKind, ReadingMode, StreamMetrics};

use super::{
    family::{COUNTER, Family, GAUGE, Section, family},
    kind::{Kind, Unit},
    samples::Samples,
};
use crate::admin::snapshot::{RunSnapshot, Snapshot};

const STREAM: &[&str] = &["ingress", "stream"];
const SHARD: &[&str] = &["ingress", "stream", "shard"];

pub(super) const FAMILIES: &[Family] = &[
    family(
        Section::Ingress,
        "statefun_ingress_reading",
        Kind::Info,
        &["ingress", "stream", "mode"],
        "How a stream is read: polling (GetRecords) or fan-out (SubscribeToShard).",
        |all, to| {
            for (ingress, stream) in all.streams() {
                let mode = match stream.mode {
                    ReadingMode::Polling => "polling",
                    ReadingMode::FanOut => "fan-out",
                };
                to.fact([ingress.as_str(), stream.stream.as_str(), mode]);
            }
        },
    ),
    family(
        Section::Ingress,
        "statefun_ingress_records",
        COUNTER,
        STREAM,
        "Records that were read. For an aggregated record, its user records are counted.",
        |all, to| per_stream(all, to, |stream| stream.records),
    ),
    family(
        Section::Ingress,
        "statefun_ingress_read",
        Kind::Counter(Some(Unit::Bytes)),
        STREAM,
        "Bytes that were read, including partition keys, as the service counts them.",
        |all, to| per_stream(all, to, |stream| stream.bytes),
    ),
    family(Section::Ingress, "statefun_ingress_shards", GAUGE, STREAM, "Shards that are being read.", |all, to| {
        per_stream(all, to, |stream| stream.shards.len() as u64)
    }),
    family(
        Section::Ingress,
        "statefun_ingress_behind_latest",
        Kind::Gauge(Some(Unit::Seconds)),
        SHARD,
        "How far reading was behind the latest record of the shard at the last response; missing before the first one.",
        |all, to| {
            for (ingress, stream) in all.streams() {
                for shard in &stream.shards {
                    if let Some(behind) = shard.behind_latest {
                        let labels = [ingress.as_str(), stream.stream.as_str(), shard.shard.as_str()];
                        to.real(labels, behind.as_secs_f64());
                    }
                }
            }
        },
    )
    .known_as("millisBehindLatest"),
    family(
        Section::Ingress,
        "statefun_ingress_shard_records",
        COUNTER,
        SHARD,
        "Records that were read from a shard; missing once the shard is finished.",
        |all, to| {
            for (ingress, stream) in all.streams() {
                for shard in &stream.shards {
                    to.count([ingress.as_str(), stream.stream.as_str(), shard.shard.as_str()], shard.records);
                }
            }
        },
    ),
    family(
        Section::Ingress,
        "statefun_ingress_calls",
        COUNTER,
        &["ingress", "stream", "operation"],
        "Calls to the service, including failed ones.",
        |all, to| {
            for (ingress, stream) in all.streams() {
                for (operation, calls) in &stream.calls {
                    to.count([ingress.as_str(), stream.stream.as_str(), operation.name()], *calls);
                }
            }
        },
    ),
    family(
        Section::Ingress,
        "statefun_ingress_retries",
        COUNTER,
        &["ingress", "stream", "error"],
        "Calls and subscriptions that were retried, by error.",
        |all, to| {
            for (ingress, stream) in all.streams() {
                for error in ErrorKind::ALL {
                    let name = error.to_string().replace(' ', "_");
                    to.count([ingress.as_str(), stream.stream.as_str(), &name], of_kind(&stream.retries, error));
                }
            }
        },
    ),
    family(
        Section::Ingress,
        "statefun_ingress_aggregates",
        COUNTER,
        STREAM,
        "Aggregated records that were split into user records.",
        |all, to| per_stream(all, to, |stream| stream.aggregates),
    ),
    family(
        Section::Ingress,
        "statefun_ingress_out_of_range_records",
        COUNTER,
        STREAM,
        "User records of aggregates that were left out because they belong to another shard. A KPL sends them again after a \
         split; for other writers, see `outOfRangeRecords`.",
        |all, to| per_stream(all, to, |stream| stream.out_of_range),
    ),
    family(
        Section::Ingress,
        "statefun_ingress_invalid_records",
        COUNTER,
        &["ingress", "stream", "reason"],
        "Invalid records, by reason: corrupt-aggregate, missing-partition-key or undecodable.",
        |all, to| {
            for (ingress, stream) in all.streams() {
                for reason in InvalidKind::ALL {
                    let records = of_kind(&stream.invalid, reason);
                    to.count([ingress.as_str(), stream.stream.as_str(), reason.as_str()], records);
                }
            }
        },
    ),
    family(
        Section::Ingress,
        "statefun_ingress_dead_letters",
        COUNTER,
        STREAM,
        "Invalid records that were stored in the dead-letter stream.",
        |all, to| per_stream(all, to, |stream| stream.dead_letters),
    ),
    family(
        Section::Records,
        "statefun_records_taken",
        COUNTER,
        &[],
        "Records of all ingresses that were taken from the prefetch for routing.",
        |all, to| per_run(all, to, |run| run.counts.records_in),
    ),
    family(
        Section::Records,
        "statefun_messages_routed",
        COUNTER,
        &[],
        "Messages that were routed: one per record and target.",
        |all, to| per_run(all, to, |run| run.counts.messages),
    ),
    family(
        Section::Records,
        "statefun_records_done",
        COUNTER,
        &[],
        "Records that are complete: their messages are processed, and the resulting records are stored.",
        |all, to| per_run(all, to, |run| run.counts.records_done),
    ),
    family(
        Section::Records,
        "statefun_record_latency",
        Kind::Histogram,
        &[],
        "Time from the arrival of a record at Kinesis to its completion.",
        |all, to| {
            if let Some(latency) = all.run.as_ref().map(|run| &run.latency) {
                to.times([], latency.buckets.iter().copied(), latency.records, latency.sum);
            }
        },
    ),
];

/// The count of a kind. Kinds that were never counted are 0, so that their series exist before their first event, and a
/// query sees the increase that it makes.
fn of_kind<K: PartialEq>(counts: &[(K, u64)], kind: K) -> u64 {
    counts.iter().find(|(counted, _)| *counted == kind).map_or(0, |(_, count)| *count)
}

fn per_run(all: &Snapshot, to: &mut Samples<'_>, number: fn(&RunSnapshot) -> u64) {
    if let Some(run) = &all.run {
        to.count([], number(run));
    }
}

fn per_stream(all: &Snapshot, to: &mut Samples<'_>, number: fn(&StreamMetrics) -> u64) {
    for (ingress, stream) in all.streams() {
        to.count([ingress.as_str(), stream.stream.as_str()], number(stream));
    }
}
