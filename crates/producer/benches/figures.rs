//! What cannot be told per item: the producer's share of the time on a busy machine, latency at a low rate, memory per
//! queued record, how full requests are, what shards at their limits take, and what many shards cost.
//!
//! Prints a few lines and takes a few seconds. Memory is read from `/proc` and left out where there is none. With
//! arguments, only what they name: `latency`, or `"overhead, 100 B"`.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it has measured")]

use std::{
    hint::black_box,
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use md5::{Digest, Md5};
use statefun_kinesis_client::{KinesisAdmin, KinesisClient, KinesisClientExt, Operation};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_producer::{Aggregation, Order, Producer, Settings};
use statefun_kinesis_types::{PutRecord, StreamName, StreamRef};
use tokio::{runtime::Runtime, time::sleep};

#[path = "../tests/limits/load.rs"]
mod load;

use self::load::Load;

fn main() {
    let parts: [(&str, fn()); 6] = [
        // First, while there is no memory that others have used and given back.
        ("memory", memory),
        ("overhead", overhead),
        ("latency", latency),
        ("fill", fill),
        ("limits", limits),
        ("shards", shards),
    ];
    for (_, part) in parts.into_iter().filter(|(name, _)| is_wanted(name)) {
        part();
    }
}

/// Whether an argument, if there are any, is a part of the line or begins with it.
fn is_wanted(line: &str) -> bool {
    // Cargo adds arguments of its own, which begin with a dash.
    let mut wanted = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    wanted.peek().is_none() || wanted.any(|wanted| line.contains(&wanted) || wanted.starts_with(line))
}

fn runtime(paused: bool) -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(paused).build().unwrap()
}

fn orders() -> StreamName {
    "orders".parse().unwrap()
}

fn record(number: usize, bytes: usize) -> PutRecord {
    PutRecord::new(format!("customer-{number}").parse().unwrap(), vec![7; bytes])
}

async fn producer(kinesis: &FakeKinesis, settings: Settings) -> Producer {
    Producer::builder(Arc::new(kinesis.clone()), orders()).settings(settings).build().await.unwrap()
}

/// How much longer it takes to store 10 000 records through a producer than by full batches, on the fake. Each round
/// does both, one right after the other: what else the machine does meanwhile falls on both alike. No aggregate is
/// sealed without the MD5 of its bytes, so that those lines say what this alone takes, too.
fn overhead() {
    const RECORDS: usize = 10_000;
    const ROUNDS: usize = 150;
    let in_order = Settings::default();
    let in_any_order = Settings { order: Order::None, ..Settings::default() };
    let aggregated = Settings { aggregation: Some(Aggregation::default()), ..Settings::default() };
    for bytes in [100, 1_024] {
        for (what, keys, settings) in [
            ("10 000 keys, in order", RECORDS, &in_order),
            ("10 000 keys, in any order", RECORDS, &in_any_order),
            ("10 000 keys, aggregated", RECORDS, &aggregated),
            ("one key, in order", 1, &in_order),
            ("one key, in any order", 1, &in_any_order),
            ("one key, aggregated", 1, &aggregated),
        ] {
            let line = format!("overhead, {bytes} B, {what}");
            if !is_wanted(&line) {
                continue;
            }
            let records: Vec<_> = (0..RECORDS).map(|number| record(number % keys, bytes)).collect();
            let data = vec![7; if settings.aggregation.is_some() { RECORDS * bytes } else { 0 }];
            let mut sealing = Duration::MAX;
            let mut times: Vec<(Duration, Duration)> = runtime(false).block_on(async {
                let kinesis = FakeKinesis::new();
                kinesis.create_stream(&orders(), 4).await.unwrap();
                let many = NonZeroU32::new(RECORDS as u32).unwrap();
                let settings = Settings { max_outstanding_records: many, ..settings.clone() };
                let producer = producer(&kinesis, settings).await;
                let mut times = Vec::new();
                for _ in 0..ROUNDS {
                    let batch = records.clone();
                    let start = Instant::now();
                    for batch in batch.chunks(500) {
                        let outcomes = kinesis.put_records(&StreamRef::from(orders()), batch).await.unwrap();
                        assert!(outcomes.iter().all(Result::is_ok));
                    }
                    drop(batch);
                    let bare = start.elapsed();
                    let start = Instant::now();
                    black_box(Md5::digest(&data));
                    sealing = sealing.min(start.elapsed());
                    let batch = records.clone();
                    let start = Instant::now();
                    drop(producer.send_all(batch).await.unwrap().await.unwrap());
                    times.push((bare, start.elapsed()));
                }
                times
            });
            let ratio = |(bare, through): &(Duration, Duration)| through.as_secs_f64() / bare.as_secs_f64();
            times.sort_unstable_by(|one, other| ratio(one).total_cmp(&ratio(other)));
            let per_record = |time: Duration| time.as_nanos() as usize / RECORDS;
            let (bare, through) = times[ROUNDS / 2];
            let (least, least_bare) =
                (times.iter().map(|(_, through)| *through).min(), times.iter().map(|(bare, _)| *bare).min());
            let best = ratio(&(least_bare.unwrap_or_default(), least.unwrap_or_default()));
            let floor = match data.len() {
                0 => String::new(),
                _ => format!("; MD5 alone {} ns at best", per_record(sealing)),
            };
            println!(
                "{line}: {} ns a record beside {} ns; ratio {:.2} in the median of {ROUNDS} rounds, \
                 {best:.2} of the best times{floor}",
                per_record(through),
                per_record(bare),
                ratio(&(bare, through)),
            );
        }
    }
}

