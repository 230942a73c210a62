//! What checkpoints take from a run, and what a start takes: figures rather than times per call.
//!
//! A run reads a stream as fast as it can handle it, and its function sets a value of 100 bytes per message. It is
//! measured without a store; with a store on the disk and no commit, which is what writing down costs; and with a commit
//! every second. These take turns, each in every round, so that a machine that is slower for a while is so for all of
//! them. What counts is the median of the rounds' ratios. Messages have one thread, so that the others of the machine are
//! there for the disk. On Linux the processor's time is told, too, of all threads together: what commits take of a
//! machine that has nothing to spare, and the better figure on one that has others to serve.
//!
//! A start opens a store and builds functions from it, which read all that is pending, and states when they are needed.
//!
//! An argument is a part of the name of what is to be measured, `throughput` or `recovery`. In the environment,
//! `STATEFUN_KINESIS_SECONDS` is how long each run is measured, `STATEFUN_KINESIS_ROUNDS` how many rounds there are,
//! `STATEFUN_KINESIS_WORKERS` how many threads messages have, `STATEFUN_KINESIS_MESSAGES` how many messages may wait,
//! `STATEFUN_KINESIS_MEGABYTES` how large the states are that a start finds, and `STATEFUN_KINESIS_PENDING` how many
//! messages there are then, and as many delayed ones.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use statefun_kinesis_functions::{
    BoxError, Context, Function, Limits, Message, Payload, Registry, StateSpec, StatefulFunctions,
    StatefulFunctionsBuilder, ValueSpec,
};
use statefun_kinesis_router::Handler;
use statefun_kinesis_store::{Commit, DiskSettings, DiskStore, KeyRange, Store, StoreExt, Table, key};
use statefun_kinesis_types::{Address, PartitionKey};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::scene::{Pages, Run, TARGET, page};

mod scene;

const ADDRESSES: [usize; 2] = [1_000, 100_000];
const VALUE_BYTES: usize = 100;
/// As many as may be read five times a second, so that shards are never what a run waits for.
const SHARDS: usize = 64;
const RECORDS_PER_PAGE: usize = 2_000;
/// Longer than any run.
const NEVER: Duration = Duration::from_secs(24 * 60 * 60);

/// Bytes of a value that a start finds.
const STORED_VALUE_BYTES: usize = 1_000;

fn main() {
    // Cargo passes options for benchmarks of its own kind.
    let filters: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter.as_str()));
    if wanted("checkpoint throughput") {
        let (length, rounds) = (number("SECONDS").unwrap_or(6), number("ROUNDS").unwrap_or(5));
        throughput(Duration::from_secs(length), rounds.max(1));
    }
    if wanted("checkpoint recovery") {
        recovery(number("MEGABYTES").unwrap_or(1_000), number("PENDING").unwrap_or(100_000));
    }
}

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    let name = format!("STATEFUN_KINESIS_{name}");
    let text = std::env::var(&name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text}")))
}

fn runtime() -> Runtime {
    let workers = number("WORKERS").map_or(1, |workers| workers.max(1) as usize);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(workers).enable_all().build().expect("threads can be had")
}

/// A value of so many bytes.
struct Block(Vec<u8>);

impl Payload for Block {
    const TYPENAME: &str = "bench/block";

    fn to_bytes(&self) -> Bytes {
        self.0.clone().into()
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, BoxError> {
        Ok(Self(bytes.to_vec()))
    }
}

/// Sets a byte of its value with each message.
struct Set {
    block: ValueSpec<Block>,
    handled: Arc<AtomicU64>,
}

#[async_trait]
impl Function for Set {
    fn states(&self) -> Vec<StateSpec> {
        vec![(&self.block).into()]
    }

