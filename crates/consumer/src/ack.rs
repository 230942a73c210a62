//! What was processed of a shard.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use statefun_kinesis_types::{Record, ShardId};
use tokio::sync::{Notify, mpsc};

use crate::{ConsumerError, InvalidKind, Position, ShardPosition, invalid::InvalidRecords};

/// Names a batch of a shard.
pub(crate) type Ticket = u64;

/// Which batches of a shard were handed out and not acknowledged, and how far everything was.
///
/// Each open batch knows the position right before it, so that only open batches take memory: the shard was processed
/// up to what lies before the first of them.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    open: BTreeMap<Ticket, Open>,
    next: Ticket,
    last: Option<Position>,
    /// A batch was dropped. Nothing behind it can move the position any more, and the batch itself stays open.
    stuck: bool,
    ended: bool,
}

/// More acknowledgements than ever come.
const ABANDONED: usize = usize::MAX;

/// When an acknowledgement of a batch moves the position over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    Now,
    /// When others have come.
    Later,
    /// Something before it, or of it, was dropped.
    Never,
}

/// A batch that is not done.
#[derive(Debug)]
struct Open {
    /// The position right before it.
    before: Option<Position>,
    /// Acknowledgements that it waits for.
    waits_for: usize,
}

impl Progress {
    /// A batch whose last record is at `last`.
    pub(crate) fn issue(&mut self, last: Position) -> Ticket {
        let ticket = self.next;
        self.next += 1;
        let before = self.last.replace(last);
        if !self.stuck {
            self.open.insert(ticket, Open { before, waits_for: 1 });
        }
        ticket
    }

    /// A batch waits for one acknowledgement more.
    pub(crate) fn hold(&mut self, ticket: Ticket) {
        if let Some(open) = self.open.get_mut(&ticket) {
            open.waits_for += 1;
        }
    }

    pub(crate) fn acknowledge(&mut self, ticket: Ticket) {
        if let Some(open) = self.open.get_mut(&ticket) {
            open.waits_for -= 1;
            if open.waits_for == 0 {
                self.open.remove(&ticket);
            }
        }
    }

    /// A batch that nobody will acknowledge. What lies behind it is forgotten, so that memory stays flat.
    pub(crate) fn abandon(&mut self, ticket: Ticket) {
        if let Some(open) = self.open.get_mut(&ticket) {
            // What else it waits for may still come.
            open.waits_for = ABANDONED;
            self.open.split_off(&(ticket + 1));
            self.stuck = true;
        }
    }

    /// There are no more batches.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Whether an acknowledgement of this batch moves the position over it at once.
    fn readiness(&self, ticket: Ticket) -> Readiness {
        match self.open.first_key_value() {
            // What was dropped stays first for ever.
            _ if !self.open.contains_key(&ticket) => Readiness::Never,
            Some((_, first)) if first.waits_for > ABANDONED / 2 => Readiness::Never,
            Some((first, open)) if *first == ticket && open.waits_for == 1 => Readiness::Now,
            _ => Readiness::Later,
        }
    }

    /// How far everything was processed; `None` is nothing of what this reader read.
    pub(crate) fn reached(&self) -> Option<ShardPosition> {
        match self.open.first_key_value() {
            Some((_, open)) => open.before.map(ShardPosition::At),
            None if self.ended => Some(ShardPosition::Finished),
            None => self.last.map(ShardPosition::At),
        }
    }
}

/// Shards whose positions moved since they were saved.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    shards: Mutex<Vec<Arc<ShardProgress>>>,
    forgotten: Mutex<Vec<(usize, ShardId)>>,
    notify: Notify,
}

impl Moved {
    /// Waits until there may be something to take.
    pub(crate) async fn wait(&self) {
        self.notify.notified().await;
    }

    pub(crate) fn take(&self) -> Vec<Arc<ShardProgress>> {
        mem::take(&mut lock(&self.shards))
    }

    /// Finished shards of a stream whose positions need not be kept any more.
    pub(crate) fn forget(&self, stream: usize, shards: Vec<ShardId>) {
        if !shards.is_empty() {
            lock(&self.forgotten).extend(shards.into_iter().map(|shard| (stream, shard)));
            self.notify.notify_one();
        }
    }

    pub(crate) fn take_forgotten(&self) -> Vec<(usize, ShardId)> {
        mem::take(&mut lock(&self.forgotten))
    }
}

