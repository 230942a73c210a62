use std::{num::NonZeroU16, sync::Arc, time::Duration};

use bytes::Bytes;
use statefun_kinesis_client::{
    ErrorKind, KinesisAdmin, KinesisClientExt, Placement, PutRecordError, RecordPage, Result, ShardFilter,
    ShardIterator, ShardPage, ShardPageRequest, StreamStatus,
};
use statefun_kinesis_types::{
    ErrorChain, HashKey, PartitionKey, PutRecord, Record, Shard, ShardId, StartPosition, StreamArn, StreamName,
    StreamRef, Timestamp,
};
use tokio::time::Instant;

use crate::Backend;

/// How long a backend may take for what it has promised to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// Between two looks: five a second is what a shard permits.
const LOOK_AGAIN: Duration = Duration::from_millis(210);

/// Waits for something to become true, and no longer than is decent.
pub(crate) struct Deadline {
    what: &'static str,
    until: Instant,
}

impl Deadline {
    pub(crate) fn for_(what: &'static str) -> Self {
        Self { what, until: Instant::now() + PATIENCE }
    }

    /// A short pause before the next look.
    #[track_caller]
    pub(crate) fn pause(&self) -> impl Future<Output = ()> + use<> {
        self.check();
        tokio::time::sleep(LOOK_AGAIN)
    }

    /// Fails when the time is up, for loops that wait for something else.
    #[track_caller]
    pub(crate) fn check(&self) {
        assert!(Instant::now() < self.until, "waited {PATIENCE:?} in vain for {}", self.what);
    }
}

/// The error of a call that must fail.
#[track_caller]
pub(crate) fn refused<T>(result: Result<T>, kind: ErrorKind, why: &str) {
    match result {
        Ok(_) => panic!("{why}: expected an error of the kind `{kind}`, the call succeeded"),
        Err(error) => assert_eq!(error.kind(), kind, "{why}: {error}"),
    }
}

pub(crate) fn key(text: &str) -> PartitionKey {
    text.parse().expect("a test's partition key is valid")
}

pub(crate) fn record(text: &str) -> PutRecord {
    PutRecord::new(key(text), Bytes::from(text.to_owned()))
}

/// The payloads of records as text.
pub(crate) fn texts(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| String::from_utf8_lossy(&record.data).into_owned()).collect()
}

/// A key in the middle of a shard's range.
pub(crate) fn middle(shard: &Shard) -> HashKey {
    let (start, end) = (shard.hash_range.start().get(), shard.hash_range.end().get());
    HashKey::new(start + (end - start) / 2 + 1)
}

/// A stream that belongs to one behaviour.
pub(crate) struct TestStream {
    pub(crate) client: Arc<dyn KinesisAdmin>,
    pub(crate) name: StreamName,
    pub(crate) stream: StreamRef,
    reliable_consumers: bool,
}

impl TestStream {
    /// Makes a stream and waits until it is ACTIVE.
    pub(crate) async fn new(backend: &dyn Backend, shards: usize) -> Self {
        let created = Self::creating(backend, shards).await;
        created.wait_until_active().await;
        created
    }

    /// Makes a stream that need not be ACTIVE yet.
    pub(crate) async fn creating(backend: &dyn Backend, shards: usize) -> Self {
        let (client, name) = (backend.client(), backend.fresh_name());
        // A service permits few streams to be CREATING at a time, and other behaviours may be running.
        let deadline = Deadline::for_("a stream to be created");
        while let Err(error) = client.create_stream(&name, shards).await {
            assert!(
                matches!(error.kind(), ErrorKind::LimitExceeded | ErrorKind::Throttled),
                "a stream with a fresh name can be created: {error}"
            );
            deadline.pause().await;
        }
        let reliable_consumers = backend.capabilities().reliable_consumers;
        Self { client, stream: name.clone().into(), name, reliable_consumers }
    }

    pub(crate) async fn wait_until_active(&self) {
        let deadline = Deadline::for_("the stream to become ACTIVE");
        while self.status().await != StreamStatus::Active {
            deadline.pause().await;
        }
    }

    pub(crate) async fn status(&self) -> StreamStatus {
        self.client.describe_stream_summary(&self.stream).await.expect("the stream is there").status
    }

    pub(crate) async fn arn(&self) -> StreamArn {
        self.client.describe_stream_summary(&self.stream).await.expect("the stream is there").arn
    }

    /// Removes the stream and waits until it is gone.
    pub(crate) async fn remove(self) {
        self.wait_until_active().await;
        match self.client.delete_stream(&self.stream).await {
            Ok(()) => self.wait_until_gone().await,
            // Left behind with a consumer that the backend does not remove.
            Err(error) if !self.reliable_consumers && error.kind() == ErrorKind::InUse => {}
            Err(error) => panic!("an ACTIVE stream can be removed: {error}"),
        }
    }

