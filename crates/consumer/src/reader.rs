//! The reading of one shard.

use std::{sync::Arc, time::Duration};

use statefun_kinesis_client::{ChildShard, Error};
use tokio::{sync::mpsc, task::yield_now};

use crate::{
    Batch, BatchOrigin, ConsumerError, InvalidKind,
    ack::ShardProgress,
    cursor::Page,
    metrics::{ShardCounters, StreamCounters},
    pages::{Pages, Read},
    prefetch::{Amount, Reservation},
    service::Stream,
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

/// Why a shard is not read any further.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A call failed, and trying again is of no use.
    Call(Error),
    Invalid(ConsumerError),
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
    pub(crate) async fn run(mut self, mut pages: Pages) -> Result<Vec<ChildShard>, Failure> {
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
