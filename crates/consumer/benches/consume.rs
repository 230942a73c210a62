//! What reading through a consumer costs beside calling GetRecords in a loop, and what taking aggregates apart costs
//! beside the MD5 of their bytes, which every reader has to compute.
//!
//! The client makes its pages on the spot, the same in both cases, so that the difference is the consumer's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use divan::{Bencher, black_box, counter::ItemsCount};
use md5::{Digest, Md5};
use statefun_kinesis_aggregation::{Aggregator, MAGIC};
use statefun_kinesis_client::{
    Error, ErrorKind, KinesisClient, Operation, PutOutcome, RecordPage, Result, ShardIterator, ShardPage,
    ShardPageRequest, StreamSummary,
};
use statefun_kinesis_consumer::{Consumer, Settings};
use statefun_kinesis_types::{
    HashKeyRange, PartitionKey, PutRecord, Record, Shard, ShardId, StartPosition, StartupPosition, StreamRef, Timestamp,
};

const RECORDS_PER_PAGE: usize = 10_000;
const PAGES: u64 = 50;
const RECORDS: usize = RECORDS_PER_PAGE * PAGES as usize;

/// The default size of the KPL's aggregates, and how many are in a page and read in all.
const AGGREGATE_BYTES: usize = 51_200;
const AGGREGATES_PER_PAGE: usize = 100;
const AGGREGATES: usize = AGGREGATES_PER_PAGE * PAGES as usize;

fn main() {
    divan::main();
}

/// One shard of so many full pages, and then its end.
#[derive(Debug)]
struct Pages {
    key: PartitionKey,
    data: Bytes,
    per_page: usize,
    given: AtomicU64,
}

impl Pages {
    fn of_records(bytes: usize) -> Self {
        let key: PartitionKey = "customer-17".parse().unwrap();
        let data = vec![7; bytes - key.size()].into();
        Self { key, data, per_page: RECORDS_PER_PAGE, given: AtomicU64::new(0) }
    }

    /// Pages of aggregates of user records of so many bytes, keys included, under a hundred keys.
    fn of_aggregates(bytes: usize) -> (Self, usize) {
        let mut aggregator = Aggregator::new(AGGREGATE_BYTES, usize::MAX);
        let mut count = 0;
        loop {
            let key: PartitionKey = format!("customer-{:02}", count % 100).parse().unwrap();
            let data = vec![7; bytes - key.size()];
            if aggregator.push(&PutRecord::new(key, data)).is_err() {
                break;
            }
            count += 1;
        }
        let PutRecord { partition_key: key, data, .. } = aggregator.finish().unwrap();
        (Self { key, data, per_page: AGGREGATES_PER_PAGE, given: AtomicU64::new(0) }, count)
    }

    fn page(&self) -> RecordPage {
        let page = self.given.fetch_add(1, Ordering::Relaxed);
        let first = page * self.per_page as u64;
        let record = |index: u64| {
            Record::new((first + index).into(), Some(self.key.clone()), Timestamp::EPOCH, self.data.clone())
        };
        let records = (0..self.per_page as u64).map(record).collect();
        let next = (page + 1 < PAGES).then(|| ShardIterator::new("next"));
        RecordPage::new(records, next, Duration::from_secs(1))
    }
}

#[async_trait]
impl KinesisClient for Pages {
    async fn describe_stream_summary(&self, stream: &StreamRef) -> Result<StreamSummary> {
        let arn = stream.arn().cloned();
        let arn =
            arn.ok_or_else(|| Error::new(Operation::DescribeStreamSummary, ErrorKind::NotFound, "by ARN only"))?;
        Ok(StreamSummary::new(arn, Timestamp::EPOCH, 0))
    }

    async fn list_shards(&self, _: &StreamRef, _: ShardPageRequest) -> Result<ShardPage> {
        let id: ShardId = "shardId-000000000000".parse().unwrap();
        Ok(ShardPage::new(vec![Shard::new(id, HashKeyRange::FULL, 0_u64.into())], None))
    }

