//! How long records wait for others that share their request.

use std::time::Duration;

use statefun_kinesis_client::{Backoff, ErrorKind};

use super::scene::{HALF, MIB, MILLI, Rig, call_error, count, internal, plain, record, stored, throttled, with_shards};
use crate::{Aggregation, Settings, machine::answer::FIRST_RETRY_WITHIN, request::Request};

/// A machine that lingers for so long, with a request of one record in flight.
fn busy(linger: Duration, settings: Settings) -> (Rig, Request) {
    let mut rig = Rig::new(Settings { linger, ..settings });
    rig.send(&["0"]);
    let request = rig.request_of("0");
    (rig, request)
}

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn a_record_goes_at_once_when_nothing_is_in_flight() {
    let (mut rig, first) = busy(HOUR, plain());
    rig.now += MILLI;
    rig.answer(first, [stored()]);
    rig.send(&["a"]);
    let request = rig.request_of("a");
    rig.answer(request, [stored()]);
}

#[test]
fn records_wait_for_an_answer_and_then_go_together() {
    let (mut rig, first) = busy(HOUR, plain());
    for token in ["a", "b1", "b2", "01", "c"] {
        rig.send(&[token]);
        rig.nothing_to_send();
        rig.now += MILLI;
    }
    rig.answer(first, [stored()]);
    // The record of the key that was in flight goes with them.
    let second = rig.request_of("abc0");
    rig.nothing_to_send();
    rig.answer(second, vec![stored(); 4]);
    rig.request_of("b");
}

#[test]
fn records_that_wait_for_an_answer_go_when_the_linger_is_over() {
    let (mut rig, _first) = busy(5 * MILLI, plain());
    rig.now += 3 * MILLI;
    rig.send(&["a"]);
    rig.nothing_to_send();
    assert_eq!(rig.wait(), 2 * MILLI);
    rig.request_of("a");
    rig.send(&["b"]);
    rig.nothing_to_send();
    assert_eq!(rig.wait(), 5 * MILLI);
    rig.request_of("b");
    // One that comes later than that does not wait.
    rig.now += 6 * MILLI;
    rig.send(&["c"]);
    rig.request_of("c");
}

#[test]
fn records_that_fill_a_request_wait_for_no_answer() {
    let (mut rig, _first) = busy(HOUR, plain());
    for key in 0..499 {
        rig.machine.submit(rig.now, record(&key.to_string(), 1), "");
    }
    rig.nothing_to_send();
    rig.send(&["c", "d"]);
    assert_eq!(rig.request().plain().len(), 500);
    rig.nothing_to_send();

    let (mut rig, _first) = busy(HOUR, plain());
    for key in ["d", "e", "f"] {
        rig.machine.submit(rig.now, record(key, 3 * MIB), "");
    }
    rig.nothing_to_send();
    rig.machine.submit(rig.now, record("g", 3 * MIB), "");
    rig.request_of("def");
    rig.nothing_to_send();
}

#[test]
fn a_request_waits_until_it_has_10_mib_and_not_a_byte_longer() {
    let (mut rig, _first) = busy(HOUR, plain());
    for key in ["a", "b", "c"] {
        rig.machine.submit(rig.now, record(key, 3 * MIB - 1), "");
    }
    rig.machine.submit(rig.now, record("d", MIB - 2), "");
    rig.nothing_to_send();
    // The last byte is that of the key.
    rig.machine.submit(rig.now, record("e", 0), "");
    assert_eq!(rig.request().plain().len(), 5);
}

#[test]
fn what_does_not_fit_into_a_full_request_goes_along_with_it_only_if_it_need_not_wait() {
    for is_in_flight in [false, true] {
        let mut rig = Rig::new(Settings { linger: HOUR, ..plain() });
        let first = is_in_flight.then(|| {
            rig.send(&["0"]);
            rig.request_of("0")
        });
        for key in 0..700 {
            rig.machine.submit(rig.now, record(&key.to_string(), 1), "");
        }
        assert_eq!(rig.request().len(), 500);
        match first {
            None => assert_eq!(rig.request().len(), 200),
            Some(_) => rig.nothing_to_send(),
        }
        rig.send(&["a"]);
        rig.nothing_to_send();
    }
}

#[test]
fn an_aggregate_waits_until_it_has_as_many_records_as_are_allowed() {
    let aggregation = Some(Aggregation { max_records: count(3), ..Aggregation::default() });
    let mut rig = with_shards(Rig::new(Settings { linger: HOUR, aggregation, ..plain() }), &[0]);
    rig.send_to(0, &["0"]);
    rig.aggregates(&[1]);
    rig.send_to(0, &["a", "b"]);
    rig.nothing_to_send();
    rig.send_to(0, &["c", "d"]);
    rig.aggregates(&[3, 1]);
}

