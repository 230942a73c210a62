use std::{
    sync::{Arc, Mutex, MutexGuard},
    time::Instant,
};

use statefun_kinesis_client::{Error, PutOutcome};
use statefun_kinesis_types::{PUT_RECORDS_MAX_RECORDS, PutRecord, StreamArn, StreamRef};
use tokio::sync::{Notify, oneshot};

use crate::{
    Handling, Metrics, Reason, SendError, Settings, TaskFailure,
    machine::{Limits, Machine, Outcome, PendingDeadLetter},
    policy::Policy,
    receipt::{Batches, ReplyTo, Resolved},
    request::Request,
    shard_map::ShardMap,
    status::Status,
};

/// How many outstanding records a producer may have for its invariants to be checked at each step of a debug build. It
/// means looking at all records, which would make a debug build useless with many.
#[cfg(debug_assertions)]
const CHECKED_MAX_RECORDS: usize = 200;

/// What the handles of a producer share with its driver.
#[derive(Debug)]
pub(crate) struct ProducerInner {
    pub(crate) status: Arc<Status>,
    pub(crate) arn: StreamArn,
    pub(crate) limits: Limits,
    /// What is done about records that fail permanently.
    policy: Policy,
    /// Held by the sender that queues records or waits for room, so that records are queued in the order in which their
    /// senders came. It is fair.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Tells the one sender that waits for room to look again.
    pub(crate) room: Notify,
    /// Tells the driver to look again.
    pub(crate) work: Notify,
    /// The lock is held for the time of a few records or of one answer, and never across an await.
    state: Mutex<ProducerState>,
}

/// What senders and the driver change.
#[derive(Debug)]
pub(crate) struct ProducerState {
    machine: Machine<ReplyTo, oneshot::Sender<()>>,
    pub(crate) batches: Batches,
    pub(crate) closed: bool,
    /// A sender waits for room.
    sender_waits: bool,
    /// When the driver will look at the machine by itself.
    driver_wakes_at: Option<Instant>,
    /// When there is something to send of what was queued since the driver looked last.
    queued_for: Option<Instant>,
}

/// Why the next record of a batch is not queued yet.
pub(crate) enum Pause {
    /// There is no next one.
    Done,
    /// The records that were queued fill a request. The driver does better to send it now, while the records are still in
    /// the processor's cache and their keys in a small set.
    RequestFull,
    /// The record has to wait for room.
    NoRoom,
}

/// What has come back to the machine.
pub(crate) enum Event {
    Answer(Request, Result<Vec<PutOutcome>, Error>),
    /// The shards, unless they could not be listed.
    Shards(Option<ShardMap>),
    /// A record that failed permanently, and whether it is in the dead-letter stream.
    DeadLetter(PendingDeadLetter, bool),
}

/// What the driver has to do next.
#[derive(Default)]
pub(crate) struct Step {
    /// A request to send. There may be another one, so that the next step has to follow at once.
    pub(crate) request: Option<Request>,
    pub(crate) dead_letters: Vec<PendingDeadLetter>,
    pub(crate) wants_shards: bool,
    pub(crate) resolved: Vec<Resolved>,
    pub(crate) wake_at: Option<Instant>,
    pub(crate) done: bool,
    /// Dropping stored records takes long enough to do it outside the lock.
    pub(crate) stored_records: Vec<Vec<PutRecord>>,
}

