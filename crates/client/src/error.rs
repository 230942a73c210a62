use std::{error::Error as StdError, fmt, time::Duration};

/// The longest delay before a retry that a service can ask for: one minute.
///
/// Kinesis counts its limits by the second, so that a longer one comes from a proxy or is a mistake; obeying it would
/// stop a shard or a stream for as long.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(60);

/// What a call to Kinesis gives back.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A call that failed: which operation, what a caller can do ([`ErrorKind`]), and the service's own words.
///
/// `Display` does not repeat its [`source`](StdError::source); code that shows the error to a person prints the
/// [chain](statefun_kinesis_types::ErrorChain).
/// One word wide, so that results stay small.
#[derive(Debug)]
pub struct Error(Box<Inner>);

#[derive(Debug)]
struct Inner {
    operation: Operation,
    kind: ErrorKind,
    message: String,
    code: Option<String>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of this kind, with a message that says what happened and to what.
    pub fn new(operation: Operation, kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { operation, kind, message: message.into(), code: None, retry_after: None, source: None }))
    }

    /// The same error with the service's own name for it, such as `ProvisionedThroughputExceededException`.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.0.code = Some(code.into());
        self
    }

    /// The same error with the delay that the service asked for, [`RETRY_AFTER_MAX`] at most.
    #[must_use]
    pub fn with_retry_after(mut self, delay: Duration) -> Self {
        self.0.retry_after = Some(delay.min(RETRY_AFTER_MAX));
        self
    }

    /// The same error with the one below it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The operation that failed.
    pub fn operation(&self) -> Operation {
        self.0.operation
    }

    /// What a caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The service's own name for the error, where it gave one.
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// How long the service asked to wait before the next attempt; [`RETRY_AFTER_MAX`] at most.
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed: {}: {}", self.0.operation, self.0.kind, self.0.message)?;
        match &self.0.code {
            Some(code) => write!(f, " ({code})"),
            None => Ok(()),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// Declares the kinds once, so that the type, the list and the names cannot differ.
macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal,)*) => {
        /// What happened to a failed call. [`treatment`](Self::treatment) says who is at fault and what follows.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorKind {
            $($(#[$doc])* $kind,)*
        }

        impl ErrorKind {
            /// Every kind.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$kind),*];
        }

        impl fmt::Display for ErrorKind {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(match self { $(Self::$kind => $name,)* })
            }
        }
    };
}

kinds! {
    /// The stream or shard does not exist. Check the name, the account and the region.
    NotFound = "not found",
    /// The stream is being made, changed or removed, or exists already. Wait until it is ACTIVE.
    InUse = "in use",
    /// The shard iterator is older than five minutes. Get a new one from the last position.
    ExpiredIterator = "expired iterator",
    /// The ListShards token is older than five minutes. List again from the start.
    ExpiredToken = "expired page token",
    /// More was asked of a shard, a stream or an account than it gives per second. Wait and retry.
    Throttled = "throttled",
    /// A quota on requests or resources is used up. Wait, or ask for more.
    LimitExceeded = "limit exceeded",
    /// The credentials are missing, invalid, or do not permit the call. A person has to fix it.
    AccessDenied = "access denied",
    /// The credentials have expired. Load new ones and retry.
    ExpiredCredentials = "expired credentials",
    /// The signature is too old or too new: this machine's clock or the service's is wrong, or was just set. Sign the call again
    /// and retry.
    ClockSkew = "clock skew",
    /// The stream's KMS key is disabled, gone or not permitted. A person has to fix it.
    Encryption = "encryption key unusable",
    /// The request itself is wrong. The same request will never succeed.
    InvalidArgument = "invalid argument",
    /// The service or the way to it failed: internal failure, closed connection, no route. Retry.
    Unavailable = "service unavailable",
    /// No answer in time; the service may have carried the request out. Retry if a repeat does no harm.
    Timeout = "timed out",
    /// A required field is missing from the answer, or empty. Ask again: absence proves nothing.
    Incomplete = "incomplete answer",
    /// An invalid answer, or one that does not come from Kinesis.
    Unexpected = "unexpected answer",
}

/// Declares the operations once, so that the type, the list and the names cannot differ.
macro_rules! operations {
    ($($operation:ident),* $(,)?) => {
        /// An operation of the Kinesis API, by the API's own name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[expect(missing_docs, reason = "the names are the API's own; its reference documents them")]
        pub enum Operation {
            $($operation,)*
        }

        impl Operation {
            /// Every operation; the place of each is its number ([`index`](Self::index)).
            pub const ALL: [Self; [$(stringify!($operation)),*].len()] = [$(Self::$operation),*];

            /// The operation's name in the API.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$operation => stringify!($operation),)* }
            }
        }
    };
}

operations! {
    DescribeStreamSummary,
    ListShards,
    GetShardIterator,
    GetRecords,
    PutRecords,
    CreateStream,
    DeleteStream,
    ListStreams,
    SplitShard,
    MergeShards,
    RegisterStreamConsumer,
    DescribeStreamConsumer,
    ListStreamConsumers,
    DeregisterStreamConsumer,
    SubscribeToShard,
}

impl Operation {
    /// The place of the operation in [`ALL`](Self::ALL), for tables with an entry for each.
    pub const fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_are_listed_by_their_numbers_and_named_as_in_the_api() {
        for (index, operation) in Operation::ALL.into_iter().enumerate() {
            assert_eq!(operation.index(), index);
            assert_eq!(operation.name(), format!("{operation:?}"));
        }
        assert_eq!(Operation::ALL.len(), 15);
    }

    #[test]
    fn the_delay_that_a_service_asks_for_is_capped() {
        let error = |delay| Error::new(Operation::GetRecords, ErrorKind::Throttled, "").with_retry_after(delay);
        assert_eq!(error(Duration::from_secs(5)).retry_after(), Some(Duration::from_secs(5)));
        assert_eq!(error(RETRY_AFTER_MAX).retry_after(), Some(RETRY_AFTER_MAX));
        assert_eq!(error(Duration::MAX).retry_after(), Some(RETRY_AFTER_MAX));
    }

    #[test]
    fn the_error_is_one_word_wide_and_does_not_print_its_source() {
        assert_eq!(size_of::<Error>(), size_of::<usize>());
        let error = Error::new(Operation::GetRecords, ErrorKind::Throttled, "shard shardId-000000000000 is busy")
            .with_code("ProvisionedThroughputExceededException")
            .with_source("the lower layer");
        assert_eq!(
            error.to_string(),
            "GetRecords failed: throttled: shard shardId-000000000000 is busy (ProvisionedThroughputExceededException)"
        );
        assert_eq!(error.source().unwrap().to_string(), "the lower layer");
    }
}
