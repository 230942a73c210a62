//! Streams, a store, and functions whose effects do not depend on the order in which messages happen to be handled.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use fastrand::Rng;
use statefun_kinesis_client::{KinesisAdmin, KinesisClient};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_functions::{
    BoxError, Context, Function, GroupSettings, Limits, Message, NumberedEntry, Payload, Registry, StateSpec,
    StatefulFunctions, StoredMessage, StoredTimer, StoredValue, Value, ValueSpec,
};
use statefun_kinesis_module::{EgressSpec, FailureHandling, GiveUp, IngressSpec, StartupPosition, StreamRoute};
use statefun_kinesis_router::{
    DeserializeError, Deserializer, Handler, Ingress, MessageCollector, Router, RunError, Unfinished,
};
use statefun_kinesis_store::{KeyRange, MemoryDisk, Store, StoreExt, Table, key::StoredKey};
use statefun_kinesis_types::{
    Address, InvalidRecordHandling, LogLevel, PutRecord, Record, ShardId, StreamArn, StreamRef, TypedValue,
};
use tokio::{task::JoinHandle, time::sleep};
use tokio_util::sync::CancellationToken;

pub(crate) const STREAMS: [&str; 2] = ["alpha", "beta"];
const OUT: &str = "out";
const DEAD: &str = "dead";
/// Longer than any run.
const NEVER: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// Addresses of sinks and relays.
pub(crate) const PLACES: u32 = 5;

pub(crate) fn arn(name: &str) -> StreamArn {
    format!("arn:aws:kinesis:us-east-1:000000000000:stream/{name}").parse().unwrap()
}

pub(crate) fn to(function: &str, id: impl ToString) -> Address {
    Address { function: format!("sim/{function}").parse().unwrap(), id: id.to_string().into() }
}

/// Text, as it is.
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

/// What a record asks for. `number` names it; no two records have the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Count.
    Count,
    /// Count, and tell a sink.
    Forward { place: u32 },
    /// Count, and tell a sink through so many relays.
    Hop { place: u32, hops: u32 },
    /// Count, and tell a sink after a while.
    Late { place: u32, millis: u64 },
    /// Count, and send to oneself, which counts again.
    Again,
    /// Count, and tell a sink after a time that does not come, unless that is cancelled.
    Token { place: u32 },
    /// Count, and cancel what that record delayed.
    Cancel { number: u32 },
    /// Count nothing: no deserializer takes it.
    Bad,
    /// Nobody can handle it; it is left out.
    Poison,
}

impl Ask {
    fn text(self, number: u32) -> String {
        match self {
            Self::Count => format!("count {number}"),
            Self::Forward { place } => format!("forward {number} {place}"),
            Self::Hop { place, hops } => format!("hop {number} {place} {hops}"),
            Self::Late { place, millis } => format!("late {number} {place} {millis}"),
            Self::Again => format!("again {number}"),
            Self::Token { place } => format!("token {number} {place}"),
            Self::Cancel { number: cancelled } => format!("cancel {number} {cancelled}"),
            Self::Bad => format!("bad {number}"),
            Self::Poison => format!("poison {number}"),
        }
    }
}

/// What functions do beside what they are for.
#[derive(Debug)]
pub(crate) struct Trouble {
    random: Mutex<Rng>,
    /// Of so many messages one fails, and another one hangs; 0 is none.
    one_in: u32,
    calm: AtomicBool,
}

impl Trouble {
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

/// Does what records ask for.
struct Entry {
    total: ValueSpec<Text>,
    trouble: Arc<Trouble>,
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
        assert_eq!(stream, key.filter(|_| context.caller().is_none()), "where {text} came from");
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

/// Passes on.
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

/// Keeps what it is told, in the order in which it is told, and counts.
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

/// Counts what a second ingress reads of the same stream, and handles no poison.
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

/// Takes all but what is bad; poison is for nobody.
#[derive(Debug)]
struct Reader;

impl Deserializer for Reader {
    fn deserialize(
        &self,
        _: &StreamArn,
        _: &ShardId,
        record: &Record,
        out: &mut MessageCollector,
    ) -> Result<(), DeserializeError> {
        if record.data.starts_with(b"bad") {
            return Err(DeserializeError::new("it is bad"));
        }
        if !record.data.starts_with(b"poison") {
            let id = record.partition_key.clone().unwrap().into();
            let value = TypedValue { typename: Text::TYPENAME.parse().unwrap(), value: Some(record.data.clone()) };
            out.push(Address { function: "sim/entry".parse().unwrap(), id }, value);
        }
        Ok(())
    }
}

/// What a world is like.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) one_in: u32,
    pub(crate) interval: Duration,
    pub(crate) drain: Duration,
    pub(crate) max_batch_messages: u32,
    pub(crate) limits: Limits,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            one_in: 0,
            interval: Duration::from_secs(1),
            drain: Duration::from_secs(5),
            max_batch_messages: 1_000,
            limits: Limits::default(),
        }
    }
}

