//! Keeps the credentials of a client for as long as they are good.
//!
//! The SDK's own cache loads credentials when they are about to expire and fails the call when that fails. A service
//! that runs for months meets each source of credentials on a bad day. So here:
//!
//! * Credentials are used until they expire, whatever their source does meanwhile.
//! * They are reloaded in the background, early, and again and again until that succeeds.
//! * Credentials that the service rejects are reloaded too: the keys in a file may have been replaced.
//! * Each load opens its source from scratch, since the SDK's providers keep the files that they have read.

use std::{
    error::Error as StdError,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider, error::CredentialsError, future},
};
use futures::future::BoxFuture;
use statefun_kinesis_client::{Backoff, Clock};
use statefun_kinesis_types::{ErrorChain, Timestamp};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

/// Time limit for loading credentials, including retries of the SDK's providers: about as long as the SDK allows.
pub(crate) const LOAD_TIMEOUT: Duration = Duration::from_secs(22);

/// How long before they expire credentials are reloaded, or half of their lifetime if that is shorter.
const REFRESH_BEFORE: Duration = Duration::from_secs(10 * 60);

/// The delays before a refresh that failed is tried again.
const RETRIES: Backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30));

/// Shortest time between two loads that calls cause. Hundreds of shards may fail at the same moment, and their source
/// must not be asked hundreds of times.
const RELOAD_PAUSE: Duration = Duration::from_secs(1);

/// Opens the source of credentials.
type Open = Box<dyn Fn() -> BoxFuture<'static, SharedCredentialsProvider> + Send + Sync>;

/// How the credentials of a client are doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CredentialsStatus {
    /// When they were loaded; `None` before the first call has loaded them.
    pub loaded_at: Option<Timestamp>,
    /// When they expire; `None` if they do not, or are not loaded.
    pub expires_at: Option<Timestamp>,
    /// Attempts to load them that failed since the start.
    pub failures: u64,
    /// When attempts to load them began to fail; `None` while they succeed.
    pub failing_since: Option<Timestamp>,
}

impl CredentialsStatus {
    /// Whether calls can be signed: credentials are loaded and have not expired.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.loaded_at.is_some() && self.expires_at.is_none_or(|at| now < at)
    }
}

/// A provider that keeps the credentials of its source. Clones share them.
#[derive(Clone)]
pub(crate) struct KeptCredentials(Arc<Kept>);

struct Kept {
    open: Open,
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Held while the source is asked, so that all calls that need credentials ask it once.
    loading: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    current: Option<Current>,
    /// The last attempt, if it failed.
    failed: Option<(Instant, Arc<CredentialsError>)>,
    is_refreshing: bool,
    status: CredentialsStatus,
}

struct Current {
    credentials: Credentials,
    loaded: Instant,
    refresh_from: Option<Timestamp>,
    /// The service has rejected them since they were loaded.
    is_rejected: bool,
}

impl Current {
    fn expires(&self) -> Option<Timestamp> {
        self.credentials.expiry().map(Timestamp::from)
    }

    fn is_expired(&self, now: Timestamp) -> bool {
        // A source may give credentials that have expired by this machine's clock. Then the service decides, and the
        // source is not asked for each call.
        self.expires().is_some_and(|at| at <= now) && self.loaded.elapsed() >= RELOAD_PAUSE
    }
}

impl fmt::Debug for KeptCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeptCredentials").field("status", &self.status()).finish_non_exhaustive()
    }
}

