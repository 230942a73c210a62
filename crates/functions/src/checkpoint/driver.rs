//! When commits are made, and what happens when they fail.

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

/// The delays before a failed commit is tried again. At the longest one, a full disk is found to have room again that
/// soon. Nobody else tries to write at the same time, so that no delay is left to chance.
const RETRIES: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
/// Tries of the last commit of a run, over about six seconds.
const LAST_TRIES: u32 = 7;

/// The checkpoint of a run: where it goes, how often, and how it is doing.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    store: Arc<dyn Store>,
    interval: Duration,
    status: Mutex<CheckpointStatus>,
    failing: AtomicBool,
    /// So much has changed that the next commit does not wait for its time.
    hurry: Notify,
    /// Ends the intervals: what is left is committed now.
    closing: CancellationToken,
    /// Whether a function has declared a state that expires.
    has_expiring_states: AtomicBool,
    /// What functions declared, until the driver takes it over.
    specs: Mutex<HashMap<FunctionType, Vec<StateSpec>>>,
}

/// What changes are taken from.
pub(crate) trait Source: Send + Sync {
    /// The time of day.
    fn now(&self) -> Timestamp;

    /// Takes what has changed since the last time, and the positions of the same moment; none when that is nothing.
    fn take(&self) -> Option<Moment>;

    /// A cut and all before it are durable.
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

    /// Whether there is something to look for in the store beside what is asked for.
    pub(crate) fn has_expiring_states(&self) -> bool {
        self.has_expiring_states.load(Ordering::Relaxed)
    }

    pub(crate) fn status(&self) -> CheckpointStatus {
        *self.lock()
    }

    /// Whether the last commit failed: what is taken over meanwhile could not leave memory.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Acquire)
    }

    /// Whether the driver was told to make the last commit.
    pub(crate) fn is_closed(&self) -> bool {
        self.closing.is_cancelled()
    }

    /// Lets the driver make the next commit as soon as it can.
    pub(crate) fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// Lets the driver make the last commit, and return.
    pub(crate) fn close(&self) {
        self.closing.cancel();
    }

    /// Makes a commit in each interval, if there is something to commit, and the last one when it is closed.
    ///
    /// # Errors
    ///
    /// When the store cannot be written any more, or not in time at the end.
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
            next = Instant::now().saturating_add(self.interval);
            self.checkpoint(source, &mut specs).await?;
            // One that took longer than an interval is followed by the next one at once.
            if closing {
                return Ok(());
            }
        }
    }

    /// Makes a commit now, if there is something to commit.
    pub(crate) async fn checkpoint(
        &self,
        source: &impl Source,
        specs: &mut HashMap<FunctionType, Vec<StateSpec>>,
    ) -> Result<(), FunctionError> {
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
        let mut last_tries = 0;
        loop {
            // It is written anew for each try, so that a commit that succeeds at once, as nearly all do, is not copied.
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
                // Behind all else, so that what waits for it finds that commits work.
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
                return Err(FunctionError::new("the checkpoint cannot be written").because(error));
            }
            let closing = self.closing.is_cancelled();
            last_tries += u32::from(closing);
            if last_tries >= LAST_TRIES {
                let durable = self.status().durable_at.map_or_else(|| "its beginning".to_owned(), |at| at.to_string());
                let message = format!(
                    "the last checkpoint could not be written; what this run has done since {durable} is done again \
                     after the next start"
                );
                return Err(FunctionError::new(message).because(error));
            }
            if failures == 1 {
                log_failure(&error);
            }
            let tries = if closing { last_tries } else { failures };
            let delay = RETRIES.longest(tries - 1);
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

/// Says once what is wrong and what helps; the next line is when it works again.
fn log_failure(failure: &Error) {
    let remedy = if failure.kind() == ErrorKind::Full {
        "make room on the disk of the state directory"
    } else {
        "look at the disk of the state directory"
    };
    error!(
        error = %ErrorChain(failure),
        "a checkpoint could not be written: {remedy}; nothing is lost, reading waits, and the checkpoint is tried again"
    );
}
