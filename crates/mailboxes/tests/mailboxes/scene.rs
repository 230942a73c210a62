//! Mailboxes of the namespace `t` with a store, and short functions for messages, requests and answers.

use std::time::Duration;

use statefun_kinesis_mailboxes::{
    Answer, Effects, Expiration, Found, GroupSettings, Image, Limits, Mailboxes, Message, Read, ReadId, Request,
    Restored, StateChange, StateSpec, StoredState, Value,
};
use statefun_kinesis_types::{Address, Timestamp};

pub(crate) const NOW: Timestamp = Timestamp::EPOCH;

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(crate) fn to(address: &str) -> Address {
    let (function, id) = address.rsplit_once('/').unwrap();
    Address { function: function.parse().unwrap(), id: id.into() }
}

pub(crate) fn value(text: &str) -> Value {
    Value::new("t/text", text.to_owned())
}

pub(crate) fn text(value: &Value) -> &str {
    std::str::from_utf8(value.bytes.as_ref().unwrap()).unwrap()
}

pub(crate) fn message(text: &str) -> Message {
    Message { caller: None, value: value(text), origin: None }
}

pub(crate) fn texts(request: &Request) -> Vec<&str> {
    request.messages.iter().map(|message| text(&message.value)).collect()
}

pub(crate) fn spec(name: &str, expiration: Expiration) -> StateSpec {
    StateSpec { name: name.into(), typename: "t/text".into(), expiration }
}

/// A change of a state of the address that a request is for.
pub(crate) fn set(name: &str, text: Option<&str>) -> Effects {
    Effects { states: vec![StateChange { name: name.into(), value: text.map(value) }], ..Effects::default() }
}

pub(crate) fn stored(address: &str, name: &str, text: &str, expires: Option<i64>) -> StoredState {
    StoredState { address: to(address), name: name.into(), value: Some(value(text)), expires: expires.map(at) }
}

/// Mailboxes that serve the functions of `t`.
pub(crate) fn serving(limits: Limits, settings: GroupSettings) -> Mailboxes {
    let mut mailboxes = Mailboxes::new(limits);
    let group = mailboxes.add_group(settings);
    mailboxes.serve_namespace("t", group);
    mailboxes
}

/// Mailboxes and the store behind them.
pub(crate) struct Scene {
    pub(crate) mailboxes: Mailboxes,
    pub(crate) image: Image,
    /// The texts of the messages that were handled by [`handle`](Self::handle).
    pub(crate) handled: Vec<String>,
}

/// The states of `t/f`.
pub(crate) fn specs() -> [(&'static str, Expiration); 3] {
    let hundred = Duration::from_millis(100);
    [("s", Expiration::Never), ("w", Expiration::AfterWrite(hundred)), ("i", Expiration::AfterInvoke(hundred))]
}

impl Scene {
    pub(crate) fn new(limits: Limits, settings: GroupSettings) -> Self {
        Self::restored(Image::default(), limits, settings)
    }

    /// Mailboxes that are backed by a store with these states.
    pub(crate) fn with(states: &[StoredState]) -> Self {
        let mut image = Image::default();
        for (name, expiration) in specs() {
            image.declare("t/f".parse().unwrap(), spec(name, expiration));
        }
        states.iter().cloned().for_each(|state| image.set(state));
        Self::restored(image, Limits::default(), GroupSettings::default())
    }

    /// These mailboxes, as they are.
    pub(crate) fn over(mailboxes: Mailboxes, image: Image) -> Self {
        Self { mailboxes, image, handled: Vec::new() }
    }

    pub(crate) fn restored(image: Image, limits: Limits, settings: GroupSettings) -> Self {
        let mut mailboxes = serving(limits, settings);
        let restored = Restored { has_states: true, ..image.restored() };
        mailboxes.restore(restored).unwrap();
        for (function, spec) in image.specs() {
            mailboxes.declare(function, spec.clone()).unwrap();
        }
        assert!(!mailboxes.has_changes(), "what is declared is what was declared");
        Self::over(mailboxes, image)
    }

    pub(crate) fn deliver(&mut self, address: &str, text: &str) {
        self.mailboxes.deliver([(to(address), message(text))]).unwrap();
    }

    /// Answers all loads with durable states, and returns their addresses.
    pub(crate) fn load(&mut self, now: Timestamp) -> Vec<String> {
        let addresses = self.mailboxes.take_loads();
        for address in &addresses {
            let states = self.image.states().filter(|state| state.address == *address).cloned().collect();
            self.mailboxes.loaded(address, states, now);
        }
        addresses.iter().map(Address::to_string).collect()
    }

    /// Makes everything durable.
    pub(crate) fn commit(&mut self) {
        let cut = self.mailboxes.cut();
        self.image.apply(cut.changes);
        self.mailboxes.durable(cut.number);
    }

    pub(crate) fn set(&mut self, request: &Request, name: &str, text: Option<&str>, now: Timestamp) {
        self.mailboxes.answered(request.id, Answer::Handled(set(name, text)), now).unwrap();
    }

    /// The request changes nothing.
    pub(crate) fn handled(&mut self, request: &Request, now: Timestamp) {
        self.mailboxes.answered(request.id, Answer::Handled(Effects::default()), now).unwrap();
    }

    /// Lets the address handle a message that changes nothing, and returns its states in the order of the specs.
    pub(crate) fn look(&mut self, address: &str, now: Timestamp) -> Vec<Option<String>> {
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

    /// The states of an address in the store.
    pub(crate) fn durable(&self, address: &str) -> Vec<(String, String, Option<Timestamp>)> {
        let of = self.image.states().filter(|state| state.address == to(address));
        let mut found: Vec<_> = of
            .map(|state| (state.name.to_string(), text(state.value.as_ref().unwrap()).to_owned(), state.expires))
            .collect();
        found.sort();
        found
    }

    /// Takes the reads with their results of now.
    pub(crate) fn look_into_store(&mut self) -> Vec<(ReadId, Read, Found)> {
        let reads = self.mailboxes.take_reads().into_iter();
        reads.map(|(id, read)| (id, read.clone(), self.image.read(&read, 100))).collect()
    }

    pub(crate) fn read(&mut self) {
        for (id, _, found) in self.look_into_store() {
            self.mailboxes.found(id, found).unwrap();
        }
    }

    pub(crate) fn handle(&mut self, request: &Request) {
        self.handled.extend(texts(request).into_iter().map(str::to_owned));
        self.mailboxes.answered(request.id, Answer::Handled(Effects::default()), NOW).unwrap();
        self.mailboxes.check_invariants();
    }

    /// Handles the next request, which is there.
    pub(crate) fn handle_next(&mut self) {
        let request = self.mailboxes.next_request(NOW).expect("there is a request");
        self.handle(&request);
    }

    /// Handles everything.
    pub(crate) fn finish(mut self) -> Vec<String> {
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

pub(crate) fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}
