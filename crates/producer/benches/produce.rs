//! What the producer costs per record, beside bare PutRecords calls with full batches on the same service.
//!
//! `on_the_fake` writes to the in-memory Kinesis, which hashes keys and keeps records as the service does; there the
//! floor is what a program pays that cuts its records into full requests and looks at the outcomes, without order per
//! key, retries or receipts. `on_nothing` writes to a client that only makes outcomes, so that what is left is the
//! producer itself. One thread runs it all.

use std::{num::NonZeroU32, sync::Arc};

use async_trait::async_trait;
use divan::{Bencher, counter::ItemsCount};
use md5::{Digest, Md5};
use statefun_kinesis_client::{
    Error, ErrorKind, KinesisAdmin, KinesisClient, Operation, Placement, PutOutcome, RecordPage, Result, ShardIterator,
    ShardPage, ShardPageRequest, StreamSummary,
};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_producer::{Aggregation, Order, Producer, Settings};
use statefun_kinesis_types::{
    HashKeyRange, PutRecord, Shard, ShardId, StartPosition, StreamArn, StreamName, StreamRef, Timestamp,
};
use tokio::runtime::Runtime;

const RECORDS: u32 = 10_000;

fn main() {
    divan::main();
}

/// A client that stores nothing and says that all is well.
#[derive(Debug)]
struct Sink {
    arn: StreamArn,
    shard: ShardId,
}

impl Sink {
    fn new() -> Self {
        Self {
            arn: "arn:aws:kinesis:us-east-1:000000000000:stream/orders".parse().unwrap(),
            shard: "shardId-000000000000".parse().unwrap(),
        }
    }
}

fn not_here(operation: Operation) -> Error {
    Error::new(operation, ErrorKind::InvalidArgument, "this client only writes")
}

#[async_trait]
impl KinesisClient for Sink {
    async fn describe_stream_summary(&self, _: &StreamRef) -> Result<StreamSummary> {
        Ok(StreamSummary::new(self.arn.clone(), Timestamp::EPOCH, 1))
    }

    async fn list_shards(&self, _: &StreamRef, _: ShardPageRequest) -> Result<ShardPage> {
        Ok(ShardPage::new(vec![Shard::new(self.shard.clone(), HashKeyRange::FULL, 0_u64.into())], None))
    }

    async fn get_shard_iterator(&self, _: &StreamRef, _: &ShardId, _: StartPosition) -> Result<ShardIterator> {
        Err(not_here(Operation::GetShardIterator))
    }

    async fn get_records(&self, _: &ShardIterator, _: usize) -> Result<RecordPage> {
        Err(not_here(Operation::GetRecords))
    }

    async fn put_records(&self, _: &StreamRef, records: &[PutRecord]) -> Result<Vec<PutOutcome>> {
        let placement =
            |number: usize| Placement { shard: self.shard.clone(), sequence_number: (number as u64).into() };
        Ok((0..records.len()).map(|number| Ok(placement(number))).collect())
    }
}

