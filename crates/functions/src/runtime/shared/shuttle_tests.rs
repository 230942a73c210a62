//! The lock protocols of a runtime under the model checker `shuttle`, which tries orders of threads.
//!
//! All but the threads is what runs in a program: a router reads Kinesis in memory, and what it hands over (batches,
//! acknowledgements and positions) goes to the runtime in the threads of the model.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use shuttle::{Config, FailurePersistence, Runner, future::block_on, scheduler::RandomScheduler, thread};
use statefun_kinesis_client::{KinesisAdmin, KinesisClientExt, PositionStore};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_module::{ConsumerSpec, EgressSpec, FailureHandling, IngressSpec, StartupPosition, StreamRoute};
use statefun_kinesis_router::{
    Acknowledgement, FunctionError, Handler, Ingress, Positions, RoutedBatch, Router, RunHandle, StatefulHandler,
    Unfinished,
};
use statefun_kinesis_store::{
    KeyRange, MemoryStore, Store, StoreExt, StoredCheckpoints, Table, key::StoredKey, positions,
};
use statefun_kinesis_types::{HashKey, Position, PutRecord, Record, ShardId, StreamArn, TypeName};
use tokio::{runtime::Runtime, sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    Answer, Effects, EgressMessage, Expiration, GroupSettings, Invoke, InvokeError, NumberedEntry, Request,
    StateChange, StateSpec, StatefulFunctions, StoredEgress, StoredMessage, StoredValue, Value,
};

/// Orders that each test tries, which takes some seconds.
const ORDERS: usize = 1_000;
/// What a thread of the model has of a stack: those of `shuttle` are too small for a router that is built.
const STACK_BYTES: usize = 1 << 20;

const STREAM: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/in";
const EGRESS: &str = "t/out";
/// The keys of the records, each with the half of the hash key space, and so the shard, that its records are in.
const RECORDS: [(&str, HashKey); 5] =
    [("a", HashKey::MIN), ("b", HashKey::MIN), ("a", HashKey::MIN), ("c", HashKey::MAX), ("d", HashKey::MAX)];

/// Counts the messages of an address, and sends each count to the egress.
#[derive(Debug)]
struct Counter;

#[async_trait]
impl Invoke for Counter {
    async fn invoke(&self, request: &Request, _: Duration) -> Result<Answer, InvokeError> {
        let Some((_, total)) = request.states.iter().find(|(name, _)| &**name == "total") else {
            let spec = StateSpec { name: "total".into(), typename: "t/text".into(), expiration: Expiration::Never };
            return Ok(Answer::StatesMissing(vec![spec]));
        };
        let mut total = total.as_ref().map_or(0, number);
        let mut effects = Effects::default();
        for _ in request.messages.iter() {
            total += 1;
            let record = PutRecord::new(request.target.id.parse().unwrap(), total.to_string());
            effects.egress.push(EgressMessage::Record { egress: EGRESS.parse().unwrap(), stream: None, record });
        }
        let value = Some(Value::new("t/text", total.to_string()));
        effects.states.push(StateChange { name: "total".into(), value });
        Ok(Answer::Handled(effects))
    }
}

fn number(value: &Value) -> u64 {
    std::str::from_utf8(value.bytes.as_ref().unwrap()).unwrap().parse().unwrap()
}

/// What a router hands over, for the runtime that is looked at.
#[derive(Debug)]
struct Capture {
    store: Arc<dyn Store>,
    captured: Mutex<Captured>,
}

#[derive(Debug, Default)]
struct Captured {
    run: Option<(RunHandle, Vec<(TypeName, Positions)>)>,
    batches: Vec<(RoutedBatch, Acknowledgement)>,
}