/// The streams, the store, and the expectation.
pub(crate) struct World {
    pub(crate) kinesis: FakeKinesis,
    pub(crate) disk: MemoryDisk,
    pub(crate) setting: Setting,
    pub(crate) trouble: Arc<Trouble>,
    pub(crate) expected: Expected,
}

/// What everything comes to, if each message takes effect once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Expected {
    /// What each key has counted.
    pub(crate) totals: BTreeMap<String, u32>,
    /// What each sink was told: by whom, how, and the number.
    pub(crate) told: BTreeMap<String, BTreeSet<(String, u32)>>,
    /// What is delayed and not cancelled.
    pub(crate) tokens: BTreeSet<u32>,
    /// How many records of the first stream each key has.
    pub(crate) audited: BTreeMap<String, u32>,
}

impl Expected {
    fn add(&mut self, stream: &str, key: &str, number: u32, ask: Ask) {
        if stream == STREAMS[0] && ask != Ask::Poison {
            *self.audited.entry(key.to_owned()).or_default() += 1;
        }
        if matches!(ask, Ask::Bad | Ask::Poison) {
            return;
        }
        *self.totals.entry(key.to_owned()).or_default() += 1;
        let mut tell = |place: u32, how: &str| {
            assert!(self.told.entry(place.to_string()).or_default().insert((how.to_owned(), number)));
        };
        match ask {
            Ask::Forward { place } => tell(place, "forward"),
            Ask::Hop { place, .. } => tell(place, "hop"),
            Ask::Late { place, .. } => tell(place, "late"),
            Ask::Again => *self.totals.entry(key.to_owned()).or_default() += 1,
            Ask::Token { .. } => assert!(self.tokens.insert(number)),
            Ask::Cancel { number } => {
                self.tokens.remove(&number);
            }
            Ask::Count | Ask::Bad | Ask::Poison => {}
        }
    }

    /// What is expected of each partition key of the egress: counts, without a gap.
    fn egress(&self) -> BTreeMap<String, Vec<u32>> {
        let entries = self.totals.iter().map(|(key, total)| (format!("entry-{key}"), (1..=*total).collect()));
        let sinks = self.told.iter().map(|(place, told)| (format!("sink-{place}"), (1..=told.len() as u32).collect()));
        entries.chain(sinks).collect()
    }
}

impl World {
    pub(crate) async fn new(setting: Setting, seed: u64) -> Self {
        let kinesis = FakeKinesis::new();
        for (name, shards) in [(STREAMS[0], 2), (STREAMS[1], 1), (OUT, 2), (DEAD, 1)] {
            kinesis.create_stream(&name.parse().unwrap(), shards).await.unwrap();
        }
        let trouble = Trouble {
            random: Mutex::new(Rng::with_seed(seed ^ 1)),
            one_in: setting.one_in,
            calm: AtomicBool::new(false),
        };
        let (disk, trouble, expected) = (MemoryDisk::seeded(seed), Arc::new(trouble), Expected::default());
        Self { kinesis, disk, setting, trouble, expected }
    }

    /// No function fails or hangs any more.
    pub(crate) fn calm(&self) {
        self.trouble.calm.store(true, Ordering::Relaxed);
    }

    pub(crate) async fn put(&mut self, stream: &str, key: &str, number: u32, ask: Ask) {
        let record = [PutRecord::new(key.parse().unwrap(), ask.text(number))];
        let reference = StreamRef::from(arn(stream));
        // The faults are meant for the engine; whoever writes tries until the record is in.
        loop {
            let stored = self.kinesis.put_records(&reference, &record).await;
            let repeated = || self.kinesis.records(&reference).iter().any(|(_, found)| found.data == record[0].data);
            match stored {
                Ok(outcomes) if outcomes[0].is_ok() => break,
                Err(_) if repeated() => break,
                _ => sleep(Duration::from_millis(10)).await,
            }
        }
        self.expected.add(stream, key, number, ask);
    }

