use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use statefun_kinesis_client::{Error, PutOutcome};
use statefun_kinesis_types::{PutRecord, StreamRef};
use tokio::sync::{Notify, oneshot};

use crate::{
    SendError, Settings,
    machine::Machine,
    receipt::{Batches, Resolved, Ticket},
    request::Request,
};

/// What the handles of a producer and its driver have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) stream: StreamRef,
    /// Most bytes of one record, data and key together.
    pub(crate) max_record_bytes: usize,
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
}

/// What the driver has to do next.
pub(crate) struct Step {
    pub(crate) requests: Vec<Request>,
    pub(crate) resolved: Vec<Resolved>,
    pub(crate) wake_at: Option<Instant>,
    pub(crate) done: bool,
}

/// The time now, by Tokio's clock.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

impl Shared {
    pub(crate) fn new(stream: StreamRef, max_record_bytes: usize, settings: Settings) -> Self {
        let machine = Machine::new(stream.clone(), settings);
        Self {
            stream,
            max_record_bytes,
            turn: tokio::sync::Mutex::new(()),
            room: Notify::new(),
            work: Notify::new(),
            state: Mutex::new(State {
                machine,
                batches: Batches::default(),
                closed: false,
                waiting: false,
                planned: None,
            }),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record's size, or why it can never go.
    pub(crate) fn check(&self, record: &PutRecord) -> Result<usize, SendError> {
        let (size, limit) = (record.size(), self.max_record_bytes);
        if size > limit {
            let (stream, key) = (self.stream.clone(), record.partition_key.clone());
            return Err(SendError::TooLarge { stream, key, size, limit });
        }
        Ok(size)
    }

    /// The error of a record that comes too late.
    pub(crate) fn closed(&self, record: &PutRecord) -> SendError {
        SendError::Closed {
            stream: self.stream.clone(),
            key: record.partition_key.clone(),
            size: record.size(),
            may_be_stored: false,
        }
    }

    /// Wakes the driver if it would sleep too long. To be called whenever something was queued.
    pub(crate) fn replan(&self, state: &mut State) {
        let wake_at = state.machine.wake_at();
        if wake_at.is_some_and(|wake_at| state.planned.is_none_or(|planned| wake_at < planned)) {
            state.planned = wake_at;
            self.work.notify_one();
        }
    }

    /// Takes the answers in, and says what the driver has to do next.
    pub(crate) fn step(&self, answers: impl IntoIterator<Item = (Request, Result<Vec<PutOutcome>, Error>)>) -> Step {
        let now = now();
        let mut guard = self.lock();
        let state = &mut *guard;
        for (request, answer) in answers {
            state.machine.answered(now, request, answer);
        }
        let requests = std::iter::from_fn(|| state.machine.next_request(now)).collect();
        let wake_at = state.machine.wake_at();
        state.planned = wake_at;
        let resolved = self.resolve(state);
        Step { requests, resolved, wake_at, done: state.closed && state.machine.is_idle() }
    }

    /// Tells when everything that is queued now is settled; `None` when it is.
    pub(crate) fn flush(&self) -> Option<oneshot::Receiver<()>> {
        let mut state = self.lock();
        if state.machine.is_idle() {
            return None;
        }
        let (waiter, flushed) = oneshot::channel();
        state.machine.flush(waiter);
        self.replan(&mut state);
        Some(flushed)
    }

    /// Refuses all records from now on.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.room.notify_one();
        self.work.notify_one();
    }

    /// Closes, and reports everything as failed that is not on its way.
    pub(crate) fn abandon(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.machine.abandon();
        let resolved = self.resolve(&mut state);
        drop(state);
        self.room.notify_one();
        self.work.notify_one();
        resolved.into_iter().for_each(Resolved::tell);
    }

    /// Abandons, and forgets what is on its way too: nobody is left to bring the answers. The receipts learn it from
    /// their tickets, which are dropped.
    pub(crate) fn forget(&self, settings: Settings) {
        self.abandon();
        let mut state = self.lock();
        state.machine = Machine::new(self.stream.clone(), settings);
        state.batches = Batches::default();
    }

    fn resolve(&self, state: &mut State) -> Vec<Resolved> {
        let settled = state.machine.take_settled();
        if state.waiting && !settled.is_empty() {
            state.waiting = false;
            self.room.notify_one();
        }
        let batches = &mut state.batches;
        let mut resolved: Vec<_> =
            settled.into_iter().filter_map(|(ticket, result)| batches.resolve(ticket, result)).collect();
        resolved.extend(state.machine.take_flushed().into_iter().map(Resolved::Flush));
        resolved
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
        self.machine.submit(now, record, ticket);
    }
}