/// The progress of one shard, shared by its reader, its acknowledgements and whoever saves positions.
#[derive(Debug)]
pub(crate) struct ShardProgress {
    /// Which of the consumer's streams.
    pub(crate) stream: usize,
    pub(crate) shard: ShardId,
    invalid: Arc<InvalidRecords>,
    state: Mutex<State>,
    moved: Arc<Moved>,
    finished: mpsc::UnboundedSender<ShardId>,
    /// Something was acknowledged or dropped.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    progress: Progress,
    reached: Option<ShardPosition>,
    /// Whether the shard is in [`Moved`] already.
    queued: bool,
}

impl ShardProgress {
    /// The progress of a shard of which nothing was read yet. `finished` hears of its end.
    pub(crate) fn new(
        stream: usize,
        shard: ShardId,
        invalid: Arc<InvalidRecords>,
        moved: Arc<Moved>,
        finished: mpsc::UnboundedSender<ShardId>,
    ) -> Arc<Self> {
        Arc::new(Self { stream, shard, invalid, state: Mutex::default(), moved, finished, changed: Notify::new() })
    }

    pub(crate) fn invalid(&self) -> &InvalidRecords {
        &self.invalid
    }

    pub(crate) fn issue(self: &Arc<Self>, last: Position) -> Acknowledgement {
        let ticket = lock(&self.state).progress.issue(last);
        Acknowledgement(Some((Arc::clone(self), ticket)))
    }

    /// The reader has handed over the last batch.
    pub(crate) fn end(self: &Arc<Self>) {
        self.update(Progress::end);
    }

    /// Takes the position for saving.
    pub(crate) fn take_reached(&self) -> Option<ShardPosition> {
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
            // Under the lock of the state: who takes positions after an acknowledgement has returned must find it.
            lock(&self.moved.shards).push(Arc::clone(self));
        }
        drop(state);
        self.moved.notify.notify_one();
        // A child may start now. Its positions are queued behind this one, and so never saved without it.
        if reached == Some(ShardPosition::Finished) {
            let _ = self.finished.send(self.shard.clone());
        }
    }
}

/// The promise to say when a [`Batch`](crate::Batch) was processed.
///
/// Batches of a shard may be acknowledged in any order; the shard's position moves over those that follow each other
/// without a gap. An acknowledgement that is dropped without [`done`](Self::done) says that its batch was not
/// processed: the position of its shard stays before it until the next start, which reads it again, and the shard's
/// children wait until then too.
#[derive(Debug)]
#[must_use = "a batch whose acknowledgement is dropped counts as not processed"]
pub struct Acknowledgement(Option<(Arc<ShardProgress>, Ticket)>);

impl Acknowledgement {
    /// A record of this batch cannot be used: it is dealt with as
    /// [`invalid_records`](crate::ConsumerBuilder::invalid_records) says, and counted. The caller leaves it out, and
    /// acknowledges the batch when the other records are done. The position moves when the batch was acknowledged *and*
    /// the dead letters of its rejected records are stored.
    ///
    /// `record` is one of the batch's; of an aggregated record only this user record is concerned. `message` says what
    /// is wrong with it, and is for people. Waits while too many dead letters are on their way. Dropped before its end,
    /// it holds the position before the batch, as if the batch were dropped.
    ///
    /// # Errors
    ///
    /// [`ConsumerError::InvalidRecord`] when invalid records are to end reading, which is up to the caller then.
    pub async fn reject(
        &self,
        record: &Record,
        kind: InvalidKind,
        message: impl Into<String>,
    ) -> Result<(), ConsumerError> {
        let Some((progress, ticket)) = &self.0 else { return Ok(()) };
        lock(&progress.state).progress.hold(*ticket);
        let hold = Self(Some((Arc::clone(progress), *ticket)));
        progress.invalid.handle(&progress.shard, record, kind, message.into(), hold).await
    }

    /// Waits until [`done`](Self::done) would move the position over this batch at once: until all earlier batches of
    /// the shard are acknowledged, and the dead letters of its own rejected records are stored. Gives `false` when that
    /// will never be, because something of it was dropped; the shard is then read again from before.
    ///
    /// For those who keep what they took durable together with the position, and must have both or neither.
    pub async fn ready(&self) -> bool {
        let Some((shard, ticket)) = &self.0 else { return true };
        loop {
            let changed = shard.changed.notified();
            tokio::pin!(changed);
            // Before the look, so that what happens after it is not missed.
            changed.as_mut().enable();
            let readiness = lock(&shard.state).progress.readiness(*ticket);
            match readiness {
                Readiness::Now => return true,
                Readiness::Later => changed.await,
                Readiness::Never => return false,
            }
        }
    }

    /// The batch was processed: it need not be read again.
    ///
    /// The position is saved soon, at the latest by [`Consumer::close`](crate::Consumer::close).
    pub fn done(mut self) {
        if let Some((shard, ticket)) = self.0.take() {
            shard.update(|progress| progress.acknowledge(ticket));
        }
    }
}

