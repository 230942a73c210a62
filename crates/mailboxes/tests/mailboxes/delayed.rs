//! A day of delayed messages.

use std::{collections::BTreeMap, time::Duration};

use fastrand::Rng;
use statefun_kinesis_mailboxes::{
    Answer, Delayed, Effects, Expiration, GroupSettings, Image, Limits, Mailboxes, Message, Request, StateChange, Value,
};
use statefun_kinesis_types::{Address, Timestamp};

use crate::scene::{at, serving, spec, text};

const DAY_MILLIS: i64 = 24 * 60 * 60 * 1_000;
const TIMERS: u64 = 10_000;

fn address(function: &str, id: u64) -> Address {
    Address { function: function.parse().unwrap(), id: id.to_string().into() }
}

/// A delayed message: its number, when it is sent, is due, and is cancelled.
#[derive(Clone, Copy, Debug)]
struct Timer {
    id: u64,
    sent: i64,
    due: i64,
    cancelled: Option<i64>,
}

impl Timer {
    fn random(id: u64, rng: &mut Rng) -> Self {
        let sent = rng.i64(0..DAY_MILLIS - 1);
        // Some are due in the same millisecond, and many a few seconds later.
        let delay = rng.i64(0..DAY_MILLIS - sent) >> rng.u32(0..20);
        let due = sent + delay;
        let cancelled = (rng.u8(0..3) == 0 && delay > 1).then(|| rng.i64(sent + 1..due));
        Self { id, sent, due, cancelled }
    }

    fn sender(self) -> Address {
        address("t/sender", self.id % 100)
    }
}

/// Senders delay and cancel messages as instructed; the alarms of a hundred addresses record what arrives when.
fn invoke(request: &Request, now: Timestamp) -> Answer {
    let mut effects = Effects::default();
    if request.target.function.as_str() == "t/sender" {
        for message in request.messages.iter() {
            let token = |id: &str| std::sync::Arc::<str>::from(format!("timer {id}"));
            let delayed = match text(&message.value).split(' ').collect::<Vec<_>>()[..] {
                ["delay", id, millis] => Delayed::Send {
                    delay: Duration::from_millis(millis.parse().unwrap()),
                    to: address("t/alarm", id.parse::<u64>().unwrap() % 100),
                    value: Value::new("t/text", id.to_owned()),
                    token: Some(token(id)),
                },
                ["cancel", id] => Delayed::Cancel { token: token(id) },
                _ => panic!("{message:?}"),
            };
            effects.delayed.push(delayed);
        }
        return Answer::Handled(effects);
    }
    let Some((name, fired)) = request.states.first() else {
        let spec = spec("fired", Expiration::Never);
        return Answer::StatesMissing(vec![spec]);
    };
    let mut fired = fired.as_ref().map_or_else(String::new, |value| text(value).to_owned());
    for message in request.messages.iter() {
        fired.push_str(&format!("{}@{now} ", text(&message.value)));
    }
    effects.states.push(StateChange { name: name.clone(), value: Some(Value::new("t/text", fired)) });
    Answer::Handled(effects)
}

fn mailboxes(window: usize, image: &Image) -> Mailboxes {
    let limits = Limits { state_bytes: 50_000, timers: window, ..Limits::default() };
    let mut mailboxes = serving(limits, GroupSettings::default());
    mailboxes.restore(image.restored()).unwrap();
    mailboxes
}

/// Makes everything durable.
fn commit(machine: &mut Mailboxes, image: &mut Image) {
    let cut = machine.cut();
    image.apply(cut.changes);
    machine.durable(cut.number);
}

/// Answers reads until there are none.
fn read_all(machine: &mut Mailboxes, image: &Image, now: Timestamp) {
    loop {
        for address in machine.take_loads() {
            let states = image.states().filter(|state| state.address == address).cloned().collect();
            machine.loaded(&address, states, now);
        }
        let reads = machine.take_reads();
        if reads.is_empty() {
            return;
        }
        for (id, read) in reads {
            machine.found(id, image.read(&read, 7)).unwrap();
        }
    }
}

/// Runs the day, and returns the number of crashes.
fn run(window: usize) -> usize {
    let mut rng = Rng::with_seed(24);
    let timers: Vec<Timer> = (0..TIMERS).map(|id| Timer::random(id, &mut rng)).collect();
    let mut commands: BTreeMap<(i64, u64), (Address, String)> = BTreeMap::new();
    for timer in &timers {
        let millis = timer.due - timer.sent;
        commands.insert((timer.sent, 2 * timer.id), (timer.sender(), format!("delay {} {millis}", timer.id)));
        if let Some(cancelled) = timer.cancelled {
            commands.insert((cancelled, 2 * timer.id + 1), (timer.sender(), format!("cancel {}", timer.id)));
        }
    }
    let mut image = Image::default();
    let mut machine = mailboxes(window, &image);
    let mut crashes = 0;
    loop {
        read_all(&mut machine, &image, at(0));
        let next_command = commands.first_key_value().map(|((millis, _), _)| at(*millis));
        let Some(now) = [next_command, machine.next_deadline()].into_iter().flatten().min() else { break };
        // All that happens in this millisecond; a crash may come between any two events of it.
        while let Some(((millis, _), _)) = commands.first_key_value()
            && at(*millis) == now
        {
            let (_, (to, text)) = commands.pop_first().unwrap();
            let value = Value::new("t/text", text);
            machine.deliver([(to, Message { caller: None, value, origin: None })]).unwrap();
        }
        commit(&mut machine, &mut image);
        machine.on_time(now);
        loop {
            if rng.u32(0..300) == 0 {
                crashes += 1;
                machine = mailboxes(window, &image);
            }
            read_all(&mut machine, &image, now);
            machine.on_time(now);
            assert!(machine.usage().timers_in_memory <= 2 * window + 20, "{:?}", machine.usage());
            let Some(request) = machine.next_request(now) else {
                let is_due = machine.next_deadline().is_some_and(|at| at <= now);
                if machine.usage().messages == 0 && !is_due {
                    break;
                }
                commit(&mut machine, &mut image);
                continue;
            };
            machine.answered(request.id, invoke(&request, now), now).unwrap();
            if rng.u8(0..3) == 0 {
                commit(&mut machine, &mut image);
            }
        }
        commit(&mut machine, &mut image);
    }
    assert_eq!((machine.usage().timers, image.timers().count(), image.cancellations().count()), (0, 0, 0));

    let mut fired: Vec<String> = image
        .states()
        .flat_map(|state| {
            text(state.value.as_ref().unwrap()).split_terminator(' ').map(str::to_owned).collect::<Vec<_>>()
        })
        .collect();
    let due = timers.iter().filter(|timer| timer.cancelled.is_none());
    let mut expected: Vec<String> = due.map(|timer| format!("{}@{}", timer.id, at(timer.due))).collect();
    fired.sort();
    expected.sort();
    assert_eq!(fired.len(), expected.len());
    let wrong = fired.iter().zip(&expected).find(|(fired, expected)| fired != expected);
    assert_eq!(wrong, None, "the first that did not fire once and in time");
    let cancelled = timers.iter().filter(|timer| timer.cancelled.is_some()).count();
    assert!((2_500..4_000).contains(&cancelled), "{cancelled} were cancelled");
    crashes
}

#[test]
fn in_a_day_every_delayed_message_comes_once_and_in_time_or_was_cancelled() {
    for window in [5, 100_000] {
        let crashes = run(window);
        assert!(crashes > 50, "{crashes} crashes");
    }
}
