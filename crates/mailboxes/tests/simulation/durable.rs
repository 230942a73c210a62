//! Compares mailboxes that crash between any two events, whose cuts become durable late, and whose data are mostly in a
//! store, with mailboxes that keep everything in memory and never crash. The results have to be the same.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use fastrand::Rng;
use proptest::{prelude::*, test_runner::TestRunner};
use statefun_kinesis_mailboxes::{
    Answer, Cut, Expiration, Found, GroupSettings, Image, Limits, Mailboxes, Now, Read, ReadId, Request, StateChange,
    StateSpec, StoredState, Value,
};
use statefun_kinesis_types::{Address, Timestamp};

use crate::function::{FUNCTIONS, SOURCES, Sources, failure, invoke, sources};

/// Time does not advance within a phase, so that expiry does not depend on the schedule.
const PHASES: usize = 5;

/// What the function does, and two states of another kind: one that counts what came since it was last set, and one
/// that is set seldom and lives as long as messages come.
fn invoke_with_expiry(request: &Request) -> Answer {
    let state = |name: &str| request.states.iter().find(|(other, _)| &**other == name).map(|(_, value)| value.clone());
    let number = |value: Option<Value>| -> u64 {
        value.map_or(0, |value| std::str::from_utf8(value.bytes.as_ref().unwrap()).unwrap().parse().unwrap())
    };
    let (answer, Some(recent), Some(alive)) = (invoke(request), state("recent"), state("alive")) else {
        let Answer::StatesMissing(mut specs) = invoke(request) else { panic!("states are declared together") };
        for (name, expiration) in [
            ("recent", Expiration::AfterWrite(Duration::from_secs(2))),
            ("alive", Expiration::AfterInvoke(Duration::from_secs(3))),
        ] {
            specs.push(StateSpec { name: name.into(), typename: "sim/number".into(), expiration });
        }
        return Answer::StatesMissing(specs);
    };
    let Answer::Handled(mut effects) = answer else { panic!("states are declared together") };
    let count = request.messages.len() as u64;
    let mut set = |name: &str, number: Option<u64>| {
        let value = number.map(|number| Value::new("sim/number", number.to_string()));
        effects.states.push(StateChange { name: name.into(), value });
    };
    let recent = number(recent) + count;
    // Every fifth message takes the state away; how many come at once must not matter.
    set("recent", Some(recent % 5).filter(|rest| *rest > 0));
    if alive.is_none() {
        set("alive", Some(1));
    }
    Answer::Handled(effects)
}

/// The environment of the mailboxes, with its faults.
#[derive(Clone, Copy, Debug)]
struct Setting {
    messages: usize,
    timers: usize,
    /// Entries of a page of the store.
    page: usize,
    state_bytes: usize,
    unsaved_bytes: usize,
    max_batch: u32,
    max_in_flight: u32,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Deliver,
    Send,
    Answer,
    Park,
    Split,
    WriteEgress,
    Cut,
    Commit,
    TellDurable,
    TakeLoads,
    ReadLoad,
    AnswerLoad,
    FailLoad,
    LookForExpired,
    Sweep,
    Crash,
}

/// The events; a frequent one is listed several times.
const EVENTS: [Event; 40] = {
    use Event::{
        Answer, AnswerLoad, Commit, Crash, Cut, Deliver, FailLoad, LookForExpired, Park, ReadLoad, Send, Split, Sweep,
        TakeLoads, TellDurable, WriteEgress,
    };
    [
        Deliver,
        Deliver,
        Deliver,
        Deliver,
        Send,
        Send,
        Send,
        Send,
        Send,
        Send,
        Answer,
        Answer,
        Answer,
        Answer,
        Answer,
        Answer,
        Answer,
        Answer,
        Park,
        Split,
        WriteEgress,
        WriteEgress,
        Cut,
        Cut,
        Commit,
        Commit,
        TellDurable,
        TellDurable,
        TakeLoads,
        TakeLoads,
        TakeLoads,
        ReadLoad,
        ReadLoad,
        AnswerLoad,
        AnswerLoad,
        AnswerLoad,
        FailLoad,
        LookForExpired,
        Sweep,
        Crash,
    ]
};

