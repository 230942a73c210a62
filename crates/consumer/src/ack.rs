//! Acknowledgements of batches, and the queue of positions that they move.
//!
//! Three parties share this state: the code that acknowledges batches (on any thread), the shard's reader, and the code
//! that saves positions. Two locks protect it, always taken in this order: [`ShardProgress::state`], then [`MovedPositions::shards`].

use std::{
    mem,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use statefun_kinesis_types::{Record, ShardId};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    ConsumerError, InvalidKind, Position, ShardPosition,
    invalid::InvalidRecords,
    lock::{Mutex, lock},
    metrics::ShardCounters,
    progress::{Progress, Readiness, Ticket},
    stream::Stream,
};

/// Shards whose positions moved since they were last taken for saving.
#[derive(Debug, Default)]
pub(crate) struct MovedPositions {
    /// In the order in which they moved. A parent's end is queued before anything of its children, so that taking all
    /// of it at once never gives a child without its parent.
    shards: Mutex<Vec<Arc<ShardProgress>>>,
    forgotten: Mutex<Vec<(usize, ShardId)>>,
    notify: Notify,
}

impl MovedPositions {
    /// Waits until there may be something to take.
    pub(crate) async fn wait(&self) {
        self.notify.notified().await;
    }

    /// Takes all shards whose positions moved, and those positions.
    pub(crate) fn take(&self) -> Vec<(Arc<ShardProgress>, ShardPosition)> {
        let shards = mem::take(&mut *lock(&self.shards));
        // The positions are read after the queue was taken. One that moves in between is saved now and queued again,
        // which repeats it; the other order would take a shard out of the queue with its older position and lose the
        // newer one.
        shards.into_iter().filter_map(|shard| shard.take_reached().map(|position| (shard, position))).collect()
    }

    /// The positions of these finished shards of a stream need not be kept any longer.
    pub(crate) fn forget(&self, stream: usize, shards: Vec<ShardId>) {
        if !shards.is_empty() {
            lock(&self.forgotten).extend(shards.into_iter().map(|shard| (stream, shard)));
            self.notify.notify_one();
        }
    }

    pub(crate) fn take_forgotten(&self) -> Vec<(usize, ShardId)> {
        mem::take(&mut *lock(&self.forgotten))
    }
}

/// The progress of one shard, shared by its reader, its acknowledgements and the code that saves positions.
#[derive(Debug)]
pub(crate) struct ShardProgress {
    pub(crate) stream: Arc<Stream>,
    pub(crate) shard: ShardId,
    invalid: Arc<InvalidRecords>,
    counters: Arc<ShardCounters>,
    state: Mutex<State>,
    moved: Arc<MovedPositions>,
    finished: mpsc::UnboundedSender<ShardId>,
    /// Notified of each acknowledgement and each drop.
    changed: Notify,
    /// Cancelled when reading stops.
    stop: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    progress: Progress,
    reached: Option<ShardPosition>,
    /// Whether the shard is in [`MovedPositions`] already.
    queued: bool,
}

impl ShardProgress {
    /// The progress of a shard of which nothing was read yet. Its id is sent to `finished` once all of it is
    /// acknowledged.
    pub(crate) fn new(
        stream: Arc<Stream>,
        shard: ShardId,
        invalid: Arc<InvalidRecords>,
        counters: Arc<ShardCounters>,
        moved: Arc<MovedPositions>,
        finished: mpsc::UnboundedSender<ShardId>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (state, changed) = (Mutex::default(), Notify::new());
        Arc::new(Self { stream, shard, invalid, counters, state, moved, finished, changed, stop })
    }

    pub(crate) fn invalid(&self) -> &InvalidRecords {
        &self.invalid
    }

    /// The acknowledgement of the next batch, whose last record is at `last`.
    pub(crate) fn issue(self: &Arc<Self>, last: Position) -> Acknowledgement {
        let ticket = lock(&self.state).progress.issue(last);
        Acknowledgement::new(self, ticket)
    }

    /// The reader has handed over the last batch.
    pub(crate) fn end(self: &Arc<Self>) {
        self.update(Progress::end);
    }

    fn take_reached(&self) -> Option<ShardPosition> {
        let mut state = lock(&self.state);
        state.queued = false;
        state.reached
    }

    fn update(self: &Arc<Self>, change: impl FnOnce(&mut Progress)) {
        let mut state = lock(&self.state);
        change(&mut state.progress);
        self.changed.notify_waiters();
        let reached = state.progress.reached();
        if reached == state.reached {
            return;
        }
        state.reached = reached;
        if !mem::replace(&mut state.queued, true) {
            // Queued before the lock of the state is released. Otherwise a second acknowledgement could find `queued`
            // set and return, and a take of positions after that return would find no shard in the queue.
            lock(&self.moved.shards).push(Arc::clone(self));
        }
        drop(state);
        self.moved.notify.notify_one();
        // Last: the children start when they hear of this, and their positions must be queued behind this shard's end.
        // If they came first, a save could make a child's position durable without the end of its parent, and the next
        // start would read the parent and then repeat the child's records out of order.
        if reached == Some(ShardPosition::Finished) {
            let _ = self.finished.send(self.shard.clone());
        }
    }

