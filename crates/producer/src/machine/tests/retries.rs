//! What is sent again, when, and what is given up.

use std::time::Duration;

use statefun_kinesis_client::{ErrorKind, Fault, PutFailure, PutOutcome};

use super::scene::{
    DEAD_LETTER, MILLI, Rig, SKIP, all_outcomes, call_error, count, internal, plain, stored, throttled,
};
use crate::{Failure, Reason, Settings, policy::Policy};

#[test]
fn a_throttled_record_backs_off_and_an_internal_failure_is_tried_at_once() {
    #[track_caller]
    fn check(outcome: fn() -> PutOutcome, bounds_in_ms: &[(u64, u64)]) {
        for seed in 0..20 {
            let mut rig = Rig::new(Settings { seed: Some(seed), ..plain() });
            rig.send(&["a"]);
            for (least, most) in bounds_in_ms {
                let request = rig.request_of("a");
                rig.answer(request, [outcome()]);
                let waited = rig.wait();
                let bounds = Duration::from_millis(*least)..=Duration::from_millis(*most);
                assert!(bounds.contains(&waited), "seed {seed}: {waited:?} is not in {bounds:?}");
            }
        }
    }
    check(throttled, &[(50, 100), (100, 200), (200, 400), (400, 800), (800, 1_600), (1_000, 2_000), (1_000, 2_000)]);
    check(internal, &[(0, 20), (50, 100), (100, 200)]);
}

#[test]
fn a_failed_call_is_repeated_as_a_whole_after_the_delay_that_the_service_asked_for() {
    for kind in [ErrorKind::Throttled, ErrorKind::Timeout, ErrorKind::Unavailable, ErrorKind::InUse] {
        let mut rig = Rig::new(plain());
        rig.send(&["a", "b"]);
        let request = rig.request_of("ab");
        rig.fail(request, call_error(kind));
        let waited = rig.wait();
        assert!((50 * MILLI..=100 * MILLI).contains(&waited), "{kind}: {waited:?}");
        let request = rig.request_of("ab");
        rig.fail(request, call_error(kind).with_retry_after(Duration::from_secs(7)));
        assert_eq!(rig.wait(), Duration::from_secs(7));
        let request = rig.request_of("ab");
        rig.answer(request, [stored(), stored()]);
        assert_eq!(rig.outcomes(), ["a stored", "b stored"]);
    }
}

#[test]
fn a_record_is_given_up_when_the_next_try_would_come_too_late() {
    let mut rig = Rig::new(Settings { give_up_after: Duration::from_secs(10), ..plain() });
    rig.send(&["a1", "a2"]);
    rig.now += Duration::from_secs(60);
    let first = rig.now;
    let mut attempts = 0;
    let (token, error) = loop {
        let request = rig.request_of("a");
        attempts += 1;
        rig.now += 10 * MILLI;
        assert!(attempts < 100, "the record is never given up");
        if attempts == 2 {
            rig.fail(request, call_error(ErrorKind::Timeout));
        } else {
            rig.answer(request, [throttled()]);
        }
        let mut outcomes = all_outcomes(&mut rig.machine).into_iter();
        if let Some((token, result)) = outcomes.next() {
            let (next, predecessor_failed) = outcomes.next().unwrap();
            assert_eq!(next, "a2");
            assert!(matches!(predecessor_failed.unwrap_err().reason(), Reason::PredecessorFailed));
            break (token, result.unwrap_err());
        }
        rig.wait();
    };
    assert_eq!(token, "a1");
    let spent = rig.now - first;
    assert!((Duration::from_secs(8)..=Duration::from_secs(11)).contains(&spent), "{spent:?}");
    let Reason::GaveUp { elapsed, last } = error.reason() else { panic!("{error:?}") };
    assert_eq!((error.stream().to_string().as_str(), error.key().as_str(), error.size()), ("orders", "a", 11));
    assert_eq!((error.attempts(), *elapsed, error.may_be_stored()), (attempts, spent, true));
    assert_eq!(last.kind(), ErrorKind::Throttled);
    assert!(rig.machine.is_idle());
}

