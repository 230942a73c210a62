//! Aggregates, and the shards of records.

use std::time::{Duration, Instant};

use statefun_kinesis_client::ErrorKind;
use statefun_kinesis_types::HashKey;

use super::scene::{
    HALF, MILLI, Rig, aggregated, all_outcomes, call_error, plain, record, stored_in, throttled, with_shards,
};
use crate::{
    Failure, Reason, SendError, Settings,
    machine::{
        Limits, Machine,
        listing::{LIST_EVERY, LIST_RETRY_AFTER},
    },
    policy::Policy,
};

#[test]
fn the_shards_are_asked_for_when_one_throttles_and_then_it_has_a_pace() {
    let mut rig = Rig::new(plain());
    rig.send_to(0, &["a", "b"]);
    rig.send_to(HALF, &["c"]);
    assert!(!rig.machine.wants_shards(rig.now));
    let request = rig.request_of("abc");
    rig.answer(request, [throttled(), throttled(), stored_in(1)]);
    assert!(rig.machine.wants_shards(rig.now));
    assert!(!rig.machine.wants_shards(rig.now), "one listing at a time");
    rig.list(&[0, HALF], 0);
    rig.wait();
    let request = rig.request_of("ab");
    rig.answer(request, [throttled(), stored_in(0)]);
    assert_eq!(rig.machine.metrics().paced_shards, 1);

    // The other shard is written at will, and the throttled one by its pace and not by the backoff.
    let tokens: Vec<String> = (0..1_000).map(|number| number.to_string()).collect();
    for (index, token) in tokens.iter().enumerate() {
        let hash = HashKey::new(if index < 500 { 0 } else { HALF });
        rig.machine.submit(rig.now, record(token, 10).with_explicit_hash_key(hash), "many");
    }
    let others = rig.request();
    assert_eq!(others.len(), 500);
    assert!(others.plain().iter().all(|record| record.hash_key().get() == HALF));
    assert!(rig.wait() <= 100 * MILLI);
    let (start, mut sent) = (rig.now, 0);
    while sent < 501 {
        while let Some(request) = rig.machine.next_request(rig.now) {
            sent += request.len();
            let outcomes = vec![stored_in(0); request.len()];
            rig.answer(request, outcomes);
        }
        rig.now += MILLI;
    }
    let took = rig.now - start;
    assert!((450 * MILLI..=650 * MILLI).contains(&took), "{took:?}");
    rig.now += Duration::from_secs(10);
    rig.answer(others, vec![stored_in(1); 500]);
    assert_eq!(rig.machine.metrics().paced_shards, 0, "a shard that is quiet for long has no pace any more");
}

#[test]
fn an_aggregate_has_records_of_one_shard_with_as_much_of_each_line_as_fits() {
    let mut rig = with_shards(Rig::new(aggregated()), &[0, HALF]);
    rig.send_to(0, &["a1", "a2"]);
    rig.send_to(HALF, &["b1"]);
    rig.send_to(0, &["c1", "a3"]);
    let request = rig.aggregates(&[4, 1]);
    rig.send_to(0, &["a4", "d1", "a5"]);
    let second = rig.aggregates(&[1]);
    rig.nothing_to_send();
    rig.answer(request, [stored_in(0), stored_in(1)]);
    let expect = ["a1 stored", "a2 stored", "a3 stored", "c1 stored", "b1 stored"];
    assert_eq!(rig.outcomes(), expect);
    let third = rig.aggregates(&[2]);
    rig.answer(third, [throttled()]);
    rig.answer(second, [stored_in(0)]);
    assert_eq!(rig.outcomes(), ["d1 stored"]);
    rig.now += MILLI * 200;
    let again = rig.aggregates(&[2]);
    rig.answer(again, [stored_in(0)]);
    assert_eq!(rig.outcomes(), ["a4 stored", "a5 stored"]);
    assert!(rig.machine.is_idle());
}

#[test]
fn records_of_a_key_for_different_shards_travel_one_after_the_other() {
    let mut rig = with_shards(Rig::new(aggregated()), &[0, HALF]);
    rig.send_to(0, &["a1"]);
    rig.send_to(HALF, &["a2", "a3"]);
    rig.send_to(0, &["a4"]);
    for (shard, tokens) in [(0, &["a1 stored"][..]), (1, &["a2 stored", "a3 stored"]), (0, &["a4 stored"])] {
        let request = rig.aggregates(&[tokens.len()]);
        rig.nothing_to_send();
        rig.answer(request, [stored_in(shard)]);
        assert_eq!(rig.outcomes(), tokens);
    }
}