    pub(crate) async fn wait_until_gone(&self) {
        let deadline = Deadline::for_("the stream to be gone");
        loop {
            match self.client.describe_stream_summary(&self.stream).await {
                Ok(_) => deadline.pause().await,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NotFound, "a removed stream is not found: {error}");
                    return;
                }
            }
        }
    }

    pub(crate) async fn shards(&self, filter: ShardFilter) -> Vec<Shard> {
        self.client.all_shards(&self.stream, filter).await.expect("the shards can be listed")
    }

    /// The open shards by hash key, whatever the backend's filters are worth.
    pub(crate) async fn open_shards(&self) -> Vec<Shard> {
        let mut shards = self.shards(ShardFilter::FromTrimHorizon).await;
        shards.retain(Shard::is_open);
        shards.sort_by_key(|shard| shard.hash_range.start());
        shards
    }

    pub(crate) async fn ids(&self, filter: ShardFilter) -> Vec<ShardId> {
        self.shards(filter).await.into_iter().map(|shard| shard.id).collect()
    }

    /// The first page of a listing.
    pub(crate) async fn page(&self, max_results: u16) -> ShardPage {
        let filter = ShardFilter::FromTrimHorizon;
        let request = ShardPageRequest::First { filter, max_results: NonZeroU16::new(max_results) };
        self.client.list_shards(&self.stream, request).await.expect("the shards can be listed")
    }

    /// Splits a shard in the middle; gives the parent and its children by hash key.
    pub(crate) async fn split(&self, shard: &Shard) -> (Shard, Vec<Shard>) {
        self.client
            .split_shard(&self.stream, &shard.id, middle(shard))
            .await
            .expect("an open shard of an ACTIVE stream can be split");
        self.wait_until_active().await;
        self.family(&shard.id).await
    }

    /// A shard that was split or merged, and its children by hash key.
    pub(crate) async fn family(&self, parent: &ShardId) -> (Shard, Vec<Shard>) {
        let all = self.shards(ShardFilter::FromTrimHorizon).await;
        let mut children: Vec<_> = all.iter().filter(|shard| shard.parents().any(|id| id == parent)).cloned().collect();
        children.sort_by_key(|shard| shard.hash_range.start());
        let parent = all.into_iter().find(|shard| shard.id == *parent).expect("a closed shard is still listed");
        (parent, children)
    }

    /// Stores records, every one of them.
    pub(crate) async fn put(&self, records: &[PutRecord]) -> Vec<Placement> {
        let outcomes = self.client.put_records(&self.stream, records).await.expect("the records can be put");
        assert_eq!(outcomes.len(), records.len(), "each record has an outcome");
        outcomes.into_iter().map(|outcome| outcome.expect("a few small records are all stored")).collect()
    }

    /// Stores a record that may be too much for one second.
    pub(crate) async fn put_patiently(&self, record: &PutRecord) {
        let deadline = Deadline::for_("a large record to be stored");
        loop {
            match self.client.put_record(&self.stream, record.clone()).await {
                Ok(_) => return,
                Err(PutRecordError::Record(failure)) => assert_eq!(failure.kind, ErrorKind::Throttled, "{failure}"),
                Err(PutRecordError::Call(error)) => panic!("the record cannot be put: {}", ErrorChain(&error)),
            }
            deadline.pause().await;
        }
    }

    pub(crate) async fn put_one(&self, text: &str) -> Placement {
        self.put(&[record(text)]).await.remove(0)
    }

    pub(crate) async fn iterator(&self, shard: &ShardId, from: StartPosition) -> ShardIterator {
        let deadline = Deadline::for_("an iterator");
        loop {
            match self.client.get_shard_iterator(&self.stream, shard, from).await {
                Ok(iterator) => return iterator,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Throttled, "an iterator {from} can be had: {error}");
                    deadline.pause().await;
                }
            }
        }
    }

    /// One page, however often the service asks to wait.
    pub(crate) async fn read(&self, iterator: &ShardIterator, limit: usize) -> RecordPage {
        let deadline = Deadline::for_("a page of records");
        loop {
            match self.client.get_records(iterator, limit).await {
                Ok(page) => return page,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Throttled, "a valid iterator can be read: {error}");
                    deadline.pause().await;
                }
            }
        }
    }

    /// The first page that is not empty.
    pub(crate) async fn read_some(&self, iterator: &ShardIterator, limit: usize) -> RecordPage {
        let deadline = Deadline::for_("records to come");
        let mut iterator = iterator.clone();
        loop {
            let page = self.read(&iterator, limit).await;
            if !page.records.is_empty() {
                return page;
            }
            iterator = page.next_iterator.expect("the shard holds records that were not read yet");
            deadline.pause().await;
        }
    }

    /// Reads until `count` records have come; more is a failure.
    pub(crate) async fn read_from(&self, shard: &ShardId, from: StartPosition, count: usize) -> Vec<Record> {
        let mut next = Some(self.iterator(shard, from).await);
        let deadline = Deadline::for_("the records that were put");
        let mut records = Vec::new();
        while let Some(iterator) = next {
            let page = self.read(&iterator, 1_000).await;
            records.extend(page.records);
            if records.len() >= count {
                break;
            }
            next = page.next_iterator;
            deadline.pause().await;
        }
        assert_eq!(records.len(), count, "records of {shard} {from}: {:?}", texts(&records));
        records
    }

    /// Reads a closed shard to its end; gives its records and the page that ended it.
    pub(crate) async fn read_to_end(&self, shard: &ShardId, from: StartPosition) -> (Vec<Record>, RecordPage) {
        let mut iterator = self.iterator(shard, from).await;
        let deadline = Deadline::for_("the end of a closed shard");
        let mut records = Vec::new();
        loop {
            let page = self.read(&iterator, 1_000).await;
            records.extend(page.records.iter().cloned());
            match page.next_iterator {
                Some(ref next) => iterator = next.clone(),
                None => return (records, page),
            }
            deadline.pause().await;
        }
    }

    /// Puts marks into the stream until one arrives later than `time` by the service's clock; gives its arrival.
    pub(crate) async fn wait_until_after(&self, time: Timestamp) -> Timestamp {
        let deadline = Deadline::for_("the service's clock to go on");
        loop {
            let placement = self.put_one("mark").await;
            let at = StartPosition::AtSequenceNumber(placement.sequence_number);
            let iterator = self.iterator(&placement.shard, at).await;
            let arrival = self.read_some(&iterator, 1).await.records[0].approximate_arrival;
            if arrival > time {
                return arrival;
            }
            deadline.pause().await;
        }
    }
}
