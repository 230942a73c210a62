//! What the tasks of a runtime share.

use std::{
    any::Any,
    collections::HashMap,
    panic::AssertUnwindSafe,
    sync::{Arc, OnceLock, PoisonError},
    time::Duration,
};

use futures::FutureExt;
use statefun_kinesis_module::{FailureHandling, FunctionPattern};
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
    failure_log::{FailureLog, HeldBackLog},
    latency::Latencies,
    lock::{self, Mutex, MutexGuard},
};
use crate::{
    Invoke, Mailboxes, Now, Request, StoredEgress,
    checkpoint::{Checkpoint, Moment, Source},
};

/// Longest sleep of the alarm. The time of day can jump forwards during a sleep, which is noticed at its end.
const ALARM_SLEEP_MAX: Duration = Duration::from_secs(60);

/// The functions of one endpoint, or of one registration in process.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) functions: FunctionPattern,
    pub(super) invoke: Arc<dyn Invoke>,
    /// Time limit of a request.
    pub(super) call: Duration,
    pub(super) failures: FailureHandling,
    pub(super) held_back: HeldBackLog,
}

impl Group {
    pub(super) fn new(
        functions: FunctionPattern,
        invoke: Arc<dyn Invoke>,
        call: Duration,
        failures: FailureHandling,
    ) -> Self {
        Self { functions, invoke, call, failures, held_back: HeldBackLog::default() }
    }
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
    /// The run that delivers messages, and the positions of its ingresses. Unset before the run begins.
    pub(super) run: OnceLock<(RunHandle, Vec<(TypeName, Positions)>)>,
    started: Instant,
    /// Notified when messages were handled or the mailboxes have room. Deliveries and a drain wait for it.
    pub(super) progressed: Notify,
    /// Notified when the next deadline has changed.
    pub(super) rearmed: Notify,
    /// Ends all tasks except the checkpoint's and those that wait for receipts of egresses.
    pub(super) stop: CancellationToken,
    /// Ends all tasks except the checkpoint's.
    pub(super) dropped: CancellationToken,
    /// All tasks except the checkpoint's.
    pub(super) tasks: TaskTracker,
    pub(super) log: FailureLog,
    pub(super) blocked: BlockedLog,
}

/// The data behind the lock. Four steps have to be atomic and so happen under it: taking a batch and moving its
/// position, applying effects, making a cut, and giving records for egresses their order.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) mailboxes: Mailboxes,
    /// Set by a stop. From then on no message is taken and no effect is applied.
    pub(super) closed: bool,
    /// The queue of records for each egress.
    pub(super) egress_queues: HashMap<TypeName, mpsc::UnboundedSender<Vec<StoredEgress>>>,
    /// Latency of the requests of each function.
    pub(super) latencies: Latencies,
    /// The deadlines that the alarm waits for.
    armed: Deadlines,
}

/// The next deadline by the time of day (delayed messages, expiry) and the next one by the monotonic clock (retries).
type Deadlines = (Option<Timestamp>, Option<Duration>);

impl Inner {
    fn new(mailboxes: Mailboxes) -> Self {
        Self {
            mailboxes,
            closed: false,
            egress_queues: HashMap::new(),
            latencies: Latencies::default(),
            armed: (None, None),
        }
    }

    /// Handles what is due, and takes all requests that can be sent now.
    fn take_requests(&mut self, now: Now) -> Vec<Request> {
        self.mailboxes.on_time(now);
        std::iter::from_fn(|| self.mailboxes.next_request(now)).collect()
    }

    /// Sets the alarm for the next deadlines. Returns whether they have changed.
    fn arm(&mut self) -> bool {
        let deadlines = (self.mailboxes.next_deadline(), self.mailboxes.next_retry());
        std::mem::replace(&mut self.armed, deadlines) != deadlines
    }
}

/// The arguments of [`Shared::new`].
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
            progressed: Notify::new(),
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

    /// The time since the functions were built, by the monotonic clock.
    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Ends the run with an error.
    pub(super) fn fail(&self, error: FunctionError) {
        if let Some(run) = self.run() {
            run.fail(error);
        }
    }

    /// Runs a task until it is done or [`stop`](Self::stop) ends all tasks. A panic in it ends the run, because nothing
    /// else would notice that the task has ended.
    pub(super) fn spawn(self: &Arc<Self>, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.supervise(name, self.stop.clone(), task);
    }

    /// Runs a task that [`stop`](Self::stop) does not end; it ends with the functions at the latest.
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
        // In a box, because the future of a request has hundreds of bytes, and it would be copied several times on its
        // way into a task. Most requests of functions in process end at once, so that these copies would be a good part
        // of their cost.
        let task = Box::pin(AssertUnwindSafe(task).catch_unwind());
        lock::spawn(self.tasks.track_future(async move {
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

    /// Starts all that can be done now: due work, requests, reads, and records for egresses. Has to be called after
    /// each change of the mailboxes, since nothing else starts work.
    pub(super) fn pump(self: &Arc<Self>) {
        let now = Now { time: self.now(), elapsed: self.elapsed() };
        let mut inner = self.lock();
        if inner.closed {
            return;
        }
        let requests = inner.take_requests(now);
        let (loads, reads) = (inner.mailboxes.take_loads(), inner.mailboxes.take_reads());
        // Under the lock: of two tasks that pump at the same time, the one with the older records must queue them
        // first.
        self.queue_records(&mut inner);
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
            self.spawn("reading waiting messages from the store", Arc::clone(self).read(id, read));
        }
        for request in requests {
            self.spawn("a request to a function", Arc::clone(self).run_request(request));
        }
        if let Some(run) = self.run().filter(|_| !done.is_empty()) {
            run.count_done(&done);
        }
        // Without room, each request would wake dozens of deliveries in vain.
        if has_room {
            self.progressed.notify_waiters();
        }
    }

    /// Ends all tasks. Messages that were not handled stay in the store.
    pub(super) fn stop(&self) {
        self.lock().closed = true;
        self.stop.cancel();
    }

    /// Pumps whenever a deadline has passed.
    pub(super) async fn alarm(self: Arc<Self>) {
        loop {
            let (deadline, retry) = self.lock().armed;
            let until_deadline = deadline.map(|at| at.since(self.now()));
            let until_retry = retry.map(|at| at.saturating_sub(self.elapsed()));
            let due = async {
                match until_deadline.into_iter().chain(until_retry).min() {
                    // The lower bound keeps a clock that jumps back from making this a busy loop. The upper bound lets
                    // a clock that jumps forwards be noticed soon.
                    Some(wait) => tokio::time::sleep(wait.clamp(Duration::from_millis(1), ALARM_SLEEP_MAX)).await,
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
    FunctionError::new(format!("the task for {name} panicked, which is a bug in this program: {}", panic_text(panic)))
}

/// The message of a panic.
pub(super) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message")
}

impl Source for Arc<Shared> {
    fn now(&self) -> Timestamp {
        Shared::now(self)
    }

    fn needs_commit(&self) -> bool {
        self.is_durable || self.lock().mailboxes.needs_cut()
    }

    fn take(&self) -> Option<Moment> {
        let (_, ingresses) = self.run.get()?;
        let (cut, moved) = {
            let mut inner = self.lock();
            // Deliveries take messages and acknowledge them under the same lock, and so a cut has both or neither. A
            // position without its messages would lose them after a crash; messages without their position would be
            // read, and handled, twice.
            let moved: Vec<_> = ingresses.iter().map(|(ingress, positions)| (ingress, positions.take())).collect();
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
        // The commit may have made room for messages that wait.
        self.pump();
    }
}

#[cfg(test)]
mod shuttle_tests;
