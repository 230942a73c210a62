//! Functions, what they keep, and how durable that is.

use statefun_kinesis_functions::{BlockReason, FunctionCounts, Usage};

use super::{About, COUNTER, Family, GAUGE, Kind, family, of_run};
use crate::admin::{
    exposition::{In, Samples},
    snapshot::{Durable, FunctionsSnapshot, Snapshot},
};

const FUNCTION: &[&str] = &["function"];

pub(super) const FAMILIES: &[Family] = &[
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
        "Messages for the function that wait now, in memory or in the store.",
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
        "Messages that are not handled, those in flight and those in the store too.",
        |all, to| of_mailboxes(all, to, |usage| usage.messages),
    ),
    family(
        About::Mailboxes,
        "statefun_mailbox_messages_in_memory",
        GAUGE,
        &[],
        "Those of them that are in memory.",
        |all, to| of_mailboxes(all, to, |usage| usage.messages_in_memory as u64),
    ),
    family(
        About::Mailboxes,
        "statefun_reading_blocked",
        GAUGE,
        &["reason", "function"],
        "1 while reading waits because no more messages can be taken over, with the function for which most messages wait. \
         busy: functions have as many messages in memory as they may. full: no more fit into memory, and there is no state \
         directory. store-fails: the store cannot be written.",
        |all, to| {
            of_functions(all, |functions| {
                let blocked = functions.blocked.as_ref();
                for reason in BlockReason::ALL {
                    let is_it = blocked.filter(|blocked| blocked.reason == reason);
                    let function = is_it.and_then(|blocked| blocked.function.as_ref());
                    let function = function.map_or("", |function| function.as_str());
                    to.count([reason.as_str(), function], u64::from(is_it.is_some()));
                }
            });
        },
    ),
    family(
        About::Mailboxes,
        "statefun_mailbox",
        Kind::Gauge(Some(In::Bytes)),
        &[],
        "Memory that these take, roughly.",
        |all, to| of_mailboxes(all, to, |usage| usage.bytes as u64),
    ),
    family(About::Mailboxes, "statefun_mailboxes", GAUGE, &[], "Addresses with messages.", |all, to| {
        of_mailboxes(all, to, |usage| usage.mailboxes as u64);
    }),
    family(
        About::Mailboxes,
        "statefun_addresses",
        GAUGE,
        &[],
        "Addresses with messages or states that are in memory.",
        |all, to| of_mailboxes(all, to, |usage| usage.instances as u64),
    ),
    family(
        About::Mailboxes,
        "statefun_addresses_memory",
        Kind::Gauge(Some(In::Bytes)),
        &[],
        "Memory that these addresses take, roughly, without their messages.",
        |all, to| of_mailboxes(all, to, |usage| usage.state_bytes as u64),
    ),
    family(
        About::Mailboxes,
        "statefun_unsaved_states",
        Kind::Gauge(Some(In::Bytes)),
        &[],
        "Bytes of changed states that are in no durable checkpoint, roughly.",
        |all, to| of_mailboxes(all, to, |usage| usage.unsaved_bytes as u64),
    ),
    family(
        About::Mailboxes,
        "statefun_store_reads",
        GAUGE,
        &[],
        "Reads of the store that are under way: of states, and of messages that are not in memory.",
        |all, to| of_mailboxes(all, to, |usage| usage.reads as u64),
    ),
    family(
        About::Mailboxes,
        "statefun_delayed_messages",
        GAUGE,
        &[],
        "Delayed messages that are not due yet, those in the store too.",
        |all, to| of_mailboxes(all, to, |usage| usage.timers),
    ),
    family(
        About::Mailboxes,
        "statefun_unacknowledged_records",
        GAUGE,
        &[],
        "Records that functions sent and that their egress has not stored.",
        |all, to| of_mailboxes(all, to, |usage| usage.egress_records as u64),
    ),
    family(
        About::Mailboxes,
        "statefun_unacknowledged",
        Kind::Gauge(Some(In::Bytes)),
        &[],
        "Bytes of these records.",
        |all, to| of_mailboxes(all, to, |usage| usage.egress_bytes as u64),
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
];

fn of_functions(all: &Snapshot, tell: impl FnOnce(&FunctionsSnapshot)) {
    of_run(all, |run| {
        if let Some(functions) = &run.functions {
            tell(functions);
        }
    });
}

fn per_function(all: &Snapshot, to: &mut Samples<'_>, number: fn(&FunctionCounts) -> u64) {
    of_functions(all, |functions| {
        for (function, counts) in &functions.counts {
            to.count([function.as_str()], number(counts));
        }
    });
}

fn of_mailboxes(all: &Snapshot, to: &mut Samples<'_>, number: fn(&Usage) -> u64) {
    of_functions(all, |functions| to.count([], number(&functions.usage)));
}

fn of_checkpoint(all: &Snapshot, tell: impl FnOnce(&Durable)) {
    of_run(all, |run| {
        if let Some(durable) = &run.checkpoint {
            tell(durable);
        }
    });
}
