//! A producer that has more records than the shards of a stream take, on the fake with enforced limits.

use std::{collections::HashMap, fmt, num::NonZeroU32, sync::Arc, time::Duration};

use bytes::Bytes;
use fastrand::Rng;
use statefun_kinesis_client::{KinesisAdmin, KinesisClientExt, Operation, ShardFilter};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_producer::{Metrics, Order, Producer, Settings};
use statefun_kinesis_types::{
    PutRecord, SHARD_WRITE_BYTES_PER_SECOND, SHARD_WRITE_RECORDS_PER_SECOND, ShardId, StreamName, StreamRef,
};
use tokio::time::{Instant, sleep};

/// What is sent, and to what.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) shards: usize,
    /// Partition keys, as many of them on each shard. Their records follow each other in turn.
    pub(crate) keys: usize,
    pub(crate) records: usize,
    /// Bytes of the data of a record.
    pub(crate) bytes: usize,
    pub(crate) settings: Settings,
    /// The share of the records that the service throttles at random.
    pub(crate) throttled: f64,
    /// How long a PutRecords call takes.
    pub(crate) round_trip: Duration,
}

/// What was measured, from when the shards have taken what they had saved up until few records are left. All of it follows
/// virtual time, so that it is the same each time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// What the shards took, as a share of what they take at their limits.
    pub(crate) share: f64,
    pub(crate) records_per_call: f64,
    /// Calls per second and shard.
    pub(crate) calls: f64,
    /// The share of the records that were throttled.
    pub(crate) throttled: f64,
    /// From the first record to the last receipt.
    pub(crate) took: Duration,
    /// What the producer has done in this time.
    pub(crate) total: Metrics,
}

impl Load {
    /// Records of 100 bytes of these keys, and room for one record of each key and for 1 000 records.
    pub(crate) fn new(shards: usize, keys: usize, records: usize) -> Self {
        let most = u32::try_from(keys.max(1_000)).ok().and_then(NonZeroU32::new);
        let settings =
            Settings { max_outstanding_records: most.expect("a number of keys"), seed: Some(1), ..Settings::default() };
        let round_trip = Duration::from_millis(20);
        Self { shards, keys, records, bytes: 100, settings, throttled: 0.0, round_trip }
    }

    /// Sends the records, on a runtime whose time is paused.
    pub(crate) fn run(&self) -> Figures {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        let (samples, took, total) = runtime.expect("a runtime").block_on(self.send());
        self.figures(&samples, took, total)
    }

    /// Sends the records and checks that they are stored in order. Returns what the producer has done every few milliseconds,
    /// the time until the last receipt, and what it has done then.
    async fn send(&self) -> (Vec<(Instant, Metrics)>, Duration, Metrics) {
        let name: StreamName = "orders".parse().expect("a name");
        let stream = StreamRef::from(name.clone());
        let kinesis = FakeKinesis::builder().enforce_throughput(true).build();
        kinesis.create_stream(&name, self.shards).await.expect("a stream");
        kinesis.faults().delay(Operation::PutRecords, self.round_trip);
        if self.throttled > 0.0 {
            let (mut random, ratio) = (Rng::with_seed(1), self.throttled);
            kinesis.faults().fail_entries(move |_, _| random.f64() < ratio);
        }
        let keys = self.balanced_keys(&kinesis, &stream).await;
        let client = Arc::new(kinesis.clone());
        let producer = Producer::builder(client, name).settings(self.settings.clone()).build().await;
        let producer = producer.expect("a producer");
        let samples = tokio::spawn(sample(producer.clone()));
        let start = Instant::now();
        let mut receipts = Vec::new();
        for first in (0..self.records).step_by(100) {
            let record = |number: usize| {
                let mut data = vec![0; self.bytes.max(8)];
                data[..8].copy_from_slice(&(number as u64).to_be_bytes());
                PutRecord::new(keys[number % keys.len()].parse().expect("a key"), Bytes::from(data))
            };
            let batch = (first..self.records.min(first + 100)).map(record).collect();
            receipts.push(producer.send_all(batch).await.expect("records that are not too large"));
        }
        for receipt in receipts {
            receipt.await.expect("records that are stored");
        }
        let took = start.elapsed();
        producer.close().await;
        if self.settings.aggregation.is_none() && self.settings.order == Order::PerPartitionKey {
            check_order(&kinesis, &stream, self.records);
        }
        let samples = samples.await.expect("samples");
        (samples, took, producer.metrics())
    }