/// Records of 10 000 keys, or all of one.
fn records(bytes: usize, keys: u32) -> Vec<PutRecord> {
    let record = |number| PutRecord::new(format!("customer-{}", number % keys).parse().unwrap(), vec![0; bytes]);
    (0..RECORDS).map(record).collect()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn orders() -> StreamName {
    "orders".parse().unwrap()
}

fn fake(runtime: &Runtime) -> Arc<dyn KinesisClient> {
    let fake = FakeKinesis::new();
    runtime.block_on(fake.create_stream(&orders(), 4)).unwrap();
    Arc::new(fake)
}

fn nothing(_: &Runtime) -> Arc<dyn KinesisClient> {
    Arc::new(Sink::new())
}

fn producer(runtime: &Runtime, client: Arc<dyn KinesisClient>, settings: Settings) -> Producer {
    let settings = Settings { max_outstanding_records: NonZeroU32::new(RECORDS).unwrap(), ..settings };
    runtime.block_on(Producer::builder(client, orders()).settings(settings).build()).unwrap()
}

fn in_order() -> Settings {
    Settings::default()
}

fn in_any_order() -> Settings {
    Settings { order: Order::None, ..Settings::default() }
}

fn aggregated() -> Settings {
    Settings { aggregation: Some(Aggregation::default()), ..Settings::default() }
}

/// Full batches straight to the client, whose outcomes are looked at.
fn bare(bencher: Bencher, client: fn(&Runtime) -> Arc<dyn KinesisClient>, records: Vec<PutRecord>) {
    let runtime = runtime();
    let (client, orders) = (client(&runtime), StreamRef::from(orders()));
    bencher.counter(ItemsCount::new(RECORDS)).with_inputs(|| records.clone()).bench_local_values(|records| {
        runtime.block_on(async {
            for batch in records.chunks(500) {
                let outcomes = client.put_records(&orders, batch).await.unwrap();
                assert!(divan::black_box(outcomes).iter().all(|outcome| outcome.is_ok()));
            }
        });
    });
}

/// One batch, one receipt.
fn send_all(
    bencher: Bencher,
    client: fn(&Runtime) -> Arc<dyn KinesisClient>,
    settings: Settings,
    records: Vec<PutRecord>,
) {
    let runtime = runtime();
    let client = client(&runtime);
    let producer = producer(&runtime, client, settings);
    bencher.counter(ItemsCount::new(RECORDS)).with_inputs(|| records.clone()).bench_local_values(|records| {
        runtime.block_on(async { producer.send_all(records).await.unwrap().await.unwrap() })
    });
}

/// Record by record, a receipt each.
fn send(bencher: Bencher, client: fn(&Runtime) -> Arc<dyn KinesisClient>, records: Vec<PutRecord>) {
    let runtime = runtime();
    let client = client(&runtime);
    let producer = producer(&runtime, client, in_order());
    bencher.counter(ItemsCount::new(RECORDS)).with_inputs(|| records.clone()).bench_local_values(|records| {
        runtime.block_on(async {
            let mut receipts = Vec::with_capacity(records.len());
            for record in records {
                receipts.push(producer.send(record).await.unwrap());
            }
            for receipt in receipts {
                receipt.await.unwrap();
            }
        });
    });
}

macro_rules! cases {
    ($group:ident, $client:ident) => {
        mod $group {
            use super::*;

            /// 10 000 records of as many keys.
            #[divan::bench_group(sample_count = 60, sample_size = 1)]
            mod many_keys {
                use super::*;

                #[divan::bench(args = [100, 1_024])]
                fn floor_put_records(bencher: Bencher, bytes: usize) {
                    bare(bencher, $client, records(bytes, RECORDS));
                }

                #[divan::bench(args = [100, 1_024])]
                fn send_all_in_order(bencher: Bencher, bytes: usize) {
                    send_all(bencher, $client, in_order(), records(bytes, RECORDS));
                }

                #[divan::bench(args = [100, 1_024])]
                fn send_all_in_any_order(bencher: Bencher, bytes: usize) {
                    send_all(bencher, $client, in_any_order(), records(bytes, RECORDS));
                }

                #[divan::bench(args = [100, 1_024])]
                fn send_all_aggregated(bencher: Bencher, bytes: usize) {
                    send_all(bencher, $client, aggregated(), records(bytes, RECORDS));
                }

                #[divan::bench(args = [100, 1_024])]
                fn send_in_order(bencher: Bencher, bytes: usize) {
                    send(bencher, $client, records(bytes, RECORDS));
                }
            }

            /// 10 000 records of one key.
            #[divan::bench_group(sample_count = 60, sample_size = 1)]
            mod hot_key {
                use super::*;

                #[divan::bench(args = [100, 1_024])]
                fn floor_put_records(bencher: Bencher, bytes: usize) {
                    bare(bencher, $client, records(bytes, 1));
                }

                /// A round trip per record.
                #[divan::bench(args = [100, 1_024])]
                fn send_all_in_order(bencher: Bencher, bytes: usize) {
                    send_all(bencher, $client, in_order(), records(bytes, 1));
                }

                #[divan::bench(args = [100, 1_024])]
                fn send_all_in_any_order(bencher: Bencher, bytes: usize) {
                    send_all(bencher, $client, in_any_order(), records(bytes, 1));
                }

                /// In order, too.
                #[divan::bench(args = [100, 1_024])]
                fn send_all_aggregated(bencher: Bencher, bytes: usize) {
                    send_all(bencher, $client, aggregated(), records(bytes, 1));
                }
            }
        }
    };
}

cases!(on_the_fake, fake);
cases!(on_nothing, nothing);

/// What no aggregating producer can leave out, beside one that aggregates.
#[divan::bench_group(sample_count = 60, sample_size = 1)]
mod aggregation {
    use super::*;

    #[divan::bench(args = [100, 1_024])]
    fn floor_md5_of_the_bytes(bencher: Bencher, bytes: usize) {
        let payload = vec![0_u8; bytes * RECORDS as usize];
        bencher.counter(ItemsCount::new(RECORDS)).bench(|| Md5::digest(divan::black_box(&payload)));
    }

    #[divan::bench(args = [100, 1_024])]
    fn send_all_aggregated(bencher: Bencher, bytes: usize) {
        send_all(bencher, nothing, aggregated(), records(bytes, RECORDS));
    }
}