#[async_trait]
impl StatefulHandler for Capture {
    fn positions(&self, ingress: &TypeName) -> Arc<dyn PositionStore> {
        Arc::new(StoredCheckpoints::new(Arc::clone(&self.store), ingress.clone()))
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn begin(&self, run: RunHandle, positions: Vec<(TypeName, Positions)>) {
        self.captured.lock().unwrap().run = Some((run, positions));
    }

    async fn take(&self, batch: RoutedBatch, acknowledgement: Acknowledgement) -> Result<(), FunctionError> {
        self.captured.lock().unwrap().batches.push((batch, acknowledgement));
        Ok(())
    }

    async fn stop(&self, _: Instant) {}

    async fn close(&self) -> Result<Unfinished, FunctionError> {
        Ok(Unfinished::default())
    }
}

/// A runtime that no task of Tokio runs, and what it is to take.
struct Scene {
    functions: Arc<StatefulFunctions>,
    store: Arc<dyn Store>,
    /// The batches of each shard, in order; each has one record.
    batches: BTreeMap<ShardId, Vec<(RoutedBatch, Acknowledgement)>>,
    records: Vec<(ShardId, Record)>,
    handed_out: mpsc::UnboundedReceiver<Vec<StoredEgress>>,
    /// The router: nothing of it runs any more.
    _router: Runtime,
}

impl Scene {
    fn new() -> Self {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let (captured, records) = tokio.block_on(capture(&store));
        let functions = StatefulFunctions::builder()
            .functions("t/*".parse().unwrap(), GroupSettings::default(), FailureHandling::KeepTrying, Arc::new(Counter))
            .store(Arc::clone(&store))
            .build();
        let functions = Arc::new(block_on(functions).unwrap());
        // As a run begins, but without the tasks that wait for times and for the store.
        functions.shared().run.set(captured.run.unwrap()).unwrap();
        let (queue, handed_out) = mpsc::unbounded_channel();
        functions.shared().lock().egress_queues.insert(EGRESS.parse().unwrap(), queue);
        let mut batches = BTreeMap::<_, Vec<_>>::new();
        for (batch, acknowledgement) in captured.batches {
            assert_eq!(batch.records().len(), 1);
            batches.entry(batch.shard().clone()).or_default().push((batch, acknowledgement));
        }
        assert_eq!(batches.len(), 2, "each shard has records");
        Self { functions, store, batches, records, handed_out, _router: tokio }
    }

    /// Starts a thread for each shard, which gives its batches to the runtime.
    fn take_batches(&mut self) -> Vec<thread::JoinHandle<()>> {
        let batches = std::mem::take(&mut self.batches).into_values().map(|batches| {
            let functions = Arc::clone(&self.functions);
            thread::spawn(move || {
                for (batch, acknowledgement) in batches {
                    block_on(functions.take(batch, acknowledgement)).unwrap();
                }
            })
        });
        batches.collect()
    }

    /// Makes commits until all records are handled and durable, and looks at what each one has.
    fn commit_until_done(&self) {
        let shared = self.functions.shared();
        let mut specs = Default::default();
        while self.handled_after_a_look() < self.records.len() as u64 {
            block_on(shared.checkpoint.checkpoint(shared, &mut specs)).unwrap();
            thread::yield_now();
        }
    }