    async fn get_shard_iterator(&self, _: &StreamRef, _: &ShardId, _: StartPosition) -> Result<ShardIterator> {
        Ok(ShardIterator::new("first"))
    }

    async fn get_records(&self, _: &ShardIterator, _: usize) -> Result<RecordPage> {
        Ok(self.page())
    }

    async fn put_records(&self, _: &StreamRef, _: &[PutRecord]) -> Result<Vec<PutOutcome>> {
        Err(Error::new(Operation::PutRecords, ErrorKind::InvalidArgument, "nothing is written here"))
    }
}

/// Looks at each record, as the cheapest reader would.
fn touch(records: &[Record]) -> usize {
    let size = |record: &Record| record.size() + usize::from(record.data[0]);
    records.iter().map(size).sum()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// Reads all pages by a loop of GetRecords.
#[divan::bench(args = [100, 1024])]
fn floor_get_records(bencher: Bencher<'_, '_>, record_bytes: usize) {
    let runtime = runtime();
    let loop_over = |client: Arc<dyn KinesisClient>| async move {
        let (mut next, mut sum) = (Some(ShardIterator::new("first")), 0);
        while let Some(iterator) = next {
            let page = client.get_records(&iterator, RECORDS_PER_PAGE).await.unwrap();
            sum += touch(&page.records);
            next = page.next_iterator;
        }
        sum
    };
    bencher
        .counter(ItemsCount::new(RECORDS))
        .with_inputs(|| Arc::new(Pages::of_records(record_bytes)))
        .bench_local_values(|client| black_box(runtime.block_on(loop_over(client))));
}

/// Reads all pages through a consumer, and acknowledges each.
async fn consume(client: Arc<Pages>) -> usize {
    let stream: StreamRef = "arn:aws:kinesis:us-east-1:123456789012:stream/orders".parse().unwrap();
    // Without pacing: it is the work that is measured, not the waiting.
    let settings =
        Settings { read_calls_per_second: u32::MAX, read_bytes_per_second: usize::MAX, ..Settings::default() };
    let builder = Consumer::builder(client).stream(stream).start(StartupPosition::TrimHorizon);
    let mut consumer = builder.settings(settings).build().await.unwrap();
    let mut sum = 0;
    while let Some(batch) = consumer.next().await {
        let batch = batch.unwrap();
        sum += touch(batch.records());
        batch.done();
    }
    sum
}

#[divan::bench(args = [100, 1024])]
fn consumer(bencher: Bencher<'_, '_>, record_bytes: usize) {
    let runtime = runtime();
    bencher
        .counter(ItemsCount::new(RECORDS))
        .with_inputs(|| Arc::new(Pages::of_records(record_bytes)))
        .bench_local_values(|client| black_box(runtime.block_on(consume(client))));
}

/// User records out of aggregates.
mod aggregates {
    use super::*;

    /// The MD5 of each aggregate's bytes.
    #[divan::bench(args = [100, 1024], sample_count = 10)]
    fn floor_md5(bencher: Bencher<'_, '_>, record_bytes: usize) {
        let (pages, count) = Pages::of_aggregates(record_bytes);
        let message = &pages.data[MAGIC.len()..pages.data.len() - 16];
        bencher.counter(ItemsCount::new(AGGREGATES * count)).bench_local(|| {
            for _ in 0..AGGREGATES {
                black_box(Md5::digest(black_box(message)));
            }
        });
    }

    /// Reads all aggregates through a consumer, and acknowledges each batch.
    #[divan::bench(args = [100, 1024], sample_count = 10)]
    fn consumer(bencher: Bencher<'_, '_>, record_bytes: usize) {
        let runtime = runtime();
        let (_, count) = Pages::of_aggregates(record_bytes);
        bencher
            .counter(ItemsCount::new(AGGREGATES * count))
            .with_inputs(|| Arc::new(Pages::of_aggregates(record_bytes).0))
            .bench_local_values(|client| black_box(runtime.block_on(consume(client))));
    }
}
