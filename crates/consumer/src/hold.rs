//! What holds the positions of shards, and the queue of positions that moved.
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

use statefun_kinesis_types::ShardId;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::{
    Position, ShardPosition,
    lock::{Mutex, lock},
    metrics::{ShardCounters, StreamCounters},
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
    stream_counters: Arc<StreamCounters>,
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
        stream_counters: Arc<StreamCounters>,
        counters: Arc<ShardCounters>,
        moved: Arc<MovedPositions>,
        finished: mpsc::UnboundedSender<ShardId>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let (state, changed) = (Mutex::default(), Notify::new());
        Arc::new(Self { stream, shard, stream_counters, counters, state, moved, finished, changed, stop })
    }

    /// Holds the position before the next batch, whose last record is at `last`.
    pub(crate) fn issue(self: &Arc<Self>, last: Position) -> Hold {
        let ticket = lock(&self.state).progress.issue(last);
        Hold::new(self, ticket)
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
            // Before the lock of the state is released. Otherwise another thread could find `queued` set, announce the end
            // of the shard below, and a child's position could be queued and taken before this shard is.
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
    pub(crate) fn report_dropped(&self) {
        // Batches that are dropped after reading has stopped are how a program ends.
        if self.stop.is_cancelled() {
            return;
        }
        if self.stream_counters.dropped(&self.counters) {
            tracing::warn!(
                stream = %self.stream.arn, shard = %self.shard,
                "a batch was dropped without `done`: the saved position of its shard stays before this batch, and the \
                 next start reads the shard from there again; call `done` on each batch that was processed, and restart \
                 to process this one"
            );
        }
    }
}

/// A reason why the position of a shard stays before a batch. Each batch has one that is its acknowledgement, and one for
/// each of its dead letters.
///
/// One that is dropped without [`done`](Self::done) stays until the next start.
#[derive(Debug)]
pub(crate) struct Hold {
    /// `None` after `done`.
    batch: Option<(Arc<ShardProgress>, Ticket)>,
    /// Whether a drop is not reported, because an error reports its cause already.
    silent: AtomicBool,
}

impl Hold {
    fn new(shard: &Arc<ShardProgress>, ticket: Ticket) -> Self {
        Self { batch: Some((Arc::clone(shard), ticket)), silent: AtomicBool::new(false) }
    }

    /// Does not report a drop from now on: an error does.
    pub(crate) fn silence(&self) {
        self.silent.store(true, Relaxed);
    }

    /// The same, whose drop is not reported.
    pub(crate) fn silent(self) -> Self {
        self.silence();
        self
    }

    /// Another reason why the position stays before the same batch.
    pub(crate) fn another(&self) -> Self {
        let batch = self.batch.as_ref().map(|(shard, ticket)| {
            lock(&shard.state).progress.hold(*ticket);
            (Arc::clone(shard), *ticket)
        });
        Self { batch, silent: AtomicBool::new(false) }
    }

    pub(crate) fn shard(&self) -> Option<&ShardProgress> {
        self.batch.as_ref().map(|(shard, _)| &**shard)
    }

    /// Waits until [`done`](Self::done) would move the position over the batch at once; `false` when it never will.
    pub(crate) async fn ready(&self) -> bool {
        let Some((shard, ticket)) = &self.batch else { return true };
        loop {
            // Before the check: it hears of every change from its creation on, so that none right after the check is missed.
            let changed = shard.changed.notified();
            let readiness = lock(&shard.state).progress.readiness(*ticket);
            match readiness {
                Readiness::Now => return true,
                Readiness::Later => changed.await,
                Readiness::Never => return false,
            }
        }
    }

    /// The reason is no more.
    pub(crate) fn done(mut self) {
        if let Some((shard, ticket)) = self.batch.take() {
            shard.update(|progress| progress.acknowledge(ticket));
        }
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some((shard, ticket)) = self.batch.take() {
            shard.update(|progress| progress.abandon(ticket));
            if !*self.silent.get_mut() {
                shard.report_dropped();
            }
        }
    }
}

#[cfg(test)]
mod shuttle_tests;

#[cfg(test)]
mod tests {
    use statefun_kinesis_types::{RETENTION_DEFAULT, StreamArn, Timestamp};

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
        let reference = arn.clone().into();
        let (created, retention) = (Timestamp::EPOCH, RETENTION_DEFAULT);
        let stream = Stream { index: 0, reference, arn, created, retention, keys_decide: true };
        let (moved, finished) = (Arc::clone(moved), finished.clone());
        ShardProgress::new(Arc::new(stream), shard, counters, of_shard, moved, finished, CancellationToken::new())
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
