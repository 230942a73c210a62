//! Ten times as many waiting messages take no more memory, because the rest is in the store.

use std::time::Duration;

use peak_alloc::PeakAlloc;
use statefun_kinesis_mailboxes::{Answer, Delayed, Effects, GroupSettings, Limits, Mailboxes, Message, Request, Value};
use statefun_kinesis_types::{Address, Timestamp};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

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

fn deliver(mailboxes: &mut Mailboxes, id: &str) {
    let to = Address { function: "t/f".parse().unwrap(), id: id.into() };
    let message = Message { caller: None, value: Value::new("t/text", vec![7; 100]), origin: None };
    mailboxes.deliver([(to, message)]).unwrap();
}

fn handled(mailboxes: &mut Mailboxes, request: &Request, delayed: Vec<Delayed>) {
    let effects = Effects { delayed, ..Effects::default() };
    mailboxes.answered(request.id, Answer::Handled(effects), NOW).unwrap();
}

/// The memory of the mailboxes at the end, with a cut after each thousand steps.
fn grown(steps: usize, mut step: impl FnMut(&mut Mailboxes, usize)) -> (usize, Mailboxes) {
    let before = MEMORY.current_usage();
    let mut mailboxes = mailboxes();
    for number in 0..steps {
        step(&mut mailboxes, number);
        if number % 1_000 == 999 {
            commit(&mut mailboxes);
        }
    }
    // The memory that is reserved for the next changes does not count.
    (0..2).for_each(|_| commit(&mut mailboxes));
    (MEMORY.current_usage() - before, mailboxes)
}

/// Delayed messages, each of another sender to itself, as reminders are.
fn delayed(count: usize) -> usize {
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

/// Messages that wait for a failing address, while others are handled.
fn failing(count: usize) -> usize {
    let (bytes, mailboxes) = grown(count, |mailboxes, number| {
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
    });
    assert_eq!(mailboxes.usage().messages, count as u64);
    bytes
}

/// One test, so that nothing else takes memory meanwhile.
#[test]
fn ten_times_as_much_that_waits_takes_no_more_memory() {
    for (what, grow) in
        [("delayed messages", delayed as fn(usize) -> usize), ("messages at a failing address", failing)]
    {
        let (few, many) = (grow(30_000), grow(300_000));
        assert!(many as f64 <= 1.2 * few as f64, "{what}: {few} bytes for 30 000 and {many} for 300 000");
    }
}
