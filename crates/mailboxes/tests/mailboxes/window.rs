//! Messages that are in the store and not in memory, one promise per test.

use std::time::Duration;

use statefun_kinesis_mailboxes::{Answer, Delayed, Effects, GroupSettings, Limits, Mailboxes, Now, Read};

use crate::scene::{NOW, Scene, to, value};

fn few(messages: usize) -> Limits {
    Limits { messages, ..Limits::default() }
}

#[test]
fn what_is_beyond_the_window_comes_back_in_order() {
    let mut scene = Scene::new(Limits::default(), GroupSettings::default());
    let texts: Vec<String> = (0..3_000).map(|number| number.to_string()).collect();
    texts.iter().for_each(|text| scene.deliver("t/f/a", text));
    let usage = scene.mailboxes.usage();
    assert!(usage.messages == 3_000 && usage.messages_in_memory <= 2_000, "{usage:?}");
    assert!(scene.mailboxes.has_room(), "one address takes its window and no more");
    assert_eq!(scene.finish(), texts);
}

#[test]
fn a_start_reads_a_window_and_not_everything() {
    let mut scene = Scene::new(Limits::default(), GroupSettings::default());
    (0..3_000).for_each(|number| scene.deliver(&format!("t/f/id-{}", number % 500), &number.to_string()));
    scene.commit();
    let mut scene = Scene::restored(scene.image, few(100), GroupSettings::default());
    assert_eq!((scene.mailboxes.usage().messages, scene.mailboxes.usage().messages_in_memory), (3_000, 0));
    scene.read();
    let usage = scene.mailboxes.usage();
    assert!((1..=200).contains(&usage.messages_in_memory), "{usage:?}");
    // New messages for an address that is not read yet stay behind its older ones.
    (0..500).for_each(|id| scene.deliver(&format!("t/f/id-{id}"), &(3_000 + id).to_string()));
    let mut by_id = vec![Vec::new(); 500];
    for text in scene.finish() {
        let number: usize = text.parse().unwrap();
        by_id[number % 500].push(number);
    }
    assert!(by_id.iter().all(|numbers| numbers.len() == 7 && numbers.is_sorted()), "{by_id:?}");
}

/// When a checkpoint is made: with a store that outlives the process, whenever there are changes.
const CUTS: [fn(&Mailboxes) -> bool; 2] = [Mailboxes::has_changes, Mailboxes::needs_cut];

#[test]
fn addresses_that_fail_hold_up_no_others_that_are_in_the_store() {
    CUTS.into_iter().for_each(failing_addresses_hold_up_no_others);
}

fn failing_addresses_hold_up_no_others(is_time_for_a_cut: fn(&Mailboxes) -> bool) {
    let mut scene = Scene::new(few(20), GroupSettings::default());
    // Most of them always fail, and at first none of the others is in memory.
    (0..500).for_each(|number| scene.deliver(&format!("t/f/bad-{number}"), "bad"));
    (0..50).for_each(|number| scene.deliver(&format!("t/f/good-{number}"), &number.to_string()));
    let mut elapsed = Duration::ZERO;
    for _ in 0..2_000 {
        elapsed += Duration::from_secs(1);
        let now = Now { time: NOW, elapsed };
        scene.mailboxes.on_time(now);
        scene.read();
        while let Some(request) = scene.mailboxes.next_request(now) {
            if request.target.id.starts_with("bad") {
                scene.mailboxes.park(request.id, elapsed + Duration::from_secs(30));
                scene.mailboxes.check_invariants();
            } else {
                scene.handle(&request);
            }
        }
        if is_time_for_a_cut(&scene.mailboxes) {
            scene.commit();
        }
        let usage = scene.mailboxes.usage();
        assert!(usage.mailboxes <= 40 && usage.messages_in_memory <= 40, "{usage:?}");
    }
    assert_eq!((scene.handled.len(), scene.mailboxes.usage().messages), (50, 500));
}

#[test]
fn what_is_put_out_of_memory_asks_for_a_cut() {
    let mut scene = Scene::new(few(2), GroupSettings::default());
    ["1", "2", "3"].iter().for_each(|id| scene.deliver(&format!("t/f/{id}"), "x"));
    scene.commit();
    assert!(!scene.mailboxes.has_changes());
    while let Some(request) = scene.mailboxes.next_request(NOW) {
        scene.mailboxes.park(request.id, Duration::from_secs(30));
    }
    scene.mailboxes.on_time(Now { time: NOW, elapsed: Duration::from_secs(1) });
    assert!(scene.mailboxes.usage().mailboxes < 2, "one makes room for the third");
    assert!(scene.mailboxes.has_changes(), "it is read again once a cut is durable, and there would be none");
}

#[test]
fn where_failures_are_given_up_they_are_counted_however_many_wait() {
    CUTS.into_iter().for_each(failures_are_counted_and_given_up);
}

