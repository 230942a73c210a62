//! A fake with streams, and a consumer that reads them.

use std::{sync::Arc, time::Duration};

use md5::{Digest, Md5};
use statefun_kinesis_aggregation::MAGIC;
use statefun_kinesis_client::{KinesisAdmin, KinesisClient, KinesisClientExt, Placement, ShardFilter};
use statefun_kinesis_consumer::{Batch, Consumer, ConsumerBuilder, ConsumerError, MemoryCheckpoints, Settings};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_types::{HashKey, PutRecord, Shard, ShardId, StartupPosition, StreamArn, StreamRef};
use tokio::time::{sleep, timeout};

/// Longer than anything takes that is going to happen, with failures that are retried for two minutes.
pub(crate) const LONG: Duration = Duration::from_secs(180);

pub(crate) struct Scene {
    pub(crate) fake: FakeKinesis,
    pub(crate) stream: StreamRef,
    pub(crate) checkpoints: Arc<MemoryCheckpoints>,
}

impl Scene {
    /// A stream of so many shards.
    pub(crate) async fn with_shards(shards: usize) -> Self {
        Self::on(FakeKinesis::new(), shards).await
    }

    pub(crate) async fn on(fake: FakeKinesis, shards: usize) -> Self {
        fake.create_stream(&"orders".parse().unwrap(), shards).await.unwrap();
        // Whatever starts now starts later than the stream.
        sleep(Duration::from_millis(10)).await;
        Self { fake, stream: "orders".parse().unwrap(), checkpoints: Arc::default() }
    }

    pub(crate) async fn arn(&self) -> StreamArn {
        self.fake.describe_stream_summary(&self.stream).await.unwrap().arn
    }

    pub(crate) fn builder(&self, start: StartupPosition) -> ConsumerBuilder {
        self.builder_on(Arc::new(self.fake.clone()), start)
    }

    pub(crate) fn builder_on(&self, client: Arc<dyn KinesisClient>, start: StartupPosition) -> ConsumerBuilder {
        Consumer::builder(client)
            .stream(self.stream.clone())
            .start(start)
            .checkpoints(self.checkpoints.clone())
            .clock(self.fake.clock())
            .settings(settings())
    }

    pub(crate) async fn consumer(&self, start: StartupPosition) -> Consumer {
        self.builder(start).build().await.unwrap()
    }

    pub(crate) async fn put(&self, data: &str) -> Placement {
        self.put_at(HashKey::of(&"key".parse().unwrap()), data).await
    }

    /// Puts a record into the shard that owns a hash key.
    pub(crate) async fn put_at(&self, key: HashKey, data: &str) -> Placement {
        let record = PutRecord::new("key".parse().unwrap(), data.to_owned()).with_explicit_hash_key(key);
        self.fake.put_record(&self.stream, record).await.unwrap()
    }

    pub(crate) async fn shards(&self) -> Vec<Shard> {
        self.fake.all_shards(&self.stream, ShardFilter::FromTrimHorizon).await.unwrap()
    }

    pub(crate) async fn shard(&self, number: usize) -> Shard {
        self.shards().await.into_iter().find(|shard| shard.id == shard_id(number)).unwrap()
    }

    /// Splits a shard in the middle.
    pub(crate) async fn split(&self, number: usize) {
        let shard = self.shard(number).await;
        let (start, end) = (shard.hash_range.start().get(), shard.hash_range.end().get());
        self.fake.split_shard(&self.stream, &shard.id, HashKey::new(start + (end - start) / 2)).await.unwrap();
    }

    pub(crate) async fn merge(&self, number: usize, adjacent: usize) {
        self.fake.merge_shards(&self.stream, &shard_id(number), &shard_id(adjacent)).await.unwrap();
    }

    /// Puts a record into this shard.
    pub(crate) async fn put_into(&self, number: usize, data: &str) -> Placement {
        let place = self.put_at(self.shard(number).await.hash_range.start(), data).await;
        assert_eq!(place.shard, shard_id(number));
        place
    }
}

pub(crate) fn settings() -> Settings {
    // Positions are in memory, and saved as soon as they move.
    Settings { seed: Some(7), checkpoint_interval: Duration::ZERO, ..Settings::default() }
}

pub(crate) fn shard_id(number: usize) -> ShardId {
    format!("shardId-{number:012}").parse().unwrap()
}

/// The next batch, which has to come.
#[track_caller]
pub(crate) fn next(consumer: &mut Consumer) -> impl Future<Output = Batch> {
    let caller = std::panic::Location::caller();
    async move {
        match timeout(LONG, consumer.next()).await {
            Ok(Some(Ok(batch))) => batch,
            other => panic!("at {caller}: {other:?} instead of a batch"),
        }
    }
}

/// The records of a batch, as text.
pub(crate) fn texts(batch: &Batch) -> Vec<String> {
    batch.records().iter().map(|record| String::from_utf8(record.data.to_vec()).unwrap()).collect()
}

/// Reads and acknowledges so many records.
pub(crate) async fn take(consumer: &mut Consumer, count: usize) -> Vec<String> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let batch = next(consumer).await;
        taken.extend(texts(&batch));
        batch.done();
    }
    taken
}

/// Waits long, in which nothing may come.
pub(crate) async fn nothing_more(consumer: &mut Consumer) {
    if let Ok(came) = timeout(LONG, consumer.next()).await {
        panic!("{came:?} came, where nothing should");
    }
}

/// The error that ends reading, and nothing behind it.
pub(crate) async fn failure(consumer: &mut Consumer) -> ConsumerError {
    let error = loop {
        match timeout(LONG, consumer.next()).await.expect("an error has to come") {
            Some(Ok(batch)) => batch.done(),
            Some(Err(error)) => break error,
            None => panic!("the consumer ended without an error"),
        }
    };
    assert!(timeout(LONG, consumer.next()).await.unwrap().is_none(), "the error is the last item");
    error
}

/// An aggregate with the right MD5, one record and no key that it could have.
pub(crate) fn corrupt_aggregate() -> Vec<u8> {
    corrupt_aggregate_of(0)
}

/// The same with so many bytes of data.
pub(crate) fn corrupt_aggregate_of(bytes: usize) -> Vec<u8> {
    /// A length-delimited field with this tag.
    fn field(tag: u8, content: &[u8]) -> Vec<u8> {
        let (mut field, mut length) = (vec![tag], content.len());
        while length >= 0x80 {
            field.push(length as u8 | 0x80);
            length >>= 7;
        }
        field.push(length as u8);
        [&field, content].concat()
    }
    let record = [&[0x08, 0x09][..], &field(0x1A, &vec![0; bytes])].concat();
    let message = field(0x1A, &record);
    [&MAGIC[..], &message, &Md5::digest(&message)].concat()
}