    /// Counts a batch that the caller dropped, and warns at the first one of the shard.
    fn report_dropped(&self) {
        // Batches that are dropped after reading has stopped are how a program ends.
        if self.stop.is_cancelled() {
            return;
        }
        if self.invalid.counters.dropped(&self.counters) {
            tracing::warn!(
                stream = %self.stream.arn, shard = %self.shard,
                "a batch was dropped without `done`: the saved position of its shard stays before this batch, and the \
                 next start reads the shard from there again; call `done` on each batch that was processed, and restart \
                 to process this one"
            );
        }
    }
}

/// Says when a [`Batch`](crate::Batch) was processed.
///
/// Batches of a shard may be acknowledged in any order; the shard's position moves over those that follow each other
/// without a gap.
///
/// An acknowledgement that is dropped without [`done`](Self::done) means that its batch was not processed. The position
/// of its shard stays before the batch until the next start, which reads the shard again from there; children of the
/// shard are not read before then. The first drop of a shard is logged as a warning, all are counted in
/// [`ShardMetrics::dropped_batches`](crate::ShardMetrics::dropped_batches), and
/// [`Consumer::close`](crate::Consumer::close) returns an error. Drops after reading has stopped are not reported.
#[derive(Debug)]
#[must_use = "a batch whose acknowledgement is dropped counts as not processed"]
pub struct Acknowledgement(Option<Hold>);

#[derive(Debug)]
struct Hold {
    shard: Arc<ShardProgress>,
    ticket: Ticket,
    /// Whether a drop is not reported, because an error reports its cause already.
    silent: AtomicBool,
}

impl Acknowledgement {
    fn new(shard: &Arc<ShardProgress>, ticket: Ticket) -> Self {
        Self(Some(Hold { shard: Arc::clone(shard), ticket, silent: AtomicBool::new(false) }))
    }

    /// The same acknowledgement, whose drop is not reported because an error does that.
    pub(crate) fn silent(self) -> Self {
        if let Some(hold) = &self.0 {
            hold.silent.store(true, Relaxed);
        }
        self
    }

    /// Rejects a record of this batch: it is counted and handled as
    /// [`invalid_records`](crate::ConsumerBuilder::invalid_records) says. The caller leaves the record out, and
    /// acknowledges the batch when the other records are processed. The position moves when the batch is acknowledged
    /// *and* the dead letters of its rejected records are stored.
    ///
    /// `record` is one of the batch's; of an aggregated record only this user record is rejected. `message` says for
    /// people what is wrong with it. Waits while too many dead letters are in flight. A future that is dropped before
    /// its end holds the position before the batch, as if the batch were dropped.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::InvalidRecord`] when invalid records are to end reading, which the caller has to do then.
    pub async fn reject(
        &self,
        record: &Record,
        kind: InvalidKind,
        message: impl Into<String>,
    ) -> Result<(), ConsumerError> {
        let Some(Hold { shard, ticket, silent }) = &self.0 else { return Ok(()) };
        lock(&shard.state).progress.hold(*ticket);
        // It goes with the dead letter. Whatever drops it there reports an error of its own; a future that the caller
        // drops is reported here.
        let hold = Self::new(shard, *ticket).silent();
        let unfinished = ReportOnDrop(shard);
        let handled = shard.invalid.handle(&shard.shard, record, kind, message.into(), hold).await;
        mem::forget(unfinished);
        if handled.is_err() {
            // The caller has its error, and will drop the batch because of it.
            silent.store(true, Relaxed);
        }
        handled
    }

    /// Waits until [`done`](Self::done) would move the position over this batch at once: until all earlier batches of
    /// the shard are acknowledged, and the dead letters of its own rejected records are stored. Returns `false` when
    /// that cannot happen any more because one of them was dropped; the next start reads the shard from there again.
    ///
    /// For programs that make the results of a batch durable together with its position, both or neither.
    pub async fn ready(&self) -> bool {
        let Some(Hold { shard, ticket, .. }) = &self.0 else { return true };
        loop {
            let changed = shard.changed.notified();
            tokio::pin!(changed);
            // Before the check, so that a change right after it is not missed.
            changed.as_mut().enable();
            let readiness = lock(&shard.state).progress.readiness(*ticket);
            match readiness {
                Readiness::Now => return true,
                Readiness::Later => changed.await,
                Readiness::Never => return false,
            }
        }
    }

    /// Acknowledges the batch: it was processed and need not be read again.
    ///
    /// The position is saved within [`checkpoint_interval`](crate::Settings::checkpoint_interval), or by
    /// [`Consumer::close`](crate::Consumer::close) if that comes first.
    pub fn done(mut self) {
        if let Some(Hold { shard, ticket, .. }) = self.0.take() {
            shard.update(|progress| progress.acknowledge(ticket));
        }
    }
}

