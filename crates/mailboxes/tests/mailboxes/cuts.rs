//! The contents of cuts.

use std::time::Duration;

use statefun_kinesis_mailboxes::{
    Answer, Delayed, Effects, Expiration, GroupSettings, Image, Limits, StoredKey, StoredMessage,
};

use crate::scene::{NOW, Scene, serving, spec, stored, to, value};

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
