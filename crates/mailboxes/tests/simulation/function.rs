//! The functions of a simulation, and the messages from outside.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use statefun_kinesis_mailboxes::{
    Answer, Delayed, Effects, EgressMessage, Expiration, Failure, InvokeErrorKind, Message, Request, StateChange,
    StateSpec, Value,
};
use statefun_kinesis_types::{Address, PutRecord};

pub(crate) const FUNCTIONS: [&str; 4] = ["sim/a", "sim/b", "other/c", "other/d"];
const IDS: u64 = 5;
pub(crate) const SOURCES: usize = 3;

pub(crate) fn address(function: usize, id: u64) -> Address {
    Address { function: FUNCTIONS[function].parse().unwrap(), id: id.to_string().into() }
}

fn mix(seed: u64, salt: u64) -> u64 {
    let mut x = seed ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 29)
}

/// What a message says: its place among those from its sender to its target (0 for delayed ones, which have none), how
/// often it is passed on, and what decides everything else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Note {
    pub(crate) place: u64,
    pub(crate) hops: u64,
    pub(crate) seed: u64,
}

impl Note {
    pub(crate) fn value(self) -> Value {
        Value::new("sim/note", format!("{},{},{}", self.place, self.hops, self.seed))
    }

    pub(crate) fn read(value: &Value) -> Self {
        let text = std::str::from_utf8(value.bytes.as_ref().unwrap()).unwrap();
        let numbers: Vec<u64> = text.split(',').map(|number| number.parse().unwrap()).collect();
        Self { place: numbers[0], hops: numbers[1], seed: numbers[2] }
    }

    /// The messages that a function sends for this message.
    pub(crate) fn sends(self) -> Vec<(Address, Note, How)> {
        let count = if self.hops == 0 { 0 } else { mix(self.seed, 1) % 3 };
        let send = |index| {
            let seed = mix(self.seed, 100 + index);
            let to = address((mix(seed, 2) % 4) as usize, mix(seed, 3) % IDS);
            let how = match mix(seed, 4) % 4 {
                0 => How::Later(mix(seed, 5) % 5_000),
                1 => How::CancelledAtOnce(mix(seed, 5) % 5_000),
                _ => How::Now,
            };
            (to, Note { place: 0, hops: self.hops - 1, seed }, how)
        };
        (0..count).map(send).collect()
    }
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum How {
    Now,
    Later(u64),
    CancelledAtOnce(u64),
}

/// The state of an instance: how many messages it has seen, and how many to and from whom.
pub(crate) type Counts = BTreeMap<String, u64>;

pub(crate) fn read_counts(value: Option<&Value>) -> Counts {
    let Some(bytes) = value.and_then(|value| value.bytes.as_ref()) else { return Counts::new() };
    let entry =
        |entry: &str| entry.split_once('=').map(|(key, count)| (key.to_owned(), count.parse().unwrap())).unwrap();
    std::str::from_utf8(bytes).unwrap().split(';').map(entry).collect()
}

/// The code of all functions.
pub(crate) fn invoke(request: &Request) -> Answer {
    let Some((_, counts)) = request.states.iter().find(|(name, _)| &**name == "counts") else {
        let spec =
            |name: &str| StateSpec { name: name.into(), typename: "sim/counts".into(), expiration: Expiration::Never };
        return Answer::StatesMissing(vec![spec("other"), spec("counts")]);
    };
    let mut counts = read_counts(counts.as_ref());
    let mut effects = Effects::default();
    for message in request.messages.iter() {
        let note = Note::read(&message.value);
        let seen = counts.entry("seen".to_owned()).or_default();
        *seen += 1;
        let key = format!("{}-{:06}", request.target, seen);
        effects.egress.push(EgressMessage::Record {
            egress: "sim/out".parse().unwrap(),
            stream: None,
            record: PutRecord::new(request.target.to_string().parse().unwrap(), key),
        });
        if note.place > 0 {
            let from = message.caller.as_ref().map_or_else(|| format!("source{}", note.seed >> 60), Address::to_string);
            let last = counts.insert(format!("from {from}"), note.place).unwrap_or(0);
            assert!(note.place == last + 1, "{} had {last} from {from}, and now has {}", request.target, note.place);
        }
        for (to, mut note, how) in note.sends() {
            match how {
                How::Now => {
                    let place = counts.entry(format!("to {to}")).or_default();
                    *place += 1;
                    note.place = *place;
                    effects.messages.push((to, note.value()));
                }
                How::Later(millis) => {
                    let delay = Duration::from_millis(millis);
                    effects.delayed.push(Delayed::Send { delay, to, value: note.value(), token: None });
                }
                How::CancelledAtOnce(millis) => {
                    let token: Arc<str> = note.seed.to_string().into();
                    let delay = Duration::from_millis(millis);
                    let token_of = Some(Arc::clone(&token));
                    effects.delayed.push(Delayed::Send { delay, to, value: note.value(), token: token_of });
                    effects.delayed.push(Delayed::Cancel { token });
                }
            }
        }
    }
    let text: Vec<String> = counts.iter().map(|(key, count)| format!("{key}={count}")).collect();
    let value = Some(Value::new("sim/counts", text.join(";")));
    effects.states.push(StateChange { name: "counts".into(), value });
    Answer::Handled(effects)
}

/// Messages from outside, as deliveries of a few sources.
pub(crate) type Sources = Vec<Vec<Vec<(Address, Message)>>>;

/// The expected state of each instance at the end: every message, and all messages that result from it, once.
pub(crate) fn expected(sources: &Sources) -> BTreeMap<String, u64> {
    let mut seen = BTreeMap::new();
    let delivered = sources.iter().flatten().flatten();
    let mut todo: Vec<(Address, Note)> =
        delivered.map(|(to, message)| (to.clone(), Note::read(&message.value))).collect();
    while let Some((to, note)) = todo.pop() {
        *seen.entry(to.to_string()).or_default() += 1;
        let sends = note.sends().into_iter().filter(|(.., how)| !matches!(how, How::CancelledAtOnce(_)));
        todo.extend(sends.map(|(to, note, _)| (to, note)));
    }
    seen
}

pub(crate) fn sources(rng: &mut Rng, deliveries: usize) -> Sources {
    let source = |number: usize, rng: &mut Rng| {
        let mut places: HashMap<Address, u64> = HashMap::new();
        let mut message = |rng: &mut Rng| {
            let to = address(rng.usize(0..4), rng.u64(0..IDS));
            let place = places.entry(to.clone()).or_default();
            *place += 1;
            let seed = rng.u64(0..1 << 60) | (number as u64) << 60;
            let note = Note { place: *place, hops: rng.u64(0..6), seed };
            (to, Message { caller: None, value: note.value(), origin: None })
        };
        (0..deliveries).map(|_| (0..rng.usize(0..9)).map(|_| message(rng)).collect()).collect()
    };
    (0..SOURCES).map(|number| source(number, rng)).collect()
}

/// A failure of one of all kinds.
pub(crate) fn failure(choice: usize, elapsed: Duration) -> Failure {
    use InvokeErrorKind::{NoAnswer, Rejected, TooLarge, Unavailable};
    let kind = [Rejected, NoAnswer, TooLarge, Unavailable][choice % 4];
    Failure { kind, elapsed, wait: Duration::ZERO }
}
