//! The promises of mailboxes, one promise per test.

use std::time::Duration;

use statefun_kinesis_mailboxes::{
    Answer, Delayed, Effects, EgressMessage, Expiration, GroupSettings, Limits, Mailboxes, Message, Origin, Refused,
    Request, StateChange, StateSpec, Value,
};
use statefun_kinesis_types::PutRecord;

use crate::scene::{NOW, at, message, serving, set, spec, texts, to, value};

fn mailboxes() -> Mailboxes {
    serving(Limits::default(), GroupSettings::default())
}

/// Mailboxes in which the function `t/f` has answered before, and has these states.
fn with_known(settings: GroupSettings, states: &[(&str, Expiration)]) -> Mailboxes {
    let mut mailboxes = serving(Limits::default(), settings);
    deliver(&mut mailboxes, &[("t/f/first", "hello")]);
    let mut request = mailboxes.next_request(NOW).unwrap();
    if !states.is_empty() {
        mailboxes.answered(request.id, Answer::StatesMissing(declared(states)), NOW).unwrap();
        request = mailboxes.next_request(NOW).unwrap();
    }
    handled(&mut mailboxes, &request, Effects::default());
    assert_eq!(mailboxes.usage().messages, 0);
    mailboxes
}

fn declared(states: &[(&str, Expiration)]) -> Vec<StateSpec> {
    states.iter().map(|(name, expiration)| spec(name, *expiration)).collect()
}

fn deliver(mailboxes: &mut Mailboxes, messages: &[(&str, &str)]) {
    mailboxes.deliver(messages.iter().map(|(address, text)| (to(address), message(text)))).unwrap();
}

fn handled(mailboxes: &mut Mailboxes, request: &Request, effects: Effects) {
    mailboxes.answered(request.id, Answer::Handled(effects), NOW).unwrap();
}

/// Makes everything durable.
fn durable(mailboxes: &mut Mailboxes) {
    let cut = mailboxes.cut();
    mailboxes.durable(cut.number);
}

fn max_batch(messages: u32) -> GroupSettings {
    GroupSettings { max_batch_messages: messages.try_into().unwrap(), ..GroupSettings::default() }
}

fn send(messages: &[(&str, &str)]) -> Effects {
    let messages = messages.iter().map(|(address, text)| (to(address), value(text))).collect();
    Effects { messages, ..Effects::default() }
}

#[test]
fn what_comes_during_a_request_is_the_next_batch() {
    let mut mailboxes = with_known(GroupSettings::default(), &[]);
    deliver(&mut mailboxes, &[("t/f/1", "a")]);
    let first = mailboxes.next_request(NOW).unwrap();
    assert_eq!(texts(&first), ["a"]);
    deliver(&mut mailboxes, &[("t/f/1", "b"), ("t/f/1", "c")]);
    assert_eq!(mailboxes.next_request(NOW), None, "one request per address");
    handled(&mut mailboxes, &first, Effects::default());
    assert_eq!(texts(&mailboxes.next_request(NOW).unwrap()), ["b", "c"]);
}

#[test]
fn a_batch_is_bounded_in_messages_and_in_bytes() {
    // Each message takes 46 bytes in addition to its payload: its type, and tags and lengths.
    let settings = GroupSettings { max_batch_bytes: 3 * 46 + 5, ..max_batch(3) };
    let mut mailboxes = with_known(settings, &[]);
    let (long, endless) = ("5".repeat(51), "6".repeat(600));
    deliver(&mut mailboxes, &["1", "2", "3", "4", &endless, "55", &long, "7"].map(|text| ("t/f/1", text)));
    for expect in [&["1", "2", "3"][..], &["4"], &[&endless], &["55"], &[&long], &["7"]] {
        let request = mailboxes.next_request(NOW).unwrap();
        assert_eq!(texts(&request), expect);
        handled(&mut mailboxes, &request, Effects::default());
    }
}

