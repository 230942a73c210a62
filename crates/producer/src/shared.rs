use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use statefun_kinesis_client::{Error, PutOutcome};
use statefun_kinesis_types::{PUT_RECORDS_MAX_RECORDS, PutRecord, Shard, StreamArn, StreamRef};
use tokio::sync::{Notify, oneshot};

use crate::{
    Handling, Metrics, OnFailure, Reason, SendError, Settings,
    machine::{Condemned, Limits, Machine, Settled},
    policy::Policy,
    receipt::{Batches, Resolved, Ticket},
    request::Request,
};

/// What the handles of a producer and its driver have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) stream: StreamRef,
    pub(crate) arn: StreamArn,
    pub(crate) limits: Limits,
    pub(crate) on_failure: OnFailure,
    /// Held by the sender whose turn it is to queue records. Waiting for room happens inside, so that records are
    /// queued in the order in which their senders came. It is fair.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Tells the one sender that waits for room to look again.
    pub(crate) room: Notify,
    /// Tells the driver to look again.
    pub(crate) work: Notify,
    state: Mutex<State>,
}

#[derive(Debug)]
pub(crate) struct State {
    machine: Machine<Ticket, oneshot::Sender<()>>,
    pub(crate) batches: Batches,
    pub(crate) closed: bool,
    /// A sender waits for room.
    waiting: bool,
    /// When the driver will look at the machine by itself.
    planned: Option<Instant>,
    /// The earliest instant at which there is something to do for what was queued since the last look.
    queued: Option<Instant>,
}

/// Why the next record of a batch is not queued yet.
pub(crate) enum Pause {
    /// There is no next one.
    Done,
    /// Those that were queued fill a request. What has to be done about it is best done while they are still in the
    /// processor's cache, and their keys in a small set.
    RequestFull,
    /// It has to wait for room.
    NoRoom,
}

/// What has come back to the machine.
pub(crate) enum Return {
    Answer(Request, Result<Vec<PutOutcome>, Error>),
    /// The shards, unless they could not be listed.
    Shards(Option<Vec<Shard>>),
    /// A record that was given up, and whether it is in the dead-letter stream.
    Buried(Condemned, bool),
}

/// What the driver has to do next.
pub(crate) struct Step {
    /// A request to send; there may be another one, so that the next step follows at once.
    pub(crate) request: Option<Request>,
    pub(crate) condemned: Vec<Condemned>,
    pub(crate) wants_shards: bool,
    pub(crate) resolved: Vec<Resolved>,
    pub(crate) wake_at: Option<Instant>,
    pub(crate) done: bool,
    /// What was stored. Dropping it takes long enough to be done outside the lock.
    pub(crate) spent: Vec<Vec<PutRecord>>,
}

