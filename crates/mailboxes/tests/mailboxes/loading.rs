//! States that are read from the store.

use statefun_kinesis_mailboxes::{Answer, Expiration, GroupSettings, Limits};

use crate::scene::{NOW, Scene, some, spec, stored, to, value};

#[test]
fn an_address_is_asked_for_before_its_first_request() {
    let mut scene = Scene::with(&[stored("t/f/1", "s", "x", None)]);
    scene.deliver("t/f/1", "a");
    assert_eq!(scene.mailboxes.next_request(NOW), None);
    let addresses = scene.mailboxes.take_loads();
    assert_eq!((&addresses[..], scene.mailboxes.usage().reads), (&[to("t/f/1")][..], 1));
    assert!(scene.mailboxes.take_loads().is_empty(), "it is asked for once");
    // Messages that arrive meanwhile are in the same batch.
    scene.deliver("t/f/1", "b");
    assert_eq!(scene.mailboxes.next_request(NOW), None);
    scene.mailboxes.loaded(&addresses[0], vec![stored("t/f/1", "s", "x", None)], NOW);
    let request = scene.mailboxes.next_request(NOW).unwrap();
    assert_eq!((request.messages.len(), &request.states[0].1), (2, &Some(value("x"))));
    assert_eq!(scene.mailboxes.usage().reads, 0);
    // From then on it is in memory.
    scene.set(&request, "s", Some("y"), NOW);
    assert_eq!(scene.look("t/f/1", NOW), [some("y"), None, None]);
}

#[test]
fn a_function_without_states_needs_no_store() {
    let mut scene = Scene::new(Limits::default(), GroupSettings::default());
    scene.deliver("t/stateless/1", "a");
    let request = scene.mailboxes.next_request(NOW).unwrap();
    scene.handled(&request, NOW);
    assert!(scene.mailboxes.take_loads().is_empty());
    assert_eq!(scene.mailboxes.usage().instances, 0);
}

#[test]
fn states_that_are_declared_only_now_are_in_no_store() {
    let mut scene = Scene::new(Limits::default(), GroupSettings::default());
    scene.deliver("t/f/1", "a");
    let request = scene.mailboxes.next_request(NOW).unwrap();
    let spec = spec("s", Expiration::Never);
    scene.mailboxes.answered(request.id, Answer::StatesMissing(vec![spec]), NOW).unwrap();
    let request = scene.mailboxes.next_request(NOW).unwrap();
    scene.set(&request, "s", Some("x"), NOW);
    scene.commit();
    // After a restart, too, when they are declared again.
    let mut scene = Scene::restored(scene.image, Limits::default(), GroupSettings::default());
    assert_eq!(scene.look("t/f/1", NOW), [some("x")]);
}

#[test]
fn an_address_that_waits_for_its_states_holds_up_no_other() {
    let settings = GroupSettings { max_in_flight: 1.try_into().unwrap(), ..GroupSettings::default() };
    let mut scene = Scene::with(&[]);
    scene = Scene::restored(scene.image, Limits::default(), settings);
    scene.look("t/f/known", NOW);
    scene.deliver("t/f/1", "a");
    scene.deliver("t/f/known", "b");
    let request = scene.mailboxes.next_request(NOW).unwrap();
    assert_eq!(request.target, to("t/f/known"));
    assert_eq!(scene.mailboxes.take_loads(), [to("t/f/1")]);
    // When its states arrive it has waited longest, so it goes before addresses that came after it.
    scene.deliver("t/f/known", "c");
    scene.mailboxes.loaded(&to("t/f/1"), Vec::new(), NOW);
    assert_eq!(scene.mailboxes.next_request(NOW), None, "one in flight");
    scene.handled(&request, NOW);
    assert_eq!(scene.mailboxes.next_request(NOW).unwrap().target, to("t/f/1"));
}

#[test]
fn a_load_that_failed_is_asked_for_again() {
    let mut scene = Scene::with(&[stored("t/f/1", "s", "x", None)]);
    scene.deliver("t/f/1", "a");
    for _ in 0..3 {
        assert_eq!(scene.mailboxes.next_request(NOW), None);
        assert_eq!(scene.mailboxes.take_loads(), [to("t/f/1")]);
        scene.mailboxes.load_failed(&to("t/f/1"));
        assert_eq!(scene.mailboxes.usage().reads, 1);
    }
    assert_eq!(scene.load(NOW), ["t/f/1"]);
    assert_eq!(scene.mailboxes.next_request(NOW).unwrap().states[0].1, Some(value("x")));
}

#[test]
fn an_answer_to_an_ended_request_changes_nothing() {
    let mut scene = Scene::with(&[]);
    assert_eq!(scene.look("t/f/1", NOW), [None, None, None]);
    scene.mailboxes.loaded(&to("t/f/1"), vec![stored("t/f/1", "s", "old", None)], NOW);
    scene.mailboxes.loaded(&to("t/f/2"), vec![stored("t/f/2", "s", "old", None)], NOW);
    scene.mailboxes.load_failed(&to("t/f/1"));
    assert_eq!(scene.look("t/f/1", NOW), [None, None, None]);
    assert_eq!((scene.load(NOW).len(), scene.mailboxes.usage().instances), (0, 1));
}

#[test]
fn as_many_states_are_asked_for_as_there_is_room_for() {
    let large = "x".repeat(100_000);
    let names: Vec<String> = (0..200).map(|number| format!("t/f/{number}")).collect();
    let states: Vec<_> = names.iter().map(|address| stored(address, "s", &large, None)).collect();
    let limits = Limits { state_bytes: 1 << 20, ..Limits::default() };
    let settings = GroupSettings { max_in_flight: 2.try_into().unwrap(), ..GroupSettings::default() };
    let mut scene = Scene::restored(Scene::with(&states).image, limits, settings);
    names.iter().for_each(|address| scene.deliver(address, "a"));
    let (mut most, mut handled, mut rounds) = (0, 0, 0);
    while handled < names.len() {
        rounds += 1;
        assert!(rounds < 10_000, "it stands still: {:?}", scene.mailboxes.usage());
        let requests: Vec<_> = std::iter::from_fn(|| scene.mailboxes.next_request(NOW)).collect();
        scene.load(NOW);
        most = most.max(scene.mailboxes.usage().state_bytes);
        requests.iter().for_each(|request| scene.handled(request, NOW));
        handled += requests.len();
    }
    // Two are in flight. If the first states are smaller than expected, two more may load than there is room for.
    assert!(most < (1 << 20) + 400_000, "{most} bytes at most");
    assert!(rounds < 150, "{rounds} rounds");
    assert!(scene.mailboxes.usage().state_bytes <= 1 << 20);
}
