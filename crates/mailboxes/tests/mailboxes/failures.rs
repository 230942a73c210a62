//! What requests that fail do to their messages, to other addresses and to their server.

use std::{collections::BTreeMap, time::Duration};

use statefun_kinesis_mailboxes::{
    Answer, Effects, Failure, FunctionCounts, GroupSettings, InvokeErrorKind, Limits, Mailboxes, Now, Request,
};
use statefun_kinesis_types::Timestamp;

use crate::scene::{message, serving, text, texts, to};

/// Mailboxes with a server that is asked whenever a request may be sent.
struct Scene {
    mailboxes: Mailboxes,
    elapsed: Duration,
    /// The requests so far: the time, and the texts.
    requests: Vec<(Duration, Vec<String>)>,
    /// The texts that were handled, by address.
    handled: BTreeMap<String, Vec<String>>,
}

/// What the server says to a request.
type Verdict = Result<(), InvokeErrorKind>;

impl Scene {
    fn new(settings: GroupSettings, messages: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut mailboxes = serving(Limits::default(), settings);
        let messages = messages.into_iter().map(|(address, text)| (to(&address), message(&text)));
        mailboxes.deliver(messages).unwrap();
        Self { mailboxes, elapsed: Duration::ZERO, requests: Vec::new(), handled: BTreeMap::new() }
    }

    fn now(&self) -> Now {
        Now { time: Timestamp::EPOCH, elapsed: self.elapsed }
    }

    /// Lets the server answer until `end`. Batches that fail are split, and single messages are retried after a second,
    /// or skipped.
    fn run(&mut self, end: Duration, skips: bool, mut answer: impl FnMut(&Request, Duration) -> Verdict) {
        loop {
            self.mailboxes.on_time(self.now());
            while let Some(request) = self.mailboxes.next_request(self.now()) {
                let sent = texts(&request).into_iter().map(str::to_owned).collect::<Vec<_>>();
                self.requests.push((self.elapsed, sent.clone()));
                match answer(&request, self.elapsed) {
                    Ok(()) => {
                        self.handled.entry(request.target.to_string()).or_default().extend(sent);
                        let done = Answer::Handled(Effects::default());
                        self.mailboxes.answered(request.id, done, Timestamp::EPOCH).unwrap();
                    }
                    Err(kind) => self.failed(&request, kind, skips),
                }
                self.mailboxes.check_invariants();
            }
            match self.mailboxes.next_retry() {
                Some(at) if at <= end => self.elapsed = self.elapsed.max(at),
                _ => return self.elapsed = end,
            }
        }
    }

    fn failed(&mut self, request: &Request, kind: InvokeErrorKind, skips: bool) {
        let elapsed = self.elapsed;
        self.mailboxes.failed(request.id, Failure { kind, elapsed, wait: Duration::ZERO });
        if kind != InvokeErrorKind::Unavailable && self.mailboxes.split(request.id, elapsed) {
            return;
        }
        match skips {
            true => self.mailboxes.skip(request.id),
            false => self.mailboxes.park(request.id, elapsed + Duration::from_secs(1)),
        }
    }

    fn counts(&self) -> FunctionCounts {
        self.mailboxes.counts(self.elapsed).next().unwrap().1
    }
}