/// One record at a time, each after the receipt of the one before.
fn latency() {
    runtime(false).block_on(async {
        let kinesis = FakeKinesis::new();
        kinesis.create_stream(&orders(), 1).await.unwrap();
        let show = |what: &str, mut times: Vec<Duration>| {
            times.sort_unstable();
            let at = |percent: usize| times[times.len() * percent / 100];
            println!("latency, {what}: p50 {:?}, p99 {:?}", at(50), at(99));
        };
        let mut times = Vec::new();
        for number in 0..1_000 {
            let start = Instant::now();
            kinesis.put_record(&StreamRef::from(orders()), record(number, 100)).await.unwrap();
            times.push(start.elapsed());
        }
        show("bare put_records of one record", times);
        for linger in [Duration::ZERO, Settings::default().linger] {
            let producer = producer(&kinesis, Settings { linger, ..Settings::default() }).await;
            let mut times = Vec::new();
            for number in 0..300 {
                // A hundred records a second.
                sleep(Duration::from_millis(10)).await;
                let start = Instant::now();
                producer.send(record(number, 100)).await.unwrap().await.unwrap();
                times.push(start.elapsed());
            }
            show(&format!("send with a linger of {linger:?}"), times);
        }
    });
}

/// Resident memory in bytes.
fn resident() -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse::<usize>().ok().map(|kib| kib << 10)
}

/// A million records that wait behind a service that does not answer.
fn memory() {
    const RECORDS: usize = 1_000_000;
    runtime(true).block_on(async {
        let kinesis = FakeKinesis::new();
        kinesis.create_stream(&orders(), 1).await.unwrap();
        kinesis.faults().delay(Operation::PutRecords, Duration::from_secs(1 << 30));
        let settings = Settings {
            max_outstanding_records: NonZeroU32::new(RECORDS as u32).unwrap(),
            max_outstanding_bytes: NonZeroU32::MAX,
            ..Settings::default()
        };
        let producer = producer(&kinesis, settings).await;
        let Some(empty) = resident() else { return };
        let mut receipts = Vec::new();
        for first in (0..RECORDS).step_by(1_000) {
            let batch = (first..first + 1_000).map(|number| record(number, 100)).collect();
            receipts.push(producer.send_all(batch).await.unwrap());
        }
        let full = resident().unwrap_or_default();
        let queued = full.saturating_sub(empty);
        let alone: Vec<PutRecord> = (0..RECORDS).map(|number| record(number, 100)).collect();
        let of_records = resident().unwrap_or_default().saturating_sub(full);
        drop(alone);
        let bytes = producer.metrics().outstanding_bytes;
        println!(
            "memory, {RECORDS} queued records: {} bytes a record, of which {} are data and key; as a vector they take {}",
            queued / RECORDS,
            bytes / RECORDS,
            of_records / RECORDS
        );
    });
}

