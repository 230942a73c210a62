use std::{error::Error as StdError, fmt};

/// What a store's operations return.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A store that could not be opened, read or written.
///
/// [`kind`](Self::kind) says what the caller can do about it; `Display` says what happened and where, and leaves the
/// cause to [`source`](StdError::source).
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of a kind, with a message that says what could not be done.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), source: None }
    }

    /// The same error with the one below it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// What a caller can do about an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// Another process, or another handle of this one, holds the store. Stop that one first.
    Locked,
    /// There is no store in the directory.
    Missing,
    /// The directory holds something else than a store. Nothing of it was touched.
    NotAStore,
    /// A newer version of this program wrote the store. Nothing of it was touched.
    Newer,
    /// An older version of this program wrote the store, in a format that has to be upgraded before it can be used.
    /// Nothing of it was touched.
    Older,
    /// What is stored cannot be trusted: a file is missing, a checksum is wrong, an acknowledged commit is not there.
    /// Restore the directory from a copy, or reset it.
    Damaged,
    /// There is no room on the disk. Nothing was lost; the same commit succeeds once there is room.
    Full,
    /// The disk failed in another way. A commit that failed so may be there after a restart, as a whole. The same
    /// commit can be tried again.
    Io,
    /// The store was closed, or this handle lost it in a crash that was simulated.
    Closed,
    /// Another writer has taken the store over, and this handle never writes again; what it wrote before is in the
    /// store of the other one. It ends whatever uses this handle, and nothing else: other stores of the process are not
    /// concerned.
    Fenced,
    /// A key is empty or longer than [`KEY_MAX_BYTES`](crate::KEY_MAX_BYTES), or a value longer than
    /// [`VALUE_MAX_BYTES`](crate::VALUE_MAX_BYTES). Nothing was written.
    Invalid,
}

impl ErrorKind {
    /// Whether the same call may succeed later without anybody changing what is stored.
    pub const fn is_retryable(self) -> bool {
        match self {
            Self::Locked | Self::Full | Self::Io => true,
            Self::Missing
            | Self::NotAStore
            | Self::Newer
            | Self::Older
            | Self::Damaged
            | Self::Closed
            | Self::Fenced
            | Self::Invalid => false,
        }
    }
}
