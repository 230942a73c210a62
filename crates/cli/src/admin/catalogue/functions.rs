//! Metrics of functions, mailboxes and the checkpoint.

use std::time::Duration;

use statefun_kinesis_functions::{BlockReason, CheckpointStatus, FunctionCounts, Usage};

use super::{
    family::{COUNTER, Family, GAUGE, Section, family},
    kind::{Kind, Unit},
    samples::Samples,
};
use crate::admin::snapshot::{Durable, Snapshot};

const FUNCTION: &[&str] = &["function"];

pub(super) const FAMILIES: &[Family] = &[
    family(
        Section::Function,
        "statefun_function_in",
        COUNTER,
        FUNCTION,
        "Messages that the function received.",
        |all, to| per_function(all, to, |counts| counts.messages_in),
    )
    .known_as("in"),
    family(
        Section::Function,
        "statefun_function_out_local",
        COUNTER,
        FUNCTION,
        "Messages that the function sent to functions, including delayed messages.",
        |all, to| per_function(all, to, |counts| counts.messages_out),
    )
    .known_as("outLocal"),
    family(
        Section::Function,
        "statefun_function_out_egress",
        COUNTER,
        FUNCTION,
        "Messages that the function sent to egresses.",
        |all, to| per_function(all, to, |counts| counts.egress_out),
    )
    .known_as("outEgress"),
    family(
        Section::Function,
        "statefun_function_num_backlog",
        GAUGE,
        FUNCTION,
        "Messages that are waiting for the function, in memory or in the store.",
        |all, to| per_function(all, to, |counts| counts.backlog),
    )
    .known_as("numBacklog"),
    family(
        Section::Function,
        "statefun_function_inflight_async_ops",
        GAUGE,
        FUNCTION,
        "Requests to the function that are in flight.",
        |all, to| per_function(all, to, |counts| counts.in_flight),
    )
    .known_as("inflightAsyncOps"),
    family(
        Section::Function,
        "statefun_function_remote_invocation_failures",
        COUNTER,
        FUNCTION,
        "Failed requests to the function; each attempt is counted.",
        |all, to| per_function(all, to, |counts| counts.failures),
    )
    .known_as("remoteInvocationFailures"),
    family(
        Section::Function,
        "statefun_function_failing_addresses",
        GAUGE,
        FUNCTION,
        "Addresses of the function whose last request failed. Their messages wait for a retry; other addresses continue.",
        |all, to| per_function(all, to, |counts| counts.failing),
    ),
    family(
        Section::Function,
        "statefun_function_oldest_message_age",
        Kind::Gauge(Some(Unit::Seconds)),
        FUNCTION,
        "How long the oldest unprocessed message of the function has been waiting, in this run; 0 without messages. It may \
         be a second too much, or a fifth of the age if that is more.",
        |all, to| {
            for (function, counts) in all.functions().iter().flat_map(|functions| &functions.counts) {
                to.real([function.as_str()], counts.oldest.unwrap_or_default().as_secs_f64());
            }
        },
    ),
    family(
        Section::Function,
        "statefun_function_skipped_messages",
        COUNTER,
        FUNCTION,
        "Messages that `failureHandling` of type `skip` gave up.",
        |all, to| per_function(all, to, |counts| counts.skipped),
    ),
    family(
        Section::Function,
        "statefun_function_dead_lettered_messages",
        COUNTER,
        FUNCTION,
        "Messages that `failureHandling` of type `dead-letter` gave up, after their dead letters were stored.",
        |all, to| per_function(all, to, |counts| counts.dead_lettered),
    ),
    family(
        Section::Function,
        "statefun_function_remote_invocation_latency",
        Kind::Histogram,
        FUNCTION,
        "Duration of requests to the function; each attempt is counted, including failed ones.",
        |all, to| {
            for (function, latency) in all.functions().iter().flat_map(|functions| &functions.latencies) {
                to.times([function.as_str()], latency.buckets(), latency.requests(), latency.sum());
            }
        },
    )
    .known_as("remoteInvocationLatency"),
    family(
        Section::Mailboxes,
        "statefun_mailbox_messages",
        GAUGE,
        &[],
        "Unprocessed messages, including those in flight and in the store.",
        |all, to| of_mailboxes(all, to, |usage| usage.messages),
    ),
    family(
        Section::Mailboxes,
        "statefun_mailbox_messages_in_memory",
        GAUGE,
        &[],
        "Unprocessed messages that are in memory.",
        |all, to| of_mailboxes(all, to, |usage| usage.messages_in_memory as u64),
    ),
    family(
        Section::Mailboxes,
        "statefun_reading_blocked",
        GAUGE,
        &["reason", "function"],
        "1 while reading is paused because no more messages are accepted, with the function that has the most waiting messages. \
         busy: all functions have reached their limit of messages in memory. full: the memory limit is reached, and there is \
         no state directory. store-fails: writing to the store fails.",
        |all, to| {
            if let Some(functions) = all.functions() {
                let blocked = functions.blocked.as_ref();
                for reason in BlockReason::ALL {
                    let is_it = blocked.filter(|blocked| blocked.reason == reason);
                    let function = is_it.and_then(|blocked| blocked.function.as_ref());
                    let function = function.map_or("", |function| function.as_str());
                    to.count([reason.as_str(), function], u64::from(is_it.is_some()));
                }
            }
        },
    ),
    family(
        Section::Mailboxes,
        "statefun_mailbox",
        Kind::Gauge(Some(Unit::Bytes)),
        &[],
        "Approximate memory of unprocessed messages.",
        |all, to| of_mailboxes(all, to, |usage| usage.bytes as u64),
    ),
    family(Section::Mailboxes, "statefun_mailboxes", GAUGE, &[], "Addresses with messages.", |all, to| {
        of_mailboxes(all, to, |usage| usage.mailboxes as u64);
    }),
    family(
        Section::Mailboxes,
        "statefun_addresses",
        GAUGE,
        &[],
        "Addresses with messages or states in memory.",
        |all, to| of_mailboxes(all, to, |usage| usage.instances as u64),
    ),
    family(
        Section::Mailboxes,
        "statefun_addresses_memory",
        Kind::Gauge(Some(Unit::Bytes)),
        &[],
        "Approximate memory of these addresses, without their messages.",
        |all, to| of_mailboxes(all, to, |usage| usage.state_bytes as u64),
    ),
    family(
        Section::Mailboxes,
        "statefun_unsaved_states",
        Kind::Gauge(Some(Unit::Bytes)),
        &[],
        "Approximate bytes of changed states that are not in a durable checkpoint.",
        |all, to| of_mailboxes(all, to, |usage| usage.unsaved_bytes as u64),
    ),
    family(
        Section::Mailboxes,
        "statefun_store_reads",
        GAUGE,
        &[],
        "Reads of the store that are in progress: of states, and of messages that are not in memory.",
        |all, to| of_mailboxes(all, to, |usage| usage.reads as u64),
    ),
    family(
        Section::Mailboxes,
        "statefun_delayed_messages",
        GAUGE,
        &[],
        "Delayed messages that are not due yet, including those in the store.",
        |all, to| of_mailboxes(all, to, |usage| usage.timers),
    ),
    family(
        Section::Mailboxes,
        "statefun_unacknowledged_records",
        GAUGE,
        &[],
        "Records that functions sent to an egress and that are not stored yet.",
        |all, to| of_mailboxes(all, to, |usage| usage.egress_records as u64),
    ),
    family(
        Section::Mailboxes,
        "statefun_unacknowledged",
        Kind::Gauge(Some(Unit::Bytes)),
        &[],
        "Bytes of records that functions sent to an egress and that are not stored yet.",
        |all, to| of_mailboxes(all, to, |usage| usage.egress_bytes as u64),
    ),
    family(
        Section::Checkpoint,
        "statefun_checkpoint_age",
        Kind::Gauge(Some(Unit::Seconds)),
        &[],
        "Age of the last durable checkpoint; missing before the first one. After a crash, the next run repeats the work of this \
         time.",
        |all, to| seconds_of_checkpoint(all, to, |durable| durable.age),
    ),
    family(Section::Checkpoint, "statefun_checkpoints", COUNTER, &[], "Written checkpoints.", |all, to| {
        of_checkpoint(all, to, |status| status.commits);
    }),
    family(
        Section::Checkpoint,
        "statefun_checkpoint_failures",
        COUNTER,
        &[],
        "Failed attempts to write a checkpoint; each is retried.",
        |all, to| of_checkpoint(all, to, |status| status.failures),
    ),
    family(
        Section::Checkpoint,
        "statefun_checkpoint_written",
        Kind::Counter(Some(Unit::Bytes)),
        &[],
        "Bytes of all checkpoints, keys and values.",
        |all, to| of_checkpoint(all, to, |status| status.bytes),
    ),
    family(
        Section::Checkpoint,
        "statefun_checkpoint_last",
        Kind::Gauge(Some(Unit::Bytes)),
        &[],
        "Bytes of the last checkpoint.",
        |all, to| of_checkpoint(all, to, |status| status.last_bytes),
    ),
    family(
        Section::Checkpoint,
        "statefun_checkpoint_last_entries",
        GAUGE,
        &[],
        "Entries that the last checkpoint changed.",
        |all, to| of_checkpoint(all, to, |status| status.last_changes),
    ),
    family(
        Section::Checkpoint,
        "statefun_checkpoint_last_duration",
        Kind::Gauge(Some(Unit::Seconds)),
        &[],
        "Duration of the last checkpoint, from its cut until it was durable.",
        |all, to| seconds_of_checkpoint(all, to, |durable| Some(durable.status.last_took)),
    ),
    family(
        Section::Checkpoint,
        "statefun_checkpoint_last_hold",
        Kind::Gauge(Some(Unit::Seconds)),
        &[],
        "Time for which the cut of the last checkpoint locked the mailboxes.",
        |all, to| seconds_of_checkpoint(all, to, |durable| Some(durable.status.last_held)),
    ),
];

fn per_function(all: &Snapshot, to: &mut Samples<'_>, number: fn(&FunctionCounts) -> u64) {
    for (function, counts) in all.functions().iter().flat_map(|functions| &functions.counts) {
        to.count([function.as_str()], number(counts));
    }
}

fn of_mailboxes(all: &Snapshot, to: &mut Samples<'_>, number: fn(&Usage) -> u64) {
    if let Some(functions) = all.functions() {
        to.count([], number(&functions.usage));
    }
}

fn of_checkpoint(all: &Snapshot, to: &mut Samples<'_>, number: fn(&CheckpointStatus) -> u64) {
    if let Some(durable) = all.checkpoint() {
        to.count([], number(&durable.status));
    }
}

fn seconds_of_checkpoint(all: &Snapshot, to: &mut Samples<'_>, time: fn(&Durable) -> Option<Duration>) {
    if let Some(time) = all.checkpoint().and_then(time) {
        to.real([], time.as_secs_f64());
    }
}