#[test]
fn a_retry_may_be_due_at_the_very_end_of_the_time_and_no_later() {
    for starts in [&[][..], &[0]] {
        let after_throttling = |give_up_after| {
            let mut rig = Rig::new(Settings { give_up_after, ..plain() });
            if !starts.is_empty() {
                // With its shard known, it is the pace of the shard that says when.
                rig.list(starts, 0);
            }
            rig.send(&["a"]);
            let request = rig.request();
            rig.answer(request, [throttled()]);
            rig
        };
        let delay = after_throttling(Duration::from_secs(10)).wait();
        assert_eq!(after_throttling(delay).outcomes(), [""; 0]);
        assert_eq!(after_throttling(delay - Duration::from_nanos(1)).outcomes(), ["a gave up"]);
    }
}

#[test]
fn records_of_one_answer_that_failed_not_equally_often_are_retried_apart() {
    let mut rig = Rig::new(plain());
    rig.send(&["a"]);
    let request = rig.request_of("a");
    rig.answer(request, [throttled()]);
    rig.wait();
    rig.send(&["b"]);
    let request = rig.request_of("ba");
    rig.answer(request, [throttled(), throttled()]);
    assert!(rig.wait() <= 100 * MILLI);
    rig.request_of("b");
    rig.nothing_to_send();
    rig.wait();
    rig.request_of("a");
}

/// Fails the calls of one record in this way until it has an outcome. Returns the outcome and after how long it came.
fn outcome_of_failing_calls(kind: ErrorKind, policy: Policy, settings: Settings) -> (Vec<String>, Duration) {
    let mut rig = Rig::with_policy(settings, policy, 1_000);
    rig.send(&["a1", "a2"]);
    let start = rig.now;
    let mut request = Some(rig.request_of("a"));
    loop {
        let sent = request.take().or_else(|| rig.machine.next_request(rig.now));
        let Some(sent) = sent else {
            rig.wait();
            continue;
        };
        rig.fail(sent, call_error(kind));
        let outcomes = rig.outcomes();
        if !outcomes.is_empty() {
            return (outcomes, rig.now - start);
        }
        assert!(rig.machine.take_dead_letters().is_empty(), "{kind}: a good record must have no dead letter");
    }
}

#[test]
fn whatever_fails_a_call_is_retried_until_the_time_is_over_and_then_an_error_whatever_the_policy() {
    let settings = Settings { max_attempts: Some(count(1)), ..plain() };
    for kind in ErrorKind::ALL.into_iter().filter(|kind| kind.treatment_of_single_record().fault != Fault::Record) {
        for policy in [Policy::Fail, SKIP, DEAD_LETTER] {
            let (outcomes, elapsed) = outcome_of_failing_calls(kind, policy, settings.clone());
            assert_eq!(outcomes, ["a1 gave up", "a2 predecessor failed"], "{kind}, {policy:?}");
            let limit = settings.give_up_after;
            // The next attempt would be later than the limit.
            let least = limit - Duration::from_secs(2);
            assert!((least..=limit).contains(&elapsed), "{kind}, {policy:?}: {elapsed:?}");
        }
    }
}

#[test]
fn failed_calls_do_not_use_up_the_attempts_of_a_record() {
    let mut rig = Rig::with_policy(Settings { max_attempts: Some(count(2)), ..plain() }, SKIP, 1_000);
    rig.send(&["a1"]);
    let mut next = |answer: Option<PutOutcome>| {
        let request = rig.request_of("a");
        match answer {
            Some(outcome) => rig.answer(request, [outcome]),
            None => rig.fail(request, call_error(ErrorKind::AccessDenied)),
        }
        let outcomes = rig.outcomes();
        if outcomes.is_empty() {
            rig.wait();
        }
        outcomes
    };
    for answer in [None, None, None, Some(throttled()), None, None] {
        assert_eq!(next(answer), [""; 0]);
    }
    assert_eq!(next(Some(throttled())), ["a1 skipped"]);
}

#[test]
fn a_record_that_is_at_fault_itself_is_left_to_the_policy_at_once() {
    let kinds = ErrorKind::ALL.into_iter().filter(|kind| kind.treatment_of_single_record().fault == Fault::Record);
    let mut found = 0;
    for kind in kinds {
        found += 1;
        for (policy, name) in [(Policy::Fail, "a1 rejected"), (SKIP, "a1 skipped")] {
            let (outcomes, elapsed) = outcome_of_failing_calls(kind, policy, plain());
            assert_eq!((outcomes[0].as_str(), elapsed), (name, Duration::ZERO), "{kind}, {policy:?}");
        }
    }
    assert_eq!(found, 1);
}