/// Rejects requests with a bad message.
fn picky(request: &Request, _: Duration) -> Verdict {
    let is_bad = request.messages.iter().any(|message| text(&message.value).starts_with("bad"));
    if is_bad { Err(InvokeErrorKind::Rejected) } else { Ok(()) }
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[test]
fn of_a_batch_that_fails_only_the_bad_message_is_skipped() {
    let mut scene = Scene::new(GroupSettings::default(), []);
    scene.mailboxes.deliver(["a", "bad", "c", "d"].map(|text| (to("t/f/1"), message(text)))).unwrap();
    scene.run(secs(0), true, picky);
    let requests: Vec<String> = scene.requests.iter().map(|(_, texts)| texts.join("+")).collect();
    assert_eq!(requests, ["a+bad+c+d", "a+bad", "a", "bad+c", "bad", "c+d"]);
    assert_eq!((scene.mailboxes.usage().messages, scene.counts().skipped), (0, 1));
}

/// A12: whatever the batches are, a bad message keeps back only what is behind it at its own address.
#[test]
fn only_what_is_behind_a_bad_message_at_its_address_waits() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let addresses = rng.usize(1..8);
        let mut messages = Vec::new();
        for number in 0..rng.usize(1..100) {
            let kind = if rng.u32(0..12) == 0 { "bad" } else { "good" };
            messages.push((format!("t/f/{}", rng.usize(0..addresses)), format!("{kind}-{number}")));
        }
        let settings = GroupSettings { max_batch_messages: rng.u32(1..200).try_into().unwrap(), ..Default::default() };
        let mut scene = Scene::new(settings, messages.clone());
        scene.run(secs(10), false, picky);
        let mut expected: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut stuck = std::collections::BTreeSet::new();
        for (address, text) in &messages {
            if text.starts_with("bad") {
                stuck.insert(address.clone());
            } else if !stuck.contains(address) {
                expected.entry(address.clone()).or_default().push(text.clone());
            }
        }
        assert_eq!(scene.handled, expected, "seed {seed}");
        assert_eq!(scene.counts().failing, stuck.len() as u64, "seed {seed}");

        // When the function is mended, everything is handled, in order.
        scene.run(secs(20), false, |_, _| Ok(()));
        let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
        messages.into_iter().for_each(|(address, text)| all.entry(address).or_default().push(text));
        assert_eq!((scene.handled, scene.mailboxes.usage().messages), (all, 0), "seed {seed}");
    }
}

#[test]
fn a_bad_message_of_a_large_batch_costs_few_requests() {
    for bad in [0, 1, 499, 500, 731, 999] {
        let name = |number: u32| if number == bad { "bad".to_owned() } else { number.to_string() };
        let messages = (0..1_000).map(|number| ("t/f/1".to_owned(), name(number)));
        let mut scene = Scene::new(GroupSettings::default(), messages);
        scene.run(secs(0), true, picky);
        assert_eq!((scene.handled["t/f/1"].len(), scene.counts().skipped), (999, 1));
        assert!(scene.requests.len() <= 40, "{} requests for message {bad}", scene.requests.len());
    }
}

/// A5: a server with a limit of 1 MiB and a larger limit in the module.
#[test]
fn requests_that_are_too_large_become_smaller_and_stay_so_for_a_while() {
    let large = |count: usize| {
        (0..count).map(|number| ("t/f/1".to_owned(), format!("{number:03}{}", "x".repeat(100_000)))).collect::<Vec<_>>()
    };
    let limited = |request: &Request, _: Duration| {
        let bytes: usize = request.messages.iter().map(|message| message.value.payload_len()).sum();
        if bytes > 1 << 20 { Err(InvokeErrorKind::TooLarge) } else { Ok(()) }
    };
    let sizes = |scene: &mut Scene| {
        let requests = std::mem::take(&mut scene.requests);
        requests.into_iter().map(|(_, texts)| texts.len()).collect::<Vec<_>>()
    };
    let settings = GroupSettings { max_batch_bytes: 64 << 20, ..GroupSettings::default() };
    let mut scene = Scene::new(settings, large(20));
    scene.run(secs(0), false, limited);
    assert_eq!((scene.handled["t/f/1"].len(), sizes(&mut scene)), (20, vec![20, 10, 10]));
    let more = |scene: &mut Scene| {
        scene.mailboxes.deliver(large(20).into_iter().map(|(_, text)| (to("t/f/2"), message(&text)))).unwrap();
        scene.run(scene.elapsed + secs(1), false, limited);
        sizes(scene)
    };
    assert_eq!(more(&mut scene), [10, 10], "the size is remembered for all addresses");
    scene.elapsed += secs(600);
    assert_eq!(more(&mut scene), [20, 10, 10], "and tried again after a while");
    assert_eq!(scene.mailboxes.usage().messages, 0);
}