    /// Starts the engine from what the disk has.
    pub(crate) async fn start(&self) -> Result<Engine, BoxError> {
        let store: Arc<dyn Store> = Arc::new(self.disk.open()?);
        let trouble = &self.trouble;
        let registry = Registry::new()
            .function("sim/entry".parse()?, Entry { total: ValueSpec::new("total"), trouble: Arc::clone(trouble) })
            .function("sim/relay".parse()?, Relay { trouble: Arc::clone(trouble) })
            .function("sim/sink".parse()?, Sink { told: ValueSpec::new("told"), trouble: Arc::clone(trouble) })
            .function("sim/audit".parse()?, Audit { total: ValueSpec::new("total") });
        let registry = Arc::new(registry);
        let max_batch_messages = self.setting.max_batch_messages.try_into()?;
        let settings = GroupSettings { max_batch_messages, ..GroupSettings::default() };
        let after = GiveUp { max_attempts: 2.try_into().ok(), ..GiveUp::default() };
        let skip = FailureHandling::Skip { after, log: LogLevel::Trace };
        let functions = StatefulFunctions::builder()
            .limits(self.setting.limits)
            .functions("sim/*".parse()?, settings, FailureHandling::KeepTrying, registry.clone())
            .functions("sim/audit".parse()?, settings, skip, registry)
            .store(Arc::clone(&store))
            .checkpoint_interval(self.setting.interval)
            .build()
            .await?;
        let functions = Arc::new(functions);
        let watched = Arc::downgrade(&functions);

        let client = Arc::new(self.kinesis.clone());
        let ingress = |id: &str, streams: &[&str], target: &str| -> Result<IngressSpec, BoxError> {
            let route = |name: &&str| Ok(StreamRoute::new(arn(name), Text::TYPENAME.parse()?, vec![target.parse()?]));
            let streams = streams.iter().map(route).collect::<Result<_, BoxError>>()?;
            let mut spec = IngressSpec::new(id.parse()?, streams);
            spec.startup = StartupPosition::TrimHorizon;
            spec.invalid_records = InvalidRecordHandling::DeadLetter { stream: arn(DEAD).into(), log: LogLevel::Trace };
            Ok(spec)
        };
        let (everything, first) =
            (ingress("sim/in", &STREAMS, "sim/entry")?, ingress("sim/in-2", &["alpha"], "sim/audit")?);
        let router = Router::builder(Handler::stateful(functions))
            .ingress(Ingress::new(everything, client.clone()).deserializer(Arc::new(Reader)))
            .ingress(Ingress::new(first, client.clone()))
            .egress(EgressSpec::new("sim/out".parse()?, OUT.parse()?), client)
            .clock(self.kinesis.clock())
            .drain(self.setting.drain)
            .build()
            .await?;
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(router.run(shutdown.clone()));
        Ok(Engine { functions: watched, shutdown, running })
    }

    /// What the disk has.
    pub(crate) async fn found(&self, store: &dyn Store) -> Found {
        let mut found = Found::default();
        for table in [Table::State, Table::Mailboxes, Table::Timers, Table::Cancellations, Table::Egress] {
            let mut entries = store.entries(table, KeyRange::ALL);
            while let Some(entry) = entries.next().await.unwrap() {
                match StoredKey::parse(table, &entry.key).unwrap() {
                    StoredKey::State { address, name } => {
                        let value = StoredValue::decode(entry.value).unwrap().value;
                        found.state(&address, &name, &value);
                    }
                    StoredKey::Numbered { number, .. } if table == Table::Mailboxes => {
                        found.messages.push(StoredMessage::decode(number, entry.value).unwrap());
                    }
                    StoredKey::Numbered { number, .. } if table == Table::Timers => {
                        found.timers.push(StoredTimer::decode(number, entry.value).unwrap());
                    }
                    _ => found.egress += 1,
                }
            }
        }
        found
    }

    /// The counts that came out of the egress, by key, each at its first time, and how many repeats there were.
    fn came_out(&self) -> (BTreeMap<String, Vec<u32>>, usize) {
        let (mut by_key, mut repeats) = (BTreeMap::<String, Vec<u32>>::new(), 0);
        for (_, record) in self.kinesis.records(&arn(OUT).into()) {
            let number = std::str::from_utf8(&record.data).unwrap().parse().unwrap();
            let numbers = by_key.entry(record.partition_key.unwrap().to_string()).or_default();
            if numbers.contains(&number) {
                repeats += 1;
            } else {
                numbers.push(number);
            }
        }
        (by_key, repeats)
    }