/// The time now, by Tokio's clock.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Shared {
    pub(crate) fn new(
        stream: StreamRef,
        arn: StreamArn,
        limits: Limits,
        settings: Settings,
        on_failure: OnFailure,
    ) -> Self {
        let machine = Machine::new(stream.clone(), settings, on_failure.policy(), limits);
        Self {
            stream,
            arn,
            limits,
            on_failure,
            turn: tokio::sync::Mutex::new(()),
            room: Notify::new(),
            work: Notify::new(),
            state: Mutex::new(State {
                machine,
                batches: Batches::default(),
                closed: false,
                waiting: false,
                planned: None,
                queued: None,
            }),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record's size, or why it can never go. Where something is to be done about such records, they take the way
    /// of all others first.
    #[inline]
    pub(crate) fn check(&self, record: &PutRecord) -> Result<usize, SendError> {
        let (size, limit) = (record.size(), self.limits.max_record_bytes);
        if size > limit && self.on_failure.policy() == Policy::Fail {
            return Err(SendError::new(&self.stream, record, Reason::TooLarge { limit }));
        }
        Ok(size)
    }

    /// The error of a record that comes too late.
    pub(crate) fn closed(&self, record: &PutRecord) -> SendError {
        SendError::new(&self.stream, record, Reason::Closed)
    }

    /// Wakes the driver if it would sleep too long. To be called whenever something was queued.
    pub(crate) fn replan(&self, state: &mut State) {
        let wake_at = state.queued.take();
        self.wake_by(state, wake_at);
    }

    /// As [`replan`](Self::replan), when more than what was queued may have changed.
    pub(crate) fn replan_all(&self, state: &mut State) {
        let wake_at = state.machine.wake_at();
        self.wake_by(state, wake_at);
    }

    fn wake_by(&self, state: &mut State, wake_at: Option<Instant>) {
        if wake_at.is_some_and(|wake_at| state.planned.is_none_or(|planned| wake_at < planned)) {
            state.planned = wake_at;
            self.work.notify_one();
        }
    }

    /// Takes in what has come back, and says what the driver has to do next.
    pub(crate) fn step(&self, returns: impl IntoIterator<Item = Return>) -> Step {
        let now = now();
        let mut guard = self.lock();
        let state = &mut *guard;
        let mut resolved = Vec::new();
        for came_back in returns {
            match came_back {
                Return::Answer(request, answer) => state.machine.answered(now, request, answer),
                Return::Shards(shards) => state.machine.listed(now, shards),
                Return::Buried(Condemned { place, record, error }, is_stored) => {
                    state.machine.buried(place, record, error, is_stored);
                }
            }
            // One after the other, while it is still in the processor's cache.
            self.resolve(state, &mut resolved);
        }
        let request = state.machine.next_request(now);
        let condemned = state.machine.take_condemned();
        let wants_shards = state.machine.wants_shards(now);
        let wake_at = state.machine.wake_at();
        state.planned = wake_at;
        state.queued = None;
        self.resolve(state, &mut resolved);
        let done = state.closed && state.machine.is_idle();
        let spent = state.machine.take_spent();
        Step { request, condemned, wants_shards, resolved, wake_at, done, spent }
    }

    /// Tells when everything that is queued now is settled; `None` when it is.
    pub(crate) fn flush(&self) -> Option<oneshot::Receiver<()>> {
        let mut state = self.lock();
        if state.machine.is_idle() {
            return None;
        }
        let (waiter, flushed) = oneshot::channel();
        state.machine.flush(waiter);
        self.replan_all(&mut state);
        Some(flushed)
    }

    /// Refuses all records from now on.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.room.notify_one();
        self.work.notify_one();
    }

    /// Closes, and reports everything as failed that is not on its way. Gives the number of those records.
    pub(crate) fn abandon(&self) -> usize {
        let mut state = self.lock();
        state.closed = true;
        let before = state.machine.metrics().outstanding_records;
        state.machine.abandon();
        let given_up = before - state.machine.metrics().outstanding_records;
        let mut resolved = Vec::new();
        self.resolve(&mut state, &mut resolved);
        drop(state);
        self.room.notify_one();
        self.work.notify_one();
        resolved.into_iter().for_each(Resolved::tell);
        given_up
    }

    /// Abandons, and forgets what is on its way too: nobody is left to bring the answers. The receipts learn it from
    /// their tickets, which are dropped.
    pub(crate) fn forget(&self, settings: Settings) {
        self.abandon();
        let mut state = self.lock();
        if state.machine.is_idle() {
            // Batches may be left that are not queued to their end. Their senders see that all is closed.
            return;
        }
        let mut empty = Machine::new(self.stream.clone(), settings, Policy::Fail, self.limits);
        empty.take_metrics_of(&state.machine);
        state.machine = empty;
        state.batches = Batches::default();
    }

    /// What was done so far, and how things stand.
    pub(crate) fn metrics(&self) -> Metrics {
        self.lock().machine.metrics()
    }

    fn resolve(&self, state: &mut State, resolved: &mut Vec<Resolved>) {
        let State { machine, batches, waiting, .. } = state;
        let mut any = false;
        for settled in machine.take_settled() {
            any = true;
            if let Settled::One(_, Err(error)) = &settled
                && error.handling() != Handling::Failed
            {
                self.on_failure.log(error);
            }
            batches.resolve(settled, resolved);
        }
        if *waiting && any {
            *waiting = false;
            self.room.notify_one();
        }
        resolved.extend(machine.take_flushed().into_iter().map(Resolved::Flush));
    }
}

impl State {
    /// Whether there is room for a record of this size. If not, [`Shared::room`] tells when to ask again.
    pub(crate) fn admits(&mut self, size: usize) -> bool {
        let room = self.machine.admits(size);
        self.waiting = !room;
        room
    }

    /// Queues a record for which there is room.
    pub(crate) fn push(&mut self, now: Instant, record: PutRecord, ticket: Ticket) {
        if let Some(lane) = self.machine.queue(now, record, ticket) {
            self.plan(lane);
        }
    }

    /// Queues records of a batch, and says why it stops.
    pub(crate) fn push_all(
        &mut self,
        now: Instant,
        rest: &mut std::vec::IntoIter<PutRecord>,
        batch: u32,
        total: usize,
    ) -> Pause {
        // Neighbours mostly come into the same lane, and the last of them decides for all.
        let (mut last, mut ready) = (None, 0);
        let pause = loop {
            let Some(size) = rest.as_slice().first().map(PutRecord::size) else { break Pause::Done };
            if ready >= PUT_RECORDS_MAX_RECORDS {
                break Pause::RequestFull;
            }
            let ticket = |rest: &[PutRecord]| Ticket::Batch { batch, index: (total - rest.len()) as u32 };
            let (count, lane) = self.machine.queue_run(now, rest, ticket(rest.as_slice()));
            let lane = if count > 0 {
                ready += count;
                self.waiting = false;
                Some(lane)
            } else {
                if !self.admits(size) {
                    break Pause::NoRoom;
                }
                let ticket = ticket(rest.as_slice());
                let Some(record) = rest.next() else { break Pause::Done };
                self.machine.queue(now, record, ticket)
            };
            if lane.is_some() && lane != last {
                last.into_iter().for_each(|lane| self.plan(lane));
                last = lane;
            }
        };
        last.into_iter().for_each(|lane| self.plan(lane));
        pause
    }

    fn plan(&mut self, lane: usize) {
        if let Some(at) = self.machine.due(lane) {
            self.queued = Some(self.queued.map_or(at, |queued| queued.min(at)));
        }
    }
}