fn failures_are_counted_and_given_up(is_time_for_a_cut: fn(&Mailboxes) -> bool) {
    let group = GroupSettings { gives_up: true, ..GroupSettings::default() };
    let mut scene = Scene::new(few(20), group);
    (0..200).for_each(|number| scene.deliver(&format!("t/f/bad-{number}"), "bad"));
    (0..50).for_each(|number| scene.deliver(&format!("t/f/good-{number}"), "good"));
    let mut elapsed = Duration::ZERO;
    while scene.mailboxes.usage().messages > 0 {
        elapsed += Duration::from_secs(1);
        assert!(elapsed < Duration::from_secs(3_600), "messages are tried again for ever");
        let now = Now { time: NOW, elapsed };
        scene.mailboxes.on_time(now);
        scene.read();
        while let Some(request) = scene.mailboxes.next_request(now) {
            if request.target.id.starts_with("bad") && request.attempt < 9 {
                scene.mailboxes.park(request.id, elapsed + Duration::from_secs(2));
            } else {
                scene.handle(&request);
            }
        }
        if is_time_for_a_cut(&scene.mailboxes) {
            scene.commit();
        }
    }
    assert_eq!(scene.handled.len(), 250);
}

#[test]
fn what_came_too_late_for_a_read_is_not_forgotten() {
    let mut scene = Scene::new(few(4), GroupSettings::default());
    ["1", "2", "3", "4"].iter().for_each(|id| scene.deliver(&format!("t/f/{id}"), "x"));
    // The maximum number of addresses with messages is in memory, so this one is only in the store.
    scene.deliver("t/f/b", "first");
    scene.commit();
    (0..2).for_each(|_| scene.handle_next());
    let looked = scene.look_into_store();
    assert!(matches!(looked[..], [(_, Read::Waiting { .. }, _)]), "{looked:?}");
    // Memory is full again, so the next one is only in the store, and the read does not see it.
    ["5", "6"].iter().for_each(|id| scene.deliver(&format!("t/f/{id}"), "x"));
    scene.deliver("t/f/b", "second");
    for (id, _, found) in looked {
        scene.mailboxes.found(id, found).unwrap();
    }
    scene.commit();
    (0..3).for_each(|_| scene.handle_next());
    scene.read();
    let handled = scene.finish();
    assert_eq!(handled.iter().filter(|text| *text != "x").collect::<Vec<_>>(), ["first", "second"]);
}

#[test]
fn messages_within_the_share_of_their_function_need_no_read() {
    let mut scene = Scene::new(Limits::default(), GroupSettings::default());
    for number in 0..100 {
        scene.deliver(&format!("t/f/id-{}", number % 3), &number.to_string());
    }
    scene.commit();
    while let Some(request) = scene.mailboxes.next_request(NOW) {
        scene.handle(&request);
        let looked = scene.look_into_store();
        assert!(looked.is_empty(), "{looked:?}");
    }
    assert_eq!(scene.handled.len(), 100);
}

#[test]
fn a_function_whose_share_is_full_reads_no_other_address() {
    let mut scene = Scene::new(few(4), GroupSettings::default());
    ["1", "2", "3", "busy"].iter().for_each(|id| scene.deliver(&format!("t/f/{id}"), "x"));
    // The maximum number of addresses with messages is in memory, so this one is only in the store.
    scene.deliver("t/f/other", "other");
    scene.commit();
    (0..3).for_each(|_| scene.handle_next());
    (0..3).for_each(|_| scene.deliver("t/f/busy", "x"));
    let looked = scene.look_into_store();
    assert!(looked.is_empty(), "{looked:?}");
    scene.handle_next();
    let looked = scene.look_into_store();
    assert!(matches!(looked[..], [(_, Read::Waiting { .. }, _)]), "{looked:?}");
}

#[test]
fn messages_behind_a_failing_one_stay_in_memory_while_there_is_room() {
    let group = GroupSettings { max_batch_messages: 1.try_into().unwrap(), ..GroupSettings::default() };
    let mut scene = Scene::new(few(4), group);
    (0..3).for_each(|_| scene.deliver("t/f/bad", "x"));
    scene.commit();
    let request = scene.mailboxes.next_request(NOW).unwrap();
    scene.mailboxes.park(request.id, Duration::from_secs(30));
    assert_eq!(scene.mailboxes.usage().messages_in_memory, 3);
    // With a fourth message the share is full, and what waits behind a failing message makes room.
    scene.deliver("t/f/other", "x");
    let request = scene.mailboxes.next_request(NOW).unwrap();
    scene.mailboxes.park(request.id, Duration::from_secs(30));
    scene.mailboxes.on_time(Now { time: NOW, elapsed: Duration::from_secs(30) });
    let request = scene.mailboxes.next_request(NOW).unwrap();
    scene.mailboxes.park(request.id, Duration::from_secs(60));
    assert_eq!(scene.mailboxes.usage().messages_in_memory, 2);
}

/// Evicted earlier, delayed messages that are due soon would be read back at once.
#[test]
fn delayed_messages_are_evicted_beyond_twice_the_window_and_down_to_it() {
    let windows = [Limits { timers: 10, ..Limits::default() }, Limits { timer_bytes: 40, ..Limits::default() }];
    for window in windows {
        let mut scene = Scene::new(window, GroupSettings::default());
        for (count, in_memory) in (1..=20).map(|count| (count, count)).chain([(21, 10)]) {
            scene.deliver("t/f/a", "x");
            let request = scene.mailboxes.next_request(NOW).unwrap();
            let delay = Duration::from_secs(60);
            let send = Delayed::Send { delay, to: to("t/f/b"), value: value("late"), token: None };
            let effects = Effects { delayed: vec![send], ..Effects::default() };
            scene.mailboxes.answered(request.id, Answer::Handled(effects), NOW).unwrap();
            scene.commit();
            let usage = scene.mailboxes.usage();
            assert_eq!((usage.timers, usage.timers_in_memory as u64), (count, in_memory), "{window:?}");
        }
    }
}