/// Records of 100 bytes at a share of what four shards take, for ten seconds.
fn fill() {
    /// User records of 100 bytes that a shard takes per second in full aggregates: its bytes decide.
    const AGGREGATED_PER_SHARD: u32 = 9_000;
    for (what, aggregation, per_shard) in
        [("plain", None, 1_000), ("aggregated", Some(Aggregation::default()), AGGREGATED_PER_SHARD)]
    {
        for (linger, percent) in [5, 100].into_iter().flat_map(|linger| [10, 50, 100].map(|load| (linger, load))) {
            runtime(true).block_on(async {
                let kinesis = FakeKinesis::new();
                kinesis.create_stream(&orders(), 4).await.unwrap();
                kinesis.faults().delay(Operation::PutRecords, Duration::from_millis(20));
                let many = NonZeroU32::new(100_000).unwrap();
                let linger = Duration::from_millis(linger);
                let settings = Settings { aggregation, linger, max_outstanding_records: many, ..Settings::default() };
                let producer = producer(&kinesis, settings).await;
                let per_milli = f64::from(4 * per_shard * percent / 100) / 1_000.0;
                let mut sent = 0;
                for milli in 1..=10_000_u32 {
                    let batch: Vec<_> =
                        (sent..(f64::from(milli) * per_milli) as usize).map(|number| record(number, 100)).collect();
                    sent += batch.len();
                    drop(producer.send_all(batch).await.unwrap());
                    sleep(Duration::from_millis(1)).await;
                }
                producer.close().await;
                let metrics = producer.metrics();
                let (records, requests) = (metrics.request_records as f64, metrics.requests as f64);
                println!(
                    "fill, {what}, linger {linger:?}, {percent} % load: {:.1} records a request, {:.1} user records and \
                     {:.0} bytes a record",
                    records / requests,
                    metrics.stored_records as f64 / records,
                    metrics.stored_bytes as f64 / records,
                );
            });
        }
    }
}

/// Shards that are written at their limits, by records of 100 bytes. One record of a key is in flight, so that 64 shards need
/// more than 1 000 keys.
fn limits() {
    for (shards, keys, records) in [(1, 1_000, 10_000), (8, 1_000, 50_000), (64, 1_000, 150_000), (64, 12_800, 150_000)]
    {
        for throttled in [0.0, 0.005] {
            let load = Load { throttled, ..Load::new(shards, keys, records) };
            let start = Instant::now();
            let figures = load.run();
            let cpu = start.elapsed().as_secs_f64() / records as f64 * 1e6;
            println!(
                "limits, {shards} shards, {keys} keys, {} % throttled at random: {figures}; {cpu:.1} µs a record",
                throttled * 100.0
            );
        }
    }
}

/// Records of 100 bytes, aggregated by shard: each step of the producer finds those that are due among so many shards.
fn shards() {
    const RECORDS: usize = 20_000;
    for shards in [100, 1_000, 10_000, 20_000] {
        runtime(false).block_on(async {
            let kinesis = FakeKinesis::new();
            kinesis.create_stream(&orders(), shards).await.unwrap();
            let many = NonZeroU32::new(RECORDS as u32).unwrap();
            let aggregation = Some(Aggregation::default());
            let producer =
                producer(&kinesis, Settings { aggregation, max_outstanding_records: many, ..Settings::default() })
                    .await;
            let records: Vec<_> = (0..RECORDS).map(|number| record(number, 100)).collect();
            let start = Instant::now();
            drop(producer.send_all(records).await.unwrap().await.unwrap());
            let metrics = producer.metrics();
            println!(
                "shards, {shards}: {} ns a record in {} aggregates and {} requests",
                start.elapsed().as_nanos() as usize / RECORDS,
                metrics.request_records,
                metrics.requests,
            );
        });
    }
}
