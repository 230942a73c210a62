//! Seeded simulations of the mailboxes under virtual time: functions that count, forward, delay, cancel, fail and hang,
//! with crashes between any two events.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use statefun_kinesis_functions::{
    Answer, Delayed, Effects, EgressMessage, Expiration, GroupSettings, Image, Limits, Mailboxes, Message, Request,
    StateChange, StateSpec, Value,
};
use statefun_kinesis_types::{Address, PutRecord, Timestamp};

const FUNCTIONS: [&str; 4] = ["sim/a", "sim/b", "other/c", "other/d"];
const IDS: u64 = 5;
const SOURCES: usize = 3;
const DELIVERIES: usize = 12;

fn address(function: usize, id: u64) -> Address {
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
struct Note {
    place: u64,
    hops: u64,
    seed: u64,
}

impl Note {
    fn value(self) -> Value {
        Value::new("sim/note", format!("{},{},{}", self.place, self.hops, self.seed))
    }

    fn read(value: &Value) -> Self {
        let text = std::str::from_utf8(value.bytes.as_ref().unwrap()).unwrap();
        let numbers: Vec<u64> = text.split(',').map(|number| number.parse().unwrap()).collect();
        Self { place: numbers[0], hops: numbers[1], seed: numbers[2] }
    }

    /// What a function sends on for the message.
    fn sends(self) -> Vec<(Address, Note, How)> {
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
enum How {
    Now,
    Later(u64),
    CancelledAtOnce(u64),
}

/// The state of an instance: how many messages it has seen, and how many to and from whom.
type Counts = BTreeMap<String, u64>;

fn read_counts(value: Option<&Value>) -> Counts {
    let Some(bytes) = value.and_then(|value| value.bytes.as_ref()) else { return Counts::new() };
    let entry =
        |entry: &str| entry.split_once('=').map(|(key, count)| (key.to_owned(), count.parse().unwrap())).unwrap();
    std::str::from_utf8(bytes).unwrap().split(';').map(entry).collect()
}

/// The function's code: it is the same for all functions.
fn invoke(request: &Request) -> Answer {
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
        effects.egress.push(EgressMessage {
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

/// What each instance sees in the end: every message, and all that comes of it, once.
fn expected(sources: &[Vec<Vec<(Address, Message)>>]) -> BTreeMap<String, u64> {
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

fn sources(rng: &mut Rng) -> Vec<Vec<Vec<(Address, Message)>>> {
    let source = |number: usize, rng: &mut Rng| {
        let mut places: HashMap<Address, u64> = HashMap::new();
        let mut message = |rng: &mut Rng| {
            let to = address(rng.usize(0..4), rng.u64(0..IDS));
            let place = places.entry(to.clone()).or_default();
            *place += 1;
            let seed = rng.u64(0..1 << 60) | (number as u64) << 60;
            let note = Note { place: *place, hops: rng.u64(0..6), seed };
            (to, Message { caller: None, value: note.value() })
        };
        (0..DELIVERIES).map(|_| (0..rng.usize(0..9)).map(|_| message(rng)).collect()).collect()
    };
    (0..SOURCES).map(|number| source(number, rng)).collect()
}

struct World {
    seed: u64,
    rng: Rng,
    now: Timestamp,
    max_batch: u32,
    mailboxes: Mailboxes<usize>,
    in_flight: Vec<Request>,
    sent: VecDeque<u64>,
    egress_log: Vec<(String, String)>,
    sources: Vec<Vec<Vec<(Address, Message)>>>,
    positions: Vec<usize>,
    finished: usize,
    image: Image,
    saved: Vec<usize>,
    crashes: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let sources = sources(&mut rng);
        let max_batch = rng.u32(1..6);
        let mut world = Self {
            seed,
            now: Timestamp::from_millis(1_000_000),
            max_batch,
            mailboxes: Mailboxes::new(Limits::default()),
            in_flight: Vec::new(),
            sent: VecDeque::new(),
            egress_log: Vec::new(),
            positions: vec![0; SOURCES],
            finished: 0,
            image: Image::default(),
            saved: vec![0; SOURCES],
            crashes: 0,
            sources,
            rng,
        };
        world.mailboxes = world.empty();
        world
    }

    fn empty(&self) -> Mailboxes<usize> {
        let limits = Limits { messages: 60, egress_records: 40, ..Limits::default() };
        let mut mailboxes = Mailboxes::new(limits).journalled();
        let settings = |max: u32| GroupSettings {
            max_in_flight: max.try_into().unwrap(),
            max_batch_messages: self.max_batch.try_into().unwrap(),
            ..GroupSettings::default()
        };
        let (first, second) = (mailboxes.add_group(settings(3)), mailboxes.add_group(settings(8)));
        mailboxes.serve_namespace("sim", first);
        mailboxes.serve_namespace("other", first);
        mailboxes.serve_function(FUNCTIONS[3].parse().unwrap(), second);
        mailboxes
    }

    fn deliver(&mut self) {
        let source = self.rng.usize(0..SOURCES);
        let Some(delivery) = self.sources[source].get(self.positions[source]) else { return };
        if delivery.iter().all(|(to, _)| self.mailboxes.has_room_for(to)) {
            self.mailboxes.deliver(source, delivery.iter().cloned()).unwrap();
            self.positions[source] += 1;
        }
    }

    fn send_requests(&mut self) {
        while let Some(request) = self.mailboxes.next_request(self.now) {
            let targets: HashSet<_> = self.in_flight.iter().map(|request| &request.target).collect();
            assert!(!targets.contains(&request.target), "two requests of {} in flight", request.target);
            assert!(!request.messages.is_empty() && request.messages.len() <= self.max_batch as usize);
            self.in_flight.push(request);
            assert!(self.in_flight.len() <= 11);
        }
    }

    fn land(&mut self) {
        if self.in_flight.is_empty() {
            return;
        }
        let request = self.in_flight.swap_remove(self.rng.usize(0..self.in_flight.len()));
        match self.rng.u32(0..10) {
            0 => {
                let until = self.now.after(Duration::from_millis(self.rng.u64(0..2_000)));
                self.mailboxes.park(request.id, until);
            }
            1 => {
                if !self.mailboxes.split(request.id) {
                    self.in_flight.push(request);
                }
            }
            // It hangs on.
            2 => self.in_flight.push(request),
            _ => {
                self.mailboxes.answered(request.id, invoke(&request), self.now).unwrap();
                // A late second answer changes nothing.
                self.mailboxes.answered(request.id, invoke(&request), self.now).unwrap();
            }
        }
    }

    fn write_egress(&mut self) {
        for record in self.mailboxes.take_egress() {
            let put = &record.message.record;
            self.egress_log.push((put.partition_key.to_string(), String::from_utf8(put.data.to_vec()).unwrap()));
            self.sent.push_back(record.id);
        }
        for _ in 0..self.rng.usize(0..4) {
            if !self.sent.is_empty() {
                let record = self.sent.remove(self.rng.usize(0..self.sent.len())).unwrap();
                self.mailboxes.stored(record);
            }
        }
    }

    fn pass_time(&mut self) {
        let step = Duration::from_millis(self.rng.u64(0..300));
        self.now = match self.mailboxes.next_deadline() {
            Some(at) if self.rng.bool() => self.now.max(at),
            _ => self.now.after(step),
        };
        self.mailboxes.on_time(self.now);
        assert!(self.mailboxes.next_deadline().is_none_or(|at| at > self.now), "what was due is still due");
    }

    fn cut(&mut self) {
        let changes = self.mailboxes.cut();
        self.image.apply(changes);
        self.saved = self.positions.clone();
    }

    fn crash(&mut self) {
        self.crashes += 1;
        self.mailboxes = self.empty();
        self.mailboxes.restore(&self.image).unwrap();
        assert!(self.mailboxes.cut().is_empty(), "what was restored counts as written");
        self.positions = self.saved.clone();
        self.in_flight.clear();
        self.sent.clear();
    }

    fn is_done(&self) -> bool {
        let read = self.positions.iter().zip(&self.sources).all(|(position, source)| *position == source.len());
        let usage = self.mailboxes.usage();
        read && usage.messages == 0 && usage.timers == 0 && usage.egress_records == 0
    }

    /// Runs to the end, and says how often it crashed on the way.
    fn run(mut self, with_crashes: bool) -> usize {
        for step in 0.. {
            assert!(step < 200_000, "seed {}: it stands still at {:?}", self.seed, self.mailboxes.usage());
            match self.rng.u32(0..24) {
                0..4 => self.deliver(),
                4..8 => self.send_requests(),
                8..16 => self.land(),
                16..18 => self.write_egress(),
                18..20 => self.pass_time(),
                20..22 => self.cut(),
                22 if with_crashes && self.crashes < 20 && self.rng.u32(0..10) == 0 => self.crash(),
                _ => self.finished += self.mailboxes.take_finished().len(),
            }
            // Three callers of at most eight messages each, and what requests in flight may send at once.
            assert!(self.mailboxes.usage().messages < 60 + 3 * 8 + 1_000, "seed {}", self.seed);
            if self.is_done() {
                break;
            }
        }
        self.cut();
        let crashes = self.crashes;
        self.check(with_crashes);
        crashes
    }

    fn check(mut self, with_crashes: bool) {
        let seed = self.seed;
        let expected = expected(&self.sources);
        let states: BTreeMap<String, u64> = self
            .image
            .states()
            .map(|state| (state.address.to_string(), read_counts(state.value.as_ref())["seen"]))
            .collect();
        assert_eq!(states, expected, "seed {seed}: each message counts once");
        assert_eq!(
            (self.image.messages().count(), self.image.timers().count(), self.image.egress().count()),
            (0, 0, 0)
        );

        let mut last: HashMap<&str, &str> = HashMap::new();
        let mut records = HashSet::new();
        for (key, record) in &self.egress_log {
            if records.insert(record) {
                let before = last.insert(key, record);
                assert!(before.is_none_or(|before| before < record.as_str()), "seed {seed}: {record} after {before:?}");
            }
        }
        assert_eq!(records.len() as u64, expected.values().sum::<u64>(), "seed {seed}: records that were sent");

        self.finished += self.mailboxes.take_finished().len();
        if !with_crashes {
            assert_eq!(self.finished, SOURCES * DELIVERIES, "seed {seed}: deliveries that are finished");
            assert_eq!(self.egress_log.len(), records.len(), "seed {seed}: nothing is sent twice");
        }
        let usage = self.mailboxes.usage();
        assert_eq!((usage.messages, usage.bytes, usage.mailboxes), (0, 0, 0), "seed {seed}");
        assert_eq!(usage.instances, expected.len(), "seed {seed}: instances without state are gone");
        assert!(self.mailboxes.counts().all(|(_, counts)| counts.backlog == 0 && counts.in_flight == 0));
    }
}

#[test]
fn every_message_counts_once() {
    for seed in 0..200 {
        assert_eq!(World::new(seed).run(false), 0);
    }
}

#[test]
fn every_message_counts_once_through_crashes() {
    let crashes: usize = (10_000..10_200).map(|seed| World::new(seed).run(true)).sum();
    assert!(crashes > 500, "{crashes} crashes");
}
