//! Instants as Tokio has them, so that tests can pause time.

use tokio::time::Instant;

/// The present.
pub(crate) fn now() -> std::time::Instant {
    Instant::now().into_std()
}