#[test]
fn states_count_as_part_of_a_request() {
    let counted = |state: usize| {
        let settings = GroupSettings { max_batch_bytes: 10_000, ..GroupSettings::default() };
        let mut scene = crate::scene::Scene::new(Limits::default(), settings);
        scene.mailboxes.declare(&"t/f".parse().unwrap(), crate::scene::spec("s", Default::default())).unwrap();
        scene.deliver("t/f/1", "first");
        let request = scene.mailboxes.next_request(Timestamp::EPOCH).or_else(|| {
            scene.load(Timestamp::EPOCH);
            scene.mailboxes.next_request(Timestamp::EPOCH)
        });
        scene.set(&request.unwrap(), "s", Some(&"x".repeat(state)), Timestamp::EPOCH);
        (0..100).for_each(|_| scene.deliver("t/f/1", &"m".repeat(454)));
        scene.mailboxes.next_request(Timestamp::EPOCH).unwrap().messages.len()
    };
    assert_eq!((counted(10), counted(4_000), counted(1 << 20)), (19, 11, 10));
}

/// A14: 3 000 addresses, and a server that is down.
#[test]
fn a_server_that_is_not_available_gets_a_few_requests() {
    let messages = (0..3_000).map(|key| (format!("t/f/{key}"), "x".to_owned()));
    let mut scene = Scene::new(GroupSettings::default(), messages);
    // The function answers at first, so that requests of all addresses may be in flight at the same time.
    scene.run(
        secs(0),
        false,
        |request, _| if &*request.target.id == "0" { Ok(()) } else { Err(InvokeErrorKind::Unavailable) },
    );
    scene.run(secs(31), false, |_, _| Err(InvokeErrorKind::Unavailable));
    assert!((10..=20).contains(&scene.requests.len()), "{} requests", scene.requests.len());
    assert!(scene.counts().failing <= 10, "mostly the same addresses ask");

    let before = scene.requests.len();
    scene.run(secs(62), false, |_, _| Ok(()));
    assert_eq!((scene.mailboxes.usage().messages, scene.requests.len() - before), (0, 2_999));
    assert_eq!(scene.counts().failing, 0);
}

/// The promise that failing addresses do not delay others holds for functions that fail, also when all of those that
/// have messages do.
#[test]
fn a_server_whose_functions_fail_gets_all_requests() {
    let messages = (0..200).map(|key| (format!("t/f/{key}"), "bad".to_owned()));
    let mut scene = Scene::new(GroupSettings::default(), messages);
    for kind in [InvokeErrorKind::Rejected, InvokeErrorKind::NoAnswer, InvokeErrorKind::TooLarge] {
        let good = format!("good-{kind:?}");
        scene.mailboxes.deliver([(to(&format!("t/f/{good}")), message("x"))]).unwrap();
        let elapsed = scene.elapsed;
        scene.run(elapsed + secs(10), false, |request, _| if texts(request) == ["bad"] { Err(kind) } else { Ok(()) });
        assert!(scene.handled.contains_key(&format!("t/f/{good}")));
        let late = scene.requests.iter().filter(|(at, texts)| texts[0] == "x" && *at > elapsed + secs(1));
        assert_eq!(late.count(), 0, "{kind:?}");
    }
}

#[test]
fn given_up_messages_and_the_age_of_the_oldest_one_are_counted() {
    let mut scene = Scene::new(GroupSettings::default(), []);
    let deliver = |scene: &mut Scene, at: u64, address: &str| {
        scene.elapsed = secs(at);
        scene.mailboxes.advance(scene.elapsed);
        scene.mailboxes.deliver([(to(address), message("x"))]).unwrap();
        scene.mailboxes.next_request(scene.now()).unwrap()
    };
    let first = deliver(&mut scene, 100, "t/f/1");
    scene.mailboxes.skip(first.id);
    assert_eq!((scene.counts().skipped, scene.counts().oldest), (1, None));
    let oldest = deliver(&mut scene, 200, "t/f/2");
    scene.failed(&oldest, InvokeErrorKind::Rejected, false);
    let newer = deliver(&mut scene, 250, "t/f/3");
    assert_eq!((scene.counts().failing, scene.counts().oldest), (1, Some(secs(50))));
    scene.mailboxes.dead_lettered(newer.id);
    assert_eq!((scene.counts().dead_lettered, scene.counts().oldest), (1, Some(secs(50))));
    scene.run(secs(300), false, |_, _| Ok(()));
    assert_eq!((scene.counts().failing, scene.counts().oldest), (0, None));
}