#[test]
fn a_full_aggregate_does_not_linger_and_others_do() {
    let linger = Settings { linger: Duration::from_secs(1), ..aggregated() };
    let mut rig = with_shards(Rig::new(linger), &[0, HALF]);
    rig.send_to(0, &["0"]);
    rig.aggregates(&[1]);
    rig.send_to(HALF, &["b1"]);
    let large = record("a", 30_000).with_explicit_hash_key(HashKey::MIN);
    rig.machine.submit(rig.now, large.clone(), "a1");
    rig.nothing_to_send();
    rig.machine.submit(rig.now, large, "a2");
    rig.aggregates(&[1]);
    rig.nothing_to_send();
    assert_eq!(rig.wait(), Duration::from_secs(1));
    rig.aggregates(&[1]);
}

#[test]
fn an_aggregate_on_a_child_of_its_shard_is_sent_again_as_a_whole_and_one_on_a_merged_shard_is_not() {
    let mut rig = with_shards(Rig::new(aggregated()), &[0]);
    rig.send_to(0, &["a1"]);
    rig.send_to(HALF, &["b1"]);
    let request = rig.aggregates(&[2]);
    rig.answer(request, [stored_in(1)]);
    assert!(rig.outcomes().is_empty() && !rig.machine.is_idle());
    rig.now += LIST_EVERY;
    assert!(rig.machine.wants_shards(rig.now));
    rig.nothing_to_send();
    // Until the shards are known again, records go by themselves.
    rig.send_to(0, &["c1", "c2"]);
    let single = rig.request_of("c");
    rig.answer(single, [stored_in(1)]);
    assert_eq!(rig.outcomes(), ["c1 stored"]);

    rig.list(&[0, HALF], 1);
    let request = rig.aggregates(&[2, 1]);
    rig.answer(request, [stored_in(1), stored_in(2)]);
    assert_eq!(rig.outcomes(), ["a1 stored", "c2 stored", "b1 stored"]);
    assert_eq!(rig.machine.metrics().misplaced_aggregates, 1);

    rig.send_to(0, &["a2", "c3"]);
    let request = rig.aggregates(&[2]);
    rig.answer(request, [stored_in(3)]);
    assert!(rig.outcomes().is_empty());
    rig.now += LIST_EVERY;
    assert!(rig.machine.wants_shards(rig.now));
    rig.list(&[0], 3);
    assert_eq!(rig.outcomes(), ["a2 stored", "c3 stored"]);
    assert_eq!(rig.machine.metrics().misplaced_aggregates, 1);
}

#[test]
fn the_shards_are_not_asked_for_where_they_do_not_matter_or_nothing_is_sent_any_more() {
    let throttled_in = |hash_decides| {
        let limits = Limits { max_record_bytes: 1_000, hash_decides };
        let machine = Machine::new("orders".parse().unwrap(), plain(), Policy::Fail, limits);
        let mut rig = Rig { machine, now: Instant::now() };
        rig.send(&["a"]);
        let request = rig.request();
        rig.answer(request, [throttled()]);
        rig
    };
    let mut rig = throttled_in(true);
    assert!(rig.machine.wants_shards(rig.now));
    let mut rig = throttled_in(false);
    assert!(!rig.machine.wants_shards(rig.now), "a shard does not depend on the hash");
    let mut rig = throttled_in(true);
    rig.machine.abandon();
    assert!(!rig.machine.wants_shards(rig.now), "abandoned");
}

#[test]
fn an_aggregate_of_one_record_belongs_wherever_it_is_stored() {
    // Only by the shards as they were listed when it was sent can it be told that it is on another one.
    for is_listed_again in [false, true] {
        let mut rig = with_shards(Rig::new(aggregated()), &[0]);
        rig.send_to(0, &["a1"]);
        let request = rig.aggregates(&[1]);
        if is_listed_again {
            rig.list(&[0], 7);
        }
        rig.now += LIST_EVERY;
        rig.answer(request, [stored_in(7)]);
        assert_eq!(rig.outcomes(), ["a1 stored"]);
        assert_eq!(rig.machine.wants_shards(rig.now), !is_listed_again);
    }
}

#[test]
fn an_aggregate_that_comes_back_misplaced_after_the_end_waits_for_no_listing() {
    let mut rig = with_shards(Rig::new(aggregated()), &[0]);
    rig.send_to(0, &["a1", "b1"]);
    let request = rig.aggregates(&[2]);
    rig.machine.abandon();
    rig.answer(request, [stored_in(7)]);
    let failed = all_outcomes(&mut rig.machine).into_iter().map(|(token, result)| (token, result.unwrap_err()));
    let failed: Vec<_> = failed.map(|(token, error)| (token, error.may_be_stored())).collect();
    assert_eq!(failed, [("a1", true), ("b1", true)]);
    assert!(rig.machine.is_idle());
}

