//! Reads one shard: unpacks its pages into batches and hands them over.

use std::{sync::Arc, time::Duration};

use statefun_kinesis_client::{ChildShard, Error};
use statefun_kinesis_types::{ShardId, StreamArn};
use tokio::{sync::mpsc, task::yield_now, time::Instant};

use crate::{
    Acknowledgement, Batch, BatchOrigin, ConsumerError, InvalidKind,
    context::Read,
    cursor::Page,
    hold::ShardProgress,
    invalid_handling::InvalidRecords,
    metrics::{ShardCounters, StreamCounters},
    pages::Pages,
    prefetch::{Amount, Reservation},
    stream::Stream,
    unpack::{Content, Unpacked, Unpacker},
};

/// Most user records of aggregates in a batch: so many stay in a core's cache while the batch is built and processed.
const USER_RECORDS_AT_ONCE: usize = 1_000;

/// A batch on its way to the caller. Its room in the prefetch is free once it is handed out.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) batch: Batch,
    pub(crate) _room: Reservation,
}

/// The queue of batches for the caller. Unbounded, because the prefetch bounds what is in it.
pub(crate) type Output = mpsc::UnboundedSender<Result<Delivery, ConsumerError>>;

/// Why a shard is not read any further.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A call failed permanently, or leaves open whether the shard has ended.
    Call(Error),
    Invalid(ConsumerError),
}

/// Turns the pages of a shard into batches.
#[derive(Debug)]
pub(crate) struct ShardReader {
    pub(crate) stream: Arc<Stream>,
    pub(crate) progress: Arc<ShardProgress>,
    pub(crate) invalid: Arc<InvalidRecords>,
    pub(crate) unpacker: Unpacker,
    pub(crate) out_of_range: OutOfRangeLog,
    pub(crate) output: Output,
    pub(crate) stream_counters: Arc<StreamCounters>,
    pub(crate) counters: Arc<ShardCounters>,
}

impl ShardReader {
    /// Reads the shard to its end.
    ///
    /// # Errors
    ///
    /// When reading cannot go on, or it is open whether it can. All pages until then were handed over, so that a later
    /// call goes on behind them.
    pub(crate) async fn run(&mut self, pages: &mut Pages) -> Result<Vec<ChildShard>, Failure> {
        loop {
            match pages.next().await.map_err(Failure::Call)? {
                Read::Page(page, room) => self.deliver(page, room).await?,
                Read::End(children) => {
                    self.progress.end();
                    return Ok(children);
                }
            }
        }
    }

    async fn deliver(&mut self, page: Page, mut room: Reservation) -> Result<(), Failure> {
        let Page { records, contents, behind_latest } = page;
        self.unpacker.load(records, contents);
        loop {
            let ahead = self.unpacker.ahead();
            if ahead == 0 {
                return Ok(());
            }
            room.grow(ahead.min(USER_RECORDS_AT_ONCE)).await;
            if let Some(unpacked) = self.unpacker.next(room.records()) {
                self.hand_over(unpacked, behind_latest, &mut room).await?;
            }
            // A client in memory answers at once; without this its reader would fill the prefetch before any other task runs.
            yield_now().await;
        }
    }

    async fn hand_over(
        &mut self,
        unpacked: Unpacked,
        behind_latest: Duration,
        room: &mut Reservation,
    ) -> Result<(), Failure> {
        let Unpacked { content, position, bytes, aggregates, out_of_range } = unpacked;
        if aggregates > 0 {
            self.stream_counters.unpacked(aggregates, out_of_range);
        }
        self.out_of_range.left_out(out_of_range, &self.stream.arn, &self.progress.shard);
        let hold = self.progress.issue(position);
        let count = match content {
            Content::Corrupt(record, corrupt) => {
                self.stream_counters.read(&self.counters, 1, bytes);
                let shard = &self.progress.shard;
                let kind = InvalidKind::CorruptAggregate;
                let handled = self.invalid.handle(shard, &record, kind, corrupt.to_string(), hold.silent()).await;
                drop(room.split(Amount { records: 1, bytes }));
                return handled.map_err(Failure::Invalid);
            }
            Content::Records(records) if records.is_empty() => {
                hold.done();
                0
            }
            Content::Records(records) => {
                let count = records.len();
                let origin = BatchOrigin::new(self.stream.arn.clone(), self.progress.shard.clone(), behind_latest);
                let acknowledgement = Acknowledgement::new(hold, Arc::clone(&self.invalid));
                let batch = Batch::new(origin, records, acknowledgement);
                let _room = room.split(Amount { records: count, bytes });
                // Fails when the consumer was dropped or closed; this task is about to be stopped then.
                let _ = self.output.send(Ok(Delivery { batch, _room }));
                count
            }
        };
        self.stream_counters.read(&self.counters, count, bytes);
        Ok(())
    }
}

/// Logs the user records of a shard that are left out because they belong to another one: at once, and then at most one
/// line per [interval](Self::INTERVAL) with their number. After a split of the shard they may be in many aggregates.
#[derive(Debug, Default)]
pub(crate) struct OutOfRangeLog {
    logged: Option<Instant>,
    not_logged: u64,
}

impl OutOfRangeLog {
    /// Shortest time between two lines about one shard.
    const INTERVAL: Duration = Duration::from_secs(60);

    fn left_out(&mut self, records: u64, stream: &StreamArn, shard: &ShardId) {
        self.not_logged += records;
        if self.not_logged == 0 || self.logged.is_some_and(|logged| logged.elapsed() < Self::INTERVAL) {
            return;
        }
        self.logged = Some(Instant::now());
        tracing::warn!(
            %stream, %shard, records = std::mem::take(&mut self.not_logged),
            "user records of aggregates belong to another shard and are left out. A KPL sends them again after a split. If \
             the writer is not a KPL, set `outOfRangeRecords: keep` in the ingress (`keep_out_of_range_records` in the \
             settings of a consumer)"
        );
    }
}