    /// Keys of which each shard gets as many as any other.
    async fn balanced_keys(&self, kinesis: &FakeKinesis, stream: &StreamRef) -> Vec<String> {
        let shards = kinesis.all_shards(stream, ShardFilter::AtLatest).await.expect("shards");
        let mut left: HashMap<ShardId, usize> =
            shards.iter().map(|shard| (shard.id.clone(), self.keys / self.shards)).collect();
        let candidates = (0..).map(|number| format!("customer-{number}"));
        let keys = candidates.filter(|key| {
            let hash = PutRecord::new(key.parse().expect("a key"), "").hash_key();
            let shard = shards.iter().find(|shard| shard.hash_range.contains(hash)).expect("a shard for each key");
            let left = left.get_mut(&shard.id).expect("an open shard");
            let is_wanted = *left > 0;
            *left -= usize::from(is_wanted);
            is_wanted
        });
        keys.take(self.keys / self.shards * self.shards).collect()
    }

    /// For how long the stored records take up the shards.
    fn seconds(&self, metrics: &Metrics) -> f64 {
        let by_bytes = metrics.stored_bytes as f64 / SHARD_WRITE_BYTES_PER_SECOND as f64;
        let by_records = match self.settings.aggregation {
            Some(_) => 0.0,
            None => metrics.stored_records as f64 / f64::from(SHARD_WRITE_RECORDS_PER_SECOND),
        };
        by_records.max(by_bytes) / self.shards as f64
    }

    fn figures(&self, samples: &[(Instant, Metrics)], took: Duration, total: Metrics) -> Figures {
        // A shard takes one second's worth at once, and then as much per second.
        let at = |seconds: f64| samples.iter().find(|(_, metrics)| self.seconds(metrics) >= seconds);
        // A few records are stored at once, and nothing is told of the rate.
        let from = if self.seconds(&total) > 1.6 { 1.5 } else { 0.0 };
        let (first, before) = at(from).expect("a sample after the records that the shards have saved up");
        let (last, after) = at(self.seconds(&total) * 0.9).expect("a sample after most records");
        let shard_seconds = last.duration_since(*first).as_secs_f64() * self.shards as f64;
        let (calls, sent) = (after.requests - before.requests, after.request_records - before.request_records);
        Figures {
            share: (self.seconds(after) - self.seconds(before)) * self.shards as f64 / shard_seconds,
            records_per_call: sent as f64 / calls as f64,
            calls: calls as f64 / shard_seconds,
            throttled: (after.throttled_records - before.throttled_records) as f64 / sent as f64,
            took,
            total,
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { share, records_per_call, calls, throttled, took, total } = self;
        write!(
            f,
            "{:.1} % of what the shards take; {calls:.1} calls a second and shard of {records_per_call:.0} records, {:.2} % \
             of them throttled; {} calls in {:.2} s",
            share * 100.0,
            throttled * 100.0,
            total.requests,
            took.as_secs_f64(),
        )
    }
}

/// What the producer has done, every few milliseconds.
async fn sample(producer: Producer) -> Vec<(Instant, Metrics)> {
    let mut samples = Vec::new();
    loop {
        let metrics = producer.metrics();
        samples.push((Instant::now(), metrics));
        if metrics.stored_records > 0 && metrics.outstanding_records == 0 {
            return samples;
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Checks that all records are stored, and those of each key in the order in which they were sent.
fn check_order(kinesis: &FakeKinesis, stream: &StreamRef, records: usize) {
    let mut last: HashMap<String, u64> = HashMap::new();
    let stored = kinesis.records(stream);
    assert_eq!(stored.len(), records, "each record is stored once");
    for (_, record) in stored {
        let key = record.partition_key.map(|key| key.as_str().to_owned()).unwrap_or_default();
        let number = record.data.first_chunk().map_or(0, |number| u64::from_be_bytes(*number));
        let before = last.insert(key.clone(), number);
        assert!(
            before.is_none_or(|before| before < number),
            "record {number} of key {key} is stored behind {before:?}"
        );
    }
}
