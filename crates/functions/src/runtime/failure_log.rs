//! Logs failing addresses and endpoints that are not available, at a limited rate.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use statefun_kinesis_module::FunctionPattern;
use statefun_kinesis_types::{Address, ErrorChain, FunctionType, Timestamp};
use tokio::time::Instant;
use tracing::{info, warn};

use super::failures::origin;
use crate::{InvokeError, Request};

/// Logs failed requests: the first one of each function, then at most one per [interval](Self::INTERVAL) with the
/// number of those that were not logged. An address that a line named gets another line when it answers again.
#[derive(Debug, Default)]
pub(super) struct FailureLog {
    /// Whether lines named addresses that have not answered since. While there are none, a success takes no lock.
    any: AtomicBool,
    functions: Mutex<HashMap<FunctionType, OfFunction>>,
}

#[derive(Debug)]
struct OfFunction {
    logged: Instant,
    /// Failures that were not logged since the last line.
    not_logged: u64,
    /// The addresses that lines named and that have not answered since, with the time of their first failure.
    named: HashMap<Arc<str>, Timestamp>,
}

impl FailureLog {
    /// Shortest time between two lines about failures of one function.
    const INTERVAL: Duration = Duration::from_secs(10);

    /// Most addresses of a function of which it is remembered that a line named them.
    const NAMED_MAX: usize = 1_000;

    /// Notes a failed request, and logs it unless there was a line about the function a short time ago. `failing` is
    /// the number of failing addresses of the function.
    pub(super) fn failed(&self, request: &Request, error: &InvokeError, since: Timestamp, failing: u64) {
        let Some(not_logged) = self.is_due(&request.target, since) else { return };
        let origin = origin(request);
        warn!(
            function = %request.target.function,
            id = %request.target.id,
            stream = origin.map(|origin| display(&origin.stream)),
            shard = origin.map(|origin| display(&origin.shard)),
            sequence_number = origin.map(|origin| display(origin.sequence_number)),
            attempt = request.attempt + 1,
            messages = request.messages.len(),
            %since,
            failing_addresses = failing,
            not_logged,
            "a request failed and will be retried: {}",
            ErrorChain(error),
        );
    }

    /// Whether to log a failure now. Returns the number of failures that were not logged before.
    fn is_due(&self, address: &Address, since: Timestamp) -> Option<u64> {
        let now = Instant::now();
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let of = match functions.get_mut(&address.function) {
            Some(of) if now.duration_since(of.logged) < Self::INTERVAL => {
                of.not_logged += 1;
                return None;
            }
            Some(of) => of,
            None => {
                let of = OfFunction { logged: now, not_logged: 0, named: HashMap::new() };
                functions.entry(address.function.clone()).or_insert(of)
            }
        };
        of.logged = now;
        if of.named.len() < Self::NAMED_MAX {
            of.named.entry(Arc::clone(&address.id)).or_insert(since);
            self.any.store(true, Ordering::Release);
        }
        Some(std::mem::take(&mut of.not_logged))
    }

    /// Notes that an address answered, and logs it if a line had named the address.
    pub(super) fn answered(&self, address: &Address) {
        if let Some(since) = self.forget(address) {
            info!(function = %address.function, id = %address.id, %since, "the address answers again");
        }
    }

    /// Notes that the failing messages of an address were given up. Returns since when it failed, if a line named it.
    pub(super) fn forget(&self, address: &Address) -> Option<Timestamp> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        let mut functions = self.functions.lock().unwrap_or_else(PoisonError::into_inner);
        let since = functions.get_mut(&address.function)?.named.remove(&*address.id)?;
        self.any.store(functions.values().any(|of| !of.named.is_empty()), Ordering::Release);
        Some(since)
    }
}

/// Logs when the requests of an endpoint are held back, and when they are sent again.
#[derive(Debug, Default)]
pub(super) struct HeldBackLog {
    /// Whether the last line about the endpoint says that its requests are held back. While it does not, a success takes
    /// no lock.
    is_said: AtomicBool,
    /// When that line was logged last.
    logged: Mutex<Option<Instant>>,
}

impl HeldBackLog {
    /// Notes whether requests are held back. `why` is the failure that was reported last.
    pub(super) fn is(&self, held_back: bool, functions: &FunctionPattern, why: Option<&InvokeError>) {
        match why {
            Some(why) if held_back => {
                if self.begins() {
                    warn!(
                        %functions,
                        "the endpoint is not available, so its requests are held back until it answers: {}",
                        ErrorChain(why),
                    );
                }
            }
            Some(_) | None => {
                if !held_back && self.ends() {
                    info!(%functions, "the endpoint answers again");
                }
            }
        }
    }

    /// Whether to log that requests are held back.
    fn begins(&self) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = logged.is_none_or(|logged| logged.elapsed() >= FailureLog::INTERVAL);
        let begins = is_due && !self.is_said.load(Ordering::Acquire);
        if begins {
            *logged = Some(Instant::now());
            self.is_said.store(true, Ordering::Release);
        }
        begins
    }

    /// Whether to log that requests are sent again.
    fn ends(&self) -> bool {
        self.is_said.load(Ordering::Acquire) && self.is_said.swap(false, Ordering::AcqRel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(id: &str) -> Address {
        Address { function: "t/f".parse().unwrap(), id: id.into() }
    }

    #[tokio::test(start_paused = true)]
    async fn one_line_per_interval_names_an_address_and_counts_the_others() {
        let (log, first) = (FailureLog::default(), Timestamp::EPOCH);
        assert_eq!(log.is_due(&address("a"), first), Some(0));
        for _ in 0..7 {
            assert_eq!(log.is_due(&address("b"), first), None);
        }
        let other = Address { function: "t/g".parse().unwrap(), id: "a".into() };
        assert_eq!(log.is_due(&other, first), Some(0), "functions have lines of their own");
        tokio::time::advance(FailureLog::INTERVAL).await;
        assert_eq!(log.is_due(&address("c"), first), Some(7));
        assert_eq!(log.is_due(&address("c"), first), None);
    }

    /// D7: successes of other addresses of the function say nothing about the one that fails.
    #[tokio::test(start_paused = true)]
    async fn an_address_answers_again_when_it_does() {
        let (log, since) = (FailureLog::default(), Timestamp::from_millis(7));
        assert_eq!(log.is_due(&address("a"), since), Some(0));
        tokio::time::advance(3 * FailureLog::INTERVAL).await;
        assert_eq!(log.is_due(&address("a"), since.after(Duration::from_secs(9))), Some(0));
        assert_eq!(log.is_due(&address("b"), since), None);
        assert_eq!((log.forget(&address("b")), log.forget(&address("never"))), (None, None));
        assert_eq!(log.is_due(&address("a"), since), None, "and they do not reset the interval");
        assert_eq!(log.forget(&address("a")), Some(since));
        assert_eq!(log.forget(&address("a")), None, "once");
    }

    #[tokio::test(start_paused = true)]
    async fn an_endpoint_that_comes_and_goes_has_few_lines() {
        let log = HeldBackLog::default();
        assert!(!log.ends());
        assert!(log.begins() && !log.begins() && log.ends() && !log.ends());
        assert!(!log.begins() && !log.ends(), "not again within the interval");
        tokio::time::advance(FailureLog::INTERVAL).await;
        assert!(log.begins() && log.ends());
    }
}
