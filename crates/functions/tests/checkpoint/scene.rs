//! Streams, a store, runs, and their expected results.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Weak},
    time::Duration,
};

use statefun_kinesis_client::{KinesisAdmin, KinesisClient};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_functions::{
    BoxError, GroupSettings, Invoke, Limits, NumberedEntry, Payload, Registry, StatefulFunctions, StoredMessage,
    StoredTimer, StoredValue, Value,
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

use crate::{
    disk::Disk,
    functions::{Text, Trouble, registry},
    server::Server,
};

pub(crate) const STREAMS: [&str; 2] = ["alpha", "beta"];
const OUT: &str = "out";
const DEAD: &str = "dead";

pub(crate) fn arn(name: &str) -> StreamArn {
    format!("arn:aws:kinesis:us-east-1:000000000000:stream/{name}").parse().unwrap()
}

/// The instruction in a record. `number` identifies it and is unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Count.
    Count,
    /// Count, and send a message to a sink.
    Forward { place: u32 },
    /// Count, and send a message to a sink through this many relays.
    Hop { place: u32, hops: u32 },
    /// Count, and send a delayed message to a sink.
    Late { place: u32, millis: u64 },
    /// Count, and send to oneself, which counts again.
    Again,
    /// Count, and send a delayed message to a sink that is not due within the run and may be cancelled.
    Token { place: u32 },
    /// Count, and cancel the delayed message of that record.
    Cancel { number: u32 },
    /// An invalid record: the deserializer rejects it.
    Bad,
    /// Poison: it becomes no message for the first ingress, and functions of the second one fail for it.
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

/// Rejects bad records. Poison becomes no message.
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

/// The configuration of a world.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) one_in: u32,
    pub(crate) interval: Duration,
    pub(crate) drain: Duration,
    pub(crate) max_batch_messages: u32,
    pub(crate) limits: Limits,
    /// Whether functions run in a separate server behind HTTP.
    pub(crate) is_remote: bool,
    /// Whether the store is in a directory of the machine, and not on a disk in memory.
    pub(crate) is_on_disk: bool,
}

impl Default for Setting {
    fn default() -> Self {
        Self {
            one_in: 0,
            interval: Duration::from_secs(1),
            drain: Duration::from_secs(5),
            max_batch_messages: 1_000,
            limits: Limits::default(),
            is_remote: false,
            is_on_disk: false,
        }
    }
}

/// The streams, the store, and the expectation.
pub(crate) struct World {
    pub(crate) kinesis: FakeKinesis,
    pub(crate) disk: Arc<Disk>,
    pub(crate) setting: Setting,
    trouble: Arc<Trouble>,
    /// The functions.
    serving: Serving,
    pub(crate) expected: Expected,
}

/// Where functions run.
enum Serving {
    InProcess(Arc<Registry>),
    Remote(Server),
}

impl Serving {
    /// How a run calls the functions.
    fn invoke(&self) -> Arc<dyn Invoke> {
        match self {
            Self::InProcess(registry) => Arc::clone(registry) as Arc<dyn Invoke>,
            Self::Remote(server) => server.endpoint(),
        }
    }
}

/// The expected results, if each message takes effect once.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Expected {
    /// The count of each key.
    pub(crate) totals: BTreeMap<String, u32>,
    /// The messages of each sink: sender, kind and number.
    pub(crate) told: BTreeMap<String, BTreeSet<(String, u32)>>,
    /// Delayed messages that are not cancelled.
    pub(crate) tokens: BTreeSet<u32>,
    /// The number of records in the first stream, by key.
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

    /// The expected records of each partition key of the egress: counts without a gap.
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
        let trouble = Arc::new(Trouble::new(setting.one_in, seed ^ 1));
        let disk = if setting.is_on_disk { Disk::directory() } else { Disk::Memory(MemoryDisk::seeded(seed)) };
        let functions = registry(&trouble, !setting.is_remote);
        let serving = if setting.is_remote {
            Serving::Remote(Server::start(functions))
        } else {
            Serving::InProcess(Arc::new(functions))
        };
        Self { kinesis, disk: Arc::new(disk), setting, trouble, serving, expected: Expected::default() }
    }

    /// Turns the faults of functions off.
    pub(crate) fn calm(&self) {
        self.trouble.end();
    }

    pub(crate) async fn put(&mut self, stream: &str, key: &str, number: u32, ask: Ask) {
        let record = [PutRecord::new(key.parse().unwrap(), ask.text(number))];
        let reference = StreamRef::from(arn(stream));
        // The faults are meant for the engine, so the writer retries until the record is stored.
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

    /// Starts the engine on the data of the disk.
    pub(crate) async fn start(&self) -> Result<Engine, BoxError> {
        let store = self.disk.open().await?;
        let invoke = self.serving.invoke();
        let max_batch_messages = self.setting.max_batch_messages.try_into()?;
        let settings = GroupSettings { max_batch_messages, ..GroupSettings::default() };
        let after = GiveUp { max_attempts: 2.try_into().ok(), ..GiveUp::default() };
        let skip = FailureHandling::Skip { after, log: LogLevel::Trace };
        let functions = StatefulFunctions::builder()
            .limits(self.setting.limits)
            .functions("sim/*".parse()?, settings, FailureHandling::KeepTrying, Arc::clone(&invoke))
            .functions("sim/audit".parse()?, settings, skip, invoke)
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

    /// Reads the data of the disk.
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

    /// The counts that the egress wrote, by key and without repeats, and the number of repeats.
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

    /// Waits until all is done, stops the engine, and compares everything. Returns the number of repeated records.
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
        // Waits a little longer, because repeats may come late.
        sleep(Duration::from_secs(20)).await;
        engine.check();
        let status = engine.functions.upgrade().map(|functions| functions.checkpoint()).unwrap();
        assert!(status.commits > 0 && status.failing_since.is_none(), "{status:?}");
        engine.shutdown.cancel();
        (&mut engine.running).await.expect("no panic").expect("an orderly end");
        drop(engine);

        let store = self.disk.open().await.unwrap();
        let found = self.found(&*store).await;
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

/// Checks that messages from one function to another arrived in order.
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

/// The data of a disk.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) totals: BTreeMap<String, u32>,
    pub(crate) audited: BTreeMap<String, u32>,
    /// Sender, kind and number of the messages, in order.
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

/// A running router.
pub(crate) struct Engine {
    pub(crate) functions: Weak<StatefulFunctions>,
    pub(crate) shutdown: CancellationToken,
    pub(crate) running: JoinHandle<Result<Unfinished, RunError>>,
}

impl Engine {
    pub(crate) fn check(&self) {
        assert!(!self.running.is_finished(), "the engine has ended by itself");
    }

    /// A crash: nothing is finished, flushed or saved, and a commit in progress may be durable or not.
    pub(crate) async fn kill(self, disk: &Disk) {
        disk.crash();
        self.running.abort();
        let _ = self.running.await;
    }

    /// An orderly stop.
    pub(crate) async fn stop(self) -> Result<Unfinished, RunError> {
        self.shutdown.cancel();
        self.running.await.expect("no panic")
    }
}