#[test]
fn an_outcome_that_is_not_about_the_record_is_an_error_whatever_the_policy() {
    for kind in ErrorKind::ALL {
        let mut rig = Rig::with_policy(Settings { give_up_after: Duration::ZERO, ..plain() }, SKIP, 1_000);
        rig.send(&["a1"]);
        let request = rig.request_of("a");
        rig.answer(request, [Err(PutFailure::new(kind, "Code", "words"))]);
        let is_dropped = rig.outcomes() == ["a1 skipped"];
        let expected = match kind.treatment().fault {
            Fault::Record | Fault::Call | Fault::Network | Fault::Service => true,
            Fault::Stream | Fault::Credentials | Fault::Clock | Fault::NotKinesis => false,
        };
        assert_eq!(is_dropped, expected, "{kind}");
    }
}

#[test]
fn a_record_that_the_service_refuses_for_good_is_not_tried_again() {
    let mut rig = Rig::new(plain());
    rig.send(&["a", "b"]);
    let request = rig.request();
    let refused = PutFailure::new(ErrorKind::InvalidArgument, "InvalidArgumentException", "the key is invalid");
    rig.answer(request, [Err(refused.clone()), stored()]);
    let (_, result) = all_outcomes(&mut rig.machine).remove(0);
    let error = result.unwrap_err();
    let Reason::Rejected { last: Failure::Record(last) } = error.reason() else { panic!("{error:?}") };
    assert_eq!((&**last, error.attempts(), error.may_be_stored()), (&refused, 1, false));
    assert!(rig.machine.is_idle());
}

#[test]
fn a_wrong_number_of_outcomes_is_an_error_for_all_records_of_the_request() {
    for outcomes in [0, 1, 3] {
        let mut rig = Rig::new(Settings { give_up_after: Duration::ZERO, ..plain() });
        rig.send(&["a", "b"]);
        let request = rig.request();
        rig.answer(request, vec![stored(); outcomes]);
        for (token, result) in all_outcomes(&mut rig.machine) {
            let error = result.expect_err(token);
            let Reason::GaveUp { last, .. } = error.reason() else { panic!("{error:?}") };
            assert!(error.may_be_stored());
            assert_eq!(last.kind(), ErrorKind::Unexpected);
            let says = format!("2 records were answered with {outcomes} outcomes");
            assert!(last.to_string().contains(&says), "{last}");
        }
        assert!(rig.machine.is_idle());
    }
}

#[test]
fn a_request_that_is_refused_is_divided_until_the_wrong_record_is_alone() {
    let mut rig = Rig::new(Settings { max_attempts: Some(count(2)), ..plain() });
    rig.send(&["a1", "b1", "c1", "d1", "e1", "c2", "d2"]);
    let mut requests = 0;
    let mut first = Some(rig.request_of("abcde"));
    let mut throttles = true;
    while !rig.machine.is_idle() {
        let Some(request) = first.take().or_else(|| rig.machine.next_request(rig.now)) else {
            rig.wait();
            continue;
        };
        requests += 1;
        if request.plain().iter().any(|record| record.partition_key.as_str() == "c") {
            rig.fail(request, call_error(ErrorKind::InvalidArgument));
        } else {
            // The first to be heard is throttled once, which is the first of its two attempts.
            let mut outcomes = vec![stored(); request.len()];
            if std::mem::take(&mut throttles) {
                outcomes[0] = throttled();
            }
            rig.answer(request, outcomes);
        }
        // Others go on meanwhile.
        if requests == 1 {
            rig.send(&["f1"]);
        }
    }
    assert!(requests <= 10, "{requests}");
    let mut outcomes = rig.outcomes();
    outcomes.sort();
    let expect = [
        "a1 stored",
        "b1 stored",
        "c1 rejected",
        "c2 predecessor failed",
        "d1 stored",
        "d2 stored",
        "e1 stored",
        "f1 stored",
    ];
    assert_eq!(outcomes, expect);
}

#[test]
fn a_record_is_given_up_after_so_many_attempts() {
    let mut rig = Rig::new(Settings { max_attempts: Some(count(3)), ..plain() });
    rig.send(&["a"]);
    for attempt in 1..=3 {
        let request = rig.request_of("a");
        rig.answer(request, [throttled()]);
        if attempt < 3 {
            rig.wait();
        }
    }
    let (_, result) = all_outcomes(&mut rig.machine).remove(0);
    let error = result.unwrap_err();
    assert!(matches!(error.reason(), Reason::GaveUp { .. }) && error.attempts() == 3, "{error:?}");
    assert!(rig.machine.is_idle());
}
