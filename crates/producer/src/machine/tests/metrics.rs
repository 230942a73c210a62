//! What is counted.

use statefun_kinesis_client::{ErrorKind, PutFailure, PutOutcome};

use super::scene::{
    DEAD_LETTER, HALF, Rig, SKIP, aggregated, call_error, internal, plain, record, stored, stored_in, throttled,
    with_shards,
};
use crate::{Metrics, machine::listing::LIST_EVERY, request::Request};

/// Bytes of a record of a rig, with its key of one letter.
const SIZE: usize = 11;

fn rejected() -> PutOutcome {
    Err(PutFailure::new(ErrorKind::InvalidArgument, "InvalidArgumentException", "invalid"))
}

/// A rig of which each count is checked at each step.
struct Counted {
    rig: Rig,
    expect: Metrics,
}

impl Counted {
    fn new(rig: Rig) -> Self {
        let expect = rig.machine.metrics();
        assert_eq!(expect, Metrics::default());
        Self { rig, expect }
    }

    /// Nothing else changes in the metrics than what `change` does.
    #[track_caller]
    fn changes<R>(&mut self, step: impl FnOnce(&mut Rig) -> R, change: impl FnOnce(&mut Metrics)) -> R {
        let result = step(&mut self.rig);
        change(&mut self.expect);
        assert_eq!(self.rig.machine.metrics(), self.expect);
        result
    }