#[test]
fn the_first_request_of_a_function_goes_alone() {
    let mut mailboxes = mailboxes();
    deliver(&mut mailboxes, &[("t/f/1", "a"), ("t/f/2", "b"), ("t/f/3", "c"), ("t/g/1", "d")]);
    let first = mailboxes.next_request(NOW).unwrap();
    let other = mailboxes.next_request(NOW).unwrap();
    assert_eq!((first.target, other.target), (to("t/f/1"), to("t/g/1")));
    assert_eq!(mailboxes.next_request(NOW), None);

    // States are missing: the same messages are sent again, still alone, with all states, and before those of others.
    deliver(&mut mailboxes, &[("t/f/4", "e")]);
    mailboxes.answered(first.id, Answer::StatesMissing(declared(&[("s", Expiration::Never)])), NOW).unwrap();
    let again = mailboxes.next_request(NOW).unwrap();
    assert_eq!((texts(&again), &again.states), (vec!["a"], &vec![("s".into(), None)]));
    assert_eq!(mailboxes.next_request(NOW), None);

    handled(&mut mailboxes, &again, Effects::default());
    let rest = [(); 3].map(|()| mailboxes.next_request(NOW).unwrap());
    assert_eq!(rest.each_ref().map(|request| texts(request)[0]), ["b", "c", "e"]);
    assert!(rest.iter().all(|request| request.states.len() == 1), "the handshake happens once");
}

#[test]
fn a_first_request_that_fails_lets_another_address_try() {
    let mut mailboxes = mailboxes();
    deliver(&mut mailboxes, &[("t/f/1", "bad"), ("t/f/2", "good"), ("t/f/3", "later")]);
    let bad = mailboxes.next_request(NOW).unwrap();
    assert_eq!(mailboxes.next_request(NOW), None);
    mailboxes.park(bad.id, Duration::from_millis(1_000));
    let good = mailboxes.next_request(NOW).unwrap();
    assert_eq!(texts(&good), ["good"]);
    assert_eq!(mailboxes.next_request(NOW), None);
    handled(&mut mailboxes, &good, Effects::default());
    assert_eq!(texts(&mailboxes.next_request(NOW).unwrap()), ["later"]);
}

#[test]
fn states_that_were_in_the_request_cannot_be_missing() {
    let mut mailboxes = with_known(GroupSettings::default(), &[("s", Expiration::Never)]);
    deliver(&mut mailboxes, &[("t/f/1", "a")]);
    let request = mailboxes.next_request(NOW).unwrap();
    let answer = |states| Answer::StatesMissing(declared(states));
    for states in [&[][..], &[("s", Expiration::Never)]] {
        let refused = mailboxes.answered(request.id, answer(states), NOW);
        assert_eq!(refused, Err(Refused::NothingMissing));
    }
    // A newer version of the function has one more.
    let states = [("s", Expiration::Never), ("new", Expiration::Never)];
    mailboxes.answered(request.id, answer(&states), NOW).unwrap();
    let names: Vec<_> = mailboxes.next_request(NOW).unwrap().states.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["s".into(), "new".into()] as [std::sync::Arc<str>; 2]);
}

#[test]
fn two_requests_may_miss_the_same_state() {
    let mut mailboxes = with_known(GroupSettings::default(), &[]);
    deliver(&mut mailboxes, &[("t/f/1", "a"), ("t/f/2", "b")]);
    for _ in 0..2 {
        let request = mailboxes.next_request(NOW).unwrap();
        let other = mailboxes.next_request(NOW);
        let states = [("s", Expiration::AfterWrite(Duration::from_millis(5)))];
        mailboxes.answered(request.id, Answer::StatesMissing(declared(&states)), NOW).unwrap();
        if let Some(other) = other {
            // Both were sent before the state was known.
            mailboxes.answered(other.id, Answer::StatesMissing(declared(&[("s", Expiration::Never)])), NOW).unwrap();
            let again = [mailboxes.next_request(NOW).unwrap(), mailboxes.next_request(NOW).unwrap()];
            for request in &again {
                mailboxes.answered(request.id, Answer::Handled(set("s", Some("x"))), NOW).unwrap();
            }
            break;
        }
    }
    // The first registration counts: the value is gone after 5 ms.
    deliver(&mut mailboxes, &[("t/f/2", "c")]);
    assert_eq!(mailboxes.next_request(at(5)).unwrap().states, [("s".into(), None)]);
}

#[test]
fn a_refused_answer_has_no_effect() {
    let mut mailboxes = with_known(GroupSettings::default(), &[("s", Expiration::Never)]);
    deliver(&mut mailboxes, &[("t/f/1", "a")]);
    let request = mailboxes.next_request(NOW).unwrap();
    let before = mailboxes.usage();
    let delayed_to_nobody =
        Delayed::Send { delay: Duration::ZERO, to: to("nobody/f/1"), value: value("x"), token: None };
    let cases = [
        (send(&[("t/f/2", "x"), ("nobody/f/1", "x")]), "serves nobody/f"),
        (Effects { delayed: vec![delayed_to_nobody], ..send(&[("t/f/2", "x")]) }, "serves nobody/f"),
        (Effects { states: set("other", Some("x")).states, ..send(&[("t/f/2", "x")]) }, "changes the state `other`"),
    ];
    for (effects, says) in cases {
        let refused = mailboxes.answered(request.id, Answer::Handled(effects), NOW).unwrap_err();
        assert!(refused.to_string().contains(says), "{refused}");
        assert_eq!(mailboxes.usage(), before);
    }
    handled(&mut mailboxes, &request, set("s", Some("x")));
}