impl KeptCredentials {
    pub(crate) fn new<F>(clock: Arc<dyn Clock>, open: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = SharedCredentialsProvider> + Send + 'static,
    {
        let open: Open = Box::new(move || Box::pin(open()));
        Self(Arc::new(Kept { open, clock, state: Mutex::default(), loading: tokio::sync::Mutex::new(()) }))
    }

    pub(crate) fn status(&self) -> CredentialsStatus {
        self.0.lock().status
    }

    /// Notes that the service rejected a call because of its credentials, or of the time of its signature. The next
    /// call reloads them.
    pub(crate) fn rejected(&self) {
        if let Some(current) = &mut self.0.lock().current
            // An answer that comes right after a load is about the credentials before.
            && current.loaded.elapsed() >= RELOAD_PAUSE
        {
            current.is_rejected = true;
        }
    }

    async fn provide(&self) -> Result<Credentials, CredentialsError> {
        let kept = &self.0;
        if let Some(credentials) = self.usable() {
            return Ok(credentials);
        }
        let _turn = kept.loading.lock().await;
        // Another call may have asked the source while this one waited.
        if let Some(credentials) = self.usable() {
            return Ok(credentials);
        }
        let recent = kept.lock().failed.clone().filter(|(at, _)| at.elapsed() < RELOAD_PAUSE);
        let failure = match recent {
            Some((_, failure)) => failure,
            None => match kept.load().await {
                Ok(credentials) => return Ok(credentials),
                Err(failure) => failure,
            },
        };
        // Rejected credentials may be right nevertheless: the clock may be wrong, or the service.
        kept.unexpired().ok_or_else(|| shared(&failure, kept.lock().current.is_some()))
    }

    /// The credentials, unless they have to be loaded first. Starts a refresh when it is time.
    fn usable(&self) -> Option<Credentials> {
        let now = self.0.clock.now();
        let mut state = self.0.lock();
        let current = state.current.as_ref().filter(|current| !current.is_rejected && !current.is_expired(now))?;
        let credentials = current.credentials.clone();
        let is_time = current.refresh_from.is_some_and(|from| from <= now) && current.loaded.elapsed() >= RELOAD_PAUSE;
        if is_time && !state.is_refreshing {
            state.is_refreshing = true;
            drop(state);
            tokio::spawn(refresh(Refreshing(Arc::downgrade(&self.0))));
        }
        Some(credentials)
    }
}

impl ProvideCredentials for KeptCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.provide())
    }
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn unexpired(&self) -> Option<Credentials> {
        let now = self.clock.now();
        let state = self.lock();
        let current = state.current.as_ref().filter(|current| !current.is_expired(now))?;
        Some(current.credentials.clone())
    }

    /// Asks the source once. The caller holds `loading`.
    async fn load(&self) -> Result<Credentials, Arc<CredentialsError>> {
        let provider = (self.open)().await;
        let loaded = timeout(LOAD_TIMEOUT, provider.provide_credentials()).await;
        let loaded = loaded.unwrap_or_else(|_| Err(CredentialsError::provider_timed_out(LOAD_TIMEOUT)));
        let now = self.clock.now();
        let mut state = self.lock();
        match loaded {
            Ok(credentials) => {
                let expires = credentials.expiry().map(Timestamp::from);
                let refresh_from = expires.map(|at| {
                    let before = REFRESH_BEFORE.min(at.since(now) / 2);
                    at.before(before)
                });
                state.current = Some(Current {
                    credentials: credentials.clone(),
                    loaded: Instant::now(),
                    refresh_from,
                    is_rejected: false,
                });
                state.failed = None;
                state.status.loaded_at = Some(now);
                state.status.expires_at = expires;
                if let Some(since) = state.status.failing_since.take() {
                    info!(%since, "the AWS credentials can be loaded again");
                }
                Ok(credentials)
            }
            Err(error) => {
                let error = Arc::new(error);
                state.failed = Some((Instant::now(), Arc::clone(&error)));
                state.status.failures += 1;
                if state.status.failing_since.is_none() {
                    state.status.failing_since = Some(now);
                    warn_of_failure(state.current.as_ref().filter(|current| !current.is_expired(now)), &error);
                }
                Err(error)
            }
        }
    }
}

/// Logs the first of failures in a row. The next line follows when the credentials can be loaded again.
fn warn_of_failure(kept: Option<&Current>, error: &CredentialsError) {
    let error = ErrorChain(error);
    match kept.map(Current::expires) {
        Some(Some(at)) => {
            warn!(%error, expires = %at, "the AWS credentials could not be reloaded: those in use are kept until they \
                   expire, and their source is asked again until then");
        }
        Some(None) => warn!(%error, "the AWS credentials could not be reloaded: those in use are kept"),
        None => warn!(%error, "the AWS credentials could not be loaded; their source is asked again"),
    }
}

/// A refresh in progress. However it ends, another one may follow.
struct Refreshing(Weak<Kept>);

impl Drop for Refreshing {
    fn drop(&mut self) {
        if let Some(kept) = self.0.upgrade() {
            kept.lock().is_refreshing = false;
        }
    }
}

/// Reloads credentials until that succeeds, or until those in use have expired: then calls load them.
async fn refresh(refreshing: Refreshing) {
    let mut failures = 0;
    loop {
        let Some(kept) = refreshing.0.upgrade() else { return };
        {
            let _turn = kept.loading.lock().await;
            if kept.load().await.is_ok() || kept.unexpired().is_none() {
                return;
            }
        }
        // Dropped before the pause: a client that is not used any more ends with its refresh.
        drop(kept);
        sleep(RETRIES.longest(failures)).await;
        failures += 1;
    }
}

/// The same error for several calls, of the same kind and with the same causes.
///
/// A source that gave credentials before is there, also where the SDK says that there is none: that is what it makes of a
/// metadata service that cannot be reached.
fn shared(error: &Arc<CredentialsError>, gave_before: bool) -> CredentialsError {
    let source = Shared(Arc::clone(error));
    match &**error {
        CredentialsError::CredentialsNotLoaded(_) if gave_before => CredentialsError::provider_error(source),
        CredentialsError::CredentialsNotLoaded(_) => CredentialsError::not_loaded(source),
        CredentialsError::ProviderTimedOut(_) => CredentialsError::provider_timed_out(LOAD_TIMEOUT),
        CredentialsError::InvalidConfiguration(_) => CredentialsError::invalid_configuration(source),
        CredentialsError::ProviderError(_) => CredentialsError::provider_error(source),
        _ => CredentialsError::unhandled(source),
    }
}

/// A failure that several calls share. Its causes are those of the failure.
#[derive(Debug)]
struct Shared(Arc<CredentialsError>);

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the last attempt to load them failed")
    }
}

impl StdError for Shared {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source()
    }
}

#[cfg(test)]
mod tests;
