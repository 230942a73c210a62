//! What the producer costs per record, beside bare PutRecords calls with full batches on the same client.
//!
//! The client does nothing but make outcomes, so that what is left is the queue, the order per key, the batches and the
//! receipts. One thread runs it all.

use std::{num::NonZeroU32, sync::Arc};

use async_trait::async_trait;
use divan::{Bencher, counter::ItemsCount};
use statefun_kinesis_client::{
    Error, ErrorKind, KinesisClient, Operation, Placement, PutOutcome, RecordPage, Result, ShardIterator, ShardPage,
    ShardPageRequest, StreamSummary,
};
use statefun_kinesis_producer::{Producer, Settings};
use statefun_kinesis_types::{PutRecord, ShardId, StartPosition, StreamArn, StreamRef, Timestamp};
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
        Err(not_here(Operation::ListShards))
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

fn records(bytes: usize) -> Vec<PutRecord> {
    (0..RECORDS).map(|key| PutRecord::new(format!("customer-{key}").parse().unwrap(), vec![0; bytes])).collect()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

fn producer(runtime: &Runtime) -> Producer {
    let settings = Settings { max_outstanding_records: NonZeroU32::new(RECORDS).unwrap(), ..Settings::default() };
    let orders = Sink::new().arn;
    runtime.block_on(Producer::builder(Arc::new(Sink::new()), orders).settings(settings).build()).unwrap()
}

#[divan::bench_group(sample_count = 100, sample_size = 1)]
mod produce {
    use super::*;

    /// Full batches straight to the client.
    #[divan::bench(args = [100, 1_024])]
    fn floor_put_records(bencher: Bencher, bytes: usize) {
        let (runtime, client): (_, Arc<dyn KinesisClient>) = (runtime(), Arc::new(Sink::new()));
        let (records, orders) = (records(bytes), StreamRef::from(Sink::new().arn));
        bencher.counter(ItemsCount::new(RECORDS)).with_inputs(|| records.clone()).bench_values(|records| {
            runtime.block_on(async {
                for batch in records.chunks(500) {
                    divan::black_box(client.put_records(&orders, batch).await.unwrap());
                }
            });
        });
    }

    /// One batch, one receipt.
    #[divan::bench(args = [100, 1_024])]
    fn send_all(bencher: Bencher, bytes: usize) {
        let runtime = runtime();
        let (records, producer) = (records(bytes), producer(&runtime));
        bencher.counter(ItemsCount::new(RECORDS)).with_inputs(|| records.clone()).bench_values(|records| {
            runtime.block_on(async { producer.send_all(records).await.unwrap().await.unwrap() })
        });
    }

    /// Record by record, a receipt each.
    #[divan::bench(args = [100, 1_024])]
    fn send(bencher: Bencher, bytes: usize) {
        let runtime = runtime();
        let (records, producer) = (records(bytes), producer(&runtime));
        bencher.counter(ItemsCount::new(RECORDS)).with_inputs(|| records.clone()).bench_values(|records| {
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
}
