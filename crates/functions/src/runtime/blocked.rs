//! Why nothing more is read.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use statefun_kinesis_types::{FunctionType, Timestamp};
use tokio::time::Instant;
use tracing::{info, warn};

/// Reading waits because messages cannot be taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Why.
    pub reason: BlockReason,
    /// The function that has most messages waiting, if one has any.
    pub function: Option<FunctionType>,
    /// How many messages wait for that function.
    pub messages: u64,
    /// Since when.
    pub since: Timestamp,
}

/// Why reading waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BlockReason {
    /// All functions have as many messages in memory as their share, or more came than could be made durable yet. That is
    /// how functions slow reading down.
    Busy,
    /// The store is in memory, and has as many bytes of waiting messages as it may.
    Full,
    /// Commits fail, so that nothing more could become durable.
    StoreFails,
}

impl BlockReason {
    /// All of them, in the order of the text that [`as_str`](Self::as_str) gives.
    pub const ALL: [Self; 3] = [Self::Busy, Self::Full, Self::StoreFails];

    /// Whether that is a failure, and not how functions slow reading down.
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
            BlockReason::StoreFails => "reading waits because the store cannot be written, as the log says",
        })?;
        match &self.function {
            Some(function) => write!(f, "; most messages wait for {function}: {}", self.messages),
            None => Ok(()),
        }
    }
}

/// Tells when reading waits for long, and when it goes on.
#[derive(Debug, Default)]
pub(super) struct BlockedLog(Mutex<Option<State>>);

#[derive(Debug)]
struct State {
    blocked: Blocked,
    began: Instant,
    is_logged: bool,
}

impl BlockedLog {
    /// How long reading waits before that is logged. Functions that are busy slow reading down all the time.
    const PATIENCE: Duration = Duration::from_secs(10);

    pub(super) fn get(&self) -> Option<Blocked> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).as_ref().map(|state| state.blocked.clone())
    }

    /// Reading waits; `blocked` tells why now.
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

    /// Messages were taken over.
    pub(super) fn goes_on(&self) {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(State { is_logged: true, blocked, .. }) = state {
            info!(since = %blocked.since, "reading goes on");
        }
    }

    /// How long to wait before the next look, at most.
    pub(super) const fn look_again() -> Duration {
        Self::PATIENCE
    }
}
