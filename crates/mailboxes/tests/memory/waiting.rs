//! Mailboxes in which much waits, and how much memory they take: what the test and the benchmark share.

use std::time::Duration;

use statefun_kinesis_mailboxes::{
    Answer, Delayed, Effects, GroupSettings, Limits, Mailboxes, Message, Now, Request, Value,
};
use statefun_kinesis_types::{Address, Timestamp};

use crate::MEMORY;

const NOW: Timestamp = Timestamp::EPOCH;

fn mailboxes() -> Mailboxes {
    let limits = Limits { messages: 3_000, timers: 3_000, ..Limits::default() };
    let mut mailboxes = Mailboxes::new(limits);
    let group = mailboxes.add_group(GroupSettings::default());
    mailboxes.serve_namespace("t", group);
    mailboxes
}

/// Makes everything durable: a store on disk takes it.
fn commit(mailboxes: &mut Mailboxes) {
    let cut = mailboxes.cut();
    mailboxes.durable(cut.number);
}

pub(crate) fn deliver(mailboxes: &mut Mailboxes, id: &str) {
    let to = Address { function: "t/f".parse().unwrap(), id: id.into() };
    let message = Message { caller: None, value: Value::new("t/text", vec![7; 100]), origin: None };
    mailboxes.deliver([(to, message)]).unwrap();
}

fn handled(mailboxes: &mut Mailboxes, request: &Request, delayed: Vec<Delayed>) {
    let effects = Effects { delayed, ..Effects::default() };
    mailboxes.answered(request.id, Answer::Handled(effects), NOW).unwrap();
}

/// Bytes that mailboxes take, and the most that they took on the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes {
    pub(crate) end: usize,
    pub(crate) peak: usize,
}

/// Takes the steps, with a cut after each thousand.
pub(crate) fn grown(steps: usize, mut step: impl FnMut(&mut Mailboxes, usize)) -> (Bytes, Mailboxes) {
    let before = MEMORY.current_usage();
    MEMORY.reset_peak_usage();
    let mut mailboxes = mailboxes();
    for number in 0..steps {
        step(&mut mailboxes, number);
        if number % 1_000 == 999 {
            commit(&mut mailboxes);
        }
    }
    // The room that there is for the next changes does not count.
    (0..2).for_each(|_| commit(&mut mailboxes));
    let bytes = Bytes { end: MEMORY.current_usage() - before, peak: MEMORY.peak_usage() - before };
    (bytes, mailboxes)
}

/// Delayed messages, each of another sender to itself, as reminders are.
pub(crate) fn delayed(count: usize) -> Bytes {
    let (bytes, mailboxes) = grown(count, |mailboxes, number| {
        deliver(mailboxes, &format!("customer-{number}"));
        let request = mailboxes.next_request(NOW).unwrap();
        let delay = Duration::from_secs(60 + number as u64 % 86_400);
        let (to, value) = (request.target.clone(), Value::new("t/text", vec![7; 100]));
        let token = Some(format!("reminder-{number}").into());
        handled(mailboxes, &request, vec![Delayed::Send { delay, to, value, token }]);
    });
    assert_eq!(mailboxes.usage().timers, count as u64);
    bytes
}

/// Messages that wait at an address that fails, while others are handled.
pub(crate) fn failing(count: usize) -> Bytes {
    let (bytes, mailboxes) = with_failing(count);
    assert_eq!(mailboxes.usage().messages, count as u64);
    bytes
}

fn with_failing(count: usize) -> (Bytes, Mailboxes) {
    grown(count, |mailboxes, number| {
        deliver(mailboxes, "bad");
        deliver(mailboxes, &format!("good-{}", number % 100));
        while let Some(request) = mailboxes.next_request(NOW) {
            if &*request.target.id == "bad" {
                mailboxes.park(request.id, Duration::from_secs(30));
            } else {
                handled(mailboxes, &request, Vec::new());
            }
        }
        assert!(mailboxes.has_room(), "the others go on");
    })
}

/// Mailboxes with so many messages at a failing address, and the time that has passed for them.
pub(crate) struct Beside {
    mailboxes: Mailboxes,
    elapsed: Duration,
}

impl Beside {
    pub(crate) fn new(failing: usize) -> Self {
        Self { mailboxes: with_failing(failing).1, elapsed: Duration::ZERO }
    }

    /// Handles so many messages of healthy addresses, one a millisecond. The failing address is retried meanwhile.
    pub(crate) fn handle_healthy(&mut self, count: usize) {
        let Self { mailboxes, elapsed } = self;
        let mut left = count;
        while left > 0 {
            *elapsed += Duration::from_millis(1);
            let now = Now { time: NOW, elapsed: *elapsed };
            deliver(mailboxes, &format!("good-{}", left % 100));
            mailboxes.on_time(now);
            while let Some(request) = mailboxes.next_request(now) {
                if &*request.target.id == "bad" {
                    mailboxes.park(request.id, *elapsed + Duration::from_secs(30));
                } else {
                    left -= request.messages.len();
                    handled(mailboxes, &request, Vec::new());
                }
            }
            if left.is_multiple_of(1_000) {
                commit(mailboxes);
            }
        }
    }
}