    async fn handle(&self, context: &mut Context, message: &Message) -> Result<(), BoxError> {
        let mut block = context.get(&self.block)?.unwrap_or_else(|| Block(vec![0; VALUE_BYTES]));
        block.0[0] = block.0[0].wrapping_add(message.read::<i64>()? as u8);
        context.set(&self.block, &block)?;
        self.handled.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// What becomes of changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Nowhere,
    WrittenDown,
    Committed,
}

/// What a run has done.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    messages_per_second: f64,
    /// The processor's time for a message, in microseconds.
    micros: f64,
    commits: u64,
    took: Duration,
    held: Duration,
    changes: u64,
}

fn throughput(length: Duration, rounds: u64) {
    println!("throughput: addresses | without a store | with one, no commit | commits every second, of the first");
    for addresses in ADDRESSES {
        let mut found: Vec<[Figures; 3]> = Vec::new();
        for _ in 0..rounds {
            found
                .push([Kept::Nowhere, Kept::WrittenDown, Kept::Committed].map(|kept| one_run(kept, addresses, length)));
        }
        let rate = |at: usize| median(found.iter().map(|round| round[at].messages_per_second));
        let ratio = |at: usize| {
            100.0 * median(found.iter().map(|round| round[at].messages_per_second / round[0].messages_per_second))
        };
        let micros = |at: usize| median(found.iter().map(|round| round[at].micros));
        println!(
            "  {addresses} | {:.0}/s | {:.0}/s, {:.1} % | {:.0}/s, {:.1} %",
            rate(0),
            rate(1),
            ratio(1),
            rate(2),
            ratio(2)
        );
        println!("    processor's time per message: {:.2} µs | {:.2} µs | {:.2} µs", micros(0), micros(1), micros(2));
        let last = found.last().map(|round| round[2]).unwrap_or_default();
        println!(
            "    the last run: {} commits; the last one changed {} entries, held the mailboxes for {:?} and took {:?}",
            last.commits, last.changes, last.held, last.took
        );
    }
}

/// The middle one of several.
fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<f64> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Records without end, for each address once and then for random ones.
fn endless(addresses: usize) -> Pages {
    let keys: Vec<PartitionKey> =
        (0..addresses).map(|id| format!("customer-{id:07}").parse().expect("the key is short")).collect();
    let data = Payload::to_bytes(&1_i64);
    let (mut rng, mut first) = (fastrand::Rng::with_seed(1), 0);
    Pages::new(SHARDS, move || {
        let key = |at: u64| keys.get(at as usize).unwrap_or_else(|| &keys[rng.usize(0..keys.len())]).clone();
        let records = page(first, (first..).take(RECORDS_PER_PAGE).map(key), &data);
        first += RECORDS_PER_PAGE as u64;
        Some(records)
    })
}

fn one_run(kept: Kept, addresses: usize, length: Duration) -> Figures {
    let (runtime, directory) = (runtime(), tempfile::tempdir().expect("a directory can be made"));
    runtime.block_on(async {
        let handled = Arc::new(AtomicU64::new(0));
        let set = Set { block: ValueSpec::new("block"), handled: Arc::clone(&handled) };
        let mut builder =
            StatefulFunctions::builder().in_process(Registry::new().function(TARGET.parse().expect("a name"), set));
        let mut store = None;
        if kept != Kept::Nowhere {
            store = Some(open(directory.path()).await);
        }
        if let Some(store) = &store {
            builder = builder.store(Arc::clone(store));
        }
        let messages = number("MESSAGES").map_or(Limits::default().messages, |messages| messages as usize);
        let mut limits = Limits { messages, ..Limits::default() };
        if kept == Kept::WrittenDown {
            // Neither time nor size makes a commit.
            limits.unsaved_bytes = usize::MAX;
            builder = builder.checkpoint_interval(NEVER);
        }
        let functions = Arc::new(builder.limits(limits).build().await.expect("the store is empty"));
        let run = Run::start(endless(addresses), Handler::stateful(functions.clone())).await;
        // All addresses are there, and as warm as they get.
        let warm = 2 * addresses as u64 + RECORDS_PER_PAGE as u64;
        run.until(|_| handled.load(Ordering::Relaxed) >= warm).await;
        let commits = || functions.checkpoint().commits;
        let (began, before, commits_before) = (Instant::now(), handled.load(Ordering::Relaxed), commits());
        let cpu_before = processor_seconds();
        tokio::time::sleep(length).await;
        let messages = handled.load(Ordering::Relaxed) - before;
        let messages_per_second = messages as f64 / began.elapsed().as_secs_f64();
        let micros = (processor_seconds() - cpu_before) * 1e6 / messages as f64;
        let status = functions.checkpoint();
        let commits = status.commits - commits_before;
        assert!(kept == Kept::Committed || commits == 0, "a run without commits has made one");
        run.stop().await;
        let (took, held, changes) = (status.last_took, status.last_held, status.last_changes);
        Figures { messages_per_second, micros, commits, took, held, changes }
    })
}

/// The processor's time that this process has had; 0 where that cannot be told.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may have anything in it: time of the program, and of the kernel for it, in hundredths.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

async fn open(directory: &Path) -> Arc<dyn Store> {
    Arc::new(DiskStore::open(directory, DiskSettings::default()).await.expect("the directory has a store or nothing"))
}

/// Remembers what it is told, and lets as many others wait as it is told to.
struct Keep {
    block: ValueSpec<Block>,
    pending: u64,
}

#[async_trait]
impl Function for Keep {
    fn states(&self) -> Vec<StateSpec> {
        vec![(&self.block).into()]
    }