#[test]
fn full_aggregates_of_one_shard_do_not_keep_the_records_of_another_waiting() {
    let aggregation = Some(Aggregation { max_records: count(2), ..Aggregation::default() });
    let mut rig = with_shards(Rig::new(Settings { linger: 5 * MILLI, aggregation, ..plain() }), &[0, HALF]);
    rig.send_to(0, &["0"]);
    rig.aggregates(&[1]);
    rig.send_to(HALF, &["z"]);
    for tokens in [["a", "b"], ["c", "d"]] {
        rig.now += 2 * MILLI;
        rig.send_to(0, &tokens);
        rig.aggregates(&[2]);
        rig.nothing_to_send();
    }
    assert_eq!(rig.wait(), MILLI);
    rig.aggregates(&[1]);
}

#[test]
fn the_longest_linger_is_as_long_as_it_says() {
    let (mut rig, _first) = busy(Duration::MAX, Settings { give_up_after: Duration::MAX, ..plain() });
    rig.send(&["a"]);
    rig.now += Duration::from_secs(24 * 60 * 60);
    rig.nothing_to_send();
    rig.machine.flush("now");
    rig.request_of("a");
}

#[test]
fn no_setting_and_no_retry_after_is_too_long() {
    let forever = Settings {
        linger: Duration::MAX,
        give_up_after: Duration::MAX,
        backoff: Backoff::new(Duration::MAX, Duration::MAX),
        ..plain()
    };
    for aggregation in [None, Some(Aggregation::default())] {
        let mut rig = with_shards(Rig::new(Settings { aggregation, ..forever.clone() }), &[0]);
        rig.send_to(0, &["a", "b", "c"]);
        rig.machine.flush("all");
        let request = rig.request();
        let error = call_error(ErrorKind::Throttled).with_retry_after(Duration::from_secs(u64::MAX));
        rig.fail(request, error.with_retry_after(Duration::MAX));
        // It waits for years, and in no other way than it would for a minute.
        assert!(rig.wait() > Duration::from_secs(365 * 24 * 60 * 60));
        let request = rig.request();
        let outcomes = vec![internal(); request.len()];
        rig.answer(request, outcomes);
        rig.wait();
        let request = rig.request();
        let outcomes = vec![throttled(); request.len()];
        rig.answer(request, outcomes);
        rig.machine.wake_at();
        rig.machine.abandon();
        assert_eq!(rig.outcomes(), ["a closed", "b closed", "c closed"]);
    }
}

#[test]
fn a_retry_and_the_next_record_of_a_key_wait_for_an_answer_too() {
    let (mut rig, first) = busy(HOUR, plain());
    rig.machine.flush("all");
    rig.send(&["a1", "a2", "b1"]);
    let second = rig.request_of("ab");
    rig.answer(first, [stored()]);
    assert_eq!(rig.machine.take_flushed(), ["all"]);
    rig.send(&["c"]);
    rig.answer(second, [internal(), stored()]);
    let third = rig.request_of("c");
    rig.now += FIRST_RETRY_WITHIN;
    rig.nothing_to_send();
    rig.answer(third, [stored()]);
    let fourth = rig.request_of("a");
    rig.answer(fourth, [stored()]);
    rig.request_of("a");
}

#[test]
fn while_a_sender_waits_for_room_half_of_what_may_be_outstanding_is_a_full_request() {
    let (mut rig, _first) = busy(HOUR, Settings { max_outstanding_records: count(5), ..plain() });
    rig.send(&["a", "b", "c"]);
    rig.nothing_to_send();
    rig.send(&["d"]);
    rig.nothing_to_send();
    assert!(!rig.machine.admits(1));
    rig.request_of("abcd");

    let (mut rig, _first) = busy(HOUR, Settings { max_outstanding_records: count(5), ..plain() });
    rig.send(&["a", "b", "01", "02"]);
    assert!(!rig.machine.admits(1));
    // The other half waits for the records of its key.
    rig.nothing_to_send();
}

#[test]
fn a_batch_that_has_room_ends_the_wait_of_its_sender_and_one_of_which_nothing_is_queued_does_not() {
    const TOO_MUCH: usize = usize::MAX / 2;
    let run = |rig: &mut Rig, key: &str| {
        let mut rest = vec![record(key, 10)].into_iter();
        rig.machine.queue_run(rig.now, &mut rest, "run").0
    };
    let few = || Settings { max_outstanding_records: count(4), ..plain() };
    let (mut rig, _first) = busy(HOUR, few());
    rig.send(&["a"]);
    assert!(!rig.machine.admits(TOO_MUCH));
    assert_eq!(run(&mut rig, "b"), 1);
    // Only while a sender waits are two records enough.
    rig.nothing_to_send();

    let (mut rig, _first) = busy(HOUR, few());
    rig.send(&["a", "b"]);
    assert!(!rig.machine.admits(TOO_MUCH));
    assert_eq!(run(&mut rig, "0"), 0);
    rig.request_of("ab");
}
