//! What to do about requests that fail, and how much to say about it.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use statefun_kinesis_client::Backoff;
use statefun_kinesis_module::{FailureHandling, GiveUp};
use statefun_kinesis_types::{ErrorChain, FunctionType, LogLevel};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::{InvokeError, Request};

/// The delays between attempts.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(30));

/// How long to wait after so many attempts.
pub(super) fn backoff(attempts: u32) -> Duration {
    // Its seed comes from the generator of the thread, which a simulation seeds.
    BACKOFF.delay(attempts.saturating_sub(1), &mut fastrand::Rng::new())
}

/// Whether nothing more is to be tried, after so many attempts in so much time and with the next one only after `wait`.
pub(super) fn is_over(
    failures: &FailureHandling,
    attempts: u32,
    elapsed: Duration,
    wait: Duration,
    call: Duration,
) -> bool {
    let after = match failures {
        FailureHandling::Skip { after, .. }
        | FailureHandling::DeadLetter { after, .. }
        | FailureHandling::Fail { after } => after,
        FailureHandling::KeepTrying => return false,
    };
    let GiveUp { max_attempts, timeout, .. } = after;
    let too_often = max_attempts.is_some_and(|most| attempts >= most.get());
    let longest = timeout.or(max_attempts.is_none().then_some(call));
    too_often || longest.is_some_and(|longest| elapsed.saturating_add(wait) >= longest)
}

/// Logs a message that is given up, at a level that is known only now.
pub(super) fn log_given_up(level: LogLevel, request: &Request, what: &str, error: &InvokeError) {
    macro_rules! line {
        ($log:ident) => {
            tracing::$log!(
                function = %request.target.function,
                id = %request.target.id,
                attempts = request.attempt + 1,
                "{what}: {}",
                ErrorChain(error),
            )
        };
    }
    match level {
        LogLevel::Error => line!(error),
        LogLevel::Warn => line!(warn),
        LogLevel::Info => line!(info),
        LogLevel::Debug => line!(debug),
        LogLevel::Trace => line!(trace),
    }
}

/// Logs failed requests: of each function the first one, and then one in a while with how many there were.
#[derive(Debug, Default)]
pub(super) struct FailureLog {
    /// Whether a function may have failed, so that success costs no lock while none has.
    any: AtomicBool,
    functions: Mutex<HashMap<FunctionType, Failing>>,
}

#[derive(Debug)]
struct Failing {
    logged: Instant,
    /// Failures since the last success.
    count: u64,
    /// Failures since the last line of the log.
    unsaid: u64,
}

impl FailureLog {
    /// Least time between two lines about one function.
    const INTERVAL: Duration = Duration::from_secs(10);

    pub(super) fn failed(&self, request: &Request, error: &InvokeError) {
        let now = Instant::now();
        self.any.store(true, Ordering::Release);
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let function = &request.target.function;
        let failing = functions.entry(function.clone()).or_insert_with(|| Failing {
            logged: now.checked_sub(Self::INTERVAL).unwrap_or(now),
            count: 0,
            unsaid: 0,
        });
        failing.count += 1;
        if failing.count > 1 && now.duration_since(failing.logged) < Self::INTERVAL {
            failing.unsaid += 1;
            return;
        }
        let unsaid = std::mem::take(&mut failing.unsaid);
        failing.logged = now;
        warn!(
            %function,
            id = %request.target.id,
            attempt = request.attempt + 1,
            messages = request.messages.len(),
            not_logged = unsaid,
            "a request failed and is tried again: {}",
            ErrorChain(error),
        );
    }

    pub(super) fn succeeded(&self, function: &FunctionType) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failing) = functions.get_mut(function)
            && failing.logged.elapsed() >= Self::INTERVAL
        {
            // A function that fails now and then is not worth a line each time it does not.
            info!(%function, failures = failing.count, "the function answers again");
            functions.remove(function);
            self.any.store(!functions.is_empty(), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[test]
    fn waits_double_up_to_half_a_minute() {
        for (attempts, most_ms) in [(1, 10), (2, 20), (3, 40), (12, 20_480), (13, 30_000), (u32::MAX, 30_000)] {
            for _ in 0..100 {
                let wait = backoff(attempts);
                let most = Duration::from_millis(most_ms);
                assert!(wait >= most / 2 && wait <= most, "{attempts}: {wait:?}");
            }
        }
    }

    #[test]
    fn trying_ends_when_the_policy_says_so() {
        let give_up = |attempts: Option<u32>, timeout: Option<u64>| {
            let (max_attempts, timeout) = (attempts.and_then(NonZeroU32::new), timeout.map(Duration::from_secs));
            FailureHandling::Fail { after: GiveUp { max_attempts, timeout } }
        };
        let (call, wait) = (Duration::from_secs(60), Duration::from_secs(1));
        for (failures, attempts, elapsed, expect) in [
            (FailureHandling::KeepTrying, 1_000_000, 1_000_000, false),
            (give_up(None, None), 1_000_000, 58, false),
            (give_up(None, None), 1, 59, true),
            (give_up(Some(3), None), 2, 1_000_000, false),
            (give_up(Some(3), None), 3, 0, true),
            (give_up(None, Some(10)), 1_000, 8, false),
            (give_up(None, Some(10)), 1, 9, true),
            (give_up(Some(3), Some(10)), 3, 0, true),
            (give_up(Some(3), Some(10)), 1, 10, true),
        ] {
            let over = is_over(&failures, attempts, Duration::from_secs(elapsed), wait, call);
            assert_eq!(over, expect, "{failures:?} after {attempts} in {elapsed} s");
        }
    }
}
