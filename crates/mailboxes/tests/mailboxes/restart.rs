//! States that functions declare again after a restart.

use std::time::Duration;

use statefun_kinesis_mailboxes::{
    Answer, Effects, Expiration, GroupSettings, Image, Limits, Request, Restored, StateChange,
};
use statefun_kinesis_types::Timestamp;

use crate::scene::{NOW, Scene, at, serving, some, spec, stored, text, value};

/// Restarts, sends a message to an address, and lets the function declare these states in its answer. Returns the
/// request that has them.
fn restarted(image: Image, declared: &[(&str, Expiration)], now: Timestamp) -> (Scene, Request) {
    let mut mailboxes = serving(Limits::default(), GroupSettings::default());
    let restored = Restored { has_states: true, ..image.restored() };
    mailboxes.restore(restored).unwrap();
    let mut scene = Scene::over(mailboxes, image);
    scene.deliver("t/f/1", "a");
    assert_eq!(scene.mailboxes.next_request(now), None);
    scene.load(now);
    let request = scene.mailboxes.next_request(now).unwrap();
    assert!(request.states.is_empty(), "each start asks which states there are");
    let spec = |&(name, expiration): &(&str, Expiration)| spec(name, expiration);
    let answer = Answer::StatesMissing(declared.iter().map(spec).collect());
    scene.mailboxes.answered(request.id, answer.clone(), now).unwrap();
    let request = scene.mailboxes.next_request(now).unwrap();
    let again = scene.mailboxes.answered(request.id, answer, now);
    assert!(again.is_err(), "they were in the request");
    (scene, request)
}

const HOUR: Duration = Duration::from_secs(60 * 60);
const MINUTE: Duration = Duration::from_secs(60);

/// A value that is in the store and expires as an earlier run has declared; what a restart declares; whether its
/// function sets the state at 1 s; when the value expires in the end, in seconds.
#[track_caller]
fn check_declared_again(before: Expiration, now: Expiration, sets: bool, expect: Option<i64>) {
    let mut image = Image::default();
    image.declare("t/f".parse().unwrap(), spec("x", before));
    let expires = if before == Expiration::Never { None } else { Some(3_600_000) };
    image.set(stored("t/f/1", "x", "old", expires));
    let (mut scene, request) = restarted(image, &[("x", now)], at(1_000));
    assert_eq!(request.states, [("x".into(), Some(value("old")))]);
    if sets {
        scene.set(&request, "x", Some("new"), at(1_000));
    } else {
        scene.handled(&request, at(1_000));
    }
    scene.commit();
    let specs: Vec<_> = scene.image.specs().iter().map(|(_, spec)| spec.expiration).collect();
    assert_eq!(specs, [now], "what counts is durable");
    let text = if sets { "new" } else { "old" };
    let expected = ("x".to_owned(), text.to_owned(), expect.map(|seconds| at(seconds * 1_000)));
    assert_eq!(scene.durable("t/f/1"), [expected], "{before:?} and then {now:?}");
    let Some(seconds) = expect else { return };
    scene.mailboxes.on_time(at(seconds * 1_000 - 1));
    assert_eq!(scene.mailboxes.next_deadline(), Some(at(seconds * 1_000)));
    scene.mailboxes.on_time(at(seconds * 1_000));
    scene.commit();
    assert!(scene.durable("t/f/1").is_empty());
}

#[test]
fn a_changed_expiration_applies_after_a_restart() {
    use Expiration::{AfterInvoke, AfterWrite, Never};
    check_declared_again(AfterWrite(HOUR), AfterWrite(MINUTE), true, Some(61));
    check_declared_again(AfterWrite(HOUR), AfterWrite(MINUTE), false, Some(3_600));
    check_declared_again(AfterInvoke(HOUR), AfterInvoke(MINUTE), false, Some(61));
    check_declared_again(AfterWrite(HOUR), AfterInvoke(MINUTE), false, Some(61));
    check_declared_again(Never, AfterInvoke(MINUTE), false, Some(61));
    check_declared_again(Never, AfterWrite(MINUTE), false, None);
    check_declared_again(Never, AfterWrite(MINUTE), true, Some(61));
    check_declared_again(AfterWrite(HOUR), Never, true, None);
    check_declared_again(AfterWrite(HOUR), Never, false, Some(3_600));
    // The first request counts as a use too, whatever its answer is.
    check_declared_again(AfterInvoke(HOUR), Never, false, Some(3_601));
}

#[test]
fn a_state_that_is_not_declared_any_more_stays_in_the_store() {
    let mut image = Image::default();
    for name in ["old", "kept"] {
        let spec = spec(name, Expiration::Never);
        image.declare("t/f".parse().unwrap(), spec);
        image.set(stored("t/f/1", name, name, None));
    }
    let declared = [("new", Expiration::Never), ("kept", Expiration::Never)];
    let (mut scene, request) = restarted(image, &declared, NOW);
    assert_eq!(request.states, [("kept".into(), Some(value("kept"))), ("new".into(), None)]);
    let change = |name: &str| StateChange { name: name.into(), value: Some(value("changed")) };
    let effects = |name| Answer::Handled(Effects { states: vec![change(name)], ..Effects::default() });
    assert!(scene.mailboxes.answered(request.id, effects("old"), NOW).is_err(), "it was not declared");
    scene.mailboxes.answered(request.id, effects("new"), NOW).unwrap();
    assert_eq!(scene.look("t/f/1", NOW), [some("kept"), some("changed")]);
    scene.commit();

    // A function that declares it again finds its value.
    let declared = ["old", "kept", "new"].map(|name| (name, Expiration::Never));
    let (_, request) = restarted(scene.image, &declared, NOW);
    let values: Vec<_> = request.states.iter().map(|(_, value)| value.as_ref().map(text)).collect();
    assert_eq!(values, [Some("old"), Some("kept"), Some("changed")]);
}

#[test]
fn a_function_may_declare_its_states_one_after_the_other() {
    let mut image = Image::default();
    for name in ["a", "b"] {
        let spec = spec(name, Expiration::Never);
        image.declare("t/f".parse().unwrap(), spec);
        image.set(stored("t/f/1", name, name, None));
    }
    let (mut scene, request) = restarted(image, &[("b", Expiration::Never)], NOW);
    assert_eq!(request.states, [("b".into(), Some(value("b")))]);
    let spec = spec("a", Expiration::Never);
    scene.mailboxes.answered(request.id, Answer::StatesMissing(vec![spec]), NOW).unwrap();
    let request = scene.mailboxes.next_request(NOW).unwrap();
    assert_eq!(request.states, [("a".into(), Some(value("a"))), ("b".into(), Some(value("b")))]);
    scene.handled(&request, NOW);
    assert!(!scene.image.specs().is_empty() && scene.mailboxes.cut().changes.specs().is_empty(), "nothing is new");
}
