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
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl InvokeError {
    /// Creates an error. The message need not name the function or the address, which the log line has.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
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
