//! What a consumer costs while nothing happens, and how long a record waits for it: figures rather than times per call.
//!
//! Time is virtual, so that waiting is measured as the policy has it and not as the machine does: the latencies are
//! those between a record's arrival in the fake and its batch. Memory is the resident set beyond that of the fake and
//! of its streams; it is read where the system tells it, which is Linux.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use statefun_kinesis_client::{KinesisAdmin, KinesisClientExt, Operation};
use statefun_kinesis_consumer::{Consumer, ConsumerBuilder, FanOut};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_types::{PutRecord, StartupPosition, StreamRef};
use tokio::time::sleep;

fn main() {
    println!("idle: mode, shards | bytes per shard | calls per second | CPU per second");
    for shards in [1_000, 5_000] {
        for fan_out in [false, true] {
            idle(shards, fan_out);
        }
    }
    println!("latency: mode, pause between records | p50 | p99 | most");
    for pause in [Duration::from_millis(100), Duration::from_secs(3)] {
        for fan_out in [false, true] {
            latency(fan_out, pause);
        }
    }
}

fn mode(fan_out: bool) -> &'static str {
    if fan_out { "fan-out" } else { "polling" }
}

fn paused<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(future)
}

async fn scene(shards: usize) -> (FakeKinesis, StreamRef) {
    let kinesis = FakeKinesis::new();
    kinesis.create_stream(&"orders".parse().unwrap(), shards).await.unwrap();
    sleep(Duration::from_millis(10)).await;
    (kinesis, "orders".parse().unwrap())
}

fn builder(kinesis: &FakeKinesis, stream: &StreamRef, fan_out: bool) -> ConsumerBuilder {
    let client = Arc::new(kinesis.clone());
    let builder = Consumer::builder(client.clone()).stream(stream.clone()).clock(kinesis.clock());
    let builder = builder.start(StartupPosition::TrimHorizon);
    if fan_out { builder.fan_out(client, FanOut::managed("bench".parse().unwrap())) } else { builder }
}

/// The resident set in bytes.
fn resident() -> Option<usize> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(pages.split_whitespace().nth(1)?.parse::<usize>().ok()? * 4_096)
}

fn idle(shards: usize, fan_out: bool) {
    paused(async {
        let (kinesis, stream) = scene(shards).await;
        let before = resident();
        let mut consumer = builder(&kinesis, &stream, fan_out).build().await.unwrap();
        let nothing = tokio::time::timeout(Duration::from_secs(60), consumer.next()).await;
        assert!(nothing.is_err());
        let after = resident();
        let calls = || {
            let reading = [Operation::GetRecords, Operation::GetShardIterator, Operation::SubscribeToShard];
            reading.into_iter().map(|operation| kinesis.calls(operation)).sum::<u64>()
        };
        let (calls_before, began) = (calls(), Instant::now());
        let nothing = tokio::time::timeout(Duration::from_secs(60), consumer.next()).await;
        assert!(nothing.is_err());
        let calls = (calls() - calls_before) as f64 / 60.0;
        let cpu = began.elapsed() / 60;
        let bytes = match (before, after) {
            (Some(before), Some(after)) => format!("{}", after.saturating_sub(before) / shards),
            _ => "unknown".to_owned(),
        };
        println!("  {}, {shards} | {bytes} | {calls:.1} | {cpu:?}", mode(fan_out));
        consumer.close().await.unwrap();
    });
}

fn latency(fan_out: bool, pause: Duration) {
    const RECORDS: usize = 2_000;
    paused(async {
        let (kinesis, stream) = scene(4).await;
        let mut consumer = builder(&kinesis, &stream, fan_out).build().await.unwrap();
        let clock = kinesis.clock();
        let puts = kinesis.clone();
        let putting = tokio::spawn(async move {
            let mut random = fastrand::Rng::with_seed(1);
            for number in 0..RECORDS {
                sleep(pause.mul_f64(2.0 * random.f64())).await;
                let record = PutRecord::new(format!("customer-{}", number % 97).parse().unwrap(), "one cup");
                puts.put_record(&stream, record).await.unwrap();
            }
        });
        let mut waits = Vec::new();
        while waits.len() < RECORDS {
            let batch = consumer.next().await.unwrap().unwrap();
            waits.extend(batch.records().iter().map(|record| clock.now().since(record.approximate_arrival)));
            batch.done();
        }
        putting.await.unwrap();
        waits.sort();
        let at = |quantile: f64| waits[((RECORDS - 1) as f64 * quantile) as usize];
        println!("  {}, {pause:?} | {:?} | {:?} | {:?}", mode(fan_out), at(0.5), at(0.99), at(1.0));
    });
}
