use std::{error::Error, fmt, time::Duration};

use async_trait::async_trait;

use crate::{Answer, Request};

/// Those who handle messages: an endpoint of remote functions, or functions in process.
#[async_trait]
pub trait Invoke: fmt::Debug + Send + Sync + 'static {
    /// Handles the messages of a request, and says what came of them. It may be called again with the same messages,
    /// after a failure or a restart; effects are applied once.
    ///
    /// # Errors
    ///
    /// When there is no answer within `time`, or one that cannot be used.
    async fn invoke(&self, request: &Request, time: Duration) -> Result<Answer, InvokeError>;
}

/// Why messages were not handled, this time.
#[derive(Debug)]
pub struct InvokeError {
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl InvokeError {
    /// A failure, in words that need no name of a function or an address: who asked knows them.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// The same with the error that led to it.
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