#[test]
fn a_misplaced_aggregate_that_is_abandoned_may_be_stored() {
    let mut rig = with_shards(Rig::new(aggregated()), &[0]);
    rig.send_to(0, &["a1", "a2", "b1"]);
    let request = rig.aggregates(&[3]);
    rig.send_to(0, &["a3"]);
    rig.answer(request, [stored_in(7)]);
    rig.machine.abandon();
    let found: Vec<_> =
        all_outcomes(&mut rig.machine).into_iter().map(|(token, result)| (token, result.unwrap_err())).collect();
    let found: Vec<_> = found.iter().map(|(token, error)| (*token, error.may_be_stored())).collect();
    assert_eq!(found, [("a1", true), ("a2", true), ("b1", true), ("a3", false)]);
    assert!(rig.machine.is_idle());
}

#[test]
fn a_misplaced_aggregate_does_not_wait_for_ever_for_the_shards() {
    let mut rig = with_shards(Rig::new(aggregated()), &[0]);
    rig.send_to(0, &["a1", "b1"]);
    let request = rig.aggregates(&[2]);
    rig.answer(request, [stored_in(7)]);
    let start = rig.now;
    while !rig.machine.is_idle() {
        rig.now += LIST_RETRY_AFTER;
        assert!(rig.machine.wants_shards(rig.now));
        rig.machine.listed(rig.now, None);
    }
    assert!(rig.now - start < Duration::from_secs(125));
    let errors: Vec<_> = all_outcomes(&mut rig.machine).into_iter().map(|(_, result)| result.unwrap_err()).collect();
    assert!(errors.iter().all(SendError::may_be_stored), "{errors:?}");
    assert!(matches!(errors[0].reason(), Reason::GaveUp { last: Failure::WrongShard { .. }, .. }));
}

#[test]
fn a_record_on_another_shard_than_listed_has_the_shards_listed_again_unless_they_were_meanwhile() {
    for is_listed_again in [false, true] {
        let mut rig = with_shards(Rig::new(plain()), &[0, HALF]);
        rig.send_to(0, &["a1"]);
        let request = rig.request_of("a");
        rig.answer(request, [throttled()]);
        rig.wait();
        // It is sent as one of the first shard.
        let request = rig.request_of("a");
        if is_listed_again {
            rig.list(&[0, HALF], 7);
        }
        rig.now += LIST_EVERY;
        rig.answer(request, [stored_in(1)]);
        assert_eq!(rig.outcomes(), ["a1 stored"]);
        assert_eq!(rig.machine.wants_shards(rig.now), !is_listed_again);
    }
}

#[test]
fn the_shards_are_listed_again_when_a_throttled_record_belongs_to_none() {
    for (hash, is_wanted) in [(0, true), (HALF, false)] {
        let mut rig = Rig::new(plain());
        // As it may look in the middle of a split.
        rig.list_ranges(&[(0, HALF, u128::MAX)]);
        rig.now += LIST_EVERY;
        rig.send_to(hash, &["a"]);
        let request = rig.request_of("a");
        rig.answer(request, [throttled()]);
        assert_eq!(rig.machine.wants_shards(rig.now), is_wanted);
    }
}

#[test]
fn an_aggregate_of_one_key_that_is_rejected_is_tried_record_by_record() {
    let mut rig = with_shards(Rig::new(aggregated()), &[0]);
    rig.send_to(0, &["a1", "a2"]);
    let request = rig.aggregates(&[2]);
    rig.fail(request, call_error(ErrorKind::InvalidArgument));
    let request = rig.request_of("a");
    rig.answer(request, [stored_in(0)]);
    assert_eq!(rig.outcomes(), ["a1 stored"]);
    let request = rig.aggregates(&[1]);
    rig.answer(request, [stored_in(0)]);
    assert_eq!(rig.outcomes(), ["a2 stored"]);
}

#[test]
fn all_records_of_an_aggregate_may_be_stored_after_a_call_that_may_have_been_carried_out() {
    for (kind, may_be_stored) in
        [(ErrorKind::Timeout, true), (ErrorKind::Unavailable, true), (ErrorKind::Throttled, false)]
    {
        let mut rig = with_shards(Rig::new(aggregated()), &[0]);
        rig.send_to(0, &["a1", "a2", "b1"]);
        let request = rig.aggregates(&[3]);
        rig.fail(request, call_error(kind));
        rig.machine.abandon();
        let failed = all_outcomes(&mut rig.machine).into_iter().map(|(token, result)| (token, result.unwrap_err()));
        let found: Vec<_> = failed.map(|(token, error)| (token, error.may_be_stored())).collect();
        assert_eq!(found, ["a1", "a2", "b1"].map(|token| (token, may_be_stored)), "{kind:?}");
    }
}
