//! A client around the fake that looks at what passes, and can be as odd as some emulators are.

use std::{
    num::NonZeroU16,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use statefun_kinesis_client::{
    KinesisClient, PutOutcome, RecordPage, Result, ShardFilter, ShardIterator, ShardPage, ShardPageRequest,
    StreamSummary,
};
use statefun_kinesis_fake::FakeKinesis;
use statefun_kinesis_types::{PutRecord, ShardId, StartPosition, StreamArn, StreamRef};
use tokio::time::sleep;

#[derive(Debug)]
pub(crate) struct Tap {
    fake: FakeKinesis,
    /// Records and bytes that GetRecords gave.
    pub(crate) records: AtomicUsize,
    pub(crate) bytes: AtomicUsize,
    /// Lists all shards whatever the filter says, each of them twice.
    pub(crate) ignores_filters: AtomicBool,
    /// Looks at a stream's name only, and calls it that of account 999999999999.
    pub(crate) is_of_other_account: AtomicBool,
    /// Lists nothing when asked for shards from a timestamp on.
    pub(crate) knows_no_time: AtomicBool,
    /// Most shards of a page of a listing; 0 is the service's most.
    pub(crate) shards_per_page: AtomicU16,
    /// So many requests for a further page of a listing arrive more than five minutes late.
    pub(crate) late_pages: AtomicUsize,
    /// Does not tell of child shards at the end of a shard.
    pub(crate) hides_children: AtomicBool,
    /// Panics in GetRecords, as a client with a bug would.
    pub(crate) panics: AtomicBool,
    /// Lists only shards without parents, and says that no shard is open …
    pub(crate) is_closed: AtomicBool,
    /// … unless it counts the open ones all the same.
    pub(crate) counts_open: AtomicBool,
}

impl Tap {
    pub(crate) fn new(fake: &FakeKinesis) -> Arc<Self> {
        Arc::new(Self {
            fake: fake.clone(),
            records: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            ignores_filters: AtomicBool::new(false),
            is_of_other_account: AtomicBool::new(false),
            knows_no_time: AtomicBool::new(false),
            shards_per_page: AtomicU16::new(0),
            late_pages: AtomicUsize::new(0),
            hides_children: AtomicBool::new(false),
            panics: AtomicBool::new(false),
            is_closed: AtomicBool::new(false),
            counts_open: AtomicBool::new(false),
        })
    }
}

fn is(flag: &AtomicBool) -> bool {
    flag.load(Ordering::Relaxed)
}

#[async_trait]
impl KinesisClient for Tap {
    async fn describe_stream_summary(&self, stream: &StreamRef) -> Result<StreamSummary> {
        let mut summary = self.fake.describe_stream_summary(stream).await?;
        if is(&self.is_closed) && !is(&self.counts_open) {
            summary.open_shards = 0;
        }
        if is(&self.is_of_other_account) {
            summary.arn = StreamArn::new(summary.arn.region(), "999999999999", &summary.name).unwrap();
        }
        Ok(summary)
    }

    async fn list_shards(&self, stream: &StreamRef, page: ShardPageRequest) -> Result<ShardPage> {
        let page = match page {
            ShardPageRequest::First { filter: ShardFilter::FromTimestamp(_), .. } if is(&self.knows_no_time) => {
                return Ok(ShardPage::new(Vec::new(), None));
            }
            ShardPageRequest::First { max_results, .. } if is(&self.ignores_filters) => {
                ShardPageRequest::First { filter: ShardFilter::FromTrimHorizon, max_results }
            }
            page => page,
        };
        let most = NonZeroU16::new(self.shards_per_page.load(Ordering::Relaxed));
        let page = match page {
            ShardPageRequest::First { filter, max_results } => {
                ShardPageRequest::First { filter, max_results: most.or(max_results) }
            }
            ShardPageRequest::Next { token, max_results } => {
                let late = self.late_pages.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1));
                if late.is_ok() {
                    sleep(Duration::from_secs(301)).await;
                }
                ShardPageRequest::Next { token, max_results: most.or(max_results) }
            }
        };
        let mut page = self.fake.list_shards(stream, page).await?;
        if is(&self.ignores_filters) {
            page.shards.extend(page.shards.clone());
        }
        if is(&self.is_closed) {
            page.shards.retain(|shard| shard.parents().next().is_none());
        }
        Ok(page)
    }

    async fn get_shard_iterator(
        &self,
        stream: &StreamRef,
        shard: &ShardId,
        from: StartPosition,
    ) -> Result<ShardIterator> {
        self.fake.get_shard_iterator(stream, shard, from).await
    }

    async fn get_records(&self, iterator: &ShardIterator, limit: usize) -> Result<RecordPage> {
        assert!(!is(&self.panics), "a bug that the test put here");
        let mut page = self.fake.get_records(iterator, limit).await?;
        self.records.fetch_add(page.records.len(), Ordering::Relaxed);
        self.bytes.fetch_add(page.records.iter().map(|record| record.size()).sum(), Ordering::Relaxed);
        if is(&self.hides_children) || is(&self.is_closed) {
            page.child_shards.clear();
        }
        Ok(page)
    }

    async fn put_records(&self, stream: &StreamRef, records: &[PutRecord]) -> Result<Vec<PutOutcome>> {
        self.fake.put_records(stream, records).await
    }
}
