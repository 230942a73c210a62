//! Messages that are in the store and not in memory, one promise per test.

use std::time::Duration;

use statefun_kinesis_mailboxes::{
    Answer, Effects, Found, GroupSettings, Image, Limits, Mailboxes, Message, Now, Read, ReadId, Request, Value,
};
use statefun_kinesis_types::{Address, Timestamp};

const NOW: Timestamp = Timestamp::EPOCH;

/// Mailboxes, and the store behind them.
struct Scene {
    mailboxes: Mailboxes,
    image: Image,
    handled: Vec<String>,
}

impl Scene {
    fn new(limits: Limits) -> Self {
        Self::restored(limits, Image::default())
    }

    fn restored(limits: Limits, image: Image) -> Self {
        Self::served(limits, GroupSettings::default(), image)
    }

    fn served(limits: Limits, group: GroupSettings, image: Image) -> Self {
        let mut mailboxes = Mailboxes::new(limits);
        let group = mailboxes.add_group(group);
        mailboxes.serve_namespace("t", group);
        mailboxes.restore(image.restored()).unwrap();
        Self { mailboxes, image, handled: Vec::new() }
    }

    fn deliver(&mut self, id: &str, text: &str) {
        let to = Address { function: "t/f".parse().unwrap(), id: id.into() };
        let message = Message { caller: None, value: Value::new("t/text", text.to_owned()), origin: None };
        self.mailboxes.deliver([(to, message)]).unwrap();
    }

    fn commit(&mut self) {
        let cut = self.mailboxes.cut();
        self.image.apply(cut.changes);
        self.mailboxes.durable(cut.number);
    }

    /// What the store is asked for, and has now.
    fn look(&mut self) -> Vec<(ReadId, Read, Found)> {
        let reads = self.mailboxes.take_reads().into_iter();
        reads.map(|(id, read)| (id, read.clone(), self.image.read(&read, 100))).collect()
    }

    fn read(&mut self) {
        for (id, _, found) in self.look() {
            self.mailboxes.found(id, found).unwrap();
        }
    }

    fn handle(&mut self, request: &Request) {
        let texts =
            request.messages.iter().map(|message| String::from_utf8(message.value.bytes.as_ref().unwrap().to_vec()));
        self.handled.extend(texts.map(Result::unwrap));
        self.mailboxes.answered(request.id, Answer::Handled(Effects::default()), NOW).unwrap();
        self.mailboxes.check_invariants();
    }

    /// Handles the next request, which is there.
    fn handle_next(&mut self) {
        let request = self.mailboxes.next_request(NOW).expect("there is a request");
        self.handle(&request);
    }

    /// Handles everything.
    fn finish(mut self) -> Vec<String> {
        for _ in 0..1_000 {
            self.read();
            while let Some(request) = self.mailboxes.next_request(NOW) {
                self.handle(&request);
            }
            self.commit();
            if self.mailboxes.usage().messages == 0 {
                break;
            }
        }
        assert_eq!((self.mailboxes.usage().messages, self.image.messages().count()), (0, 0));
        self.handled
    }
}

fn few(messages: usize) -> Limits {
    Limits { messages, ..Limits::default() }
}

#[test]
fn what_is_beyond_the_window_comes_back_in_order() {
    let mut scene = Scene::new(Limits::default());
    let texts: Vec<String> = (0..3_000).map(|number| number.to_string()).collect();
    texts.iter().for_each(|text| scene.deliver("a", text));
    let usage = scene.mailboxes.usage();
    assert!(usage.messages == 3_000 && usage.messages_in_memory <= 2_000, "{usage:?}");
    assert!(scene.mailboxes.has_room(), "one address takes its window and no more");
    assert_eq!(scene.finish(), texts);
}

#[test]
fn a_start_reads_a_window_and_not_everything() {
    let mut scene = Scene::new(Limits::default());
    (0..3_000).for_each(|number| scene.deliver(&format!("id-{}", number % 500), &number.to_string()));
    scene.commit();
    let mut scene = Scene::restored(few(100), scene.image);
    assert_eq!((scene.mailboxes.usage().messages, scene.mailboxes.usage().messages_in_memory), (3_000, 0));
    scene.read();
    let usage = scene.mailboxes.usage();
    assert!((1..=200).contains(&usage.messages_in_memory), "{usage:?}");
    // What comes for an address that was not read yet stays behind what it has.
    (0..500).for_each(|id| scene.deliver(&format!("id-{id}"), &(3_000 + id).to_string()));
    let mut by_id = vec![Vec::new(); 500];
    for text in scene.finish() {
        let number: usize = text.parse().unwrap();
        by_id[number % 500].push(number);
    }
    assert!(by_id.iter().all(|numbers| numbers.len() == 7 && numbers.is_sorted()), "{by_id:?}");
}

#[test]
fn addresses_that_fail_hold_up_no_others_that_are_in_the_store() {
    let mut scene = Scene::new(few(20));
    // Most of them fail for ever, and none of the others has a place in memory at first.
    (0..500).for_each(|number| scene.deliver(&format!("bad-{number}"), "bad"));
    (0..50).for_each(|number| scene.deliver(&format!("good-{number}"), &number.to_string()));
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
        // A checkpoint is made when there is something to write, and no sooner.
        if scene.mailboxes.has_changes() {
            scene.commit();
        }
        let usage = scene.mailboxes.usage();
        assert!(usage.mailboxes <= 40 && usage.messages_in_memory <= 40, "{usage:?}");
    }
    assert_eq!((scene.handled.len(), scene.mailboxes.usage().messages), (50, 500));
}

#[test]
fn what_is_put_out_of_memory_asks_for_a_cut() {
    let mut scene = Scene::new(few(2));
    ["1", "2", "3"].iter().for_each(|id| scene.deliver(id, "x"));
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
    let group = GroupSettings { gives_up: true, ..GroupSettings::default() };
    let mut scene = Scene::served(few(20), group, Image::default());
    (0..200).for_each(|number| scene.deliver(&format!("bad-{number}"), "bad"));
    (0..50).for_each(|number| scene.deliver(&format!("good-{number}"), "good"));
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
        if scene.mailboxes.has_changes() {
            scene.commit();
        }
    }
    assert_eq!(scene.handled.len(), 250);
}

#[test]
fn what_came_too_late_for_a_read_is_not_forgotten() {
    let mut scene = Scene::new(few(4));
    ["1", "2", "3", "4"].iter().for_each(|id| scene.deliver(id, "x"));
    // There are as many addresses with messages as may be in memory: this one is in the store only.
    scene.deliver("b", "first");
    scene.commit();
    (0..2).for_each(|_| scene.handle_next());
    let looked = scene.look();
    assert!(matches!(looked[..], [(_, Read::Waiting { .. }, _)]), "{looked:?}");
    // Memory is full again, so that the next one is in the store only, and the read has looked before.
    ["5", "6"].iter().for_each(|id| scene.deliver(id, "x"));
    scene.deliver("b", "second");
    for (id, _, found) in looked {
        scene.mailboxes.found(id, found).unwrap();
    }
    scene.commit();
    (0..3).for_each(|_| scene.handle_next());
    scene.read();
    let handled = scene.finish();
    assert_eq!(handled.iter().filter(|text| *text != "x").collect::<Vec<_>>(), ["first", "second"]);
}
