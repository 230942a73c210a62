//! Random events against a model.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    time::{Duration, Instant},
};

use proptest::{collection::vec, prelude::*};
use statefun_kinesis_client::{ErrorKind, PutFailure};
use statefun_kinesis_types::{HashKey, PUT_RECORDS_MAX_BYTES, PUT_RECORDS_MAX_RECORDS, PutRecord};

use super::scene::{MIB, all_outcomes, call_error, count, internal, machine, plain, record, stored, throttled};
use crate::{SendError, Settings, Stored, machine::Machine, request::Request};

#[derive(Clone, Debug)]
enum Event {
    Send {
        key: u8,
        bytes: usize,
    },
    /// Answers one of the requests in flight.
    Answer {
        which: prop::sample::Index,
        how: How,
    },
    Wait(u64),
    Flush,
}

#[derive(Clone, Debug)]
enum How {
    /// Each record has an outcome of its own, drawn from these in turn.
    Single(Vec<u8>),
    /// The call fails, and nothing was stored.
    Failed(ErrorKind),
    /// No answer; everything was stored, at once or when something else happens later.
    LostAnswer {
        late: bool,
    },
    WrongCount,
}

fn event() -> impl Strategy<Value = Event> {
    let how = prop_oneof![
        6 => vec(0..10_u8, 1..20).prop_map(How::Single),
        2 => prop::sample::select(vec![
            ErrorKind::Throttled, ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::LimitExceeded,
            ErrorKind::AccessDenied, ErrorKind::InvalidArgument,
        ]).prop_map(How::Failed),
        2 => any::<bool>().prop_map(|late| How::LostAnswer { late }),
        1 => Just(How::WrongCount),
    ];
    let bytes = prop_oneof![5 => 0..200_usize, 1 => Just(MIB - 1), 1 => Just(3 * MIB)];
    prop_oneof![
        12 => (0..12_u8, bytes).prop_map(|(key, bytes)| Event::Send { key, bytes }),
        5 => (any::<prop::sample::Index>(), how).prop_map(|(which, how)| Event::Answer { which, how }),
        3 => (0..3_000_u64).prop_map(Event::Wait),
        1 => Just(Event::Flush),
    ]
}

/// A service that stores what the events say, and a reader that checks what a machine must never do.
struct Model {
    machine: Machine<u64, u64>,
    settings: Settings,
    now: Instant,
    in_flight: Vec<Request>,
    /// Requests whose answer was lost and that the service has not carried out yet.
    late: Vec<Request>,
    /// Tokens in the order in which they were sent, by key. The token is in the explicit hash key, so that it can be
    /// read off the record.
    sent: BTreeMap<String, Vec<u64>>,
    next_token: u64,
    stored: Vec<u64>,
    completed: HashMap<u64, Result<Stored, SendError>>,
    outstanding: HashMap<u64, usize>,
    /// The flushes that wait, each with what was outstanding when it began.
    flushes: Vec<(u64, BTreeSet<u64>)>,
    next_flush: u64,
}

fn token(record: &PutRecord) -> u64 {
    record.explicit_hash_key.unwrap().get() as u64
}

impl Model {
    fn new(settings: Settings) -> Self {
        Self {
            machine: machine(settings.clone()),
            settings,
            now: Instant::now(),
            in_flight: Vec::new(),
            late: Vec::new(),
            sent: BTreeMap::new(),
            next_token: 0,
            stored: Vec::new(),
            completed: HashMap::new(),
            outstanding: HashMap::new(),
            flushes: Vec::new(),
            next_flush: 0,
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Send { key, bytes } => {
                let token = self.next_token;
                let key = format!("k{key}");
                let record = record(&key, bytes).with_explicit_hash_key(HashKey::new(u128::from(token)));
                let size = record.size();
                if self.machine.admits(size) {
                    self.next_token += 1;
                    self.machine.submit(self.now, record, token);
                    self.sent.entry(key).or_default().push(token);
                    self.outstanding.insert(token, size);
                }
            }
            Event::Answer { which, how } if !self.in_flight.is_empty() => {
                let request = self.in_flight.swap_remove(which.index(self.in_flight.len()));
                self.answer(request, how);
            }
            Event::Answer { .. } => {}
            Event::Wait(millis) => self.now += Duration::from_millis(millis),
            Event::Flush => {
                let number = self.next_flush;
                self.next_flush += 1;
                self.flushes.push((number, self.outstanding.keys().copied().collect()));
                self.machine.flush(number);
            }
        }
        self.look();
    }