    /// Checks that what the store has is of one moment. Gives how many records were handled at that moment.
    fn handled_after_a_look(&self) -> u64 {
        let checkpoints = block_on(positions::load_all(&*self.store)).unwrap();
        let [checkpoint] = &checkpoints.into_values().collect::<Vec<_>>()[..] else { panic!("one stream is read") };
        let mut acknowledged = BTreeMap::<String, u64>::new();
        for (shard, record) in &self.records {
            let position = checkpoint.shards.get(shard);
            if position.is_some_and(|position| position.covers(Position::of(record))) {
                *acknowledged.entry(record.partition_key.as_ref().unwrap().to_string()).or_default() += 1;
            }
        }
        let (mut taken, mut handled, mut sent) = (BTreeMap::<String, u64>::new(), 0, 0);
        for table in [Table::State, Table::Mailboxes, Table::Egress] {
            let mut entries = self.store.entries(table, KeyRange::ALL);
            while let Some(entry) = block_on(entries.next()).unwrap() {
                match StoredKey::parse(table, &entry.key).unwrap() {
                    StoredKey::State { address, .. } => {
                        let total = number(&StoredValue::decode(entry.value).unwrap().value);
                        *taken.entry(address.id.to_string()).or_default() += total;
                        handled += total;
                    }
                    StoredKey::Numbered { number, .. } if table == Table::Mailboxes => {
                        let message = StoredMessage::decode(number, entry.value).unwrap();
                        *taken.entry(message.to.id.to_string()).or_default() += 1;
                    }
                    _ => sent += 1,
                }
            }
        }
        assert_eq!(acknowledged, taken, "the positions of a commit are of the same moment as its messages and states");
        assert_eq!(handled, sent, "the records for the egress are of the same moment as the states");
        handled
    }
}

/// Reads the records through a router, and gives what that hands over and the records.
async fn capture(store: &Arc<dyn Store>) -> (Captured, Vec<(ShardId, Record)>) {
    let kinesis = FakeKinesis::new();
    for (name, shards) in [("in", 2), ("out", 1)] {
        kinesis.create_stream(&name.parse().unwrap(), shards).await.unwrap();
    }
    let stream: StreamArn = STREAM.parse().unwrap();
    for (key, hash) in RECORDS {
        let record = PutRecord::new(key.parse().unwrap(), key).with_explicit_hash_key(hash);
        kinesis.put_record(&stream.clone().into(), record).await.unwrap();
    }
    let route = StreamRoute::new(stream.clone(), "t/text".parse().unwrap(), vec!["t/counter".parse().unwrap()]);
    let mut ingress = IngressSpec::new("t/in".parse().unwrap(), vec![route]);
    ingress.startup = StartupPosition::TrimHorizon;
    ingress.consumer =
        ConsumerSpec::Polling { max_records: 1.try_into().ok(), idle_interval: None, discovery_interval: None };
    let client = Arc::new(kinesis.clone());
    let capture = Arc::new(Capture { store: Arc::clone(store), captured: Mutex::default() });
    let router = Router::builder(Handler::stateful(Arc::clone(&capture) as Arc<_>))
        .ingress(Ingress::new(ingress, client.clone()))
        .egress(EgressSpec::new(EGRESS.parse().unwrap(), "out".parse().unwrap()), client)
        .clock(kinesis.clock())
        .build()
        .await
        .unwrap();
    tokio::spawn(router.run(CancellationToken::new()));
    while capture.captured.lock().unwrap().batches.len() < RECORDS.len() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let captured = std::mem::take(&mut *capture.captured.lock().unwrap());
    (captured, kinesis.records(&stream.into()))
}

fn check(test: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.failure_persistence = FailurePersistence::None;
    Runner::new(RandomScheduler::new(ORDERS), config).run(test);
}

#[test]
fn a_commit_has_the_positions_of_its_messages_and_no_others() {
    check(|| {
        let mut scene = Scene::new();
        let threads = scene.take_batches();
        scene.commit_until_done();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn records_leave_in_the_order_in_which_the_mailboxes_made_them() {
    check(|| {
        let mut scene = Scene::new();
        let threads = scene.take_batches();
        let (mut numbers, mut by_key) = (Vec::new(), BTreeMap::<String, Vec<String>>::new());
        while numbers.len() < RECORDS.len() {
            for StoredEgress { id, message, .. } in block_on(scene.handed_out.recv()).unwrap() {
                numbers.push(id);
                let record = message.record().unwrap();
                let data = String::from_utf8(record.data.to_vec()).unwrap();
                by_key.entry(record.partition_key.to_string()).or_default().push(data);
            }
        }
        assert!(numbers.is_sorted(), "{numbers:?}");
        for (key, counts) in by_key {
            assert!(counts.is_sorted(), "{key}: {counts:?}");
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}
