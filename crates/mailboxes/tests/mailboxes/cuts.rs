//! The contents of cuts.

use std::time::Duration;

use statefun_kinesis_mailboxes::{
    Answer, Delayed, Effects, Expiration, GroupSettings, Image, Limits, StoredKey, StoredMessage, Usage,
};

use crate::scene::{NOW, Scene, serving, set, spec, stored, to, value};

#[test]
fn a_cut_has_each_address_once() {
    let mailboxes = serving(Limits::default(), GroupSettings::default());
    let mut scene = Scene::over(mailboxes, Image::default());
    for text in [None, Some("1"), None, Some("2")] {
        scene.deliver("t/f/1", "a");
        let mut request = scene.mailboxes.next_request(NOW).unwrap();
        if request.states.is_empty() {
            let spec = spec("s", Expiration::Never);
            scene.mailboxes.answered(request.id, Answer::StatesMissing(vec![spec]), NOW).unwrap();
            request = scene.mailboxes.next_request(NOW).unwrap();
        }
        scene.set(&request, "s", text, NOW);
    }
    let cut = scene.mailboxes.cut();
    assert_eq!(cut.changes.states().collect::<Vec<_>>(), [stored("t/f/1", "s", "2", None)]);
    // An instance without messages and states stays until its last change is durable, and no longer.
    scene.deliver("t/f/1", "a");
    let request = scene.mailboxes.next_request(NOW).unwrap();
    scene.set(&request, "s", None, NOW);
    assert_eq!(scene.mailboxes.usage().instances, 1);
    let cut = scene.mailboxes.cut();
    scene.mailboxes.durable(cut.number);
    assert_eq!(scene.mailboxes.usage().instances, 0);
}

#[test]
fn a_cut_has_what_is_left_of_all_changes() {
    let mut scene = Scene::with(&[]);
    scene.deliver("t/f/1", "a");
    scene.mailboxes.next_request(NOW);
    scene.load(NOW);
    for text in [Some("1"), None, Some("2")] {
        scene.deliver("t/f/1", "b");
        let request = scene.mailboxes.next_request(NOW).unwrap();
        scene.set(&request, "s", text, NOW);
    }
    let first = scene.mailboxes.cut();
    assert_eq!(first.number, 1);
    assert_eq!(first.changes.states().collect::<Vec<_>>(), [stored("t/f/1", "s", "2", None)]);
    assert_eq!(first.changes.messages().count() + first.changes.messages_done().len(), 0, "they came and went");
    assert!(!scene.mailboxes.has_changes());

    let spec = spec("new", Expiration::Never);
    scene.deliver("t/f/1", "c");
    let request = scene.mailboxes.next_request(NOW).unwrap();
    let second = scene.mailboxes.cut();
    assert_eq!((second.number, second.changes.messages().count()), (2, 1), "what is in flight is not handled");
    scene.mailboxes.answered(request.id, Answer::StatesMissing(vec![spec.clone()]), NOW).unwrap();
    let request = scene.mailboxes.next_request(NOW).unwrap();
    let send = Delayed::Send { delay: Duration::from_secs(1), to: to("t/f/2"), value: value("x"), token: None };
    let effects = Effects { delayed: vec![send], ..Effects::default() };
    scene.mailboxes.answered(request.id, Answer::Handled(effects), NOW).unwrap();
    let third = scene.mailboxes.cut();
    let key = |message: &StoredMessage| StoredKey { owner: message.to.id.clone(), number: message.id };
    let handled: Vec<StoredKey> = second.changes.messages().map(key).collect();
    assert_eq!(third.changes.messages_done(), handled);
    assert_eq!(third.changes.specs(), [("t/f".parse().unwrap(), spec)]);
    assert_eq!((third.changes.states().count(), third.changes.timers().count()), (0, 1));
}

/// Lets new addresses answer a message each, until there are 100, and checks after each when a cut is needed although
/// its store ends with the process.
#[track_caller]
fn check_need(limits: Limits, effects: fn() -> Effects, is_much: fn(&Usage) -> bool) {
    let mut scene = Scene::over(serving(limits, GroupSettings::default()), Image::default());
    scene.mailboxes.declare(&"t/f".parse().unwrap(), spec("s", Expiration::Never)).unwrap();
    let mut needed = 0;
    for number in 0..100 {
        scene.deliver(&format!("t/f/{number}"), "a");
        let request = scene.mailboxes.next_request(NOW).unwrap();
        scene.mailboxes.answered(request.id, Answer::Handled(effects()), NOW).unwrap();
        let usage = scene.mailboxes.usage();
        assert_eq!(scene.mailboxes.needs_cut(), is_much(&usage), "{usage:?}");
        needed += usize::from(is_much(&usage));
    }
    assert!((1..100).contains(&needed), "{needed}");
}

#[test]
fn what_fits_into_half_of_memory_needs_no_cut() {
    let all = Limits::default();
    let of_states = Limits { state_bytes: 20_000, ..all };
    check_need(of_states, || set("s", Some(&"x".repeat(100))), |usage| usage.state_bytes > 10_000);
    let delay = || {
        let delay = Duration::from_secs(60);
        let delayed = vec![Delayed::Send { delay, to: to("t/f/x"), value: value("late"), token: None }];
        Effects { delayed, ..Effects::default() }
    };
    check_need(Limits { timers: 100, ..all }, delay, |usage| usage.timers_in_memory > 50);
    check_need(Limits { timer_bytes: 100, ..all }, delay, |usage| usage.timers_in_memory * "late".len() > 50);
}
