//! Says why reading waits, and logs it when it takes long.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use statefun_kinesis_types::{FunctionType, Timestamp};
use tokio::time::Instant;
use tracing::{info, warn};

/// Reading waits because the functions cannot take more messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Why reading waits.
    pub reason: BlockReason,
    /// The function with the most waiting messages, if any messages wait.
    pub function: Option<FunctionType>,
    /// The number of messages that wait for that function.
    pub messages: u64,
    /// When reading began to wait for this reason.
    pub since: Timestamp,
}

/// Why reading waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockReason {
    /// Backpressure: all functions have as many messages in memory as their share, or messages arrive faster than
    /// commits make them durable.
    Busy,
    /// The store is in memory, and the waiting messages have reached its limit in bytes.
    Full,
    /// Commits fail, so that new messages could not become durable.
    StoreFails,
}

impl BlockReason {
    /// All reasons, sorted by [`as_str`](Self::as_str).
    pub const ALL: [Self; 3] = [Self::Busy, Self::Full, Self::StoreFails];

    /// Whether it is a failure rather than backpressure.
    pub const fn is_outage(self) -> bool {
        match self {
            Self::Busy => false,
            Self::Full | Self::StoreFails => true,
        }
    }

    /// A short name, such as for a label of a metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Full => "full",
            Self::StoreFails => "store-fails",
        }
    }
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.reason {
            BlockReason::Busy => "reading waits until functions have handled more of their messages",
            BlockReason::Full => {
                "reading waits because no more messages fit into memory; with --state DIR they wait on the disk instead"
            }
            BlockReason::StoreFails => "reading waits because the store cannot be written; see the earlier log lines",
        })?;
        match &self.function {
            Some(function) => write!(f, "; most messages wait for {function}: {}", self.messages),
            None => Ok(()),
        }
    }
}

/// Logs when reading has waited for long, and when it resumes.
#[derive(Debug, Default)]
pub(super) struct BlockedLog(Mutex<Option<State>>);

#[derive(Debug)]
struct State {
    blocked: Blocked,
    began: Instant,
    is_logged: bool,
}

impl BlockedLog {
    /// How long reading waits before it is logged. Short waits are normal backpressure.
    const PATIENCE: Duration = Duration::from_secs(10);

    pub(super) fn get(&self) -> Option<Blocked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|state| state.blocked.clone())
    }

    /// Notes that reading waits, and why.
    pub(super) fn waits(&self, mut blocked: Blocked) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (began, is_logged) = match &*state {
            Some(State { blocked: before, began, is_logged }) if before.reason == blocked.reason => {
                blocked.since = before.since;
                (*began, *is_logged)
            }
            _ => (Instant::now(), false),
        };
        let is_due = !is_logged && began.elapsed() >= Self::PATIENCE;
        if is_due {
            warn!(since = %blocked.since, "{blocked}");
        }
        *state = Some(State { blocked, began, is_logged: is_logged || is_due });
    }

    /// Notes that messages were taken.
    pub(super) fn resumed(&self) {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(State { is_logged: true, blocked, .. }) = state {
            info!(since = %blocked.since, "reading resumed");
        }
    }

    /// How often to check for room without a notification, so that a long wait is logged in time.
    pub(super) const fn check_interval() -> Duration {
        Self::PATIENCE
    }
}
