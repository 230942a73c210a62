//! How long records wait for company.

use std::time::Duration;

use statefun_kinesis_client::{Backoff, ErrorKind};

use super::scene::{MIB, MILLI, Rig, call_error, count, internal, plain, record, stored, throttled, with_shards};
use crate::{Aggregation, Settings, machine::answer::FIRST_RETRY_WITHIN};

#[test]
fn a_record_lingers_for_company_and_a_full_request_does_not() {
    let mut rig = Rig::new(Settings { linger: 5 * MILLI, ..plain() });
    rig.send(&["a"]);
    rig.now += 3 * MILLI;
    rig.send(&["b"]);
    rig.nothing_to_send();
    assert_eq!(rig.wait(), 2 * MILLI);
    rig.request_of("ab");

    for key in 0..499 {
        rig.machine.submit(rig.now, record(&key.to_string(), 1), "");
    }
    rig.nothing_to_send();
    rig.send(&["c"]);
    assert_eq!(rig.request().plain().len(), 500);

    for key in ["d", "e", "f"] {
        rig.machine.submit(rig.now, record(key, 3 * MIB), "");
    }
    rig.nothing_to_send();
    rig.machine.submit(rig.now, record("g", 3 * MIB), "");
    rig.request_of("def");
    rig.nothing_to_send();
}

#[test]
fn a_request_lingers_until_it_has_10_mib_and_not_a_byte_longer() {
    let mut rig = Rig::new(Settings { linger: Duration::from_secs(3_600), ..plain() });
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
fn an_aggregate_lingers_until_it_has_as_many_records_as_are_allowed() {
    let aggregation = Some(Aggregation { max_records: count(3), ..Aggregation::default() });
    let linger = Settings { linger: Duration::from_secs(3_600), aggregation, ..plain() };
    let mut rig = with_shards(Rig::new(linger), &[0]);
    rig.send_to(0, &["a", "b"]);
    rig.nothing_to_send();
    rig.send_to(0, &["c"]);
    rig.aggregates(&[3]);
}

#[test]
fn a_record_after_a_quiet_while_leaves_at_once_and_the_next_ones_linger() {
    let mut rig = Rig::new(Settings { linger: 5 * MILLI, ..plain() });
    rig.send(&["a"]);
    rig.wait();
    rig.request_of("a");
    rig.now += 5 * MILLI;
    rig.send(&["b"]);
    rig.request_of("b");
    rig.now += 2 * MILLI;
    rig.send(&["c"]);
    rig.nothing_to_send();
    assert_eq!(rig.wait(), 3 * MILLI);
    rig.request_of("c");
}

#[test]
fn the_longest_linger_is_as_long_as_it_says() {
    let mut rig = Rig::new(Settings { linger: Duration::MAX, give_up_after: Duration::MAX, ..plain() });
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
fn a_record_that_has_waited_already_does_not_linger() {
    let mut rig = Rig::new(Settings { linger: Duration::from_secs(3_600), ..plain() });
    rig.send(&["a1", "a2", "b1"]);
    rig.machine.flush("all");
    let first = rig.request_of("ab");
    rig.send(&["b2"]);
    rig.answer(first, [internal(), stored()]);
    let second = rig.request_of("b");
    rig.now += FIRST_RETRY_WITHIN;
    rig.request_of("a");
    rig.answer(second, [stored()]);
}

#[test]
fn no_record_lingers_while_the_queue_is_full_and_a_sender_waits() {
    let mut rig =
        Rig::new(Settings { linger: Duration::from_secs(3_600), max_outstanding_records: count(2), ..plain() });
    rig.send(&["a", "b"]);
    rig.nothing_to_send();
    assert!(!rig.machine.admits(1));
    rig.request_of("ab");
}
