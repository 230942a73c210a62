//! Which records a request has, and in which order.

use statefun_kinesis_client::{ErrorKind, PutFailure};
use statefun_kinesis_types::{HashKey, PUT_RECORDS_MAX_BYTES};

use super::scene::{MIB, Rig, count, internal, plain, record, stored, throttled, with_shards};
use crate::{Aggregation, Settings, machine::answer::FIRST_RETRY_WITHIN, request::Content};

#[test]
fn a_record_waits_for_its_predecessor_while_other_keys_go_on() {
    let mut rig = Rig::new(plain());
    rig.send(&["a1", "a2", "b1"]);
    let first = rig.request_of("ab");
    rig.send(&["c1", "a3"]);
    let second = rig.request_of("c");
    rig.nothing_to_send();

    rig.answer(first, [throttled(), stored()]);
    rig.answer(second, [stored()]);
    assert_eq!(rig.outcomes(), ["b1 stored", "c1 stored"]);
    rig.nothing_to_send();

    rig.wait();
    let retry = rig.request_of("a");
    rig.nothing_to_send();
    rig.answer(retry, [stored()]);
    assert_eq!(rig.outcomes(), ["a1 stored"]);
    for token in ["a2 stored", "a3 stored"] {
        let next = rig.request_of("a");
        rig.nothing_to_send();
        rig.answer(next, [stored()]);
        assert_eq!(rig.outcomes(), [token]);
    }
    assert!(rig.machine.is_idle());
}

#[test]
fn ready_records_leave_in_the_order_of_their_arrival() {
    let mut rig = Rig::new(Settings { max_in_flight_requests: count(1), ..plain() });
    let send = |rig: &mut Rig, tokens: [&'static str; 3]| {
        for token in tokens {
            rig.machine.submit(rig.now, record(&token[..1], 3 * MIB), token);
        }
    };
    send(&mut rig, ["a1", "a2", "b1"]);
    let first = rig.request_of("ab");
    send(&mut rig, ["c1", "b2", "d1"]);
    send(&mut rig, ["e1", "f1", "g1"]);
    rig.answer(first, [internal(), stored()]);
    rig.now += FIRST_RETRY_WITHIN;
    // Three have room in a request, and each one takes the oldest: a1, c1 and b2, then a2, d1 and e1.
    let second = rig.request_of("cab");
    rig.answer(second, [stored(), stored(), stored()]);
    let third = rig.request_of("dea");
    rig.answer(third, [stored(), stored(), stored()]);
    rig.request_of("fg");
}

#[test]
fn only_the_records_that_failed_are_sent_again() {
    let mut rig = Rig::new(plain());
    rig.send(&["a", "b", "c", "d"]);
    let first = rig.request_of("abcd");
    rig.answer(first, [stored(), internal(), stored(), internal()]);
    assert_eq!(rig.outcomes(), ["a stored", "c stored"]);
    rig.wait();
    let second = rig.request_of("bd");
    rig.answer(second, [stored(), stored()]);
    assert_eq!(rig.outcomes(), ["b stored", "d stored"]);
    assert_eq!(rig.machine.wake_at(), None);
}

#[test]
fn a_request_holds_500_records() {
    let mut rig = Rig::new(plain());
    for key in 0..1_000 {
        rig.machine.submit(rig.now, record(&key.to_string(), 1), "");
    }
    assert_eq!(rig.request().plain().len(), 500);
    assert_eq!(rig.request().plain().len(), 500);
    rig.nothing_to_send();
}

#[test]
fn a_request_holds_10_mib_keys_included() {
    #[track_caller]
    fn check(sizes: &[usize], expect: &[usize]) {
        let mut rig = Rig::new(plain());
        for (key, size) in (b'a'..).zip(sizes) {
            let key = char::from(key).to_string();
            rig.machine.submit(rig.now, record(&key, *size), "");
        }
        let requests = std::iter::from_fn(|| rig.machine.next_request(rig.now));
        let counts: Vec<_> = requests.map(|request| request.plain().len()).collect();
        assert_eq!(counts, expect, "{sizes:?}");
    }
    check(&[MIB - 1; 11], &[10, 1]);
    check(&[MIB; 11], &[9, 2]);
    check(&[2 * MIB - 1; 6], &[5, 1]);
    check(&[3 * MIB, 3 * MIB, 3 * MIB, MIB - 4, 1], &[4, 1]);
    check(&[3 * MIB, 3 * MIB, 3 * MIB, MIB - 3, 1], &[3, 2]);
}

#[test]
fn a_request_holds_10_mib_also_when_later_records_have_waited() {
    let mut rig = Rig::new(Settings { max_in_flight_requests: count(1), ..plain() });
    rig.send(&["x1"]);
    let first = rig.request_of("x");
    for key in ["a", "b", "c", "x"] {
        rig.machine.submit(rig.now, record(key, 3 * MIB), "large");
    }
    rig.answer(first, [stored()]);
    let second = rig.request_of("abc");
    rig.answer(second, [stored(), stored(), stored()]);
    rig.request_of("x");
}

#[test]
fn a_request_of_aggregates_holds_10_mib() {
    const MIB_U32: u32 = MIB as u32;
    let aggregation = Some(Aggregation { max_bytes: count(MIB_U32), ..Aggregation::default() });
    let mut rig = with_shards(Rig::new(Settings { aggregation, ..plain() }), &[0]);
    for key in 0..250 {
        let record = record(&key.to_string(), 100_000).with_explicit_hash_key(HashKey::MIN);
        rig.machine.submit(rig.now, record, "");
    }
    let mut records = 0;
    while records < 250 {
        let request = rig.request();
        let Content::Aggregates(aggregates) = &request.content else { panic!("not aggregated: {request:?}") };
        let bytes: usize =
            aggregates.iter().filter_map(|aggregate| aggregate.unsealed.as_ref()).map(|it| it.size()).sum();
        assert!(bytes <= PUT_RECORDS_MAX_BYTES, "{bytes} bytes in a request");
        assert_eq!(aggregates.iter().filter(|aggregate| aggregate.unsealed.is_some()).count(), aggregates.len());
        records += aggregates.iter().map(|aggregate| aggregate.records).sum::<usize>();
    }
    rig.nothing_to_send();
}

#[test]
fn records_that_failed_together_share_the_next_request() {
    let mut rig = Rig::new(plain());
    rig.send(&["a", "b", "c", "d"]);
    let request = rig.request();
    rig.answer(request, [throttled(), throttled(), throttled(), throttled()]);
    rig.wait();
    rig.request_of("abcd");
}

#[test]
fn without_order_records_of_a_key_share_a_request_and_do_not_wait_for_each_other() {
    let mut rig = Rig::new(Settings { order: crate::Order::None, ..plain() });
    rig.send(&["a1", "a2", "a3"]);
    let first = rig.request_of("aaa");
    rig.send(&["a4"]);
    let second = rig.request_of("a");
    rig.answer(second, [stored()]);
    let refused = PutFailure::new(ErrorKind::InvalidArgument, "InvalidArgumentException", "invalid");
    rig.answer(first, [throttled(), Err(refused), stored()]);
    assert_eq!(rig.outcomes(), ["a4 stored", "a2 rejected", "a3 stored"]);
    rig.wait();
    rig.request_of("a");
}