    async fn handle(&self, context: &mut Context, message: &Message) -> Result<(), BoxError> {
        context.set(&self.block, &Block(vec![7; STORED_VALUE_BYTES]))?;
        for number in 0..self.pending {
            let to = address(STUCK, number);
            context.send_after_unless_cancelled(NEVER, to.clone(), &message.read::<i64>()?, number.to_string());
            context.send(to, &message.read::<i64>()?);
        }
        Ok(())
    }
}

/// Never gets anywhere.
struct Stuck;

#[async_trait]
impl Function for Stuck {
    async fn handle(&self, _: &mut Context, _: &Message) -> Result<(), BoxError> {
        std::future::pending().await
    }
}

const STUCK: &str = "bench/stuck";

fn address(function: &str, number: u64) -> Address {
    Address { function: function.parse().expect("it is a name"), id: format!("customer-{number:07}").into() }
}

fn keeping(pending: u64) -> StatefulFunctionsBuilder {
    let name = |name: &str| name.parse().expect("it is a name");
    let keep = Keep { block: ValueSpec::new("block"), pending };
    let limits = Limits { messages: usize::MAX, bytes: usize::MAX, ..Limits::default() };
    let registry = Registry::new().function(name(TARGET), keep).function(name(STUCK), Stuck);
    StatefulFunctions::builder().limits(limits).in_process(registry)
}

/// A store with states of so many megabytes, and so many messages that are not handled and as many that are not due.
async fn filled(megabytes: u64, pending: u64) -> TempDir {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let store = DiskStore::open(directory.path(), DiskSettings::default()).await.expect("the directory is empty");
    let store = Arc::new(store);
    let functions = Arc::new(keeping(pending).store(Arc::clone(&store) as _).build().await.expect("it is empty"));
    let mut only = Some(page(0, ["customer-0000000".parse().expect("it is short")], &Payload::to_bytes(&1_i64)));
    let pages = Pages::new(1, move || only.take());
    let run = Run::start(pages, Handler::stateful(functions.clone())).await;
    run.until(|_| {
        let has_come =
            functions.counts().iter().any(|(name, counts)| name.as_str() == TARGET && counts.messages_in > 0);
        let usage = functions.usage();
        has_come && (usage.messages as u64, usage.timers as u64) == (pending, pending)
    })
    .await;
    run.stop().await;
    drop(functions);

    // Values as functions leave them: the one that is there, at as many addresses as it takes.
    let first = store.entries(Table::State, KeyRange::ALL).next().await.expect("it can be read").expect("one is there");
    let (mut number, mut bytes) = (1, 0);
    while bytes < megabytes * 1_000_000 {
        let mut commit = Commit::new();
        for _ in 0..5_000 {
            let key = key::state(&address(TARGET, number), "block");
            bytes += (key.len() + first.value.len()) as u64;
            number += 1;
            commit.put(Table::State, key, first.value.clone());
        }
        store.commit(commit).await.expect("there is room");
    }
    Arc::into_inner(store).expect("nobody else has it any more").close().await.expect("it can be closed");
    directory
}

fn recovery(megabytes: u64, pending: u64) {
    println!("recovery: MB of states | pending messages, and as many delayed | read all files | open | build");
    let scales = [(0, 0), (megabytes / 4, 0), (megabytes, 0), (0, pending), (megabytes, pending)];
    let mut seconds = Vec::new();
    for (megabytes, pending) in scales {
        let runtime = runtime();
        let (read, opened, built) = runtime.block_on(async {
            let directory = filled(megabytes, pending).await;
            let began = Instant::now();
            read_all(directory.path());
            let read = began.elapsed();
            let began = Instant::now();
            let store = open(directory.path()).await;
            let opened = began.elapsed();
            let began = Instant::now();
            let functions = keeping(pending).store(store).build().await.expect("the store is right");
            let built = began.elapsed();
            let usage = functions.usage();
            assert_eq!((usage.messages as u64, usage.timers as u64), (pending, pending));
            (read, opened, built)
        });
        println!("  {megabytes} | {pending} | {read:.1?} | {opened:.1?} | {built:.1?}");
        seconds.push((opened + built).as_secs_f64());
    }
    let (nothing, states, waiting) = (seconds[0], seconds[2], seconds[3]);
    println!(
        "  {:.2} s per GB of states, and {:.2} s per million messages with as many delayed ones",
        (states - nothing) * 1_000.0 / megabytes.max(1) as f64,
        (waiting - nothing) * 1e6 / pending.max(1) as f64
    );
}

/// Reads all files below a directory: what a start could not do without if it had to read everything.
fn read_all(directory: &Path) -> usize {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory).expect("it can be read") {
        let path = entry.expect("it can be read").path();
        bytes += if path.is_dir() { read_all(&path) } else { std::fs::read(path).expect("it can be read").len() };
    }
    bytes
}