/// All events that bring a phase to its end.
const DRAIN: [Event; 10] = {
    use Event::{Answer, AnswerLoad, Commit, Cut, Deliver, ReadLoad, Send, TakeLoads, TellDurable, WriteEgress};
    [Deliver, Send, Answer, WriteEgress, Cut, Commit, TellDurable, TakeLoads, ReadLoad, AnswerLoad]
};

/// A load on its way, with what was read if that was done.
struct Load {
    address: Address,
    read: Option<Vec<StoredState>>,
}

/// Another read on its way, with what was found if that was done.
struct PendingRead {
    id: ReadId,
    read: Read,
    found: Option<Found>,
}

/// The data at the end.
#[derive(Debug, PartialEq)]
struct Outcome {
    states: BTreeMap<(String, String), (Value, Option<Timestamp>)>,
    records: BTreeSet<(String, String)>,
}

impl Outcome {
    /// Describes what one of them has and the other does not.
    fn difference(&self, other: &Self) -> Vec<String> {
        let states = |one: &Self, other: &Self, whose: &str| -> Vec<String> {
            let only = one.states.iter().filter(|(key, state)| other.states.get(*key) != Some(*state));
            only.map(|only| format!("{whose}: {only:?}")).collect()
        };
        let mut found = states(self, other, "calm");
        found.extend(states(other, self, "other"));
        found.extend(self.records.symmetric_difference(&other.records).map(|record| format!("{record:?}")));
        found
    }
}

struct World {
    setting: Setting,
    sources: Sources,
    now: Timestamp,
    /// The monotonic clock, which is independent of the one for expiry.
    elapsed: Duration,
    mailboxes: Mailboxes,
    positions: Vec<usize>,
    in_flight: Vec<Request>,
    egress: VecDeque<u64>,
    loads: Vec<Load>,
    reads: Vec<PendingRead>,
    expired: Vec<StoredState>,
    cuts: VecDeque<(Cut, Vec<usize>)>,
    told: VecDeque<u64>,
    /// The contents of the store.
    image: Image,
    saved: Vec<usize>,
    records: BTreeSet<(String, String)>,
    met: Met,
}

/// The number of reads of each kind.
#[derive(Clone, Copy, Debug, Default)]
struct Met {
    states: usize,
    messages: usize,
    waiting: usize,
    delayed: usize,
    cancelled: usize,
}

impl World {
    fn new(setting: Setting, seed: u64) -> Self {
        Self {
            setting,
            sources: sources(&mut Rng::with_seed(seed), 2 * PHASES),
            now: Timestamp::from_millis(1_000_000),
            elapsed: Duration::ZERO,
            mailboxes: Self::empty(setting),
            positions: vec![0; SOURCES],
            in_flight: Vec::new(),
            egress: VecDeque::new(),
            loads: Vec::new(),
            reads: Vec::new(),
            expired: Vec::new(),
            cuts: VecDeque::new(),
            told: VecDeque::new(),
            image: Image::default(),
            saved: vec![0; SOURCES],
            records: BTreeSet::new(),
            met: Met::default(),
        }
    }

    fn empty(setting: Setting) -> Mailboxes {
        let Setting { messages, timers, state_bytes, unsaved_bytes, .. } = setting;
        let limits = Limits { messages, timers, egress_records: 40, state_bytes, unsaved_bytes, ..Limits::default() };
        let mut mailboxes = Mailboxes::new(limits);
        let group = GroupSettings {
            max_in_flight: setting.max_in_flight.try_into().unwrap(),
            max_batch_messages: setting.max_batch.try_into().unwrap(),
            gives_up: setting.max_batch.is_multiple_of(2),
            ..GroupSettings::default()
        };
        let (first, second) = (mailboxes.add_group(group), mailboxes.add_group(group));
        mailboxes.serve_namespace("sim", first);
        mailboxes.serve_namespace("other", first);
        mailboxes.serve_function(FUNCTIONS[3].parse().unwrap(), second);
        mailboxes
    }

