use statefun_kinesis_client::{Error, ErrorKind};

/// What a call that failed says about permissions.
pub(super) enum Refusal {
    /// The credentials may not make the call.
    Denied,
    /// There are no credentials, or the service rejects them.
    Credentials,
    /// The call was allowed, but failed for another reason.
    Later,
    /// The service cannot be reached, or is overloaded.
    Unknown,
}

impl Refusal {
    /// Interprets the error of a call.
    pub(super) fn of(error: &Error) -> Self {
        match (error.kind(), error.code()) {
            (
                ErrorKind::AccessDenied,
                Some("AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "NotAuthorized"),
            ) => Self::Denied,
            (ErrorKind::AccessDenied | ErrorKind::ExpiredCredentials | ErrorKind::ClockSkew, _) => Self::Credentials,
            // Requests that violate the API's model may be rejected before permissions are checked.
            (ErrorKind::InvalidArgument, None | Some("ValidationException" | "SerializationException")) => {
                Self::Unknown
            }
            // The service checks limits of a shard after permissions, and limits of an account before them.
            (ErrorKind::Throttled, Some("ProvisionedThroughputExceededException")) => Self::Later,
            (
                ErrorKind::NotFound
                | ErrorKind::InUse
                | ErrorKind::ExpiredIterator
                | ErrorKind::InvalidArgument
                | ErrorKind::Encryption,
                _,
            ) => Self::Later,
            (
                ErrorKind::ExpiredToken
                | ErrorKind::Throttled
                | ErrorKind::LimitExceeded
                | ErrorKind::Unavailable
                | ErrorKind::Timeout
                | ErrorKind::Incomplete
                | ErrorKind::Unexpected,
                _,
            ) => Self::Unknown,
        }
    }
}
