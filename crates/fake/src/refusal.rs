use statefun_kinesis_client::{Error, ErrorKind, Operation};

/// A request that the service turns down: what a caller can do, the service's name for it, and words.
///
/// The store does not know which operation asked; the edge adds that.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: ErrorKind,
    pub(crate) code: &'static str,
    pub(crate) message: String,
}

impl Refusal {
    fn new(kind: ErrorKind, code: &'static str, message: impl Into<String>) -> Self {
        Self { kind, code, message: message.into() }
    }

    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::NotFound, "ResourceNotFoundException", message)
    }

    pub(crate) fn in_use(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InUse, "ResourceInUseException", message)
    }

    /// A value that breaks a rule of the service.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, "InvalidArgumentException", message)
    }

    /// A value that breaks a bound of the API's model; the service checks these before it looks at the stream.
    pub(crate) fn validation(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidArgument, "ValidationException", message)
    }

    pub(crate) fn limit_exceeded(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::LimitExceeded, "LimitExceededException", message)
    }

    pub(crate) fn throttled(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Throttled, code_of(ErrorKind::Throttled).unwrap_or_default(), message)
    }

    pub(crate) fn access_denied(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::AccessDenied, "AccessDeniedException", message)
    }

    pub(crate) fn expired_iterator(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::ExpiredIterator, "ExpiredIteratorException", message)
    }

    pub(crate) fn expired_token(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::ExpiredToken, "ExpiredNextTokenException", message)
    }

    pub(crate) fn into_error(self, operation: Operation) -> Error {
        Error::new(operation, self.kind, self.message).with_code(self.code)
    }
}

/// The name under which the service reports an error of this kind; none for what never comes from the service.
pub(crate) fn code_of(kind: ErrorKind) -> Option<&'static str> {
    Some(match kind {
        ErrorKind::NotFound => "ResourceNotFoundException",
        ErrorKind::InUse => "ResourceInUseException",
        ErrorKind::ExpiredIterator => "ExpiredIteratorException",
        ErrorKind::ExpiredToken => "ExpiredNextTokenException",
        ErrorKind::Throttled => "ProvisionedThroughputExceededException",
        ErrorKind::LimitExceeded => "LimitExceededException",
        ErrorKind::AccessDenied => "AccessDeniedException",
        ErrorKind::Encryption => "KMSDisabledException",
        ErrorKind::InvalidArgument => "InvalidArgumentException",
        ErrorKind::Unavailable => "InternalFailure",
        ErrorKind::ExpiredCredentials => "ExpiredTokenException",
        ErrorKind::ClockSkew => "RequestExpired",
        ErrorKind::Timeout | ErrorKind::Incomplete | ErrorKind::Unexpected => return None,
    })
}