    fn stored(&self, address: &Address) -> Vec<StoredState> {
        self.image.states().filter(|state| state.address == *address).cloned().collect()
    }

    /// Makes an event happen. `choice` selects one of several targets.
    fn happen(&mut self, event: Event, phase: usize, choice: usize) {
        let pick = |len: usize| (len > 0).then(|| choice % len);
        self.mailboxes.check_invariants();
        match event {
            Event::Deliver => {
                let source = choice % SOURCES;
                let position = self.positions[source];
                if position < 2 * (phase + 1) {
                    // Also where there is no room, as several callers may deliver at once.
                    if self.mailboxes.has_room() || choice.is_multiple_of(4) {
                        self.mailboxes.deliver(self.sources[source][position].iter().cloned()).unwrap();
                        self.positions[source] += 1;
                    }
                }
            }
            Event::Send => {
                self.elapsed += Duration::from_secs(1);
                let now = Now { time: self.now, elapsed: self.elapsed };
                self.mailboxes.on_time(now);
                while let Some(request) = self.mailboxes.next_request(now) {
                    assert!(self.in_flight.iter().all(|other| other.target != request.target));
                    self.in_flight.push(request);
                }
                assert!(self.in_flight.len() <= 2 * self.setting.max_in_flight as usize);
            }
            Event::Answer => {
                let Some(at) = pick(self.in_flight.len()) else { return };
                let request = self.in_flight.swap_remove(at);
                self.mailboxes.answered(request.id, invoke_with_expiry(&request), self.now).unwrap();
            }
            Event::Park => {
                let Some(at) = pick(self.in_flight.len()) else { return };
                let request = self.in_flight.swap_remove(at);
                self.mailboxes.failed(request.id, failure(choice, self.elapsed));
                self.mailboxes.park(request.id, self.elapsed);
            }
            Event::Split => {
                let Some(at) = pick(self.in_flight.len()) else { return };
                self.mailboxes.failed(self.in_flight[at].id, failure(choice, self.elapsed));
                if self.mailboxes.split(self.in_flight[at].id, self.elapsed) {
                    self.in_flight.swap_remove(at);
                }
            }
            Event::WriteEgress => {
                for record in self.mailboxes.take_egress() {
                    let put = record.message.record().unwrap();
                    let text = String::from_utf8(put.data.to_vec()).unwrap();
                    self.records.insert((put.partition_key.to_string(), text));
                    self.egress.push_back(record.id);
                }
                if let Some(at) = pick(self.egress.len()) {
                    self.mailboxes.stored(self.egress.remove(at).unwrap());
                }
            }
            Event::Cut => {
                if self.mailboxes.has_changes() {
                    self.cuts.push_back((self.mailboxes.cut(), self.positions.clone()));
                }
            }
            Event::Commit => {
                if let Some((cut, positions)) = self.cuts.pop_front() {
                    self.image.apply(cut.changes);
                    self.saved = positions;
                    self.told.push_back(cut.number);
                }
            }
            Event::TellDurable => {
                if let Some(number) = self.told.pop_front() {
                    self.mailboxes.durable(number);
                }
            }
            Event::TakeLoads => {
                for address in self.mailboxes.take_loads() {
                    assert!(self.loads.iter().all(|load| load.address != address));
                    self.loads.push(Load { address, read: None });
                    self.met.states += 1;
                }
                for (id, read) in self.mailboxes.take_reads() {
                    match read {
                        Read::Messages { .. } => self.met.messages += 1,
                        Read::Waiting { .. } => self.met.waiting += 1,
                        Read::Delayed { .. } => self.met.delayed += 1,
                        Read::DelayedBy { .. } => self.met.cancelled += 1,
                    }
                    self.reads.push(PendingRead { id, read, found: None });
                }
                assert_eq!(self.mailboxes.usage().reads, self.loads.len() + self.reads.len());
            }
            Event::ReadLoad => {
                if let Some(at) = pick(self.loads.len()) {
                    self.loads[at].read = Some(self.stored(&self.loads[at].address));
                }
                if let Some(at) = pick(self.reads.len()) {
                    self.reads[at].found = Some(self.image.read(&self.reads[at].read, self.setting.page));
                }
            }
            Event::AnswerLoad => {
                if let Some(at) = pick(self.loads.len()) {
                    let load = self.loads.swap_remove(at);
                    let states = load.read.unwrap_or_else(|| self.stored(&load.address));
                    self.mailboxes.loaded(&load.address, states, self.now);
                    // A second answer is none.
                    self.mailboxes.loaded(&load.address, Vec::new(), self.now);
                }
                if let Some(at) = pick(self.reads.len()) {
                    let PendingRead { id, read, found } = self.reads.swap_remove(at);
                    let found = found.unwrap_or_else(|| self.image.read(&read, self.setting.page));
                    self.mailboxes.found(id, found.clone()).unwrap();
                    // A second answer is none.
                    self.mailboxes.found(id, found).unwrap();
                }
            }
            Event::FailLoad => {
                if let Some(at) = pick(self.loads.len()) {
                    self.mailboxes.load_failed(&self.loads.swap_remove(at).address);
                }
                if let Some(at) = pick(self.reads.len()) {
                    self.mailboxes.read_failed(self.reads.swap_remove(at).id);
                }
            }
            Event::LookForExpired => self.expired = self.image.states().cloned().collect(),
            Event::Sweep => self.mailboxes.sweep(std::mem::take(&mut self.expired), self.now),
            Event::Crash => {
                self.mailboxes = Self::empty(self.setting);
                self.mailboxes.restore(self.image.restored()).unwrap();
                assert!(!self.mailboxes.has_changes(), "what was restored counts as written");
                self.positions = self.saved.clone();
                self.in_flight.clear();
                self.egress.clear();
                self.loads.clear();
                self.reads.clear();
                self.cuts.clear();
                self.told.clear();
            }
        }
    }

