//! Which states leave memory, and when.

use std::time::Duration;

use statefun_kinesis_mailboxes::{GroupSettings, Limits, Request};

use crate::scene::{NOW, Scene, at, stored, value};

#[test]
fn what_is_not_durable_stays_and_then_the_longest_unused_goes() {
    // Room for two addresses with a value of a kilobyte each.
    let limits = Limits { state_bytes: 2_900, ..Limits::default() };
    let mut scene = Scene::restored(Scene::with(&[]).image, limits, GroupSettings::default());
    let large = "x".repeat(1_000);
    for address in ["t/f/1", "t/f/2", "t/f/3", "t/f/4"] {
        scene.deliver(address, "a");
        assert_eq!(scene.mailboxes.next_request(NOW), None);
        scene.load(NOW);
        let request = scene.mailboxes.next_request(NOW).unwrap();
        scene.set(&request, "s", Some(&large), NOW);
    }
    assert_eq!(scene.mailboxes.usage().instances, 4, "the store has none of them");
    let cut = scene.mailboxes.cut();
    scene.look("t/f/1", NOW);
    assert_eq!(scene.mailboxes.usage().instances, 4, "a cut is not durable yet");
    scene.image.apply(cut.changes);
    scene.mailboxes.durable(cut.number);
    let usage = scene.mailboxes.usage();
    assert!(usage.instances == 2 && usage.state_bytes <= 2_900, "{usage:?}");
    // The first one was used last.
    for (address, is_there) in [("t/f/1", true), ("t/f/2", false), ("t/f/1", true), ("t/f/3", false)] {
        scene.deliver(address, "a");
        let request = scene.mailboxes.next_request(NOW);
        assert_eq!(request.is_some(), is_there, "{address}");
        let request = request.or_else(|| {
            scene.load(NOW);
            scene.mailboxes.next_request(NOW)
        });
        let request = request.unwrap();
        assert_eq!(request.states[0].1, Some(value(&large)));
        scene.handled(&request, NOW);
    }
}

/// A request of `t/f/1`, whose state `s` is `x`, while there is room for no state that is not in use.
fn in_flight_without_room() -> (Scene, Request) {
    let limits = Limits { state_bytes: 0, ..Limits::default() };
    let image = Scene::with(&[stored("t/f/1", "s", "x", None)]).image;
    let mut scene = Scene::restored(image, limits, GroupSettings::default());
    scene.deliver("t/f/1", "a");
    scene.mailboxes.next_request(NOW);
    scene.load(NOW);
    let request = scene.mailboxes.next_request(NOW).unwrap();
    (scene, request)
}

#[test]
fn an_address_that_lost_its_states_stays_until_the_store_knows() {
    let (mut scene, request) = in_flight_without_room();
    scene.set(&request, "s", None, NOW);
    assert_eq!(scene.look("t/f/1", NOW), [None, None, None]);
    scene.commit();
    assert_eq!(scene.mailboxes.usage().instances, 0);
    assert!(scene.durable("t/f/1").is_empty());
    assert_eq!(scene.look("t/f/1", NOW), [None, None, None]);
}

#[test]
fn states_of_an_address_that_is_parked_may_go() {
    let (mut scene, request) = in_flight_without_room();
    assert!(scene.mailboxes.usage().state_bytes > 250, "what is in flight stays");
    scene.mailboxes.park(request.id, Duration::from_millis(1_000));
    assert!(scene.mailboxes.usage().state_bytes < 250, "{:?}", scene.mailboxes.usage());
    scene.mailboxes.on_time(at(1_000));
    assert_eq!(scene.mailboxes.next_request(at(1_000)), None);
    assert_eq!(scene.load(at(1_000)), ["t/f/1"]);
    let again = scene.mailboxes.next_request(at(1_000)).unwrap();
    assert_eq!((again.attempt, &again.states[0].1), (1, &Some(value("x"))));
}

#[test]
fn requests_wait_while_too_much_is_not_durable() {
    let limits = Limits { unsaved_bytes: 3_000, ..Limits::default() };
    let mut scene = Scene::restored(Scene::with(&[]).image, limits, GroupSettings::default());
    let large = "x".repeat(2_000);
    for address in ["t/f/1", "t/f/2"] {
        scene.deliver(address, "a");
        scene.mailboxes.next_request(NOW);
        scene.load(NOW);
        let request = scene.mailboxes.next_request(NOW).unwrap();
        assert!(!scene.mailboxes.wants_cut() || address == "t/f/2");
        scene.set(&request, "s", Some(&large), NOW);
        assert!(scene.mailboxes.wants_cut());
    }
    scene.deliver("t/f/1", "b");
    assert_eq!(scene.mailboxes.next_request(NOW), None);
    let cut = scene.mailboxes.cut();
    assert!(!scene.mailboxes.wants_cut());
    assert_eq!(scene.mailboxes.next_request(NOW), None, "a cut is not durable");
    scene.mailboxes.durable(cut.number);
    assert!(scene.mailboxes.next_request(NOW).is_some());
    assert_eq!(scene.mailboxes.usage().unsaved_bytes, 0);
}

#[test]
fn states_of_an_address_that_waits_for_another_one_may_go() {
    // There seems to be room for two loads at a time, until their states arrive and are larger.
    let large = "x".repeat(2 << 20);
    let image = Scene::with(&[stored("t/f/1", "s", &large, None), stored("t/f/2", "s", &large, None)]).image;
    let limits = Limits { state_bytes: 3 << 20, ..Limits::default() };
    let mut scene = Scene::restored(image, limits, GroupSettings::default());
    scene.deliver("t/f/1", "a");
    scene.deliver("t/f/2", "a");
    assert_eq!(scene.mailboxes.next_request(NOW), None);
    assert_eq!(scene.load(NOW).len(), 2);
    let first = scene.mailboxes.next_request(NOW).unwrap();
    // The first request of a function is sent alone.
    assert_eq!(scene.mailboxes.next_request(NOW), None);
    scene.handled(&first, NOW);
    assert!(scene.mailboxes.usage().state_bytes < 3 << 20, "{:?}", scene.mailboxes.usage());
    assert_eq!(scene.look("t/f/1", NOW)[0].as_ref(), Some(&large));
}
