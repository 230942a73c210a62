//! States that expire, in memory and in the store.

use statefun_kinesis_mailboxes::{GroupSettings, Limits};

use crate::scene::{Scene, at, specs, stored, value};

/// What is in the store at 0 and expires at 50; a message at that time; what the function sees, what the store has
/// then.
#[track_caller]
fn check_expiry(name: &str, time: i64, sees: Option<&str>, durable: Option<i64>) {
    let mut scene = Scene::with(&[stored("t/f/1", name, "x", Some(50)), stored("t/f/1", "s", "stays", None)]);
    let place = specs().iter().position(|(other, _)| *other == name).unwrap();
    assert_eq!(scene.look("t/f/1", at(time))[place].as_deref(), sees, "{name} at {time}");
    scene.commit();
    let left = scene.durable("t/f/1").into_iter().find(|(other, ..)| other == name);
    assert_eq!(left.map(|(.., expires)| expires), durable.map(|millis| Some(at(millis))), "{name} at {time}");
    // The same once more, now that it is in memory.
    scene.mailboxes.on_time(at(1_000));
    scene.commit();
    assert_eq!(scene.durable("t/f/1").len(), 1, "{name} at {time}");
}

#[test]
fn values_from_the_store_expire_when_they_should() {
    check_expiry("w", 49, Some("x"), Some(50));
    check_expiry("w", 50, None, None);
    check_expiry("i", 49, Some("x"), Some(149));
    check_expiry("i", 50, None, None);
}

#[test]
fn expired_values_are_swept_without_a_request() {
    let states = [
        stored("t/f/1", "w", "old", Some(50)),
        stored("t/f/1", "s", "stays", None),
        stored("t/f/2", "w", "young", Some(500)),
        stored("t/f/3", "i", "old", Some(60)),
        stored("t/nobody-knows/1", "i", "old", Some(60)),
    ];
    let mut scene = Scene::with(&states);
    let mut seen = states.to_vec();
    seen.push(stored("elsewhere/f/1", "i", "old", Some(60)));
    scene.mailboxes.sweep(seen, at(100));
    assert_eq!(scene.load(at(100)), ["t/f/1", "t/f/3"], "of functions without states nothing can be asked");
    assert_eq!(scene.mailboxes.usage().instances, 2);
    scene.commit();
    assert_eq!(scene.durable("t/f/1"), [("s".to_owned(), "stays".to_owned(), None)]);
    assert_eq!((scene.durable("t/f/2").len(), scene.durable("t/f/3").len()), (1, 0));
    assert_eq!(scene.mailboxes.sweeps_left(), 0);
}

#[test]
fn a_sweep_never_removes_what_is_newer() {
    let old = stored("t/f/1", "w", "old", Some(50));
    let states = [old.clone(), stored("t/f/2", "w", "old", Some(50))];
    // In memory, in a cut, in a durable cut, and out of memory again. The sweep read the store before all of that.
    for stage in 0..4 {
        let mut scene = Scene::with(&states);
        scene.mailboxes = Scene::restored(
            scene.image.clone(),
            Limits { state_bytes: if stage == 3 { 0 } else { 10_000 }, ..Limits::default() },
            GroupSettings::default(),
        )
        .mailboxes;
        scene.deliver("t/f/1", "a");
        scene.mailboxes.next_request(at(60));
        scene.load(at(60));
        let request = scene.mailboxes.next_request(at(60)).unwrap();
        scene.set(&request, "w", Some("new"), at(60));
        if stage == 1 {
            let cut = scene.mailboxes.cut();
            scene.image.apply(cut.changes);
        } else if stage > 1 {
            scene.commit();
        }
        scene.mailboxes.sweep(states.to_vec(), at(70));
        scene.load(at(70));
        scene.commit();
        assert_eq!(scene.durable("t/f/1"), [("w".to_owned(), "new".to_owned(), Some(at(160)))], "stage {stage}");
        assert!(scene.durable("t/f/2").is_empty(), "stage {stage}");
    }
}

#[test]
fn a_message_to_an_address_that_is_swept_waits_for_the_same_load() {
    let mut scene = Scene::with(&[stored("t/f/1", "w", "old", Some(50)), stored("t/f/1", "s", "x", None)]);
    scene.mailboxes.sweep(vec![stored("t/f/1", "w", "old", Some(50))], at(100));
    let addresses = scene.mailboxes.take_loads();
    scene.deliver("t/f/1", "a");
    assert_eq!(scene.mailboxes.next_request(at(100)), None);
    assert!(scene.mailboxes.take_loads().is_empty());
    let states = scene.image.states().cloned().collect();
    scene.mailboxes.loaded(&addresses[0], states, at(100));
    let request = scene.mailboxes.next_request(at(100)).unwrap();
    assert_eq!(request.states[0].1, Some(value("x")));
    assert_eq!(request.states[1].1, None);
}
