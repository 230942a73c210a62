//! What mailboxes promise about states, which are in a store behind them; one promise per test.

use std::time::Duration;

use statefun_kinesis_mailboxes::{
    Answer, Delayed, Effects, Expiration, GroupSettings, Image, Limits, Mailboxes, Message, Request, Restored,
    StateChange, StateSpec, StoredKey, StoredMessage, StoredState, Value,
};
use statefun_kinesis_types::{Address, Timestamp};

const NOW: Timestamp = Timestamp::EPOCH;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn to(address: &str) -> Address {
    let (function, id) = address.rsplit_once('/').unwrap();
    Address { function: function.parse().unwrap(), id: id.into() }
}

fn value(text: &str) -> Value {
    Value::new("t/text", text.to_owned())
}

fn text(value: &Value) -> &str {
    std::str::from_utf8(value.bytes.as_ref().unwrap()).unwrap()
}

fn stored(address: &str, name: &str, text: &str, expires: Option<i64>) -> StoredState {
    StoredState { address: to(address), name: name.into(), value: Some(value(text)), expires: expires.map(at) }
}

/// Mailboxes and the store behind them.
struct Scene {
    mailboxes: Mailboxes,
    image: Image,
}

/// The states of `t/f`.
fn specs() -> [(&'static str, Expiration); 3] {
    let hundred = Duration::from_millis(100);
    [("s", Expiration::Never), ("w", Expiration::AfterWrite(hundred)), ("i", Expiration::AfterInvoke(hundred))]
}

impl Scene {
    fn new(limits: Limits, settings: GroupSettings) -> Self {
        Self::restored(Image::default(), limits, settings)
    }

    /// Mailboxes that are backed by a store with these states.
    fn with(states: &[StoredState]) -> Self {
        let mut image = Image::default();
        for (name, expiration) in specs() {
            let spec = StateSpec { name: name.into(), typename: "t/text".into(), expiration };
            image.declare("t/f".parse().unwrap(), spec);
        }
        states.iter().cloned().for_each(|state| image.set(state));
        Self::restored(image, Limits::default(), GroupSettings::default())
    }

    fn restored(image: Image, limits: Limits, settings: GroupSettings) -> Self {
        let mut mailboxes = Mailboxes::new(limits);
        let group = mailboxes.add_group(settings);
        mailboxes.serve_namespace("t", group);
        let restored = Restored { has_states: true, ..image.restored() };
        mailboxes.restore(restored).unwrap();
        for (function, spec) in image.specs() {
            mailboxes.declare(function, spec.clone()).unwrap();
        }
        assert!(!mailboxes.has_changes(), "what is declared is what was declared");
        Self { mailboxes, image }
    }

    fn deliver(&mut self, address: &str, text: &str) {
        let message = Message { caller: None, value: value(text), origin: None };
        self.mailboxes.deliver([(to(address), message)]).unwrap();
    }

    /// Answers all loads that are asked for, from what is durable; says for which addresses.
    fn load(&mut self, now: Timestamp) -> Vec<String> {
        let addresses = self.mailboxes.take_loads();
        for address in &addresses {
            let states = self.image.states().filter(|state| state.address == *address).cloned().collect();
            self.mailboxes.loaded(address, states, now);
        }
        addresses.iter().map(Address::to_string).collect()
    }

    /// Makes everything durable.
    fn commit(&mut self) {
        let cut = self.mailboxes.cut();
        self.image.apply(cut.changes);
        self.mailboxes.durable(cut.number);
    }

    fn set(&mut self, request: &Request, name: &str, text: Option<&str>, now: Timestamp) {
        let change = StateChange { name: name.into(), value: text.map(value) };
        let effects = Effects { states: vec![change], ..Effects::default() };
        self.mailboxes.answered(request.id, Answer::Handled(effects), now).unwrap();
    }

    fn handled(&mut self, request: &Request, now: Timestamp) {
        self.mailboxes.answered(request.id, Answer::Handled(Effects::default()), now).unwrap();
    }

    /// Lets the address handle a message that changes nothing, and says what states it had, in the order of the specs.
    fn look(&mut self, address: &str, now: Timestamp) -> Vec<Option<String>> {
        self.deliver(address, "look");
        self.mailboxes.on_time(now);
        let request = self.mailboxes.next_request(now).or_else(|| {
            self.load(now);
            self.mailboxes.next_request(now)
        });
        let request = request.unwrap();
        assert_eq!(request.target, to(address));
        self.handled(&request, now);
        request.states.iter().map(|(_, value)| value.as_ref().map(|value| text(value).to_owned())).collect()
    }

    /// What the store has of an address.
    fn durable(&self, address: &str) -> Vec<(String, String, Option<Timestamp>)> {
        let of = self.image.states().filter(|state| state.address == to(address));
        let mut found: Vec<_> = of
            .map(|state| (state.name.to_string(), text(state.value.as_ref().unwrap()).to_owned(), state.expires))
            .collect();
        found.sort();
        found
    }
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

#[test]
fn an_address_is_asked_for_before_its_first_request() {
    let mut scene = Scene::with(&[stored("t/f/1", "s", "x", None)]);
    scene.deliver("t/f/1", "a");
    assert_eq!(scene.mailboxes.next_request(NOW), None);
    let addresses = scene.mailboxes.take_loads();
    assert_eq!((&addresses[..], scene.mailboxes.usage().reads), (&[to("t/f/1")][..], 1));
    assert!(scene.mailboxes.take_loads().is_empty(), "it is asked for once");
    // What comes meanwhile is in the same batch.
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
    let spec = StateSpec { name: "s".into(), typename: "t/text".into(), expiration: Expiration::Never };
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
    // It waited for longest when its states come, and goes before whoever came after it.
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
fn an_answer_that_nobody_waits_for_changes_nothing() {
    let mut scene = Scene::with(&[]);
    assert_eq!(scene.look("t/f/1", NOW), [None, None, None]);
    scene.mailboxes.loaded(&to("t/f/1"), vec![stored("t/f/1", "s", "old", None)], NOW);
    scene.mailboxes.loaded(&to("t/f/2"), vec![stored("t/f/2", "s", "old", None)], NOW);
    scene.mailboxes.load_failed(&to("t/f/1"));
    assert_eq!(scene.look("t/f/1", NOW), [None, None, None]);
    assert_eq!((scene.load(NOW).len(), scene.mailboxes.usage().instances), (0, 1));
}

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
    // The first one was looked at last.
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

#[test]
fn an_address_that_lost_its_states_stays_until_the_store_knows() {
    let limits = Limits { state_bytes: 0, ..Limits::default() };
    let image = Scene::with(&[stored("t/f/1", "s", "x", None)]).image;
    let mut scene = Scene::restored(image, limits, GroupSettings::default());
    scene.deliver("t/f/1", "a");
    scene.mailboxes.next_request(NOW);
    scene.load(NOW);
    let request = scene.mailboxes.next_request(NOW).unwrap();
    scene.set(&request, "s", None, NOW);
    assert_eq!(scene.look("t/f/1", NOW), [None, None, None]);
    scene.commit();
    assert_eq!(scene.mailboxes.usage().instances, 0);
    assert!(scene.durable("t/f/1").is_empty());
    assert_eq!(scene.look("t/f/1", NOW), [None, None, None]);
}

#[test]
fn states_of_an_address_that_is_parked_may_go() {
    let limits = Limits { state_bytes: 0, ..Limits::default() };
    let image = Scene::with(&[stored("t/f/1", "s", "x", None)]).image;
    let mut scene = Scene::restored(image, limits, GroupSettings::default());
    scene.deliver("t/f/1", "a");
    scene.mailboxes.next_request(NOW);
    scene.load(NOW);
    let request = scene.mailboxes.next_request(NOW).unwrap();
    assert!(scene.mailboxes.usage().state_bytes > 250, "what is in flight stays");
    scene.mailboxes.park(request.id, Duration::from_millis(1_000));
    assert!(scene.mailboxes.usage().state_bytes < 250, "{:?}", scene.mailboxes.usage());
    scene.mailboxes.on_time(at(1_000));
    assert_eq!(scene.mailboxes.next_request(at(1_000)), None);
    assert_eq!(scene.load(at(1_000)), ["t/f/1"]);
    let again = scene.mailboxes.next_request(at(1_000)).unwrap();
    assert_eq!((again.attempt, &again.states[0].1), (1, &Some(value("x"))));
}

/// What is in the store at 0 and expires at 50; a message at that time; what the function sees, what the store has then.
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
fn expired_values_that_nobody_asks_for_are_swept() {
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
    // In memory, in a cut, in a durable cut, and out of memory again: the sweep has looked before all of that.
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
    // Two are in flight and two more than there is room for may come when the first are smaller than expected.
    assert!(most < (1 << 20) + 400_000, "{most} bytes at most");
    assert!(rounds < 150, "{rounds} rounds");
    assert!(scene.mailboxes.usage().state_bytes <= 1 << 20);
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
    // Two at a time have room as far as anyone can tell, and then have not.
    let large = "x".repeat(2 << 20);
    let image = Scene::with(&[stored("t/f/1", "s", &large, None), stored("t/f/2", "s", &large, None)]).image;
    let limits = Limits { state_bytes: 3 << 20, ..Limits::default() };
    let mut scene = Scene::restored(image, limits, GroupSettings::default());
    scene.deliver("t/f/1", "a");
    scene.deliver("t/f/2", "a");
    assert_eq!(scene.mailboxes.next_request(NOW), None);
    assert_eq!(scene.load(NOW).len(), 2);
    let first = scene.mailboxes.next_request(NOW).unwrap();
    // The first request of a function goes alone.
    assert_eq!(scene.mailboxes.next_request(NOW), None);
    scene.handled(&first, NOW);
    assert!(scene.mailboxes.usage().state_bytes < 3 << 20, "{:?}", scene.mailboxes.usage());
    assert_eq!(scene.look("t/f/1", NOW)[0].as_ref(), Some(&large));
}

#[test]
fn a_cut_has_each_address_once() {
    let mut mailboxes = Mailboxes::new(Limits::default());
    let group = mailboxes.add_group(GroupSettings::default());
    mailboxes.serve_namespace("t", group);
    let mut scene = Scene { mailboxes, image: Image::default() };
    for text in [None, Some("1"), None, Some("2")] {
        scene.deliver("t/f/1", "a");
        let mut request = scene.mailboxes.next_request(NOW).unwrap();
        if request.states.is_empty() {
            let spec = StateSpec { name: "s".into(), typename: "t/text".into(), expiration: Expiration::Never };
            scene.mailboxes.answered(request.id, Answer::StatesMissing(vec![spec]), NOW).unwrap();
            request = scene.mailboxes.next_request(NOW).unwrap();
        }
        scene.set(&request, "s", text, NOW);
    }
    let cut = scene.mailboxes.cut();
    assert_eq!(cut.changes.states().collect::<Vec<_>>(), [stored("t/f/1", "s", "2", None)]);
    // One that has nothing left stays as long as the cut may need it, and no longer.
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

    let spec = StateSpec { name: "new".into(), typename: "t/text".into(), expiration: Expiration::Never };
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

/// Restarts, lets a message go to an address, and has the function declare these states in its answer. Gives the request
/// that went out with them.
fn restarted(image: Image, declared: &[(&str, Expiration)], now: Timestamp) -> (Scene, Request) {
    let mut mailboxes = Mailboxes::new(Limits::default());
    let group = mailboxes.add_group(GroupSettings::default());
    mailboxes.serve_namespace("t", group);
    let restored = Restored { has_states: true, ..image.restored() };
    mailboxes.restore(restored).unwrap();
    let mut scene = Scene { mailboxes, image };
    scene.deliver("t/f/1", "a");
    assert_eq!(scene.mailboxes.next_request(now), None);
    scene.load(now);
    let request = scene.mailboxes.next_request(now).unwrap();
    assert!(request.states.is_empty(), "each start asks which states there are");
    let spec = |&(name, expiration): &(&str, Expiration)| StateSpec {
        name: name.into(),
        typename: "t/text".into(),
        expiration,
    };
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
    image
        .declare("t/f".parse().unwrap(), StateSpec { name: "x".into(), typename: "t/text".into(), expiration: before });
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
fn a_restart_heeds_another_expiration() {
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
    // The first request is a use, too, whatever comes of it.
    check_declared_again(AfterInvoke(HOUR), Never, false, Some(3_601));
}

#[test]
fn a_state_that_is_not_declared_any_more_stays_in_the_store() {
    let mut image = Image::default();
    for name in ["old", "kept"] {
        let spec = StateSpec { name: name.into(), typename: "t/text".into(), expiration: Expiration::Never };
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

    // A function that has it again finds it.
    let declared = ["old", "kept", "new"].map(|name| (name, Expiration::Never));
    let (_, request) = restarted(scene.image, &declared, NOW);
    let values: Vec<_> = request.states.iter().map(|(_, value)| value.as_ref().map(text)).collect();
    assert_eq!(values, [Some("old"), Some("kept"), Some("changed")]);
}

#[test]
fn a_function_may_declare_its_states_one_after_the_other() {
    let mut image = Image::default();
    for name in ["a", "b"] {
        let spec = StateSpec { name: name.into(), typename: "t/text".into(), expiration: Expiration::Never };
        image.declare("t/f".parse().unwrap(), spec);
        image.set(stored("t/f/1", name, name, None));
    }
    let (mut scene, request) = restarted(image, &[("b", Expiration::Never)], NOW);
    assert_eq!(request.states, [("b".into(), Some(value("b")))]);
    let spec = StateSpec { name: "a".into(), typename: "t/text".into(), expiration: Expiration::Never };
    scene.mailboxes.answered(request.id, Answer::StatesMissing(vec![spec]), NOW).unwrap();
    let request = scene.mailboxes.next_request(NOW).unwrap();
    assert_eq!(request.states, [("a".into(), Some(value("a"))), ("b".into(), Some(value("b")))]);
    scene.handled(&request, NOW);
    assert!(!scene.image.specs().is_empty() && scene.mailboxes.cut().changes.specs().is_empty(), "nothing is new");
}
