//! Makes the commits of a run: one per interval, with retries when they fail.

use std::{
    collections::HashMap,
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use statefun_kinesis_client::{Backoff, InstantExt as _};
use statefun_kinesis_router::FunctionError;
use statefun_kinesis_store::{Error, ErrorKind, Store};
use statefun_kinesis_types::{ErrorChain, FunctionType, Timestamp};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, sleep_until},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

use super::{
    CheckpointStatus,
    write::{Moment, write},
};
use crate::{Expiration, StateSpec};

/// The delays before a failed commit is retried. The longest one bounds how long a full disk that has room again goes
/// unnoticed. The delays have no jitter, since a store has only one writer.
const RETRIES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
/// Attempts to make the last commit of a run, over about six seconds.
const LAST_ATTEMPTS: u32 = 7;

/// The checkpoint of a run: its store, its interval and its status.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    store: Arc<dyn Store>,
    interval: Duration,
    status: Mutex<CheckpointStatus>,
    failing: AtomicBool,
    /// Notified when the next commit should be made before its interval ends.
    hurry: Notify,
    /// Cancelled when the last commit should be made.
    closing: CancellationToken,
    /// Whether a function has declared a state that expires.
    has_expiring_states: AtomicBool,
    /// The states that functions declared in earlier runs. [`drive`](Self::drive) takes them.
    specs: Mutex<HashMap<FunctionType, Vec<StateSpec>>>,
}

/// The source of changes.
pub(crate) trait Source: Send + Sync {
    /// The time of day.
    fn now(&self) -> Timestamp;

    /// Whether the changes since the last call of [`take`](Self::take) are worth a commit. They always are when the
    /// store outlives the process. A store that ends with the process only relieves memory.
    fn needs_commit(&self) -> bool;

    /// Takes the changes since the last call and the positions of the same moment; `None` without changes.
    fn take(&self) -> Option<Moment>;

    /// Notes that a cut and all cuts before it are durable.
    fn durable(&self, cut: u64);
}

impl Checkpoint {
    pub(crate) fn new(store: Arc<dyn Store>, interval: Duration, specs: HashMap<FunctionType, Vec<StateSpec>>) -> Self {
        Self {
            store,
            interval,
            status: Mutex::new(CheckpointStatus { interval, ..CheckpointStatus::default() }),
            failing: AtomicBool::new(false),
            hurry: Notify::new(),
            closing: CancellationToken::new(),
            has_expiring_states: AtomicBool::new(specs.values().flatten().any(expires)),
            specs: Mutex::new(specs),
        }
    }

    /// Whether a function has declared a state that expires, so that the store has to be searched for expired values.
    pub(crate) fn has_expiring_states(&self) -> bool {
        self.has_expiring_states.load(Ordering::Relaxed)
    }

    pub(crate) fn status(&self) -> CheckpointStatus {
        *self.lock()
    }

    /// Whether the last commit failed. Messages that are taken meanwhile could not leave memory.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }

    /// Whether [`close`](Self::close) was called.
    pub(crate) fn is_closed(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Makes [`drive`](Self::drive) commit as soon as it can.
    pub(crate) fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// Makes [`drive`](Self::drive) make the last commit and return.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// Makes a commit in each interval that has changes and [needs one](Source::needs_commit), and a last one after
    /// [`close`](Self::close).
    ///
    /// # Errors
    ///
    /// When a commit fails in a way that a retry cannot mend, or the last commit fails too often.
    pub(crate) async fn drive(&self, source: &impl Source) -> Result<(), FunctionError> {
        let mut specs = mem::take(&mut *self.specs.lock().unwrap_or_else(PoisonError::into_inner));
        self.lock().durable_at = Some(source.now());
        let mut next = Instant::now().saturating_add(self.interval);
        loop {
            let closing = tokio::select! {
                biased;
                () = self.closing.cancelled() => true,
                () = sleep_until(next) => false,
                () = self.hurry.notified() => false,
            };
            // Counted from the start of the commit: after one that takes longer than an interval, the next one starts
            // at once.
            next = Instant::now().saturating_add(self.interval);
            if source.needs_commit() {
                self.checkpoint(source, &mut specs).await?;
            }
            if closing {
                return Ok(());
            }
        }
    }

    /// Makes a commit now, if there are changes. Retries until it succeeds, since the changes of a cut exist nowhere
    /// else.
    pub(crate) async fn checkpoint(
        &self,
        source: &impl Source,
        specs: &mut HashMap<FunctionType, Vec<StateSpec>>,
    ) -> Result<(), FunctionError> {
        // The time is taken before the cut, so that `durable_at` never claims more than the cut has.
        let (began, now) = (Instant::now(), source.now());
        let taken = source.take();
        let held = began.elapsed();
        let Some(moment) = taken.map(Arc::new) else {
            self.lock().durable_at = Some(now);
            return Ok(());
        };
        if moment.cut.changes.specs().iter().any(|(_, spec)| expires(spec)) {
            self.has_expiring_states.store(true, Ordering::Relaxed);
        }
        let mut failures = 0;
        let mut last_attempts = 0;
        loop {
            // Each attempt builds its own commit. Keeping one for a retry would copy every commit, and nearly all
            // succeed at once.
            let (commit, size) = write(&moment, specs);
            let Err(error) = self.store.commit(commit).await else {
                let mut status = self.lock();
                status.commits += 1;
                status.durable_at = Some(now);
                (status.last_took, status.last_held) = (began.elapsed(), held);
                (status.last_changes, status.last_bytes) = (size.changes(), size.bytes());
                status.bytes += size.bytes();
                let failed_since = status.failing_since.take();
                drop(status);
                if let Some(since) = failed_since {
                    info!(%since, failures, "checkpoints are written again");
                    self.failing.store(false, Ordering::Release);
                }
                // Last, because it wakes deliveries that wait for room, and they check `failing` then.
                source.durable(moment.cut.number);
                return Ok(());
            };
            failures += 1;
            {
                let mut status = self.lock();
                status.failures += 1;
                status.failing_since.get_or_insert(source.now());
                self.failing.store(true, Ordering::Release);
            }
            if !matches!(error.kind(), ErrorKind::Full | ErrorKind::Io) {
                return Err(FunctionError::new("cannot write the checkpoint").because(error));
            }
            let closing = self.closing.is_cancelled();
            last_attempts += u32::from(closing);
            if last_attempts >= LAST_ATTEMPTS {
                let durable = self.status().durable_at.map_or_else(|| "its start".to_owned(), |at| at.to_string());
                let message = format!(
                    "the last checkpoint could not be written; the next start repeats the work of this run since {durable}"
                );
                return Err(FunctionError::new(message).because(error));
            }
            if failures == 1 {
                log_failure(&error);
            }
            let attempts = if closing { last_attempts } else { failures };
            let delay = RETRIES.longest(attempts - 1);
            tokio::select! {
                () = sleep(delay) => {}
                () = self.closing.cancelled(), if !closing => {}
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, CheckpointStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn expires(spec: &StateSpec) -> bool {
    spec.expiration != Expiration::Never
}

/// Logs the first failure and what to do about it. The next line follows when commits succeed again.
fn log_failure(failure: &Error) {
    let remedy = if failure.kind() == ErrorKind::Full {
        "make room on the disk of the state directory"
    } else {
        "check the disk of the state directory"
    };
    error!(
        error = %ErrorChain(failure),
        "a checkpoint could not be written: {remedy}; nothing is lost, and reading waits until a retry succeeds"
    );
}