impl Drop for Acknowledgement {
    fn drop(&mut self) {
        if let Some((shard, ticket)) = self.0.take() {
            shard.update(|progress| progress.abandon(ticket));
        }
    }
}

/// Locks. No code panics while it holds one of these locks, and what they guard is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use statefun_kinesis_types::{InvalidRecordHandling, StreamArn};

    use super::*;
    use crate::metrics::StreamCounters;

    fn position(number: u64) -> Position {
        Position::behind(number.into())
    }

    fn at(number: u64) -> Option<ShardPosition> {
        Some(ShardPosition::At(position(number)))
    }

    /// Where invalid records are to be dealt with so.
    fn invalid(handling: &InvalidRecordHandling) -> Arc<InvalidRecords> {
        let stream: StreamArn = "arn:aws:kinesis:us-east-1:123456789012:stream/orders".parse().unwrap();
        let counters = StreamCounters::new(stream.clone());
        InvalidRecords::new(stream, counters, handling, None)
    }

    fn shard() -> (Arc<ShardProgress>, Arc<Moved>, mpsc::UnboundedReceiver<ShardId>) {
        let (finished, receiver) = mpsc::unbounded_channel();
        let moved = Arc::<Moved>::default();
        let shard = ShardProgress::new(
            0,
            "shardId-000000000000".parse().unwrap(),
            invalid(&InvalidRecordHandling::Fail),
            Arc::clone(&moved),
            finished,
        );
        (shard, moved, receiver)
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fate {
        Open,
        Done,
        Dropped,
    }

    proptest! {
        #[test]
        fn the_position_is_that_of_the_contiguous_prefix(
            steps in prop::collection::vec((any::<prop::sample::Index>(), 0_u8..8), 1..80),
        ) {
            let mut progress = Progress::default();
            let mut fates: Vec<Fate> = Vec::new();
            for (which, kind) in steps {
                let open: Vec<usize> = (0..fates.len()).filter(|&i| fates[i] == Fate::Open).collect();
                match kind {
                    0..=3 => {
                        let ticket = progress.issue(position(fates.len() as u64 + 1));
                        prop_assert_eq!(ticket as usize, fates.len());
                        fates.push(Fate::Open);
                    }
                    4..=6 if !open.is_empty() => {
                        let ticket = open[which.index(open.len())];
                        progress.acknowledge(ticket as u64);
                        fates[ticket] = Fate::Done;
                    }
                    7 if !open.is_empty() && which.index(3) == 0 => {
                        let ticket = open[which.index(open.len())];
                        progress.abandon(ticket as u64);
                        fates[ticket] = Fate::Dropped;
                    }
                    _ => {}
                }
                let prefix = fates.iter().take_while(|fate| **fate == Fate::Done).count();
                let expected = if prefix == 0 { None } else { at(prefix as u64) };
                prop_assert_eq!(progress.reached(), expected);
                let up_to_first_dropped = fates.iter().position(|fate| *fate == Fate::Dropped).unwrap_or(fates.len());
                prop_assert!(progress.open.len() <= up_to_first_dropped + 1);
            }
            progress.end();
            let all = fates.iter().all(|fate| *fate == Fate::Done);
            prop_assert_eq!(progress.reached() == Some(ShardPosition::Finished), all);
        }
    }

    #[test]
    fn any_order_of_acknowledgement_will_do() {
        let (shard, moved, _finished) = shard();
        let [first, second, third] = [1, 2, 3].map(|number| shard.issue(position(number)));
        second.done();
        assert!(moved.take().is_empty());
        first.done();
        assert_eq!(moved.take()[0].take_reached(), at(2));
        third.done();
        assert_eq!(moved.take()[0].take_reached(), at(3));
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
        assert_eq!(moved.take()[0].take_reached(), at(1));
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
        assert_eq!(moved.take()[0].take_reached(), Some(ShardPosition::Finished));
    }

    #[test]
    fn a_batch_that_waits_for_two_is_done_after_both() {
        let mut progress = Progress::default();
        let ticket = progress.issue(position(1));
        progress.hold(ticket);
        progress.acknowledge(ticket);
        assert_eq!(progress.reached(), None);
        progress.acknowledge(ticket);
        assert_eq!(progress.reached(), at(1));

        let ticket = progress.issue(position(2));
        progress.hold(ticket);
        progress.abandon(ticket);
        progress.acknowledge(ticket);
        progress.acknowledge(ticket);
        assert_eq!(progress.reached(), at(1), "one of them was dropped");
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
                let taken = moved.take();
                assert_eq!(taken[0].take_reached(), at(number));
            });
        }
    }
}
