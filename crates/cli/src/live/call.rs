//! One call to the service, with its time limit and its retries.

use std::time::Duration;

use statefun_kinesis_client::{Backoff, Error, ErrorKind, Operation, Result};
use tokio::time::{sleep, timeout};

/// How long one call may take: the credentials that it fetches first may take 22 s of it (`statefun-kinesis-aws`).
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Attempts of a throttled call.
const ATTEMPTS: u32 = 6;

/// Makes one call. Retries it while it is throttled, and once when the connection fails.
pub(super) async fn call<T>(operation: Operation, make: impl AsyncFn() -> Result<T>) -> Result<T> {
    let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(3));
    let mut random = fastrand::Rng::new();
    let mut failures = 0;
    loop {
        let made = timeout(CALL_TIMEOUT, make()).await;
        let error = match made {
            Ok(Ok(made)) => return Ok(made),
            Ok(Err(error)) => error,
            Err(_) => {
                let message = format!("no answer within {} s", CALL_TIMEOUT.as_secs());
                return Err(Error::new(operation, ErrorKind::Timeout, message));
            }
        };
        let attempts = match error.kind() {
            ErrorKind::Throttled | ErrorKind::LimitExceeded => ATTEMPTS,
            ErrorKind::Unavailable | ErrorKind::Incomplete => 2,
            ErrorKind::NotFound
            | ErrorKind::InUse
            | ErrorKind::ExpiredIterator
            | ErrorKind::ExpiredToken
            | ErrorKind::AccessDenied
            | ErrorKind::ExpiredCredentials
            | ErrorKind::ClockSkew
            | ErrorKind::Encryption
            | ErrorKind::InvalidArgument
            | ErrorKind::Timeout
            | ErrorKind::Unexpected => 1,
        };
        failures += 1;
        if failures >= attempts {
            return Err(error);
        }
        sleep(backoff.delay(failures - 1, &mut random)).await;
    }
}
