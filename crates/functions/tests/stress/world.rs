//! Streams, a store, and a sequence of runs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use statefun_kinesis_client::{KinesisAdmin, KinesisClientExt};
use statefun_kinesis_consumer::Settings;
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_functions::{Limits, Payload as _, StatefulFunctions, Usage};
use statefun_kinesis_module::{EgressSpec, IngressSpec, StartupPosition, StreamRoute};
use statefun_kinesis_router::{Handler, Ingress, Router, RunError, Unfinished};
use statefun_kinesis_store::{DiskStore, MemoryDisk, Store};
use statefun_kinesis_types::{PutRecord, StreamArn};
use tempfile::TempDir;
use tokio::{runtime::Runtime, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::{
    functions::{Text, registry},
    results::{Stored, came_out, to_come_out},
    watched::Watched,
};

const STREAM: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/in";
const OUT: &str = "out";
const SHARDS: usize = 6;
const KEYS: u64 = 40;
/// Threads that write at the same time.
const WRITERS: usize = 3;
/// Threads of a run; more than the machine has, so that they are interrupted anywhere.
const THREADS: usize = 4;
/// Time limit for everything that a run has to reach.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often a condition is checked.
const LOOK_AGAIN: Duration = Duration::from_millis(1);

/// Where the store is.
pub(crate) enum Disk {
    Memory(MemoryDisk),
    Directory(TempDir),
}

impl Disk {
    pub(crate) fn in_memory(seed: u64) -> Self {
        let disk = MemoryDisk::seeded(seed);
        disk.set_commit_takes(Duration::from_millis(seed % 3));
        Self::Memory(disk)
    }

    pub(crate) fn in_a_directory() -> Self {
        Self::Directory(tempfile::tempdir().unwrap())
    }

    async fn open(&self) -> Arc<dyn Store> {
        match self {
            Self::Memory(disk) => Arc::new(disk.open().unwrap()),
            Self::Directory(directory) => {
                Arc::new(DiskStore::open(directory.path(), Default::default()).await.unwrap())
            }
        }
    }

    /// What is left of the run that had it is gone: what it has not synced may be there or not.
    fn crash(&self) {
        match self {
            Self::Memory(disk) => disk.crash(),
            // Data that were written to the system survive a killed process.
            Self::Directory(_) => {}
        }
    }
}

pub(crate) struct World {
    kinesis: FakeKinesis,
    disk: Arc<Disk>,
    random: Rng,
    /// The number of records by key.
    written: Arc<Mutex<BTreeMap<u64, u64>>>,
}

impl World {
    pub(crate) fn new(disk: Disk, seed: u64) -> Self {
        let kinesis = FakeKinesis::new();
        let create = async {
            kinesis.create_stream(&"in".parse().unwrap(), SHARDS).await.unwrap();
            kinesis.create_stream(&OUT.parse().unwrap(), 2).await.unwrap();
        };
        runtime(1).block_on(create);
        Self { kinesis, disk: Arc::new(disk), random: Rng::with_seed(seed ^ 1), written: Arc::default() }
    }

    /// Starts a run on the data of the disk.
    pub(crate) fn start(&mut self) -> Engine {
        let random = &mut self.random;
        let interval = Duration::from_millis([0, 0, 1, 5][random.usize(0..4)]);
        let (limits, fails_one_in) = if random.bool() {
            // So few that messages wait in the store and reading waits for room. No function fails here, because
            // failing addresses would be evicted and wait for seconds.
            let limits =
                Limits { messages: 30, egress_records: 20, state_bytes: 2_000, timers: 10, ..Limits::default() };
            (limits, 0)
        } else {
            (Limits::default(), 400)
        };
        let settings = Settings {
            max_records_per_call: random.usize(1..6),
            read_calls_per_second: 10_000,
            poll_idle_min: Duration::from_millis(1),
            poll_idle_max: Duration::from_millis(2),
            ..Settings::default()
        };
        let tokio = runtime(THREADS);
        let shutdown = CancellationToken::new();
        let started = tokio.block_on(async {
            let functions = StatefulFunctions::builder()
                .limits(limits)
                .in_process(registry(fails_one_in))
                .store(self.watched(self.disk.open().await))
                .checkpoint_interval(interval)
                .build()
                .await
                .unwrap();
            let functions = Arc::new(functions);
            let stream: StreamArn = STREAM.parse().unwrap();
            let route =
                StreamRoute::new(stream, Text::TYPENAME.parse().unwrap(), vec!["stress/counter".parse().unwrap()]);
            let mut ingress = IngressSpec::new("stress/in".parse().unwrap(), vec![route]);
            ingress.startup = StartupPosition::TrimHorizon;
            let client = Arc::new(self.kinesis.clone());
            let router = Router::builder(Handler::stateful(Arc::clone(&functions) as Arc<_>))
                .ingress(Ingress::new(ingress, client.clone()).settings(settings))
                .egress(EgressSpec::new("stress/out".parse().unwrap(), OUT.parse().unwrap()), client)
                .clock(self.kinesis.clock())
                .build()
                .await
                .unwrap();
            (functions, tokio::spawn(router.run(shutdown.clone())))
        });
        let (functions, running) = started;
        Engine { functions, running, shutdown, tokio, disk: Arc::clone(&self.disk) }
    }

    fn watched(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        Arc::new(Watched { store, kinesis: self.kinesis.clone(), stream: STREAM.parse().unwrap() })
    }

    /// Writes the given number of records, from several threads at a time.
    pub(crate) fn write(&mut self, records: usize) -> thread::JoinHandle<()> {
        let keys: Vec<u64> = std::iter::repeat_with(|| self.random.u64(0..KEYS)).take(records).collect();
        let (kinesis, written) = (self.kinesis.clone(), Arc::clone(&self.written));
        thread::spawn(move || {
            thread::scope(|scope| {
                for keys in keys.chunks(keys.len().div_ceil(WRITERS)) {
                    scope.spawn(|| runtime(1).block_on(write_all(&kinesis, keys, &written)));
                }
            });
        })
    }

    /// Checks that the contents of the store are of one moment, while no run is active.
    pub(crate) fn check_moment(&self) {
        self.stored().check_moment();
    }

    fn stored(&self) -> Stored {
        runtime(1).block_on(async {
            let store = self.disk.open().await;
            Stored::read(&*store, &self.kinesis, &STREAM.parse().unwrap()).await
        })
    }

    /// Whether all written records took effect.
    pub(crate) fn is_done(&self, usage: Usage) -> bool {
        let is_idle = usage.messages == 0 && usage.timers == 0 && usage.egress_records == 0;
        is_idle && came_out(&self.kinesis, &OUT.parse().unwrap()).0 == to_come_out(&self.written.lock().unwrap())
    }

    /// Compares everything. Returns the number of repeated records.
    pub(crate) fn check_results(self) -> usize {
        let written = self.written.lock().unwrap();
        self.stored().check(&written);
        let (came_out, repeats) = came_out(&self.kinesis, &OUT.parse().unwrap());
        assert_eq!(came_out, to_come_out(&written));
        repeats
    }
}

async fn write_all(kinesis: &FakeKinesis, keys: &[u64], written: &Mutex<BTreeMap<u64, u64>>) {
    for key in keys {
        let record = PutRecord::new(key.to_string().parse().unwrap(), "one");
        kinesis.put_record(&STREAM.parse::<StreamArn>().unwrap().into(), record).await.unwrap();
        *written.lock().unwrap().entry(*key).or_default() += 1;
    }
}

fn runtime(threads: usize) -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap()
}

