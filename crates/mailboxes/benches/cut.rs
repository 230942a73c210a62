//! How long a cut locks the mailboxes, the cost of recording changes, and the memory of an address and of a delayed
//! message: figures rather than times per call.
//!
//! Memory is the number of bytes that were requested from the allocator.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::time::{Duration, Instant};

use peak_alloc::PeakAlloc;
use statefun_kinesis_mailboxes::{
    Answer, Delayed, Effects, Expiration, GroupSettings, Limits, Mailboxes, Message, StateChange, StateSpec, Value,
};
use statefun_kinesis_types::{Address, FunctionType, Timestamp};

#[global_allocator]
static MEMORY: PeakAlloc = PeakAlloc;

const NOW: Timestamp = Timestamp::EPOCH;
const VALUE_BYTES: usize = 100;

fn main() {
    println!("cut: addresses that changed | cut | read all changes | drop them | durable | most of any call");
    for addresses in [1_000, 100_000] {
        cut(addresses);
    }
    println!("memory: value | bytes per idle address");
    for bytes in [8, VALUE_BYTES, 1_000] {
        memory(Mailboxes::new(roomy()), bytes);
    }
    println!("memory: payload, token | bytes per delayed message");
    for (bytes, token) in [(8, false), (8, true), (VALUE_BYTES, true)] {
        delayed_memory(bytes, token);
    }
}

fn roomy() -> Limits {
    Limits { state_bytes: usize::MAX, unsaved_bytes: usize::MAX, ..Limits::default() }
}

fn serve(mut mailboxes: Mailboxes) -> Mailboxes {
    let group = mailboxes.add_group(GroupSettings::default());
    mailboxes.serve_namespace("bench", group);
    mailboxes
}

/// Lets each of the addresses set a state. Returns the time of the longest call.
fn set_all(mailboxes: &mut Mailboxes, addresses: usize, bytes: usize) -> Duration {
    let function: FunctionType = "bench/counter".parse().expect("it is a name");
    let message = Message { caller: None, value: Value::new("bench/number", vec![1; 8]), origin: None };
    let mut most = Duration::ZERO;
    let mut timed = |began: Instant| most = most.max(began.elapsed());
    for id in 0..addresses {
        let to = Address { function: function.clone(), id: format!("customer-{id:07}").into() };
        let messages = [(to, message.clone())];
        let began = Instant::now();
        mailboxes.deliver(messages).expect("it is served");
        timed(began);
        loop {
            let began = Instant::now();
            let request = mailboxes.next_request(NOW);
            timed(began);
            let Some(request) = request else {
                let loads = mailboxes.take_loads();
                if loads.is_empty() {
                    break;
                }
                loads.iter().for_each(|address| mailboxes.loaded(address, Vec::new(), NOW));
                continue;
            };
            let answer = match request.states.first() {
                None => Answer::StatesMissing(vec![StateSpec {
                    name: "total".into(),
                    typename: "bench/bytes".into(),
                    expiration: Expiration::Never,
                }]),
                Some((name, _)) => {
                    let value = Some(Value::new("bench/bytes", vec![7; bytes]));
                    let states = vec![StateChange { name: name.clone(), value }];
                    Answer::Handled(Effects { states, ..Effects::default() })
                }
            };
            let began = Instant::now();
            mailboxes.answered(request.id, answer, NOW).expect("the answer is right");
            timed(began);
        }
    }
    most
}

fn timed<T>(call: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let result = call();
    (result, began.elapsed())
}

fn cut(addresses: usize) {
    let mut mailboxes = serve(Mailboxes::new(roomy()));
    set_all(&mut mailboxes, addresses, VALUE_BYTES);
    let first = mailboxes.cut();
    mailboxes.durable(first.number);
    drop(first);
    // The second time all addresses are there already, as they are most of the time.
    let most = set_all(&mut mailboxes, addresses, VALUE_BYTES);
    let (cut, cut_took) = timed(|| mailboxes.cut());
    let (bytes, read) = timed(|| {
        let value = |state: statefun_kinesis_mailboxes::StoredState| state.value.map_or(0, |value| value.payload_len());
        cut.changes.states().map(value).sum::<usize>()
    });
    assert_eq!(bytes, addresses * VALUE_BYTES);
    let number = cut.number;
    let ((), dropped) = timed(|| drop(cut));
    let ((), durable) = timed(|| mailboxes.durable(number));
    println!("  {addresses} | {cut_took:?} | {read:?} | {dropped:?} | {durable:?} | {most:?}");
}

fn memory(mailboxes: Mailboxes, bytes: usize) {
    const ADDRESSES: usize = 100_000;
    let before = MEMORY.current_usage();
    let mut mailboxes = serve(mailboxes);
    set_all(&mut mailboxes, ADDRESSES, bytes);
    let cut = mailboxes.cut();
    mailboxes.durable(cut.number);
    drop(cut);
    // The memory that is reserved for the next changes does not count.
    drop(mailboxes.cut());
    let each = (MEMORY.current_usage() - before) as f64 / ADDRESSES as f64;
    let counted = mailboxes.usage().state_bytes / ADDRESSES;
    println!("  {bytes} B | {each:.0} ({counted} by their own account)");
}

/// The memory of durable delayed messages, each from another sender to itself, like reminders.
fn delayed_memory(bytes: usize, has_token: bool) {
    const TIMERS: usize = 100_000;
    let mut mailboxes = serve(Mailboxes::new(roomy()));
    let function: FunctionType = "bench/reminder".parse().expect("it is a name");
    let before = MEMORY.current_usage();
    for id in 0..TIMERS {
        let to = Address { function: function.clone(), id: format!("customer-{id:07}").into() };
        let message = Message { caller: None, value: Value::new("bench/number", vec![1; 8]), origin: None };
        mailboxes.deliver([(to.clone(), message)]).expect("it is served");
        let request = mailboxes.next_request(NOW).expect("a function without states waits for none");
        let value = Value::new("bench/bytes", vec![7; bytes]);
        let token = has_token.then(|| format!("reminder-{id:07}").into());
        let delay = Duration::from_secs(60 + id as u64 % 86_400);
        let effects = Effects { delayed: vec![Delayed::Send { delay, to, value, token }], ..Effects::default() };
        mailboxes.answered(request.id, Answer::Handled(effects), NOW).expect("the answer is right");
    }
    let cut = mailboxes.cut();
    mailboxes.durable(cut.number);
    drop(cut);
    drop(mailboxes.cut());
    assert_eq!(mailboxes.usage().timers, TIMERS as u64);
    let each = (MEMORY.current_usage() - before) as f64 / TIMERS as f64;
    println!("  {bytes} B, {} | {each:.0}", if has_token { "with one" } else { "none" });
}
