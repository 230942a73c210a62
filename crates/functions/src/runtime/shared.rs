//! What the tasks of a runtime share.

use std::{
    any::Any,
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use statefun_kinesis_module::FailureHandling;
use statefun_kinesis_router::{FunctionError, Positions, RunHandle};
use statefun_kinesis_store::{Commit, Store, positions};
use statefun_kinesis_types::{Timestamp, TypeName};
use tokio::{
    sync::{Notify, mpsc},
    time::Instant,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    blocked::BlockedLog,
    builder::DeadLetters,
    failures::FailureLog,
    latency::Latencies,
    lock::{self, Mutex, MutexGuard},
};
use crate::{
    Invoke, Mailboxes, Now, Request, StoredEgress,
    checkpoint::{Checkpoint, Moment, Source},
};

/// How long the alarm trusts the time of day at most.
const LOOK_AGAIN: Duration = Duration::from_secs(60);

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
    inner: Mutex<Inner>,
    pub(super) groups: Vec<Group>,
    pub(super) dead_letters: Option<Arc<dyn DeadLetters>>,
    pub(super) store: Arc<dyn Store>,
    /// Whether the store outlives the process.
    pub(super) is_durable: bool,
    pub(super) checkpoint: Checkpoint,
    /// The run that messages come from, and the positions of what it reads; there is none before it begins.
    pub(super) run: OnceLock<(RunHandle, Vec<(TypeName, Positions)>)>,
    started: Instant,
    /// Something was handled, or there is room: tasks that wait for it look.
    pub(super) moved: Notify,
    /// The next deadline is another one.
    pub(super) rearmed: Notify,
    /// Ends all tasks but those that note what egresses have stored, and that of the checkpoint.
    pub(super) stop: CancellationToken,
    /// Ends all tasks.
    pub(super) dropped: CancellationToken,
    /// All tasks but that of the checkpoint.
    pub(super) tasks: TaskTracker,
    pub(super) log: FailureLog,
    pub(super) blocked: BlockedLog,
}

/// What the lock protects. Everything that has to be of one moment changes under it: a batch of messages is taken and its
/// position moves, effects are applied, a cut is made, and records get their order.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) mailboxes: Mailboxes,
    /// Nothing more is taken, and no effects are applied any more.
    pub(super) closed: bool,
    /// Where records for each egress go.
    pub(super) outlets: HashMap<TypeName, mpsc::UnboundedSender<Vec<StoredEgress>>>,
    /// How long the requests of each function took.
    pub(super) latencies: Latencies,
    /// The deadlines for which the alarm is set.
    armed: Deadlines,
}

/// When something is to be done next: by the time of day, and by the clock that never goes back.
type Deadlines = (Option<Timestamp>, Option<Duration>);

impl Inner {
    fn new(mailboxes: Mailboxes) -> Self {
        Self { mailboxes, closed: false, outlets: HashMap::new(), latencies: Latencies::default(), armed: (None, None) }
    }

    /// Does what is due, and takes all requests that may go out now.
    fn take_requests(&mut self, now: Now) -> Vec<Request> {
        self.mailboxes.on_time(now);
        std::iter::from_fn(|| self.mailboxes.next_request(now)).collect()
    }

    /// Sets the alarm for the next deadlines. Says whether these are others than before.
    fn arm(&mut self) -> bool {
        let deadlines = (self.mailboxes.next_deadline(), self.mailboxes.next_retry());
        std::mem::replace(&mut self.armed, deadlines) != deadlines
    }
}

/// What a [`Shared`] is made of.
pub(super) struct Parts {
    pub(super) mailboxes: Mailboxes,
    pub(super) groups: Vec<Group>,
    pub(super) dead_letters: Option<Arc<dyn DeadLetters>>,
    pub(super) store: Arc<dyn Store>,
    pub(super) is_durable: bool,
    pub(super) checkpoint: Checkpoint,
}