#[test]
fn effects_are_applied_in_order() {
    let mut mailboxes = with_known(GroupSettings::default(), &[("s", Expiration::Never)]);
    deliver(&mut mailboxes, &[("t/f/1", "a")]);
    let request = mailboxes.next_request(NOW).unwrap();
    let record = |text: &'static str| EgressMessage::Record {
        egress: "t/out".parse().unwrap(),
        stream: None,
        record: PutRecord::new("k".parse().unwrap(), text),
    };
    let effects = Effects {
        egress: vec![record("1"), record("2")],
        states: [set("s", Some("x")), set("s", None), set("s", Some("y"))].into_iter().flat_map(|e| e.states).collect(),
        ..send(&[("t/f/1", "self"), ("t/f/2", "other"), ("t/f/1", "self again")])
    };
    handled(&mut mailboxes, &request, effects);
    let sent = mailboxes.take_egress();
    assert_eq!(sent.iter().map(|record| &*record.message.record().unwrap().data).collect::<Vec<_>>(), [b"1", b"2"]);
    let (other, own) = (mailboxes.next_request(NOW).unwrap(), mailboxes.next_request(NOW).unwrap());
    assert_eq!((texts(&own), texts(&other)), (vec!["self", "self again"], vec!["other"]));
    assert_eq!(own.messages[0].caller, Some(to("t/f/1")));
    assert_eq!(own.states, [("s".into(), Some(value("y")))]);
    assert_eq!(other.states, [("s".into(), None)]);
}

#[test]
fn a_record_is_done_when_the_last_of_its_messages_is_handled() {
    let mut mailboxes = with_known(GroupSettings::default(), &[]);
    let origin = |millis, is_last| Origin {
        explicit_hash_key: None,
        is_sent: false,
        stream: "arn:aws:kinesis:us-east-1:123456789012:stream/s".parse().unwrap(),
        shard: "shardId-000000000000".parse().unwrap(),
        sequence_number: 1_u64.into(),
        sub_sequence_number: 0,
        arrival: at(millis),
        is_last,
    };
    let message = |millis, is_last| Message { origin: Some(origin(millis, is_last).into()), ..message("a") };
    let first = [(to("t/f/1"), message(1, false)), (to("t/g/1"), message(1, true))];
    mailboxes.deliver(first).unwrap();
    mailboxes.deliver([(to("t/f/2"), message(2, true))]).unwrap();
    let mut done = Vec::new();
    while let Some(request) = mailboxes.next_request(NOW) {
        handled(&mut mailboxes, &request, send(&[]));
        done.push((request.target.to_string(), mailboxes.take_done()));
    }
    let of = |address: &str, times: &[i64]| (address.to_owned(), times.iter().map(|millis| at(*millis)).collect());
    assert_eq!(done, [of("t/f/1", &[]), of("t/g/1", &[1]), of("t/f/2", &[2])]);
}

#[test]
fn all_mailboxes_together_are_bounded() {
    let limits = Limits { messages: 3, bytes: 2_000, ..Limits::default() };
    let mut mailboxes: Mailboxes = Mailboxes::new(limits);
    let group = mailboxes.add_group(GroupSettings::default());
    mailboxes.serve_namespace("t", group);
    deliver(&mut mailboxes, &[("t/f/1", "a"), ("t/f/2", "b")]);
    assert!(mailboxes.has_room());
    deliver(&mut mailboxes, &[("t/f/1", "a")]);
    assert!(!mailboxes.has_room());
    let request = mailboxes.next_request(NOW).unwrap();
    assert!(!mailboxes.has_room(), "what is in flight counts");
    handled(&mut mailboxes, &request, Effects::default());
    assert!(mailboxes.has_room());
    let large = Message { caller: None, value: Value::new("t/text", vec![0; 2_000]), origin: None };
    mailboxes.deliver([(to("t/f/4"), large)]).unwrap();
    assert!(!mailboxes.has_room(), "bytes count");
}

