//! What the tasks of a runtime share.

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use slab::Slab;
use statefun_kinesis_router::{Completion, RunHandle};
use statefun_kinesis_spec::FailureHandling;
use statefun_kinesis_store::{Commit, positions};
use statefun_kinesis_types::{Timestamp, TypeName};
use tokio::sync::{Notify, mpsc};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{builder::DeadLetters, failures::FailureLog, latency::Latencies};
use crate::{
    Invoke, Mailboxes, StoredEgress,
    checkpoint::{Checkpoint, Moment, Source},
};

/// Functions that are served by one place.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) invoke: Arc<dyn Invoke>,
    /// How long a request may take.
    pub(super) call: Duration,
    pub(super) failures: FailureHandling,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) inner: Mutex<Inner>,
    pub(super) groups: Vec<Group>,
    pub(super) dead_letters: Option<Arc<dyn DeadLetters>>,
    /// Where everything becomes durable, if it does.
    pub(super) checkpoint: Option<Checkpoint>,
    /// The run that deliveries come from; there is none before it begins.
    pub(super) run: OnceLock<RunHandle>,
    /// Something was handled, and there is room: whoever waits for it may look.
    pub(super) moved: Notify,
    /// The next deadline is another one.
    pub(super) rearmed: Notify,
    /// Ends all tasks but that of the checkpoint.
    pub(super) stop: CancellationToken,
    /// All tasks but that of the checkpoint.
    pub(super) tasks: TaskTracker,
    pub(super) log: FailureLog,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) mailboxes: Mailboxes<usize>,
    /// Deliveries that are not done, at the places that the mailboxes know them by.
    pub(super) in_hand: Slab<Completion>,
    /// Nothing more is taken, and nothing is done any more.
    pub(super) closed: bool,
    /// Where records for each egress go.
    pub(super) outlets: HashMap<TypeName, mpsc::UnboundedSender<Vec<StoredEgress>>>,
    /// How long the requests of each function took.
    pub(super) latencies: Latencies,
    /// The deadline for which the alarm is set.
    armed: Option<Timestamp>,
}

impl Inner {
    pub(super) fn new(mailboxes: Mailboxes<usize>) -> Self {
        Self {
            mailboxes,
            in_hand: Slab::new(),
            closed: false,
            outlets: HashMap::new(),
            latencies: Latencies::default(),
            armed: None,
        }
    }

    /// The deliveries that are finished.
    fn take_finished(&mut self) -> Vec<Completion> {
        let finished = self.mailboxes.take_finished();
        if self.closed {
            return Vec::new();
        }
        finished.into_iter().map(|place| self.in_hand.remove(place)).collect()
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn now(&self) -> Timestamp {
        self.run.get().map_or_else(Timestamp::now, RunHandle::now)
    }

    /// Does all that can be done now: what is due, requests, records, deliveries that are finished.
    pub(super) fn pump(self: &Arc<Self>) {
        let now = self.now();
        let mut requests = Vec::new();
        let (loads, has_room);
        let finished = {
            let mut inner = self.lock();
            inner.mailboxes.on_time(now);
            while let Some(request) = inner.mailboxes.next_request(now) {
                requests.push(request);
            }
            loads = inner.mailboxes.take_loads();
            if let Some(checkpoint) = self.checkpoint.as_ref().filter(|_| inner.mailboxes.wants_cut()) {
                checkpoint.hurry();
            }
            // Under the lock, so that records keep their order.
            self.hand_out_records(&mut inner);
            let deadline = inner.mailboxes.next_deadline();
            if deadline != inner.armed {
                inner.armed = deadline;
                self.rearmed.notify_one();
            }
            has_room = inner.mailboxes.has_room();
            inner.take_finished()
        };
        self.load_all(&loads);
        for request in requests {
            let shared = Arc::clone(self);
            self.tasks.spawn(async move {
                let stop = shared.stop.clone();
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = shared.carry_out(request) => {}
                }
            });
        }
        for completion in finished {
            completion.done();
        }
        // Where there is no room at all, dozens would look for it in vain after each request.
        if has_room {
            self.moved.notify_waiters();
        }
    }

    /// Ends all tasks, and lets go of deliveries: what they were for is not done any more by this run.
    pub(super) fn stop(&self) {
        self.stop.cancel();
        let in_hand = {
            let mut inner = self.lock();
            inner.closed = true;
            mem::take(&mut inner.in_hand)
        };
        drop(in_hand);
    }

    /// Wakes up when something is due.
    pub(super) async fn alarm(self: Arc<Self>) {
        loop {
            let armed = self.lock().armed;
            let due = async {
                match armed {
                    // A clock that jumps back must not make this a busy loop.
                    Some(at) => tokio::time::sleep(at.since(self.now()).max(Duration::from_millis(1))).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {
                    self.lock().armed = None;
                    self.pump();
                }
                () = self.rearmed.notified() => {}
                () = self.stop.cancelled() => return,
            }
        }
    }
}

impl Source for Arc<Shared> {
    fn now(&self) -> Timestamp {
        Shared::now(self)
    }

    fn take(&self) -> Option<Moment> {
        let run = self.run.get()?;
        let (cut, moved) = {
            let mut inner = self.lock();
            // Under the lock under which deliveries are taken and acknowledged: no position without its messages, and no
            // message without its position.
            let moved: Vec<_> =
                run.positions().iter().map(|(ingress, positions)| (ingress, positions.take())).collect();
            if !inner.mailboxes.has_changes() && moved.iter().all(|(_, moved)| moved.is_empty()) {
                return None;
            }
            (inner.mailboxes.cut(), moved)
        };
        let mut positions = Commit::new();
        for (ingress, moved) in moved {
            for (stream, changes) in moved {
                positions::put_changes(&mut positions, ingress, &stream, &changes);
            }
        }
        Some(Moment { cut, positions })
    }

    fn durable(&self, cut: u64) {
        self.lock().mailboxes.durable(cut);
        // There may be room now for what waits for it.
        self.pump();
    }
}