    fn is_quiet(&self, phase: usize) -> bool {
        let read = self.positions.iter().all(|position| *position == 2 * (phase + 1));
        let usage = self.mailboxes.usage();
        let has_work = usage.messages > 0 || usage.egress_records > 0 || usage.reads > 0;
        let is_due =
            self.mailboxes.next_deadline().is_some_and(|at| at <= self.now) || self.mailboxes.next_retry().is_some();
        // The time of the next one is unknown until it is in memory.
        let is_unknown = usage.timers > 0 && self.mailboxes.next_deadline().is_none();
        let is_saved = !self.mailboxes.has_changes() && self.cuts.is_empty() && self.told.is_empty();
        read && !has_work && !is_due && !is_unknown && is_saved && self.mailboxes.sweeps_left() == 0
    }

    fn drain(&mut self, phase: usize) {
        for round in 0.. {
            if self.is_quiet(phase) {
                return;
            }
            assert!(round < 20_000, "it stands still: {:?}", self.mailboxes.usage());
            for event in DRAIN {
                self.happen(event, phase, round);
            }
        }
    }

    fn run(mut self, schedule: &[Vec<(u8, u8)>], pauses: &[u64]) -> (Outcome, Met) {
        for (phase, pause) in pauses.iter().enumerate() {
            for (event, choice) in schedule.get(phase).into_iter().flatten() {
                self.happen(EVENTS[usize::from(*event) % EVENTS.len()], phase, usize::from(*choice));
            }
            self.drain(phase);
            // Handles one deadline after the other up to the next phase, each like a phase of its own.
            let until = self.now.after(Duration::from_millis(*pause));
            while let Some(at) = self.mailboxes.next_deadline().filter(|at| *at <= until) {
                self.now = at;
                self.drain(phase);
            }
            self.now = until;
        }
        while let Some(at) = self.mailboxes.next_deadline().filter(|_| self.mailboxes.usage().timers > 0) {
            self.now = at;
            self.drain(PHASES - 1);
        }
        self.finish()
    }