#[test]
fn records_that_no_egress_takes_stop_requests() {
    let limits = Limits { egress_records: 1, ..Limits::default() };
    let mut mailboxes: Mailboxes = Mailboxes::new(limits);
    let group = mailboxes.add_group(GroupSettings::default());
    mailboxes.serve_namespace("t", group);
    deliver(&mut mailboxes, &[("t/f/1", "a"), ("t/f/2", "b")]);
    let request = mailboxes.next_request(NOW).unwrap();
    let egress = vec![EgressMessage::Record {
        egress: "t/out".parse().unwrap(),
        stream: None,
        record: PutRecord::new("k".parse().unwrap(), "r"),
    }];
    handled(&mut mailboxes, &request, Effects { egress, ..Effects::default() });
    assert_eq!(mailboxes.next_request(NOW), None);
    let record = mailboxes.take_egress().remove(0).id;
    mailboxes.stored(record);
    assert!(mailboxes.next_request(NOW).is_some());
}

#[test]
fn an_egress_that_stands_still_stops_only_those_who_write_to_it() {
    let limits = Limits { egress_records: 40, ..Limits::default() };
    let one = GroupSettings { max_in_flight: 1.try_into().unwrap(), ..max_batch(1) };
    let mut mailboxes: Mailboxes = Mailboxes::new(limits);
    let group = mailboxes.add_group(one);
    mailboxes.serve_namespace("t", group);
    let addresses: Vec<String> = (0..100).flat_map(|id| [format!("t/stuck/{id}"), format!("t/fine/{id}")]).collect();
    deliver(&mut mailboxes, &addresses.iter().map(|address| (&**address, "x")).collect::<Vec<_>>());
    let egress = |name: &str| EgressMessage::Record {
        egress: name.parse().unwrap(),
        stream: None,
        record: PutRecord::new("k".parse().unwrap(), "r"),
    };
    let (mut handled_of, mut stuck) = ([0, 0], Vec::new());
    let mut run = |mailboxes: &mut Mailboxes, stuck: &mut Vec<u64>| {
        while let Some(request) = mailboxes.next_request(NOW) {
            let is_fine = request.target.function.name() == "fine";
            handled_of[usize::from(is_fine)] += 1;
            let name = if is_fine { "t/flows" } else { "t/stands-still" };
            handled(mailboxes, &request, Effects { egress: vec![egress(name)], ..Effects::default() });
            mailboxes.check_invariants();
            for record in mailboxes.take_egress() {
                if is_fine { mailboxes.stored(record.id) } else { stuck.push(record.id) }
            }
        }
        handled_of
    };
    // Half of the limit, in which it has more than its share of the other half.
    assert_eq!(run(&mut mailboxes, &mut stuck), [20, 100]);
    // As many go on as are stored, and in the end all.
    stuck.drain(..5).for_each(|record| mailboxes.stored(record));
    assert_eq!(run(&mut mailboxes, &mut stuck), [25, 100]);
    while !stuck.is_empty() {
        stuck.drain(..).for_each(|record| mailboxes.stored(record));
        run(&mut mailboxes, &mut stuck);
    }
    assert_eq!(run(&mut mailboxes, &mut stuck), [100, 100]);
    assert_eq!((mailboxes.usage().messages, mailboxes.usage().egress_records), (0, 0));
}

#[test]
fn groups_and_addresses_take_turns() {
    let one = GroupSettings { max_in_flight: 1.try_into().unwrap(), ..max_batch(1) };
    let mut mailboxes: Mailboxes = Mailboxes::new(Limits::default());
    let (first, second) = (mailboxes.add_group(one), mailboxes.add_group(one));
    mailboxes.serve_namespace("t", first);
    mailboxes.serve_function("t/special".parse().unwrap(), second);
    deliver(&mut mailboxes, &["t/f/1", "t/f/1", "t/f/1", "t/f/2", "t/f/3"].map(|address| (address, "x")));
    deliver(&mut mailboxes, &["t/special/1", "t/special/2"].map(|address| (address, "x")));
    let mut order = Vec::new();
    while let Some(request) = mailboxes.next_request(NOW) {
        let beside = mailboxes.next_request(NOW);
        assert_eq!(mailboxes.next_request(NOW), None, "one in flight per group");
        for request in [Some(request), beside].into_iter().flatten() {
            order.push(format!("{}", request.target));
            handled(&mut mailboxes, &request, Effects::default());
        }
    }
    assert_eq!(order, ["t/f/1", "t/special/1", "t/f/2", "t/special/2", "t/f/3", "t/f/1", "t/f/1"]);
}