    /// Waits until all is done, stops the engine, and compares everything. Gives how many records came out again.
    pub(crate) async fn end(&self, mut engine: Engine) -> usize {
        for _ in 0..3_000 {
            let Some(usage) = engine.functions.upgrade().map(|functions| functions.usage()) else { break };
            let out = self.came_out().0 == self.expected.egress();
            if out
                && usage.messages == 0
                && usage.egress_records == 0
                && usage.timers == self.expected.tokens.len() as u64
            {
                break;
            }
            engine.check();
            sleep(Duration::from_millis(200)).await;
        }
        // What happens twice may happen late.
        sleep(Duration::from_secs(20)).await;
        engine.check();
        let status = engine.functions.upgrade().map(|functions| functions.checkpoint()).unwrap();
        assert!(status.commits > 0 && status.failing_since.is_none(), "{status:?}");
        engine.shutdown.cancel();
        (&mut engine.running).await.expect("no panic").expect("an orderly end");
        drop(engine);

        let store = self.disk.open().unwrap();
        let found = self.found(&store).await;
        assert_eq!(found.messages, []);
        assert_eq!(found.egress, 0);
        let mut tokens: Vec<u32> =
            found.timers.iter().map(|timer| timer.token.as_ref().unwrap().parse().unwrap()).collect();
        tokens.sort_unstable();
        assert_eq!(tokens, self.expected.tokens.iter().copied().collect::<Vec<_>>(), "delayed messages that are left");
        assert_eq!(found.totals, self.expected.totals);
        assert_eq!(found.audited, self.expected.audited);
        for (place, told) in &found.told {
            check_order(place, told);
            let mut told: Vec<(String, u32)> = told.iter().map(|(_, how, number)| (how.clone(), *number)).collect();
            told.sort();
            let expected: Vec<_> = self.expected.told.get(place).into_iter().flatten().cloned().collect();
            assert_eq!(told, expected, "what sink {place} was told");
        }
        assert_eq!(found.told.keys().collect::<Vec<_>>(), self.expected.told.keys().collect::<Vec<_>>());
        let (came_out, repeats) = self.came_out();
        assert_eq!(came_out, self.expected.egress());
        repeats
    }
}

/// What one function sends to another comes in order.
fn check_order(place: &str, told: &[(String, String, u32)]) {
    let mut last = BTreeMap::<&str, u32>::new();
    for (caller, how, number) in told {
        if how == "forward" {
            let before = last.insert(caller, *number);
            assert!(
                before.is_none_or(|before| before < *number),
                "sink {place}: {before:?} before {number} of {caller}"
            );
        }
    }
}

/// What a disk has.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) totals: BTreeMap<String, u32>,
    pub(crate) audited: BTreeMap<String, u32>,
    /// By whom, how, and the number, in order.
    pub(crate) told: BTreeMap<String, Vec<(String, String, u32)>>,
    pub(crate) messages: Vec<StoredMessage>,
    pub(crate) timers: Vec<StoredTimer>,
    pub(crate) egress: usize,
}

impl Found {
    fn state(&mut self, address: &Address, name: &str, value: &Value) {
        let (id, text) = (address.id.to_string(), value.read::<Text>().unwrap().0);
        match (address.function.as_str(), name) {
            ("sim/entry", "total") => drop(self.totals.insert(id, text.parse().unwrap())),
            ("sim/audit", "total") => drop(self.audited.insert(id, text.parse().unwrap())),
            ("sim/sink", "told") => {
                let line = |line: &str| match line.split(' ').collect::<Vec<_>>()[..] {
                    [caller, how, number] => (caller.to_owned(), how.to_owned(), number.parse().unwrap()),
                    _ => panic!("{line}"),
                };
                self.told.insert(id, text.lines().map(line).collect());
            }
            other => panic!("nobody declared {other:?}"),
        }
    }
}

/// A router at work.
pub(crate) struct Engine {
    pub(crate) functions: Weak<StatefulFunctions>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<Result<Unfinished, RunError>>,
}

impl Engine {
    pub(crate) fn check(&self) {
        assert!(!self.running.is_finished(), "the engine has ended by itself");
    }

    /// The end without notice: nothing is finished, flushed or saved, and a commit that is under way may be there or not.
    pub(crate) async fn kill(self, disk: &MemoryDisk) {
        disk.crash();
        self.running.abort();
        let _ = self.running.await;
    }

    /// The orderly end.
    pub(crate) async fn stop(self) -> Result<Unfinished, RunError> {
        self.shutdown.cancel();
        self.running.await.expect("no panic")
    }
}