/// The time now, by Tokio's clock.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl ProducerInner {
    pub(crate) fn new(stream: StreamRef, arn: StreamArn, limits: Limits, settings: Settings, policy: Policy) -> Self {
        let machine = Machine::new(stream.clone(), settings, policy, limits);
        Self {
            status: Arc::new(Status::new(stream)),
            arn,
            limits,
            policy,
            turn: tokio::sync::Mutex::new(()),
            room: Notify::new(),
            work: Notify::new(),
            state: Mutex::new(ProducerState {
                machine,
                batches: Batches::default(),
                closed: false,
                sender_waits: false,
                driver_wakes_at: None,
                queued_for: None,
            }),
        }
    }

    /// The stream that records go to, as it was named.
    pub(crate) fn stream(&self) -> &StreamRef {
        &self.status.stream
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ProducerState> {
        self.state.lock().unwrap_or_else(|poisoned| {
            // A panic has left the state half changed. Nothing of it can be relied on, so that it ends here:
            // going on could lose records or store them out of order.
            let mut state = poisoned.into_inner();
            self.fail_locked(&mut state, TaskFailure::of_queue());
            self.state.clear_poison();
            state
        })
    }

    /// Ends the producer because a task of it has failed. All receipts resolve with the failure, and all senders get it.
    pub(crate) fn fail(&self, failure: TaskFailure) {
        let mut state = self.lock();
        self.fail_locked(&mut state, failure);
    }

    fn fail_locked(&self, state: &mut ProducerState, failure: TaskFailure) {
        // Before the replies are dropped: that is how receipts learn that they have to look for a failure.
        self.status.fail(failure);
        state.forget();
        self.room.notify_one();
        self.work.notify_one();
    }

    /// The record's size, or why it can never be sent. With another policy than to fail it is queued nevertheless: what is
    /// done about it must not overtake the records of its key that came before.
    #[inline]
    pub(crate) fn check(&self, record: &PutRecord) -> Result<usize, SendError> {
        let (size, limit) = (record.size(), self.limits.max_record_bytes);
        if size > limit && self.policy == Policy::Fail {
            return Err(SendError::new(self.stream(), record, Reason::TooLarge { limit }));
        }
        Ok(size)
    }

    /// Wakes the driver if it would sleep too long. To be called whenever something was queued.
    pub(crate) fn wake_driver(&self, state: &mut ProducerState) {
        let wake_at = state.queued_for.take();
        self.wake_driver_by(state, wake_at);
    }

    /// As [`wake_driver`](Self::wake_driver), when more may have changed than what was queued.
    pub(crate) fn wake_driver_for_all(&self, state: &mut ProducerState) {
        let wake_at = state.machine.wake_at();
        self.wake_driver_by(state, wake_at);
    }

    fn wake_driver_by(&self, state: &mut ProducerState, wake_at: Option<Instant>) {
        if wake_at.is_some_and(|wake_at| state.driver_wakes_at.is_none_or(|planned| wake_at < planned)) {
            state.driver_wakes_at = wake_at;
            self.work.notify_one();
        }
    }

    /// Takes what has come back, and returns what the driver has to do next.
    pub(crate) fn step(&self, events: impl IntoIterator<Item = Event>) -> Step {
        let now = now();
        let mut guard = self.lock();
        let state = &mut *guard;
        if self.status.has_failed() {
            // The machine knows nothing of the requests that come back.
            return Step { done: true, ..Step::default() };
        }
        let mut resolved = Vec::new();
        for event in events {
            match event {
                Event::Answer(request, answer) => state.machine.answered(now, request, answer),
                Event::Shards(shards) => state.machine.listed(now, shards),
                Event::DeadLetter(PendingDeadLetter { id, record, error }, is_stored) => {
                    state.machine.dead_letter_written(id, record, error, is_stored);
                }
            }
            // One after the other, while it is still in the processor's cache.
            self.resolve(state, &mut resolved);
        }
        let request = state.machine.next_request(now);
        let dead_letters = state.machine.take_dead_letters();
        let wants_shards = state.machine.wants_shards(now);
        let wake_at = state.machine.wake_at();
        state.driver_wakes_at = wake_at;
        state.queued_for = None;
        self.resolve(state, &mut resolved);
        let done = state.closed && state.machine.is_idle();
        let stored_records = state.machine.take_stored_records();
        #[cfg(debug_assertions)]
        if state.machine.metrics().outstanding_records <= CHECKED_MAX_RECORDS {
            state.machine.check_invariants();
        }
        Step { request, dead_letters, wants_shards, resolved, wake_at, done, stored_records }
    }

    /// Returns a receiver that is told when everything that is queued now is completed; `None` when it is.
    pub(crate) fn flush(&self) -> Option<oneshot::Receiver<()>> {
        let mut state = self.lock();
        if state.machine.is_idle() {
            return None;
        }
        let (waiter, flushed) = oneshot::channel();
        state.machine.flush(waiter);
        self.wake_driver_for_all(&mut state);
        Some(flushed)
    }

    /// Takes no records from now on.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.room.notify_one();
        self.work.notify_one();
    }

    /// Closes, and fails all records that are not in flight. Returns the number of those records.
    pub(crate) fn abandon(&self) -> usize {
        let mut state = self.lock();
        state.closed = true;
        let before = state.machine.metrics().outstanding_records;
        state.machine.abandon();
        let failed = before - state.machine.metrics().outstanding_records;
        let mut resolved = Vec::new();
        self.resolve(&mut state, &mut resolved);
        drop(state);
        self.room.notify_one();
        self.work.notify_one();
        resolved.into_iter().for_each(Resolved::send);
        failed
    }

    /// Abandons, and forgets the records in flight too: the runtime ends, so that no answer will come. Their receipts
    /// learn it when their replies are dropped.
    pub(crate) fn forget(&self) {
        self.abandon();
        let mut state = self.lock();
        // Without records there may still be batches that are not queued to their end. Their senders see that the producer
        // is closed, and end them.
        if !state.machine.is_idle() {
            state.forget();
        }
    }

    /// What was done so far, and the state now.
    pub(crate) fn metrics(&self) -> Metrics {
        self.lock().machine.metrics()
    }

    /// Finds whom the outcomes are for, and lets a sender in for which there is room now.
    fn resolve(&self, state: &mut ProducerState, resolved: &mut Vec<Resolved>) {
        let ProducerState { machine, batches, sender_waits, .. } = state;
        let mut any = false;
        for outcome in machine.take_outcomes() {
            any = true;
            if let Outcome::Record(_, Err(error)) = &outcome
                && error.handling() != Handling::Failed
            {
                self.policy.log(error);
            }
            batches.resolve(outcome, resolved);
        }
        if *sender_waits && any {
            *sender_waits = false;
            self.room.notify_one();
        }
        resolved.extend(machine.take_flushed().into_iter().map(Resolved::Flush));
    }
}

