//! Any schedule: messages, answers, failures, time, cuts and crashes at random.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::time::Duration;

use fastrand::Rng;
use statefun_kinesis_mailboxes::{GroupSettings, Image, Limits, Mailboxes, Request};
use statefun_kinesis_types::Timestamp;

use crate::function::{FUNCTIONS, SOURCES, Sources, expected, failure, invoke, read_counts, sources};

const DELIVERIES: usize = 12;

struct World {
    seed: u64,
    rng: Rng,
    now: Timestamp,
    max_batch: u32,
    mailboxes: Mailboxes,
    in_flight: Vec<Request>,
    sent: VecDeque<u64>,
    egress_log: Vec<(String, String)>,
    sources: Sources,
    positions: Vec<usize>,
    image: Image,
    saved: Vec<usize>,
    crashes: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::with_seed(seed);
        let sources = sources(&mut rng, DELIVERIES);
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
            image: Image::default(),
            saved: vec![0; SOURCES],
            crashes: 0,
            sources,
            rng,
        };
        world.mailboxes = world.empty();
        world
    }

    fn empty(&self) -> Mailboxes {
        let limits = Limits { messages: 60, timers: 10, egress_records: 40, ..Limits::default() };
        let mut mailboxes = Mailboxes::new(limits);
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
        if self.mailboxes.has_room() {
            self.mailboxes.deliver(delivery.iter().cloned()).unwrap();
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
                let wait = Duration::from_millis(self.rng.u64(0..2_000));
                let elapsed = self.now.since(Timestamp::EPOCH);
                self.mailboxes.failed(request.id, failure(self.rng.usize(0..4), elapsed));
                let until = elapsed + wait;
                self.mailboxes.park(request.id, until);
            }
            1 => {
                if !self.mailboxes.split(request.id, self.now.since(Timestamp::EPOCH)) {
                    self.in_flight.push(request);
                }
            }
            // It continues to hang.
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
            let put = record.message.record().unwrap();
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
        let retry = self.mailboxes.next_retry().map(|elapsed| Timestamp::EPOCH.after(elapsed));
        self.now = match self.mailboxes.next_deadline().into_iter().chain(retry).min() {
            Some(at) if self.rng.bool() => self.now.max(at),
            _ => self.now.after(step),
        };
        self.mailboxes.on_time(self.now);
        assert!(self.mailboxes.next_deadline().is_none_or(|at| at > self.now), "what was due is still due");
    }

    /// Answers all reads.
    fn read(&mut self) {
        for address in self.mailboxes.take_loads() {
            let states = self.image.states().filter(|state| state.address == address).cloned().collect();
            self.mailboxes.loaded(&address, states, self.now);
        }
        for (id, read) in self.mailboxes.take_reads() {
            self.mailboxes.found(id, self.image.read(&read, 5)).unwrap();
        }
    }

    fn cut(&mut self) {
        let cut = self.mailboxes.cut();
        self.image.apply(cut.changes);
        self.mailboxes.durable(cut.number);
        self.saved = self.positions.clone();
    }

    fn crash(&mut self) {
        self.crashes += 1;
        self.mailboxes = self.empty();
        self.mailboxes.restore(self.image.restored()).unwrap();
        assert!(!self.mailboxes.has_changes(), "what was restored counts as written");
        self.positions = self.saved.clone();
        self.in_flight.clear();
        self.sent.clear();
    }

    fn is_done(&self) -> bool {
        let read = self.positions.iter().zip(&self.sources).all(|(position, source)| *position == source.len());
        let usage = self.mailboxes.usage();
        // A mailbox may first have to find out that the store has no messages for it.
        let is_empty = usage.messages == 0 && usage.mailboxes == 0;
        read && is_empty && usage.timers == 0 && usage.egress_records == 0
    }

    /// Runs to the end, and returns the number of crashes.
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
                _ => self.read(),
            }
            self.mailboxes.check_invariants();
            // Messages that requests in flight send at once may exceed the share of each function, but nothing else
            // may.
            assert!(self.mailboxes.usage().messages_in_memory < 60 + 3 * 8 + 100, "seed {}", self.seed);
            if self.is_done() {
                break;
            }
        }
        self.cut();
        let crashes = self.crashes;
        self.check(with_crashes);
        crashes
    }

    fn check(self, with_crashes: bool) {
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

        if !with_crashes {
            assert_eq!(self.egress_log.len(), records.len(), "seed {seed}: nothing is sent twice");
        }
        let usage = self.mailboxes.usage();
        assert_eq!((usage.messages, usage.bytes, usage.mailboxes), (0, 0, 0), "seed {seed}");
        assert!(self.mailboxes.counts(Duration::ZERO).all(|(_, counts)| counts.backlog == 0 && counts.in_flight == 0));
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