#[test]
fn a_parked_address_waits_and_others_go_on() {
    let mut mailboxes = with_known(GroupSettings::default(), &[]);
    deliver(&mut mailboxes, &[("t/f/1", "a"), ("t/f/2", "b")]);
    let bad = mailboxes.next_request(NOW).unwrap();
    mailboxes.park(bad.id, Duration::from_millis(1_000));
    assert_eq!(texts(&mailboxes.next_request(NOW).unwrap()), ["b"]);
    deliver(&mut mailboxes, &[("t/f/1", "c")]);
    assert_eq!((mailboxes.next_deadline(), mailboxes.next_retry()), (None, Some(Duration::from_secs(1))));
    mailboxes.on_time(at(999));
    assert_eq!(mailboxes.next_request(at(999)), None);
    mailboxes.on_time(at(1_000));
    let again = mailboxes.next_request(at(1_000)).unwrap();
    assert_eq!((texts(&again), again.attempt, again.tried_since), (vec!["a"], 1, Duration::ZERO));
    mailboxes.answered(bad.id, Answer::Handled(send(&[("t/f/9", "x")])), NOW).unwrap();
    assert_eq!(mailboxes.usage().messages, 3, "an answer to the earlier request is ignored");
    handled(&mut mailboxes, &again, Effects::default());
    assert_eq!((texts(&mailboxes.next_request(NOW).unwrap())), ["c"]);
}

#[test]
fn delayed_messages_come_when_they_are_due_and_once() {
    let mut mailboxes = with_known(GroupSettings::default(), &[]);
    deliver(&mut mailboxes, &[("t/f/1", "a"), ("t/f/2", "b")]);
    let delayed = |millis, address: &str, text, token: Option<&str>| Delayed::Send {
        delay: Duration::from_millis(millis),
        to: to(address),
        value: value(text),
        token: token.map(Into::into),
    };
    let cancel = |token: &str| Delayed::Cancel { token: token.into() };
    let (one, two) = (mailboxes.next_request(NOW).unwrap(), mailboxes.next_request(NOW).unwrap());
    let of_one = vec![
        delayed(20, "t/f/1", "later", None),
        delayed(10, "t/g/1", "sooner", Some("mine")),
        delayed(10, "t/g/1", "cancelled", Some("token")),
        delayed(15, "t/g/1", "cancelled too", Some("token")),
        cancel("token"),
        cancel("unknown"),
        delayed(10, "t/g/1", "sooner, second", Some("token")),
    ];
    handled(&mut mailboxes, &one, Effects { delayed: of_one, ..Effects::default() });
    // A token belongs to its sender: no other address can cancel with it.
    handled(&mut mailboxes, &two, Effects { delayed: vec![cancel("mine")], ..Effects::default() });

    assert_eq!((mailboxes.next_deadline(), mailboxes.usage().timers), (Some(at(10)), 3));
    mailboxes.on_time(at(9));
    assert_eq!(mailboxes.next_request(at(9)), None);
    mailboxes.on_time(at(10));
    let sooner = mailboxes.next_request(at(10)).unwrap();
    assert_eq!((texts(&sooner), &sooner.messages[0].caller), (vec!["sooner", "sooner, second"], &Some(to("t/f/1"))));
    mailboxes.on_time(at(1_000));
    assert_eq!(texts(&mailboxes.next_request(at(1_000)).unwrap()), ["later"]);
    mailboxes.on_time(at(2_000));
    assert_eq!((mailboxes.next_request(at(2_000)), mailboxes.next_deadline()), (None, None));
}

/// Sets a state at 0, sends a message at each of the times, and returns the times at which the state was still set.
#[track_caller]
fn check_expiry(expiration: Expiration, times: &[i64], expect: &[bool]) {
    // Once with a call of `on_time` before each message, and once without. The result must be the same.
    for look in [false, true] {
        let mut mailboxes = with_known(GroupSettings::default(), &[("s", expiration)]);
        deliver(&mut mailboxes, &[("t/f/1", "a")]);
        let request = mailboxes.next_request(NOW).unwrap();
        handled(&mut mailboxes, &request, set("s", Some("x")));
        let mut seen = Vec::new();
        for time in times {
            if look {
                mailboxes.on_time(at(*time));
            }
            deliver(&mut mailboxes, &[("t/f/1", "b")]);
            let request = mailboxes.next_request(at(*time)).unwrap();
            seen.push(request.states[0].1.is_some());
            mailboxes.answered(request.id, Answer::Handled(Effects::default()), at(*time)).unwrap();
        }
        assert_eq!(seen, expect, "{expiration:?}, {look}");
        mailboxes.on_time(at(1_000_000));
        durable(&mut mailboxes);
        assert_eq!(mailboxes.usage().instances, usize::from(expiration == Expiration::Never));
        assert_eq!(mailboxes.next_deadline(), None);
    }
}