impl ProducerState {
    /// Closes, and drops all records with the replies to their senders.
    fn forget(&mut self) {
        self.closed = true;
        self.machine.reset();
        self.batches = Batches::default();
    }

    /// Whether there is room for a record of this size. If not, [`ProducerInner::room`] tells when to ask again.
    pub(crate) fn admits(&mut self, size: usize) -> bool {
        let has_room = self.machine.admits(size);
        self.sender_waits = !has_room;
        has_room
    }

    /// Queues a record for which there is room.
    pub(crate) fn push(&mut self, now: Instant, record: PutRecord, reply_to: ReplyTo) {
        if let Some(shard_queue) = self.machine.queue(now, record, reply_to) {
            self.plan(shard_queue);
        }
    }

    /// Queues records of a batch, and returns why it stops.
    pub(crate) fn push_all(
        &mut self,
        now: Instant,
        rest: &mut std::vec::IntoIter<PutRecord>,
        batch: u32,
        total: usize,
    ) -> Pause {
        // Neighbours mostly come into the same shard queue, and when it is sent depends on the last of them.
        let (mut last, mut ready) = (None, 0);
        let pause = loop {
            let Some(size) = rest.as_slice().first().map(PutRecord::size) else { break Pause::Done };
            if ready >= PUT_RECORDS_MAX_RECORDS {
                break Pause::RequestFull;
            }
            let reply_to = |rest: &[PutRecord]| ReplyTo::Batch { batch, index: (total - rest.len()) as u32 };
            let (count, shard_queue) = self.machine.queue_run(now, rest, reply_to(rest.as_slice()));
            let shard_queue = if count > 0 {
                ready += count;
                self.sender_waits = false;
                Some(shard_queue)
            } else {
                if !self.admits(size) {
                    break Pause::NoRoom;
                }
                let reply_to = reply_to(rest.as_slice());
                let Some(record) = rest.next() else { break Pause::Done };
                self.machine.queue(now, record, reply_to)
            };
            if shard_queue.is_some() && shard_queue != last {
                last.into_iter().for_each(|shard_queue| self.plan(shard_queue));
                last = shard_queue;
            }
        };
        last.into_iter().for_each(|shard_queue| self.plan(shard_queue));
        pause
    }

    fn plan(&mut self, shard_queue: usize) {
        if let Some(at) = self.machine.send_next_at(shard_queue) {
            self.queued_for = Some(self.queued_for.map_or(at, |queued_for| queued_for.min(at)));
        }
    }
}
