//! The reading of one shard.

use std::{future::Future, sync::Arc};

use statefun_kinesis_client::{ChildShard, Clock, Error, KinesisClient};
use statefun_kinesis_types::{ShardId, StreamRef};
use tokio::{
    sync::mpsc,
    task::yield_now,
    time::{Instant, sleep_until},
};

use crate::{
    Batch, BatchOrigin, ConsumerError, Position,
    ack::ShardProgress,
    prefetch::{Amount, Prefetch, Reservation},
    service::Stream,
    shard::{Page, ShardMachine, Step},
};

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
    Page(Page, Reservation),
    End(Vec<ChildShard>),
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

/// Reads a shard to its end.
pub(crate) async fn read(
    mut pages: impl Pages,
    stream: Arc<Stream>,
    progress: Arc<ShardProgress>,
    output: Output,
) -> Result<Vec<ChildShard>, Error> {
    loop {
        let (Page { records, behind_latest, .. }, room) = match pages.next().await? {
            Read::Page(page, room) => (page, room),
            Read::End(children) => {
                progress.end();
                return Ok(children);
            }
        };
        let Some(last) = records.last().map(Position::of) else { continue };
        let origin = BatchOrigin::new(stream.arn.clone(), progress.shard.clone(), behind_latest);
        let batch = Batch::new(origin, records, progress.issue(last));
        // A consumer that is gone takes its readers along; this one only has not heard of it yet.
        let _ = output.send(Ok(Delivery { batch, _room: room }));
        // A client that answers at once, as one in memory does, would otherwise fill all room before anybody reads.
        yield_now().await;
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
}

impl Poller {
    /// Failures in a row after which each doubling of their number is worth a warning.
    const FAILURES_WARN: u32 = 4;

    fn tell(&self, error: &Error) {
        let (stream, shard, failures) = (&self.stream, &self.shard, self.machine.failures() + 1);
        if failures >= Self::FAILURES_WARN && failures.is_power_of_two() {
            tracing::warn!(%stream, %shard, error = %error.chain(), failures, "a shard cannot be read for now; trying again");
        } else {
            tracing::debug!(%stream, %shard, %error, "a call failed");
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
                    if let Err(error) = &result {
                        self.tell(error);
                    }
                    self.machine.iterator(now(), self.clock.now(), result)?;
                }
                Step::GetRecords(iterator, amount) => {
                    let mut room = self.prefetch.reserve(amount).await;
                    self.machine.asking(now(), room.records());
                    let result = self.client.get_records(&iterator, room.records()).await;
                    if let Err(error) = &result {
                        self.tell(error);
                    }
                    if let Some(page) = self.machine.answer(now(), result)? {
                        room.settle(Amount { records: page.records.len(), bytes: page.bytes });
                        return Ok(Read::Page(page, room));
                    }
                }
                Step::End(children) => return Ok(Read::End(children)),
            }
        }
    }
}

/// The time as Tokio has it, which tests can pause.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}
