//! What cannot be told per item: latency at a low rate, memory per queued record, and how full requests are.
//!
//! Prints a few lines and takes a few seconds. Memory is read from `/proc` and left out where there is none.

#![expect(clippy::print_stdout, reason = "a benchmark prints what it has measured")]

use std::{
    num::NonZeroU32,
    sync::Arc,
    time::{Duration, Instant},
};

use statefun_kinesis_client::{KinesisAdmin, KinesisClientExt, Operation};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_producer::{Aggregation, Producer, Settings};
use statefun_kinesis_types::{PutRecord, StreamName, StreamRef};
use tokio::{runtime::Runtime, time::sleep};

fn main() {
    latency();
    memory();
    fill();
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
            kinesis.put_record(&StreamRef::from(orders()), record(number, 100)).await.unwrap().unwrap();
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
        let Some(empty) = resident() else { return };
        let alone: Vec<PutRecord> = (0..RECORDS).map(|number| record(number, 100)).collect();
        let of_records = resident().unwrap_or_default().saturating_sub(empty);
        drop(alone);
        let settings = Settings {
            max_outstanding_records: NonZeroU32::new(RECORDS as u32).unwrap(),
            max_outstanding_bytes: NonZeroU32::MAX,
            ..Settings::default()
        };
        let (producer, empty) = (producer(&kinesis, settings).await, resident().unwrap_or_default());
        let mut receipts = Vec::new();
        for first in (0..RECORDS).step_by(1_000) {
            let batch = (first..first + 1_000).map(|number| record(number, 100)).collect();
            receipts.push(producer.send_all(batch).await.unwrap());
        }
        let queued = resident().unwrap_or_default().saturating_sub(empty);
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
