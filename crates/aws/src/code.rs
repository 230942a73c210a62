//! What the names mean that services give their errors, and what a person can do about them.

use statefun_kinesis_client::ErrorKind;

/// What the service's name for an error means; `None` for names that this crate does not know.
///
/// The first part is every exception of the service model in aws-sdk-kinesis 1.130, the second the errors that all
/// services of AWS share ("Common Errors" of the API reference), under the spellings that they are seen with.
pub(crate) fn kind_of_code(code: &str) -> Option<ErrorKind> {
    Some(match code {
        "AccessDeniedException" => ErrorKind::AccessDenied,
        // We never ask for a dry run.
        "DryRunOperationException" => ErrorKind::Unexpected,
        "ExpiredIteratorException" => ErrorKind::ExpiredIterator,
        "ExpiredNextTokenException" => ErrorKind::ExpiredToken,
        "InternalFailureException" => ErrorKind::Unavailable,
        "InvalidArgumentException" => ErrorKind::InvalidArgument,
        "KMSAccessDeniedException"
        | "KMSDisabledException"
        | "KMSInvalidStateException"
        | "KMSNotFoundException"
        | "KMSOptInRequired" => ErrorKind::Encryption,
        "KMSThrottlingException" => ErrorKind::Throttled,
        "LimitExceededException" => ErrorKind::LimitExceeded,
        "ProvisionedThroughputExceededException" => ErrorKind::Throttled,
        "ResourceInUseException" => ErrorKind::InUse,
        "ResourceNotFoundException" => ErrorKind::NotFound,
        "ValidationException" => ErrorKind::InvalidArgument,

        "AccessDenied"
        | "AuthFailure"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "NotAuthorized"
        | "OptInRequired"
        | "RequestExpired"
        | "RequestTimeTooSkewed"
        | "SignatureDoesNotMatch"
        | "SubscriptionRequiredException"
        | "TokenRefreshRequired"
        | "UnauthorizedOperation"
        | "UnrecognizedClientException" => ErrorKind::AccessDenied,
        "BandwidthLimitExceeded"
        | "PriorRequestNotComplete"
        | "RequestLimitExceeded"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "SlowDown"
        | "ThrottledException"
        | "Throttling"
        | "ThrottlingException"
        | "TooManyRequestsException" => ErrorKind::Throttled,
        "InternalError"
        | "InternalFailure"
        | "InternalServerError"
        | "InternalServerException"
        | "InternalServiceError"
        | "InternalServiceException"
        | "ServiceUnavailable"
        | "ServiceUnavailableException" => ErrorKind::Unavailable,
        "RequestTimeout" | "RequestTimeoutException" => ErrorKind::Timeout,
        "InvalidAction"
        | "InvalidParameterCombination"
        | "InvalidParameterValue"
        | "InvalidQueryParameter"
        | "MalformedQueryString"
        | "MissingAction"
        | "MissingParameter"
        | "SerializationException"
        | "UnknownOperationException"
        | "ValidationError" => ErrorKind::InvalidArgument,
        _ => return None,
    })
}

/// What an answer means whose name for the error is unknown, or (`named` is false) that has none and so may come from
/// something else than Kinesis: a load balancer, a proxy, a wrong endpoint.
pub(crate) fn kind_of_status(status: u16, named: bool) -> ErrorKind {
    match status {
        401 | 403 => ErrorKind::AccessDenied,
        408 => ErrorKind::Timeout,
        429 => ErrorKind::Throttled,
        400..=499 if named => ErrorKind::InvalidArgument,
        // A success whose body broke off or says nothing sensible.
        500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::Unexpected,
    }
}

/// What the failure of a single entry of PutRecords means. The service documents two codes; any other is taken as
/// passing, so that the caller's bound on retries decides.
pub(crate) fn kind_of_entry(code: &str) -> ErrorKind {
    kind_of_code(code).unwrap_or(ErrorKind::Unavailable)
}

pub(crate) fn with_remedy(words: &str, code: &str) -> String {
    match remedy(code) {
        Some(remedy) => format!("{words}; {remedy}"),
        None => words.to_owned(),
    }
}

/// What a person can do about an error that no program can get over.
fn remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "UnrecognizedClientException" | "InvalidClientTokenId" | "InvalidAccessKeyId" => {
            "the service does not know the access key: check the credentials, and that they belong to this region"
        }
        "InvalidSignatureException"
        | "SignatureDoesNotMatch"
        | "IncompleteSignature"
        | "IncompleteSignatureException" => "check the secret access key, the region, and this machine's clock",
        "RequestExpired" | "RequestTimeTooSkewed" => "check this machine's clock",
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => {
            "the credentials have expired: renew them, for example with `aws sso login`"
        }
        "AccessDenied" | "AccessDeniedException" | "UnauthorizedOperation" | "NotAuthorized" => {
            "allow the action on the stream in the policy of the role or user"
        }
        "MissingAuthenticationToken" | "MissingAuthenticationTokenException" => {
            "the request arrived without credentials: a proxy may have removed them"
        }
        "OptInRequired" | "SubscriptionRequiredException" => {
            "the account has not been enabled for this service or region"
        }
        "KMSAccessDeniedException" | "KMSNotFoundException" => {
            "allow kms:Decrypt and kms:GenerateDataKey on the stream's KMS key"
        }
        "KMSDisabledException" => "enable the stream's KMS key",
        "KMSInvalidStateException" => "see in KMS what state the stream's key is in: it may be about to be deleted",
        "KMSOptInRequired" => "the account has not been enabled for KMS",
        _ => return None,
    })
}

/// What STS means by a code.
pub(crate) fn kind_of_sts_code(code: &str) -> ErrorKind {
    match code {
        // The identity provider did not answer STS; its documentation asks to try again.
        "IDPCommunicationError" => ErrorKind::Unavailable,
        _ => kind_of_code(code)
            .filter(|kind| matches!(kind, ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Timeout))
            .unwrap_or(ErrorKind::AccessDenied),
    }
}

/// What a person can do about a role that STS did not give.
pub(crate) fn sts_remedy(code: &str) -> Option<&'static str> {
    Some(match code {
        "AccessDenied" | "AccessDeniedException" => {
            "check that the role exists, that its trust policy names the caller (and the external id, if it asks for \
             one), and that the caller's own policy allows it"
        }
        "ExpiredToken" | "ExpiredTokenException" => "the token is too old: see that its file is renewed",
        "InvalidIdentityToken" | "IDPRejectedClaim" => {
            "check that the file holds a token of the role's identity provider, for the audience that it trusts"
        }
        "RegionDisabledException" => "activate STS for this region in the account, or use another one",
        "ValidationError" => "check the ARN of the role and the name of the session",
        other => return remedy(other),
    })
}