impl Shared {
    pub(super) fn new(parts: Parts) -> Self {
        let Parts { mailboxes, groups, dead_letters, store, is_durable, checkpoint } = parts;
        Self {
            inner: Mutex::new(Inner::new(mailboxes)),
            groups,
            dead_letters,
            store,
            is_durable,
            checkpoint,
            run: OnceLock::new(),
            started: Instant::now(),
            moved: Notify::new(),
            rearmed: Notify::new(),
            stop: CancellationToken::new(),
            dropped: CancellationToken::new(),
            tasks: TaskTracker::new(),
            log: FailureLog::default(),
            blocked: BlockedLog::default(),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn run(&self) -> Option<&RunHandle> {
        self.run.get().map(|(run, _)| run)
    }

    /// The time of day.
    pub(super) fn now(&self) -> Timestamp {
        self.run().map_or_else(Timestamp::now, RunHandle::now)
    }

    /// The time since the functions were built, by a clock that never goes back.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ends the run with an error.
    pub(super) fn fail(&self, error: FunctionError) {
        if let Some(run) = self.run() {
            run.fail(error);
        }
    }

    /// Runs a task until it is done or [`stop`](Self::stop) ends all tasks. A panic in it ends the run: nothing else would
    /// tell that it is gone.
    pub(super) fn spawn(self: &Arc<Self>, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.supervise(name, self.stop.clone(), task);
    }

    /// The same for a task that [`stop`](Self::stop) does not end, and only the end of everything does.
    pub(super) fn spawn_to_end(self: &Arc<Self>, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.supervise(name, self.dropped.clone(), task);
    }

    fn supervise(
        self: &Arc<Self>,
        name: &'static str,
        end: CancellationToken,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let shared = Arc::clone(self);
        lock::spawn(self.tasks.track_future(async move {
            let task = AssertUnwindSafe(task).catch_unwind();
            tokio::select! {
                biased;
                () = end.cancelled() => {}
                done = task => {
                    if let Err(panic) = done {
                        shared.fail(panicked(name, &*panic));
                    }
                }
            }
        }));
    }

    /// Does all that can be done now: what is due, requests, reads, and records for egresses.
    pub(super) fn pump(self: &Arc<Self>) {
        let now = Now { time: self.now(), elapsed: self.elapsed() };
        let mut inner = self.lock();
        if inner.closed {
            return;
        }
        let requests = inner.take_requests(now);
        let (loads, reads) = (inner.mailboxes.take_loads(), inner.mailboxes.take_reads());
        // Under the lock, so that records keep their order.
        self.hand_out_records(&mut inner);
        let done = inner.mailboxes.take_done();
        let (wants_cut, has_room) = (inner.mailboxes.wants_cut(), inner.mailboxes.has_room());
        let is_rearmed = inner.arm();
        drop(inner);

        if wants_cut {
            self.checkpoint.hurry();
        }
        if is_rearmed {
            self.rearmed.notify_one();
        }
        self.load_all(&loads);
        for (id, read) in reads {
            self.spawn("reading what waits from the store", Arc::clone(self).read(id, read));
        }
        for request in requests {
            self.spawn("a request to a function", Arc::clone(self).carry_out(request));
        }
        if let Some(run) = self.run().filter(|_| !done.is_empty()) {
            run.count_done(&done);
        }
        // Where there is no room at all, dozens of tasks would look for it in vain after each request.
        if has_room {
            self.moved.notify_waiters();
        }
    }

    /// Ends all tasks. What is not handled waits in the store.
    pub(super) fn stop(&self) {
        self.lock().closed = true;
        self.stop.cancel();
    }

    /// Wakes up when something is due.
    pub(super) async fn alarm(self: Arc<Self>) {
        loop {
            let (deadline, retry) = self.lock().armed;
            let until_deadline = deadline.map(|at| at.since(self.now()));
            let until_retry = retry.map(|at| at.saturating_sub(self.elapsed()));
            let due = async {
                match until_deadline.into_iter().chain(until_retry).min() {
                    // A clock that jumps back must not make this a busy loop, and one that jumps forwards is seen soon.
                    Some(wait) => tokio::time::sleep(wait.clamp(Duration::from_millis(1), LOOK_AGAIN)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {
                    self.lock().armed = (None, None);
                    self.pump();
                }
                () = self.rearmed.notified() => {}
            }
        }
    }
}

/// The error of a task that has panicked.
pub(super) fn panicked(name: &str, panic: &(dyn Any + Send)) -> FunctionError {
    let said = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    let said = said.unwrap_or("without a message");
    FunctionError::new(format!("the task for {name} has panicked, which is a bug of this program: {said}"))
}

impl Source for Arc<Shared> {
    fn now(&self) -> Timestamp {
        Shared::now(self)
    }

    fn take(&self) -> Option<Moment> {
        let (_, of_ingresses) = self.run.get()?;
        let (cut, moved) = {
            let mut inner = self.lock();
            // Under the lock under which messages are taken and acknowledged: no position without its messages, and no
            // message without its position.
            let moved: Vec<_> = of_ingresses.iter().map(|(ingress, positions)| (ingress, positions.take())).collect();
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

#[cfg(test)]
mod shuttle_tests;