impl Drop for Acknowledgement {
    fn drop(&mut self) {
        if let Some(Hold { shard, ticket, silent }) = self.0.take() {
            shard.update(|progress| progress.abandon(ticket));
            if !silent.into_inner() {
                shard.report_dropped();
            }
        }
    }
}

/// Reports a rejection whose future was dropped before its end.
struct ReportOnDrop<'a>(&'a ShardProgress);

impl Drop for ReportOnDrop<'_> {
    fn drop(&mut self) {
        self.0.report_dropped();
    }
}

#[cfg(all(test, shuttle))]
mod shuttle_tests;

#[cfg(test)]
mod tests {
    use statefun_kinesis_types::{InvalidRecordHandling, StreamArn, Timestamp};

    use super::*;
    use crate::metrics::StreamCounters;

    pub(super) fn position(number: u64) -> Position {
        Position::behind(number.into())
    }

    pub(super) fn at(number: u64) -> Option<ShardPosition> {
        Some(ShardPosition::At(position(number)))
    }

    pub(super) fn shard_of(
        id: &str,
        moved: &Arc<MovedPositions>,
        finished: &mpsc::UnboundedSender<ShardId>,
    ) -> Arc<ShardProgress> {
        let arn: StreamArn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders".parse().unwrap();
        let counters = StreamCounters::new(arn.clone());
        let shard: ShardId = id.parse().unwrap();
        let of_shard = counters.shard(shard.clone());
        let invalid = InvalidRecords::new(arn.clone(), counters, &InvalidRecordHandling::Fail, None);
        let reference = arn.clone().into();
        let stream = Stream { index: 0, reference, arn, created: Timestamp::EPOCH, keys_decide: true };
        let (moved, finished) = (Arc::clone(moved), finished.clone());
        ShardProgress::new(Arc::new(stream), shard, invalid, of_shard, moved, finished, CancellationToken::new())
    }

    pub(super) fn shard() -> (Arc<ShardProgress>, Arc<MovedPositions>, mpsc::UnboundedReceiver<ShardId>) {
        let (finished, receiver) = mpsc::unbounded_channel();
        let moved = Arc::<MovedPositions>::default();
        (shard_of("shardId-000000000000", &moved, &finished), moved, receiver)
    }

    /// The position that is taken for the only shard that moved.
    #[track_caller]
    fn take(moved: &MovedPositions) -> Option<ShardPosition> {
        let taken = moved.take();
        assert!(taken.len() <= 1, "{taken:?}");
        taken.first().map(|(_, position)| *position)
    }

    #[test]
    fn any_order_of_acknowledgement_will_do() {
        let (shard, moved, _finished) = shard();
        let [first, second, third] = [1, 2, 3].map(|number| shard.issue(position(number)));
        second.done();
        assert!(moved.take().is_empty());
        first.done();
        assert_eq!(take(&moved), at(2));
        third.done();
        assert_eq!(take(&moved), at(3));
    }

    #[test]
    fn a_dropped_acknowledgement_holds_the_position() {
        let (shard, moved, mut finished) = shard();
        let [first, second, third] = [1, 2, 3].map(|number| shard.issue(position(number)));
        drop(second);
        third.done();
        first.done();
        shard.issue(position(4)).done();
        shard.end();
        assert_eq!(take(&moved), at(1));
        assert!(finished.try_recv().is_err(), "a shard with a batch that was not processed is not finished");
    }

    #[test]
    fn a_shard_is_finished_when_it_ended_and_all_of_it_is_acknowledged() {
        let (shard, moved, mut finished) = shard();
        let batch = shard.issue(position(1));
        shard.end();
        assert!(finished.try_recv().is_err());
        batch.done();
        assert_eq!(finished.try_recv().unwrap(), shard.shard);
        assert_eq!(take(&moved), Some(ShardPosition::Finished));
    }

    #[tokio::test]
    async fn a_batch_is_ready_when_nothing_else_holds_the_position() {
        let (shard, _moved, _finished) = shard();
        let [first, second] = [1, 2].map(|number| shard.issue(position(number)));
        lock(&shard.state).progress.hold(1);
        {
            let mut ready = std::pin::pin!(second.ready());
            assert!(futures::poll!(&mut ready).is_pending(), "the first one is open");
            assert!(first.ready().await);
            first.done();
            assert!(futures::poll!(&mut ready).is_pending(), "a dead letter is on its way");
            shard.update(|progress| progress.acknowledge(1));
            assert!(ready.await);
        }

        let third = shard.issue(position(3));
        drop(second);
        assert!(!third.ready().await, "what lies before it was dropped");
    }

    #[test]
    fn what_was_acknowledged_is_taken() {
        let (shard, moved, _finished) = shard();
        for number in 1..1_000 {
            let batch = shard.issue(position(number));
            std::thread::scope(|scope| {
                // A second acknowledgement at the same time, so that either may be the one that queues the shard.
                scope.spawn(|| shard.update(|_| {}));
                batch.done();
                assert_eq!(take(&moved), at(number));
            });
        }
    }
}