/// A running router, with its own threads.
pub(crate) struct Engine {
    functions: Arc<StatefulFunctions>,
    running: JoinHandle<Result<Unfinished, RunError>>,
    shutdown: CancellationToken,
    tokio: Runtime,
    disk: Arc<Disk>,
}

impl Engine {
    /// Waits until this many messages have been handled.
    pub(crate) fn wait_for_messages(&self, messages: u64) {
        self.wait_for("so many messages are handled", |_| {
            let counts = self.functions.counts();
            counts.iter().map(|(_, counts)| counts.messages_in - counts.backlog.min(counts.messages_in)).sum::<u64>()
                >= messages
        });
    }

    pub(crate) fn wait_for(&self, what: &str, is_so: impl Fn(Usage) -> bool) {
        let began = Instant::now();
        while !is_so(self.functions.usage()) {
            assert!(!self.running.is_finished(), "the run has ended by itself");
            let usage = self.functions.usage();
            assert!(began.elapsed() < PATIENCE, "{what}, never: {usage:?}, {:?}", self.functions.checkpoint());
            thread::sleep(LOOK_AGAIN);
        }
    }

    /// A crash: each thread stops at its next await, and nothing is finished, flushed or saved.
    pub(crate) fn kill(self) {
        let Self { functions, running, tokio, disk, .. } = self;
        drop((running, tokio));
        drop(functions);
        disk.crash();
    }

    /// An orderly stop.
    pub(crate) fn stop(self) {
        self.shutdown.cancel();
        self.tokio.block_on(self.running).expect("no panic").expect("an orderly end");
    }
}
