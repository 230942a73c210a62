//! Metrics of egresses.

use statefun_kinesis_producer::{GivenUp, Metrics};
use statefun_kinesis_types::TypeName;

use super::{
    family::{COUNTER, Family, GAUGE, Section, family},
    kind::{Kind, Unit},
    samples::Samples,
};
use crate::admin::snapshot::Snapshot;

const TO: &[&str] = &["egress", "stream"];

pub(super) const FAMILIES: &[Family] = &[
    family(
        Section::Egress,
        "statefun_egress_records",
        COUNTER,
        TO,
        "Records that the stream has stored.",
        |all, to| per_egress(all, to, |producer| producer.stored_records),
    ),
    family(
        Section::Egress,
        "statefun_egress_stored",
        Kind::Counter(Some(Unit::Bytes)),
        TO,
        "Bytes of stored records, data and partition keys.",
        |all, to| per_egress(all, to, |producer| producer.stored_bytes),
    ),
    family(
        Section::Egress,
        "statefun_egress_given_up_records",
        COUNTER,
        &["egress", "stream", "handling"],
        "Records that failed permanently, by outcome: failed, skipped or dead-lettered. Without a stream: records that \
         are not valid, or whose stream is not allowed or does not exist.",
        |all, to| {
            let mut count = |egress: &TypeName, stream: &str, given_up: GivenUp| {
                let GivenUp { failed, skipped, dead_lettered } = given_up;
                for (handling, records) in [("failed", failed), ("skipped", skipped), ("dead-lettered", dead_lettered)]
                {
                    to.count([egress.as_str(), stream, handling], records);
                }
            };
            for egress in all.egresses() {
                count(&egress.egress, egress.stream.as_str(), egress.producer.given_up());
            }
            for (egress, given_up) in all.given_up() {
                count(egress, "", *given_up);
            }
        },
    ),
    family(
        Section::Egress,
        "statefun_egress_outstanding_records",
        GAUGE,
        TO,
        "Records that are queued or in flight.",
        |all, to| per_egress(all, to, |producer| producer.outstanding_records as u64),
    ),
    family(
        Section::Egress,
        "statefun_egress_outstanding",
        Kind::Gauge(Some(Unit::Bytes)),
        TO,
        "Bytes of records that are queued or in flight.",
        |all, to| per_egress(all, to, |producer| producer.outstanding_bytes as u64),
    ),
    family(
        Section::Egress,
        "statefun_egress_inflight_requests",
        GAUGE,
        TO,
        "PutRecords requests that are in flight.",
        |all, to| per_egress(all, to, |producer| producer.in_flight_requests as u64),
    ),
    family(
        Section::Egress,
        "statefun_egress_paced_shards",
        GAUGE,
        TO,
        "Shards that are written at a limited rate because they throttle.",
        |all, to| per_egress(all, to, |producer| producer.paced_shards as u64),
    ),
    family(Section::Egress, "statefun_egress_requests", COUNTER, TO, "PutRecords requests.", |all, to| {
        per_egress(all, to, |producer| producer.requests);
    }),
    family(
        Section::Egress,
        "statefun_egress_request_records",
        COUNTER,
        TO,
        "Records in PutRecords requests, as the service counts them: an aggregated record counts once.",
        |all, to| per_egress(all, to, |producer| producer.request_records),
    ),
    family(
        Section::Egress,
        "statefun_egress_failed_requests",
        COUNTER,
        TO,
        "PutRecords requests that failed as a whole.",
        |all, to| per_egress(all, to, |producer| producer.failed_requests),
    ),
    family(
        Section::Egress,
        "statefun_egress_throttled_records",
        COUNTER,
        TO,
        "Number of times that a record was throttled.",
        |all, to| per_egress(all, to, |producer| producer.throttled_records),
    ),
    family(
        Section::Egress,
        "statefun_egress_retried_records",
        COUNTER,
        TO,
        "Number of times that a record was retried.",
        |all, to| per_egress(all, to, |producer| producer.retried_records),
    ),
    family(
        Section::Egress,
        "statefun_egress_misplaced_aggregates",
        COUNTER,
        TO,
        "Aggregated records that were sent again because some of their user records belong to another shard.",
        |all, to| per_egress(all, to, |producer| producer.misplaced_aggregates),
    ),
    family(
        Section::Egress,
        "statefun_egress_shard_listings",
        COUNTER,
        TO,
        "Number of times that the shards of the stream were listed.",
        |all, to| per_egress(all, to, |producer| producer.shard_listings),
    ),
];

fn per_egress(all: &Snapshot, to: &mut Samples<'_>, number: fn(&Metrics) -> u64) {
    for egress in all.egresses() {
        to.count([egress.egress.as_str(), egress.stream.as_str()], number(&egress.producer));
    }
}
