//! How much is queued and in flight, flushes, and the end.

use std::time::{Duration, Instant};

use statefun_kinesis_client::ErrorKind;

use super::scene::{MILLI, Rig, all_outcomes, call_error, count, internal, machine, plain, record, stored, throttled};
use crate::{Settings, machine::Machine};

#[test]
fn a_batch_is_queued_as_far_as_there_is_room_for_records_and_bytes() {
    #[track_caller]
    fn check(max_records: u32, max_bytes: u32, before: &[usize], sizes: &[usize], expect: usize) {
        let mut machine: Machine<u64, ()> = machine(Settings {
            max_outstanding_records: count(max_records),
            max_outstanding_bytes: count(max_bytes),
            ..plain()
        });
        let now = Instant::now();
        for (number, size) in (0..).zip(before) {
            machine.submit(now, record(&format!("{number:03}"), size - 3), number);
        }
        let of_batch = |(number, size): (usize, &usize)| record(&format!("{number:03}"), size - 3);
        let mut rest = (before.len()..).zip(sizes).map(of_batch).collect::<Vec<_>>().into_iter();
        assert_eq!(machine.queue_run(now, &mut rest, before.len() as u64).0, expect);
        assert_eq!(machine.metrics().outstanding_records, before.len() + expect);
        let bytes: usize = before.iter().chain(&sizes[..expect]).sum();
        assert_eq!(machine.metrics().outstanding_bytes, bytes);
        machine.check_invariants();
    }
    check(10, 1_000, &[], &[10, 10, 10], 3);
    check(2, 1_000, &[], &[10, 10, 10], 2);
    check(3, 1_000, &[10, 10], &[10, 10, 10], 1);
    check(3, 1_000, &[10, 10, 10], &[10], 0);
    check(10, 30, &[], &[10, 10, 10], 3);
    check(10, 29, &[], &[10, 10, 10], 2);
    check(10, 50, &[10, 20], &[10, 10, 10], 2);
    check(10, 49, &[10, 20], &[10, 10, 10], 1);
    check(10, 30, &[10, 20], &[10], 0);
}

#[test]
fn room_is_for_so_many_records_and_bytes_and_for_one_record_of_any_size() {
    let mut rig =
        Rig::new(Settings { max_outstanding_records: count(3), max_outstanding_bytes: count(100), ..plain() });
    assert!(rig.machine.admits(1_000));
    rig.machine.submit(rig.now, record("x", 999), "x");
    assert!(!rig.machine.admits(1));
    let request = rig.request();
    assert!(!rig.machine.admits(1), "records in flight are outstanding too");
    rig.answer(request, [stored()]);

    rig.machine.submit(rig.now, record("y", 89), "y");
    assert!(rig.machine.admits(10) && !rig.machine.admits(11));
    rig.machine.submit(rig.now, record("y", 1), "y");
    rig.machine.submit(rig.now, record("y", 1), "y");
    assert!(!rig.machine.admits(1), "three records are outstanding");
}

#[test]
fn no_more_requests_are_in_flight_than_allowed() {
    let mut rig = Rig::new(Settings { max_in_flight_requests: count(2), ..plain() });
    rig.send(&["a"]);
    let first = rig.request_of("a");
    rig.send(&["b"]);
    rig.request_of("b");
    rig.send(&["c"]);
    rig.nothing_to_send();
    assert_eq!(rig.machine.wake_at(), None);
    rig.answer(first, [stored()]);
    rig.request_of("c");
}

#[test]
fn a_flush_ends_lingering_for_what_came_before_and_lasts_until_it_is_completed() {
    let mut rig = Rig::new(Settings { linger: Duration::from_secs(3_600), ..plain() });
    rig.machine.flush("nothing");
    assert_eq!(rig.machine.take_flushed(), ["nothing"]);

    rig.send(&["a1", "a2"]);
    rig.machine.flush("two");
    rig.send(&["a3"]);
    for outcome in [throttled(), stored()] {
        let waited = rig.wait();
        assert!(waited <= 100 * MILLI, "a flush lingers: {waited:?}");
        let request = rig.request_of("a");
        assert!(rig.machine.take_flushed().is_empty());
        rig.answer(request, [outcome]);
    }
    let request = rig.request_of("a");
    rig.send(&["b1"]);
    rig.nothing_to_send();
    rig.answer(request, [stored()]);
    assert_eq!(rig.machine.take_flushed(), ["two"]);
    assert_eq!(rig.outcomes(), ["a1 stored", "a2 stored"]);
}

#[test]
fn abandoning_fails_what_is_queued_and_leaves_the_rest_to_its_answers() {
    let mut rig = Rig::new(plain());
    rig.send(&["a1", "b1"]);
    let first = rig.request_of("ab");
    rig.send(&["c1"]);
    let second = rig.request_of("c");
    rig.send(&["d1"]);
    let third = rig.request_of("d");
    rig.answer(third, [throttled()]);
    rig.send(&["a2", "e1"]);
    rig.machine.flush("all");

    rig.machine.abandon();
    assert_eq!(rig.outcomes(), ["d1 closed", "a2 closed", "e1 closed"]);
    rig.nothing_to_send();
    rig.answer(first, [stored(), internal()]);
    assert_eq!(rig.outcomes(), ["a1 stored", "b1 closed"]);
    assert!(rig.machine.take_flushed().is_empty());
    rig.fail(second, call_error(ErrorKind::Timeout));
    let (_, result) = all_outcomes(&mut rig.machine).remove(0);
    assert!(result.is_err_and(|error| error.may_be_stored()));
    assert_eq!(rig.machine.take_flushed(), ["all"]);
    assert!(rig.machine.is_idle() && rig.machine.wake_at().is_none());
}
