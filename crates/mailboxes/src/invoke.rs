use std::{error::Error, fmt, time::Duration};

use async_trait::async_trait;

use crate::{Answer, Request};

/// Calls functions: those of a remote endpoint, or those in process.
#[async_trait]
pub trait Invoke: fmt::Debug + Send + Sync + 'static {
    /// Calls a function with the messages of a request, and returns its answer. It may be called again with the same
    /// messages after a failure or a restart; only the effects of one answer are applied.
    ///
    /// # Errors
    ///
    /// When there is no answer within `time`, or the answer cannot be used.
    async fn invoke(&self, request: &Request, time: Duration) -> Result<Answer, InvokeError>;
}

/// Why a call of a function failed.
#[derive(Debug)]
pub struct InvokeError {
    kind: InvokeErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
    retry_after: Option<Duration>,
}

/// What a failed call says about its request and about the function's server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum InvokeErrorKind {
    /// The server answered, but not with a usable answer. One message of the request may be the cause.
    #[default]
    Rejected,
    /// The server did not answer in time, or the connection broke. One message of the request may be the cause.
    NoAnswer,
    /// The server does not accept requests of this size.
    TooLarge,
    /// The server takes no requests now, whatever messages they have.
    Unavailable,
}

impl InvokeError {
    /// Creates an error of the kind [`Rejected`](InvokeErrorKind::Rejected). The message need not name the function or
    /// the address, which the log line has.
    pub fn new(message: impl Into<String>) -> Self {
        Self { kind: InvokeErrorKind::default(), message: message.into(), source: None, retry_after: None }
    }

    /// Sets the kind.
    #[must_use]
    pub fn of_kind(mut self, kind: InvokeErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Sets the time that the server asks callers to wait before they retry.
    #[must_use]
    pub fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// What the failure says about the request and the server.
    pub fn kind(&self) -> InvokeErrorKind {
        self.kind
    }

    /// How long the server asks callers to wait before they retry.
    pub fn wait(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for InvokeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for InvokeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
