//! Functions whose results show whether each message took effect once, and in order.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use statefun_kinesis_functions::{BoxError, Context, Function, Message, Payload, Registry, StateSpec, ValueSpec};
use statefun_kinesis_types::{Address, PutRecord};

/// Addresses of sinks.
pub(crate) const PLACES: u64 = 7;

/// Plain text.
#[derive(Debug)]
pub(crate) struct Text(pub(crate) String);

impl Payload for Text {
    const TYPENAME: &str = "stress/text";

    fn to_bytes(&self) -> Bytes {
        self.0.clone().into()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, BoxError> {
        Ok(Self(String::from_utf8(bytes.to_vec())?))
    }
}

/// The sink of a counter's counts.
pub(crate) fn place_of(key: u64) -> u64 {
    key % PLACES
}

fn to(function: &str, id: u64) -> Address {
    Address { function: format!("stress/{function}").parse().unwrap(), id: id.to_string().into() }
}

/// The functions. One in `fails_one_in` messages to counters fails at first; 0 turns failures off.
pub(crate) fn registry(fails_one_in: u64) -> Registry {
    Registry::new()
        .function(
            "stress/counter".parse().unwrap(),
            Counter { total: ValueSpec::new("total"), calls: AtomicU64::new(0), fails_one_in },
        )
        .function("stress/sink".parse().unwrap(), Sink { last: ValueSpec::new("last"), total: ValueSpec::new("total") })
        .function("stress/late".parse().unwrap(), Late { sum: ValueSpec::new("sum") })
}

/// Counts the records of a key. Sends each count to the egress and to a sink, and to another sink after a delay.
struct Counter {
    total: ValueSpec<Text>,
    calls: AtomicU64,
    fails_one_in: u64,
}

#[async_trait]
impl Function for Counter {
    fn states(&self) -> Vec<StateSpec> {
        vec![(&self.total).into()]
    }

    async fn handle(&self, context: &mut Context, _: &Message) -> Result<(), BoxError> {
        let key: u64 = context.self_address().id.parse()?;
        if self.fails_one_in > 0
            && self.calls.fetch_add(1, Ordering::Relaxed) % self.fails_one_in == self.fails_one_in - 1
        {
            return Err("it fails now and then".into());
        }
        let total = context.get(&self.total)?.map_or(Ok(0), |total| total.0.parse::<u64>())? + 1;
        context.set(&self.total, &Text(total.to_string()))?;
        context.egress("stress/out".parse()?, PutRecord::new(format!("counter-{key}").parse()?, total.to_string()));
        context.send(to("sink", place_of(key)), &Text(total.to_string()));
        if total % 4 == 0 {
            let delay = Duration::from_millis(total % 23);
            context.send_after(delay, to("late", place_of(key)), &Text(total.to_string()));
        }
        Ok(())
    }
}

/// Checks that each counter's counts come one after the other, none of them missing or twice, and tells the egress how
/// many came.
struct Sink {
    /// The last count of each key, such as `1=17 8=3`.
    last: ValueSpec<Text>,
    total: ValueSpec<Text>,
}

#[async_trait]
impl Function for Sink {
    fn states(&self) -> Vec<StateSpec> {
        vec![(&self.last).into(), (&self.total).into()]
    }

    async fn handle(&self, context: &mut Context, message: &Message) -> Result<(), BoxError> {
        let caller = context.caller().ok_or("it was sent by a function")?.id.to_string();
        let count: u64 = message.read::<Text>()?.0.parse()?;
        let text = context.get(&self.last)?.map_or_else(String::new, |last| last.0);
        let mut last: Vec<(&str, u64)> = Vec::new();
        for entry in text.split_whitespace() {
            let (key, count) = entry.split_once('=').ok_or("an entry")?;
            last.push((key, count.parse()?));
        }
        match last.iter_mut().find(|(key, _)| *key == caller) {
            Some((_, before)) if *before + 1 == count => *before = count,
            None if count == 1 => last.push((&caller, 1)),
            other => {
                let found = other.map_or(0, |(_, before)| *before);
                // An error would be retried until the test fails without a reason, so the state gets the reason.
                last.push(("wrong", found * 1_000_000 + count));
            }
        }
        let text = last.iter().map(|(key, count)| format!("{key}={count}")).collect::<Vec<_>>().join(" ");
        context.set(&self.last, &Text(text))?;
        let total = context.get(&self.total)?.map_or(Ok(0), |total| total.0.parse::<u64>())? + 1;
        context.set(&self.total, &Text(total.to_string()))?;
        let key = format!("sink-{}", context.self_address().id);
        context.egress("stress/out".parse()?, PutRecord::new(key.parse()?, total.to_string()));
        Ok(())
    }
}

/// Adds up its messages.
struct Late {
    sum: ValueSpec<Text>,
}

#[async_trait]
impl Function for Late {
    fn states(&self) -> Vec<StateSpec> {
        vec![(&self.sum).into()]
    }

    async fn handle(&self, context: &mut Context, message: &Message) -> Result<(), BoxError> {
        let told: u64 = message.read::<Text>()?.0.parse()?;
        let sum = context.get(&self.sum)?.map_or(Ok(0), |sum| sum.0.parse::<u64>())? + told;
        context.set(&self.sum, &Text(sum.to_string()))?;
        Ok(())
    }
}
