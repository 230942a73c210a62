//! The reading of one shard.

use std::{future::Future, sync::Arc, time::Duration};

use statefun_kinesis_client::{ChildShard, Clock, Error, KinesisClient, Operation};
use statefun_kinesis_types::{ShardId, StreamRef};
use tokio::{
    sync::mpsc,
    task::yield_now,
    time::{Instant, sleep_until},
};

use crate::{
    Batch, BatchOrigin, ConsumerError, InvalidKind,
    ack::ShardProgress,
    metrics::{ShardCounters, StreamCounters},
    prefetch::{Amount, Prefetch, Reservation},
    service::Stream,
    shard::{Page, ShardMachine, Step},
    unpack::{Piece, Unpacked, Unpacker},
};

/// Room that is asked for at a time for the user records of aggregates: a batch of so many stays in a core's cache while
/// it is made and handled.
const USER_RECORDS_AT_ONCE: usize = 1_000;

/// A batch on its way to the caller. Its room in the prefetch is free once it is handed out.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) batch: Batch,
    pub(crate) _room: Reservation,
}

/// Where readers put what they read.
pub(crate) type Output = mpsc::UnboundedSender<Result<Delivery, ConsumerError>>;

/// What comes next of a shard.
#[derive(Debug)]
pub(crate) enum Read {
    /// Records, with room for them; at least for their bytes.
    Page(Page, Reservation),
    End(Vec<ChildShard>),
}

/// Why a shard is not read any further.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A call failed, and trying again is of no use.
    Call(Error),
    Invalid(ConsumerError),
}

/// A way to read one shard: polling, or a subscription.
///
/// It deals with everything that passes by itself. A future may be dropped at any await; nothing is read after that.
pub(crate) trait Pages: Send {
    /// Waits for records or the end.
    ///
    /// # Errors
    ///
    /// When trying again is of no use.
    fn next(&mut self) -> impl Future<Output = Result<Read, Error>> + Send;
}

/// What is done with the pages of a shard.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) stream: Arc<Stream>,
    pub(crate) progress: Arc<ShardProgress>,
    pub(crate) unpacker: Unpacker,
    pub(crate) output: Output,
    pub(crate) stream_counters: Arc<StreamCounters>,
    pub(crate) counters: Arc<ShardCounters>,
}

impl Reader {
    /// Reads the shard to its end.
    ///
    /// # Errors
    ///
    /// When reading cannot go on.
    pub(crate) async fn run(mut self, mut pages: impl Pages) -> Result<Vec<ChildShard>, Failure> {
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
            // A client that answers at once, as one in memory does, would otherwise fill all room before anybody reads.
            yield_now().await;
        }
    }

    async fn hand_over(
        &mut self,
        unpacked: Unpacked,
        behind_latest: Duration,
        room: &mut Reservation,
    ) -> Result<(), Failure> {
        let Unpacked { piece, position, bytes, aggregates, out_of_range } = unpacked;
        if aggregates > 0 {
            self.stream_counters.unpacked(aggregates, out_of_range);
        }
        if out_of_range > 0 {
            tracing::info!(
                stream = %self.stream.arn, shard = %self.progress.shard, records = out_of_range,
                "user records of an aggregate belong to another shard and are left out; their writer sends them again"
            );
        }
        let acknowledgement = self.progress.issue(position);
        let count = match piece {
            Piece::Corrupt(record, corrupt) => {
                self.stream_counters.read(&self.counters, 1, bytes);
                let (invalid, shard) = (self.progress.invalid(), &self.progress.shard);
                let kind = InvalidKind::CorruptAggregate;
                let handled = invalid.handle(shard, &record, kind, corrupt.to_string(), acknowledgement).await;
                drop(room.split(Amount { records: 1, bytes }));
                return handled.map_err(Failure::Invalid);
            }
            Piece::Records(records) if records.is_empty() => {
                acknowledgement.done();
                0
            }
            Piece::Records(records) => {
                let count = records.len();
                let origin = BatchOrigin::new(self.stream.arn.clone(), self.progress.shard.clone(), behind_latest);
                let batch = Batch::new(origin, records, acknowledgement);
                let _room = room.split(Amount { records: count, bytes });
                // A consumer that is gone takes its readers along; this one only has not heard of it yet.
                let _ = self.output.send(Ok(Delivery { batch, _room }));
                count
            }
        };
        self.stream_counters.read(&self.counters, count, bytes);
        Ok(())
    }
}

/// Reads a shard by GetRecords.
#[derive(Debug)]
pub(crate) struct Poller {
    pub(crate) client: Arc<dyn KinesisClient>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) prefetch: Arc<Prefetch>,
    pub(crate) stream: StreamRef,
    pub(crate) shard: ShardId,
    pub(crate) machine: ShardMachine,
    pub(crate) stream_counters: Arc<StreamCounters>,
    pub(crate) counters: Arc<ShardCounters>,
}

/// Failures in a row after which each doubling of their number is worth a warning.
const FAILURES_WARN: u32 = 4;

/// Logs a failure that is tried again.
pub(crate) fn tell(stream: &StreamRef, shard: &ShardId, failures: u32, error: &Error) {
    if failures >= FAILURES_WARN && failures.is_power_of_two() {
        tracing::warn!(%stream, %shard, error = %error.chain(), failures, "a shard cannot be read for now; trying again");
    } else {
        tracing::debug!(%stream, %shard, %error, "a call failed");
    }
}

impl Poller {
    fn called<T>(&self, operation: Operation, result: &Result<T, Error>) {
        self.stream_counters.called(operation);
        if let Err(error) = result {
            self.stream_counters.retried(error);
            tell(&self.stream, &self.shard, self.machine.failures() + 1, error);
        }
    }
}

impl Pages for Poller {
    async fn next(&mut self) -> Result<Read, Error> {
        loop {
            match self.machine.next(now()) {
                Step::Wait(until) => sleep_until(until.into()).await,
                Step::GetIterator(from) => {
                    self.machine.asking_iterator(now());
                    let result = self.client.get_shard_iterator(&self.stream, &self.shard, from).await;
                    self.called(Operation::GetShardIterator, &result);
                    self.machine.iterator(now(), self.clock.now(), result)?;
                }
                Step::GetRecords(iterator, amount) => {
                    let mut room = self.prefetch.reserve(amount).await;
                    self.machine.asking(now(), room.records());
                    let result = self.client.get_records(&iterator, room.records()).await;
                    self.called(Operation::GetRecords, &result);
                    if let Ok(page) = &result {
                        self.counters.behind(page.behind_latest);
                    }
                    if let Some(page) = self.machine.answer(now(), result)? {
                        room.settle(Amount { records: page.records.len(), bytes: page.contents.bytes });
                        return Ok(Read::Page(page, room));
                    }
                }
                Step::End(children) => return Ok(Read::End(children)),
            }
        }
    }
}

/// The time as Tokio has it, which tests can pause.
pub(crate) fn now() -> std::time::Instant {
    Instant::now().into_std()
}
