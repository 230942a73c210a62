use std::{error::Error, fmt};

use async_trait::async_trait;
use statefun_kinesis_types::{CheckpointChanges, StreamArn, StreamCheckpoint};

/// A store of positions that could not be read or written.
#[derive(Debug)]
pub struct CheckpointError {
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl CheckpointError {
    /// An error with a message that says what could not be done.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), source: None }
    }

    /// The same error with the one below it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for CheckpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for CheckpointError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

/// Where reading of each stream began and how far it came, as one run finds it and the next one needs it.
///
/// This much is enough for a program that writes positions together with what came of the records, in one commit of its
/// own. A consumer that saves positions by itself needs a [`CheckpointStore`].
///
/// One consumer at a time uses the entries of a stream. Futures may be dropped at any await.
#[async_trait]
pub trait PositionStore: fmt::Debug + Send + Sync + 'static {
    /// Gives what is stored about a stream; `None` if it was never read.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    async fn load(&self, stream: &StreamArn) -> Result<Option<StreamCheckpoint>, CheckpointError>;

    /// Stores the beginning of reading, in place of everything that was stored about the stream. Returns when it is
    /// stored: the first record is delivered afterwards.
    ///
    /// # Errors
    ///
    /// When the store cannot be written; nothing was changed then.
    async fn begin(&self, stream: &StreamArn, checkpoint: StreamCheckpoint) -> Result<(), CheckpointError>;
}

/// A [`PositionStore`] to which a consumer saves the positions of acknowledged records.
#[async_trait]
pub trait CheckpointStore: PositionStore {
    /// Stores changes, all of them or none. A save whose future was dropped may or may not have happened, and is
    /// repeated.
    ///
    /// # Errors
    ///
    /// When the store cannot be written; nothing was changed then. The same changes are saved again, together with later
    /// ones.
    async fn save(&self, stream: &StreamArn, changes: &CheckpointChanges) -> Result<(), CheckpointError>;
}