#[test]
fn expired_values_are_never_seen() {
    let after = Duration::from_millis(100);
    check_expiry(Expiration::Never, &[50, 120, 500_000], &[true, true, true]);
    check_expiry(Expiration::AfterWrite(after), &[50, 99, 100, 120], &[true, true, false, false]);
    check_expiry(Expiration::AfterInvoke(after), &[50, 120, 219, 319, 320], &[true, true, true, false, false]);
}

#[test]
fn a_write_puts_expiry_off() {
    let state = [("s", Expiration::AfterWrite(Duration::from_millis(100)))];
    let mut mailboxes = with_known(GroupSettings::default(), &state);
    for time in [0, 90, 180] {
        deliver(&mut mailboxes, &[("t/f/1", "a")]);
        let request = mailboxes.next_request(at(time)).unwrap();
        assert_eq!(request.states[0].1.is_some(), time > 0);
        mailboxes.answered(request.id, Answer::Handled(set("s", Some("x"))), at(time)).unwrap();
    }
    mailboxes.on_time(at(279));
    assert_eq!(mailboxes.usage().instances, 1);
    mailboxes.on_time(at(280));
    durable(&mut mailboxes);
    assert_eq!(mailboxes.usage().instances, 0);
}

#[test]
fn an_instance_without_messages_and_states_takes_nothing() {
    let mut mailboxes = with_known(GroupSettings::default(), &[("s", Expiration::Never)]);
    assert_eq!(mailboxes.usage().instances, 0);
    for (text, instances) in [(Some("x"), 1), (Some(""), 1), (None, 0)] {
        deliver(&mut mailboxes, &[("t/f/1", "a")]);
        let request = mailboxes.next_request(NOW).unwrap();
        handled(&mut mailboxes, &request, set("s", text));
        durable(&mut mailboxes);
        let usage = mailboxes.usage();
        assert_eq!((usage.mailboxes, usage.instances), (0, instances), "{text:?}");
    }
}

#[test]
fn a_value_that_is_absent_unsets_its_state() {
    let mut mailboxes = with_known(GroupSettings::default(), &[("s", Expiration::Never)]);
    for value in [value("x"), Value { typename: "t/text".into(), bytes: None }] {
        deliver(&mut mailboxes, &[("t/f/1", "a")]);
        let request = mailboxes.next_request(NOW).unwrap();
        let change = StateChange { name: "s".into(), value: Some(value) };
        handled(&mut mailboxes, &request, Effects { states: vec![change], ..Effects::default() });
    }
    durable(&mut mailboxes);
    assert_eq!(mailboxes.usage().instances, 0);
}

#[test]
fn a_delivery_to_an_unknown_function_is_rejected_as_a_whole() {
    let mut mailboxes = mailboxes();
    let messages = [(to("t/f/1"), message("a")), (to("u/f/1"), message("b"))];
    let refused = mailboxes.deliver(messages).unwrap_err();
    assert_eq!(refused.function, "u/f".parse().unwrap());
    assert_eq!(mailboxes.usage().messages, 0);
}

#[test]
fn a_backlog_is_what_waits_and_is_not_in_flight() {
    let mut mailboxes = with_known(max_batch(2), &[]);
    let backlogs = |mailboxes: &Mailboxes| -> Vec<(String, u64)> {
        mailboxes.counts(Duration::ZERO).map(|(function, counts)| (function.to_string(), counts.backlog)).collect()
    };
    deliver(&mut mailboxes, &[("t/f/1", "a"), ("t/f/1", "b"), ("t/f/1", "c"), ("t/f/2", "d")]);
    assert_eq!(backlogs(&mailboxes), [("t/f".to_owned(), 4)]);
    let request = mailboxes.next_request(NOW).unwrap();
    assert_eq!((texts(&request), backlogs(&mailboxes)), (vec!["a", "b"], vec![("t/f".to_owned(), 2)]));
    handled(&mut mailboxes, &request, Effects::default());
    assert_eq!(backlogs(&mailboxes), [("t/f".to_owned(), 2)]);
}
