//! Decides when to retry a failed request and when to give up.

use std::time::Duration;

use statefun_kinesis_client::Backoff;
use statefun_kinesis_module::{FailureHandling, GiveUp};
use statefun_kinesis_types::{ErrorChain, LogLevel};

use crate::{InvokeError, Origin, Request};

/// The delays between attempts.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(30));

/// The delay after the given number of attempts.
pub(super) fn backoff(attempts: u32) -> Duration {
    // `Rng::new` takes its seed from the thread's generator, which simulations seed.
    BACKOFF.delay(attempts.saturating_sub(1), &mut fastrand::Rng::new())
}

/// Whether to give up after `attempts` attempts within `elapsed`, when the next attempt would be `wait` later. `call`
/// is the time limit of a call, which applies when the policy has neither a number of attempts nor a time.
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

/// The record of the oldest message of a request that came from an ingress. Log lines name it, so that the record can be
/// found; messages of functions have none.
pub(super) fn origin(request: &Request) -> Option<&Origin> {
    request.messages.iter().find_map(|message| message.origin.as_deref())
}

/// Logs a message that is given up, at a level chosen at run time.
pub(super) fn log_given_up(level: LogLevel, request: &Request, what: &str, error: &InvokeError) {
    let origin = origin(request);
    macro_rules! line {
        ($log:ident) => {
            tracing::$log!(
                function = %request.target.function,
                id = %request.target.id,
                stream = origin.map(|origin| display(&origin.stream)),
                shard = origin.map(|origin| display(&origin.shard)),
                sequence_number = origin.map(|origin| display(origin.sequence_number)),
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