    /// Removes expired states from the store.
    fn finish(mut self) -> (Outcome, Met) {
        self.happen(Event::LookForExpired, PHASES - 1, 0);
        self.happen(Event::Sweep, PHASES - 1, 0);
        self.drain(PHASES - 1);
        let state = |state: &StoredState| {
            let key = (state.address.to_string(), state.name.to_string());
            (key, (state.value.clone().unwrap(), state.expires))
        };
        let states = self.image.states().map(state).collect();
        assert_eq!(self.image.messages().count(), 0);
        assert_eq!((self.image.timers().count(), self.image.cancellations().count()), (0, 0));
        (Outcome { states, records: self.records }, self.met)
    }
}

/// An environment without limits and without faults.
const CALM: Setting = Setting {
    messages: 100_000,
    timers: 100_000,
    page: 1_000,
    state_bytes: 1 << 20,
    unsaved_bytes: 1 << 20,
    max_batch: 4,
    max_in_flight: 8,
};

fn settings() -> impl Strategy<Value = Setting> {
    let messages = prop_oneof![Just(1_usize), Just(4), Just(12), Just(60), Just(100_000)];
    let timers = prop_oneof![Just(1_usize), Just(3), Just(100_000)];
    let page = prop_oneof![Just(1_usize), Just(3), Just(1_000)];
    let bytes = prop_oneof![Just(0_usize), Just(1_500), Just(6_000), Just(1 << 20)];
    let unsaved = prop_oneof![Just(1_usize), Just(2_000), Just(1 << 20)];
    (messages, timers, page, bytes, unsaved, 1_u32..6, 1_u32..5).prop_map(
        |(messages, timers, page, state_bytes, unsaved_bytes, max_batch, max_in_flight)| Setting {
            messages,
            timers,
            page,
            state_bytes,
            unsaved_bytes,
            max_batch,
            max_in_flight,
        },
    )
}

/// The number of runs.
fn cases() -> u32 {
    std::env::var("STATEFUN_KINESIS_RUNS").map_or(400, |runs| runs.parse().expect("a number of runs"))
}

#[test]
fn crashes_and_evictions_do_not_change_the_results() {
    let config = ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() };
    let inputs = (
        settings(),
        any::<u64>(),
        prop::collection::vec(prop::collection::vec(any::<(u8, u8)>(), 0..150), PHASES),
        prop::collection::vec(0_u64..4_000, PHASES),
    );
    let all = std::cell::Cell::new(Met::default());
    let result = TestRunner::new(config).run(&inputs, |(setting, seed, schedule, pauses)| {
        let (calm, none) = World::new(CALM, seed).run(&[], &pauses);
        prop_assert_eq!(none.states + none.messages + none.waiting + none.delayed + none.cancelled, 0);
        let (other, met) = World::new(setting, seed).run(&schedule, &pauses);
        prop_assert_eq!(calm.difference(&other), Vec::<String>::new());
        let before = all.get();
        all.set(Met {
            states: before.states + met.states,
            messages: before.messages + met.messages,
            waiting: before.waiting + met.waiting,
            delayed: before.delayed + met.delayed,
            cancelled: before.cancelled + met.cancelled,
        });
        Ok(())
    });
    result.unwrap_or_else(|failure| panic!("{failure}"));
    // A simulation in which everything stays in memory would prove nothing.
    let (all, runs) = (all.get(), cases() as usize);
    let least = [all.states, all.messages, all.waiting, all.delayed, all.cancelled].into_iter().min();
    assert!(least > Some(runs / 2) || runs < 100, "{all:?}");
}
