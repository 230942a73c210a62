//! Functions whose effects do not depend on the order in which messages are handled.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use fastrand::Rng;
use statefun_kinesis_functions::{BoxError, Context, Function, Message, Payload, Registry, StateSpec, ValueSpec};
use statefun_kinesis_types::{Address, PutRecord};
use tokio::time::sleep;

/// Longer than any run.
const NEVER: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Addresses of sinks and relays.
pub(crate) const PLACES: u32 = 5;

/// The functions, with the faults that they make.
pub(crate) fn registry(trouble: &Arc<Trouble>, knows_origins: bool) -> Registry {
    let entry = Entry { total: ValueSpec::new("total"), trouble: Arc::clone(trouble), knows_origins };
    Registry::new()
        .function("sim/entry".parse().unwrap(), entry)
        .function("sim/relay".parse().unwrap(), Relay { trouble: Arc::clone(trouble) })
        .function("sim/sink".parse().unwrap(), Sink { told: ValueSpec::new("told"), trouble: Arc::clone(trouble) })
        .function("sim/audit".parse().unwrap(), Audit { total: ValueSpec::new("total") })
}

pub(crate) fn to(function: &str, id: impl ToString) -> Address {
    Address { function: format!("sim/{function}").parse().unwrap(), id: id.to_string().into() }
}

/// Plain text.
#[derive(Debug)]
pub(crate) struct Text(pub(crate) String);

impl Payload for Text {
    const TYPENAME: &str = "sim/text";

    fn to_bytes(&self) -> Bytes {
        self.0.clone().into()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, BoxError> {
        Ok(Self(String::from_utf8(bytes.to_vec())?))
    }
}

/// The faults of functions.
#[derive(Debug)]
pub(crate) struct Trouble {
    random: Mutex<Rng>,
    /// One in this many messages fails, and another one hangs; 0 turns faults off.
    one_in: u32,
    calm: AtomicBool,
}

impl Trouble {
    pub(crate) fn new(one_in: u32, seed: u64) -> Self {
        Self { random: Mutex::new(Rng::with_seed(seed)), one_in, calm: AtomicBool::new(false) }
    }

    /// Turns all faults off.
    pub(crate) fn end(&self) {
        self.calm.store(true, Ordering::Relaxed);
    }

    async fn meet(&self) -> Result<(), BoxError> {
        if self.one_in == 0 || self.calm.load(Ordering::Relaxed) {
            return Ok(());
        }
        let (chance, millis) = {
            let mut random = self.random.lock().unwrap();
            (random.u32(0..self.one_in), random.u64(0..3_000))
        };
        match chance {
            0 => Err("it fails now and then".into()),
            1 => {
                sleep(Duration::from_millis(millis)).await;
                Ok(())
            }
            2 => {
                // Longer than a call may take.
                sleep(NEVER).await;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// Does what its records say.
struct Entry {
    total: ValueSpec<Text>,
    trouble: Arc<Trouble>,
    /// Whether the function is told of the record that a message was made of: remote ones are not.
    knows_origins: bool,
}

impl Entry {
    fn count(&self, context: &mut Context) -> Result<(), BoxError> {
        let total = context.get(&self.total)?.map_or(Ok(0), |text| text.0.parse::<u32>())? + 1;
        context.set(&self.total, &Text(total.to_string()))?;
        let key = format!("entry-{}", context.self_address().id);
        context.egress("sim/out".parse()?, PutRecord::new(key.parse()?, total.to_string()));
        Ok(())
    }
}

#[async_trait]
impl Function for Entry {
    fn states(&self) -> Vec<StateSpec> {
        vec![(&self.total).into()]
    }

    async fn handle(&self, context: &mut Context, message: &Message) -> Result<(), BoxError> {
        self.trouble.meet().await?;
        let text = message.read::<Text>()?.0;
        let stream = context.origin().map(|origin| origin.stream.name().to_string());
        let key = context.self_address().id.split('-').next().map(str::to_owned);
        let expected = key.filter(|_| context.caller().is_none() && self.knows_origins);
        assert_eq!(stream, expected, "where {text} came from");
        let words: Vec<&str> = text.split(' ').collect();
        let told = |number: &str| Text(format!("{} {number}", words[0]));
        self.count(context)?;
        match words[..] {
            ["count" | "counted", _] => {}
            ["forward", number, place] => context.send(to("sink", place), &told(number)),
            ["hop", number, place, hops] => context.send(to("relay", place), &Text(format!("{number} {place} {hops}"))),
            ["late", number, place, millis] => {
                context.send_after(Duration::from_millis(millis.parse()?), to("sink", place), &told(number));
            }
            ["again", number] => context.send(context.self_address().clone(), &Text(format!("counted {number}"))),
            ["token", number, place] => {
                context.send_after_unless_cancelled(NEVER, to("sink", place), &told(number), number);
            }
            ["cancel", _, cancelled] => context.cancel(cancelled),
            _ => return Err(format!("what is {text}?").into()),
        }
        Ok(())
    }
}

/// Forwards messages.
struct Relay {
    trouble: Arc<Trouble>,
}

#[async_trait]
impl Function for Relay {
    async fn handle(&self, context: &mut Context, message: &Message) -> Result<(), BoxError> {
        self.trouble.meet().await?;
        let text = message.read::<Text>()?.0;
        let [number, place, hops] = text.split(' ').collect::<Vec<_>>()[..] else { return Err("three words".into()) };
        let (here, hops): (u32, u32) = (context.self_address().id.parse()?, hops.parse()?);
        if hops == 0 {
            context.send(to("sink", place), &Text(format!("hop {number}")));
        } else {
            let next = Text(format!("{number} {place} {}", hops - 1));
            context.send(to("relay", (here + 1) % PLACES), &next);
        }
        Ok(())
    }
}

/// Keeps its messages in the order in which they arrive, and counts them.
struct Sink {
    told: ValueSpec<Text>,
    trouble: Arc<Trouble>,
}

#[async_trait]
impl Function for Sink {
    fn states(&self) -> Vec<StateSpec> {
        vec![(&self.told).into()]
    }

    async fn handle(&self, context: &mut Context, message: &Message) -> Result<(), BoxError> {
        self.trouble.meet().await?;
        let caller = context.caller().ok_or("it was sent by a function")?;
        let line = format!("{} {}", caller.id, message.read::<Text>()?.0);
        let told = context.get(&self.told)?.map_or_else(String::new, |told| told.0) + &line + "\n";
        let count = told.lines().count();
        context.set(&self.told, &Text(told))?;
        let key = format!("sink-{}", context.self_address().id);
        context.egress("sim/out".parse()?, PutRecord::new(key.parse()?, count.to_string()));
        Ok(())
    }
}

/// Counts the records that a second ingress reads from the same stream, and fails for poison.
struct Audit {
    total: ValueSpec<Text>,
}

#[async_trait]
impl Function for Audit {
    fn states(&self) -> Vec<StateSpec> {
        vec![(&self.total).into()]
    }

    async fn handle(&self, context: &mut Context, message: &Message) -> Result<(), BoxError> {
        if message.read::<Text>()?.0.starts_with("poison") {
            return Err("it is poison".into());
        }
        let total = context.get(&self.total)?.map_or(Ok(0), |text| text.0.parse::<u32>())? + 1;
        context.set(&self.total, &Text(total.to_string()))?;
        Ok(())
    }
}
