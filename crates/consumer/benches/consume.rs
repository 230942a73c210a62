//! What reading through a consumer costs beside calling GetRecords in a loop of the same client, and what taking
//! aggregates apart costs beside the MD5 of their bytes, which every reader has to compute.

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
    Error, ErrorKind, KinesisAdmin, KinesisClient, Operation, PutOutcome, RecordPage, Result, ShardIterator, ShardPage,
    ShardPageRequest, StreamSummary,
};
use statefun_kinesis_consumer::{Consumer, Settings};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_types::{
    HashKeyRange, PUT_RECORDS_MAX_RECORDS, PartitionKey, PutRecord, Record, Shard, ShardId, StartPosition,
    StartupPosition, StreamRef, Timestamp,
};
use tokio::runtime::Runtime;

const SHARD: &str = "shardId-000000000000";

const RECORDS_PER_PAGE: usize = 10_000;
/// Few, so that a sample is short: the fastest of many is then one that nothing else on the machine interrupted.
const PAGES: u64 = 10;
const RECORDS: usize = RECORDS_PER_PAGE * PAGES as usize;

/// The default size of the KPL's aggregates, and how many are in a page and read in all.
const AGGREGATE_BYTES: usize = 51_200;
const AGGREGATES_PER_PAGE: usize = 20;
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
        let id: ShardId = SHARD.parse().unwrap();
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

/// The stream as [`Pages`] know it.
fn by_arn() -> StreamRef {
    "arn:aws:kinesis:us-east-1:123456789012:stream/orders".parse().unwrap()
}

/// Looks at each record, as the cheapest reader would.
fn touch(records: &[Record]) -> usize {
    let size = |record: &Record| record.size() + usize::from(record.data[0]);
    records.iter().map(size).sum()
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

/// Reads so many records by a loop of GetRecords.
async fn loop_over(client: Arc<dyn KinesisClient>, stream: StreamRef, count: usize) -> usize {
    let shard: ShardId = SHARD.parse().unwrap();
    let mut iterator = client.get_shard_iterator(&stream, &shard, StartPosition::TrimHorizon).await.unwrap();
    let (mut read, mut sum) = (0, 0);
    loop {
        let page = client.get_records(&iterator, RECORDS_PER_PAGE).await.unwrap();
        read += page.records.len();
        sum += touch(&page.records);
        match page.next_iterator {
            Some(next) if read < count => iterator = next,
            _ => return sum,
        }
    }
}

/// Reads so many records through a consumer, and acknowledges each batch.
async fn consume(client: Arc<dyn KinesisClient>, stream: StreamRef, count: usize) -> usize {
    // Without pacing: it is the work that is measured, not the waiting.
    let settings =
        Settings { read_calls_per_second: u32::MAX, read_bytes_per_second: usize::MAX, ..Settings::default() };
    let builder = Consumer::builder(client).stream(stream).start(StartupPosition::TrimHorizon);
    let mut consumer = builder.settings(settings).build().await.unwrap();
    let (mut read, mut sum) = (0, 0);
    while read < count {
        let batch = consumer.next().await.unwrap().unwrap();
        read += batch.records().len();
        sum += touch(batch.records());
        batch.done();
    }
    sum
}

/// Records out of the fake, which copies them as any service in memory has to.
mod fake {
    use super::*;

    /// A fake with one shard of so many full pages.
    fn filled(runtime: &Runtime, record_bytes: usize) -> Arc<FakeKinesis> {
        let kinesis = FakeKinesis::new();
        runtime.block_on(async {
            kinesis.create_stream(&"orders".parse().unwrap(), 1).await.unwrap();
            let stream: StreamRef = "orders".parse().unwrap();
            while !kinesis.describe_stream_summary(&stream).await.unwrap().status.is_usable() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let Pages { key, data, .. } = Pages::of_records(record_bytes);
            let records = vec![PutRecord::new(key, data); PUT_RECORDS_MAX_RECORDS];
            for _ in 0..RECORDS / records.len() {
                kinesis.put_records(&stream, &records).await.unwrap();
            }
        });
        Arc::new(kinesis)
    }

    fn orders() -> StreamRef {
        "orders".parse().unwrap()
    }

    #[divan::bench(args = [100, 1024])]
    fn floor_get_records(bencher: Bencher<'_, '_>, record_bytes: usize) {
        let runtime = runtime();
        let kinesis = filled(&runtime, record_bytes);
        bencher
            .counter(ItemsCount::new(RECORDS))
            .bench_local(|| black_box(runtime.block_on(loop_over(kinesis.clone(), orders(), RECORDS))));
    }

    #[divan::bench(args = [100, 1024])]
    fn consumer(bencher: Bencher<'_, '_>, record_bytes: usize) {
        let runtime = runtime();
        let kinesis = filled(&runtime, record_bytes);
        bencher
            .counter(ItemsCount::new(RECORDS))
            .bench_local(|| black_box(runtime.block_on(consume(kinesis.clone(), orders(), RECORDS))));
    }
}

/// Records out of a client that makes its pages on the spot: the least that a client can cost, so that nothing hides
/// what the consumer does.
mod made_on_the_spot {
    use super::*;

    #[divan::bench(args = [100, 1024])]
    fn floor_get_records(bencher: Bencher<'_, '_>, record_bytes: usize) {
        let runtime = runtime();
        bencher
            .counter(ItemsCount::new(RECORDS))
            .with_inputs(|| Arc::new(Pages::of_records(record_bytes)))
            .bench_local_values(|client| black_box(runtime.block_on(loop_over(client, by_arn(), RECORDS))));
    }

    #[divan::bench(args = [100, 1024])]
    fn consumer(bencher: Bencher<'_, '_>, record_bytes: usize) {
        let runtime = runtime();
        bencher
            .counter(ItemsCount::new(RECORDS))
            .with_inputs(|| Arc::new(Pages::of_records(record_bytes)))
            .bench_local_values(|client| black_box(runtime.block_on(consume(client, by_arn(), RECORDS))));
    }
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
            .bench_local_values(|client| black_box(runtime.block_on(consume(client, by_arn(), AGGREGATES * count))));
    }
}