    fn answer(&mut self, request: Request, how: How) {
        let tokens: Vec<u64> = request.plain().iter().map(token).collect();
        let answer = match how {
            How::Single(outcomes) => {
                let outcome = |(token, outcome): (&u64, &u8)| match outcome {
                    0..6 => {
                        self.stored.push(*token);
                        stored()
                    }
                    6 | 7 => throttled(),
                    8 => internal(),
                    _ => Err(PutFailure::new(ErrorKind::InvalidArgument, "InvalidArgumentException", "invalid")),
                };
                Ok(tokens.iter().zip(outcomes.iter().cycle()).map(outcome).collect())
            }
            How::Failed(kind) => Err(call_error(kind)),
            How::LostAnswer { late } => {
                if late {
                    self.late.push(request.clone());
                } else {
                    self.stored.extend(&tokens);
                }
                Err(call_error(ErrorKind::Timeout))
            }
            How::WrongCount => {
                self.stored.extend(&tokens);
                Ok(vec![stored(); tokens.len() + 1])
            }
        };
        self.machine.answered(self.now, request, answer);
        // Some arbitrary later answer lets a late request through.
        if let Some(late) = self.late.pop_if(|_| tokens.len().is_multiple_of(2)) {
            self.stored.extend(late.plain().iter().map(token));
        }
    }

    /// Takes what the machine gives, and checks it against what was promised.
    fn look(&mut self) {
        self.machine.check_invariants();
        while let Some(request) = self.machine.next_request(self.now) {
            let records = request.plain();
            assert!((1..=PUT_RECORDS_MAX_RECORDS).contains(&records.len()));
            assert!(records.iter().map(PutRecord::size).sum::<usize>() <= PUT_RECORDS_MAX_BYTES);
            self.in_flight.push(request);
        }
        let carried = || self.in_flight.iter().flat_map(Request::plain);
        let keys: HashSet<_> = carried().map(|record| &record.partition_key).collect();
        assert_eq!(keys.len(), carried().count(), "a key is in flight twice");
        assert!(self.in_flight.len() <= self.settings.max_in_flight_requests.get() as usize);

        for (token, result) in all_outcomes(&mut self.machine) {
            assert!(self.outstanding.remove(&token).is_some(), "{token} was completed twice");
            if let Err(error) = &result {
                assert!(error.may_be_stored() || !self.stored.contains(&token), "{token} was stored: {error:?}");
            } else {
                assert!(self.stored.contains(&token), "{token} was not stored");
            }
            self.completed.insert(token, result);
        }
        assert_eq!(self.machine.is_idle(), self.outstanding.is_empty());
        assert!(self.outstanding.len() <= self.settings.max_outstanding_records.get() as usize);
        let bytes: usize = self.outstanding.values().sum();
        assert!(bytes <= self.settings.max_outstanding_bytes.get() as usize || self.outstanding.len() == 1);

        for number in self.machine.take_flushed() {
            let position = self.flushes.iter().position(|(flush, _)| *flush == number).expect("flushed twice");
            let (_, before) = self.flushes.swap_remove(position);
            assert!(before.iter().all(|token| self.completed.contains_key(token)), "flush {number} came too early");
        }
        let wake_at = self.machine.wake_at();
        assert!(wake_at.is_none_or(|at| at > self.now), "the machine has nothing to send although it is time");
        let asleep = wake_at.is_none();
        assert!(!asleep || self.outstanding.is_empty() || !self.in_flight.is_empty(), "the machine has stopped");
    }

    /// Lets the service carry out everything, and checks the whole story.
    fn end(mut self) {
        self.machine.flush(u64::MAX);
        self.flushes.push((u64::MAX, self.outstanding.keys().copied().collect()));
        for _ in 0..10_000 {
            self.look();
            if let Some(request) = self.in_flight.pop() {
                self.answer(request, How::Single(vec![0]));
            } else if let Some(wake_at) = self.machine.wake_at() {
                assert!(wake_at > self.now, "the machine has nothing to send although it is time");
                self.now = wake_at;
            }
        }
        assert!(self.outstanding.is_empty(), "{:?} never came to an end", self.outstanding);
        assert!(self.flushes.is_empty(), "{:?} were never told", self.flushes);
        for late in std::mem::take(&mut self.late) {
            self.stored.extend(late.plain().iter().map(token));
        }
        for (key, sent) in &self.sent {
            let acknowledged = sent.iter().filter(|token| self.completed[token].is_ok());
            let mut before = None;
            for token in acknowledged {
                let first = self.stored.iter().position(|stored| stored == token);
                assert!(first > before, "{token} of {key} was stored before its predecessor: {:?}", self.stored);
                before = first;
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_order_and_bounds_hold_and_everything_is_completed_once(
        events in vec(event(), 1..300),
        records in 1..30_u32,
        requests in 1..5_u32,
        linger in prop::sample::select(vec![0, 5, 1_000]),
    ) {
        let mut model = Model::new(Settings {
            max_outstanding_records: count(records),
            max_outstanding_bytes: count(13 << 20),
            max_in_flight_requests: count(requests),
            linger: Duration::from_millis(linger),
            give_up_after: Duration::from_secs(20),
            ..plain()
        });
        for event in events {
            model.happen(event);
        }
        model.end();
    }
}