    #[track_caller]
    fn sends(&mut self, tokens: &[&'static str]) {
        self.changes(
            |rig| rig.send(tokens),
            |metrics| {
                metrics.outstanding_records += tokens.len();
                metrics.outstanding_bytes += SIZE * tokens.len();
            },
        );
    }

    #[track_caller]
    fn requests(&mut self, keys: &str) -> Request {
        self.changes(
            |rig| rig.request_of(keys),
            |metrics| {
                metrics.in_flight_requests += 1;
                metrics.requests += 1;
                metrics.request_records += keys.len() as u64;
            },
        )
    }

    /// An answer completes so many records, one way or the other.
    #[track_caller]
    fn completes(
        &mut self,
        records: usize,
        request: Request,
        answer: impl IntoIterator<Item = PutOutcome>,
        change: impl FnOnce(&mut Metrics),
    ) {
        self.changes(
            |rig| rig.answer(request, answer),
            |metrics| {
                metrics.in_flight_requests -= 1;
                metrics.outstanding_records -= records;
                metrics.outstanding_bytes -= SIZE * records;
                change(metrics);
            },
        );
    }
}

#[test]
fn each_step_of_a_record_is_counted_once_and_nothing_else() {
    let mut counted = Counted::new(Rig::new(plain()));
    counted.sends(&["a1", "b1", "a2", "a3"]);
    let first = counted.requests("ab");
    counted.sends(&["c1"]);
    let second = counted.requests("c");
    // Untracked records of which all were stored.
    counted.completes(1, second, [stored()], |metrics| {
        metrics.stored_records += 1;
        metrics.stored_bytes += SIZE as u64;
    });
    // Of which one was not: both have entries now.
    counted.completes(1, first, [throttled(), stored()], |metrics| {
        metrics.stored_records += 1;
        metrics.stored_bytes += SIZE as u64;
        metrics.throttled_records += 1;
        metrics.retried_records += 1;
    });
    counted.changes(|rig| assert!(rig.machine.wants_shards(rig.now)), |metrics| metrics.shard_listings += 1);
    counted.changes(|rig| assert!(!rig.machine.wants_shards(rig.now)), |_| {});
    counted.changes(|rig| rig.list(&[0, HALF], 0), |_| {});

    // A throttled record whose shard is known waits for the pace of the shard.
    counted.changes(Rig::wait, |_| {});
    let again = counted.requests("a");
    counted.completes(0, again, [throttled()], |metrics| {
        metrics.throttled_records += 1;
        metrics.retried_records += 1;
        metrics.paced_shards += 1;
    });
    counted.changes(Rig::wait, |_| {});
    let again = counted.requests("a");
    counted.completes(0, again, [internal()], |metrics| metrics.retried_records += 1);
    counted.changes(Rig::wait, |_| {});
    let again = counted.requests("a");
    counted.changes(
        |rig| rig.fail(again, call_error(ErrorKind::Unavailable)),
        |metrics| {
            metrics.in_flight_requests -= 1;
            metrics.failed_requests += 1;
            metrics.retried_records += 1;
        },
    );
    counted.changes(Rig::wait, |_| {});
    let again = counted.requests("a");
    counted.completes(1, again, [stored()], |metrics| {
        metrics.stored_records += 1;
        metrics.stored_bytes += SIZE as u64;
    });
    // The record fails, and the one behind it.
    counted.changes(|rig| _ = rig.machine.wake_at().map(|wake_at| rig.now = rig.now.max(wake_at)), |_| {});
    let last = counted.requests("a");
    counted.completes(2, last, [rejected()], |metrics| metrics.failed_records += 2);
}

#[test]
fn records_that_fail_permanently_are_counted_by_what_became_of_them() {
    let mut skipping = Counted::new(Rig::with_policy(plain(), SKIP, 1_000));
    skipping.sends(&["a1", "a2"]);
    let request = skipping.requests("a");
    skipping.completes(1, request, [rejected()], |metrics| metrics.skipped_records += 1);

    for is_stored in [true, false] {
        let mut dead_lettering = Counted::new(Rig::with_policy(plain(), DEAD_LETTER, 1_000));
        dead_lettering.sends(&["a1"]);
        let request = dead_lettering.requests("a");
        // It is outstanding until its dead letter is stored.
        dead_lettering.completes(0, request, [rejected()], |_| {});
        let write = |rig: &mut Rig| {
            let pending = rig.machine.take_dead_letters().pop().unwrap();
            rig.machine.dead_letter_written(pending.id, pending.record, pending.error, is_stored);
        };
        dead_lettering.changes(write, |metrics| {
            (metrics.outstanding_records, metrics.outstanding_bytes) = (0, 0);
            if is_stored {
                metrics.dead_lettered_records += 1;
            } else {
                metrics.failed_records += 1;
            }
        });
    }

    let mut closing = Counted::new(Rig::new(plain()));
    closing.sends(&["a1", "a2", "b1"]);
    closing.changes(
        |rig| rig.machine.abandon(),
        |metrics| {
            (metrics.outstanding_records, metrics.outstanding_bytes) = (0, 0);
            metrics.failed_records += 3;
        },
    );
}

#[test]
fn an_aggregate_is_one_record_of_a_request_and_all_its_records_are_stored() {
    let mut rig = with_shards(Rig::new(aggregated()), &[0]);
    rig.send_to(0, &["a1"]);
    rig.send_to(HALF, &["b1"]);
    let request = rig.aggregates(&[2]);
    rig.answer(request, [stored_in(1)]);
    rig.now += LIST_EVERY;
    assert!(rig.machine.wants_shards(rig.now));
    rig.list(&[0, HALF], 1);
    let before = Metrics {
        outstanding_records: 2,
        outstanding_bytes: 2 * SIZE,
        requests: 1,
        request_records: 1,
        retried_records: 2,
        misplaced_aggregates: 1,
        shard_listings: 1,
        ..Metrics::default()
    };
    assert_eq!(rig.machine.metrics(), before);
    // Each of the children gets an aggregate.
    rig.send_to(0, &["c1"]);
    let request = rig.aggregates(&[2, 1]);
    rig.answer(request, [stored_in(1), stored_in(2)]);
    let stored = Metrics {
        outstanding_records: 0,
        outstanding_bytes: 0,
        requests: 2,
        request_records: 3,
        stored_records: 3,
        stored_bytes: 3 * SIZE as u64,
        ..before
    };
    assert_eq!(rig.machine.metrics(), stored);
}

#[test]
fn a_machine_that_is_reset_keeps_its_counts_and_has_failed_all_records_that_were_outstanding() {
    let mut rig = Rig::with_policy(plain(), SKIP, 1_000);
    rig.send(&["a1", "b1", "c1"]);
    let request = rig.request_of("abc");
    rig.answer(request, [stored(), rejected(), throttled()]);
    assert!(rig.machine.wants_shards(rig.now));
    rig.list(&[0], 0);
    rig.wait();
    let request = rig.request_of("c");
    rig.answer(request, [throttled()]);
    rig.send(&["d1", "e1"]);
    rig.machine.submit(rig.now, record("f", 100), "f1");
    rig.wait();
    let request = rig.request();
    rig.fail(request, call_error(ErrorKind::Unavailable));
    // For the retry, and then for the shard.
    rig.wait();
    rig.nothing_to_send();
    rig.wait();
    rig.request();
    let before = rig.machine.metrics();
    assert!(before.in_flight_requests == 1 && before.paced_shards == 1 && before.outstanding_bytes > 0, "{before:?}");
    let outstanding = before.outstanding_records;
    assert_eq!(outstanding, 4);
    for failed_records in [4, 4] {
        rig.machine.reset();
        let kept = Metrics {
            outstanding_records: 0,
            outstanding_bytes: 0,
            in_flight_requests: 0,
            paced_shards: 0,
            failed_records,
            ..before
        };
        assert_eq!(rig.machine.metrics(), kept);
    }
}
