//! Maps the error codes of services to error kinds and remedies.

use statefun_kinesis_client::ErrorKind;

/// The kind of an error code; `None` for unknown codes.
///
/// The first part has every exception of the service model in aws-sdk-kinesis 1.130, the second the errors that all AWS
/// services share ("Common Errors" of the API reference), with all their known spellings.
pub(crate) fn kind_of_code(code: &str) -> Option<ErrorKind> {
    Some(match code {
        "AccessDeniedException" => ErrorKind::AccessDenied,
        // The crate never makes dry runs.
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
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidAccessKeyId"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "NotAuthorized"
        | "OptInRequired"
        | "SignatureDoesNotMatch"
        | "SubscriptionRequiredException"
        | "UnauthorizedOperation"
        | "UnrecognizedClientException" => ErrorKind::AccessDenied,
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => ErrorKind::ExpiredCredentials,
        "RequestExpired" | "RequestTimeTooSkewed" => ErrorKind::ClockSkew,
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

/// Whether the words of an error are about the time of the signature. Its code, InvalidSignatureException, is the same as for
/// a wrong secret key.
pub(crate) fn is_about_signature_time(words: &str) -> bool {
    words.starts_with("Signature expired") || words.starts_with("Signature not yet current")
}

/// The kind of an error by its HTTP status, if its code is unknown (`named`) or missing. Without a code the answer may
/// come from something other than Kinesis: a load balancer, a proxy, a wrong endpoint.
pub(crate) fn kind_of_status(status: u16, named: bool) -> ErrorKind {
    match status {
        // A proxy or a captive portal answers like this too, without a code.
        401 | 403 if named => ErrorKind::AccessDenied,
        408 => ErrorKind::Timeout,
        429 => ErrorKind::Throttled,
        400..=499 if named => ErrorKind::InvalidArgument,
        // A success whose body is incomplete or cannot be decoded.
        500..=599 => ErrorKind::Unavailable,
        _ => ErrorKind::Unexpected,
    }
}

/// The kind of the failure of a single entry of PutRecords. The service documents two codes. Any other code counts as
/// temporary, so that the caller's limit of retries decides.
pub(crate) fn kind_of_entry(code: &str) -> ErrorKind {
    kind_of_code(code).unwrap_or(ErrorKind::Unavailable)
}

pub(crate) fn with_remedy(words: &str, code: &str) -> String {
    match remedy(code) {
        Some(remedy) => format!("{words}; {remedy}"),
        None => words.to_owned(),
    }
}

/// The remedy for an error that a retry cannot mend, for people.
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

/// The kind of an error code of STS.
pub(crate) fn kind_of_sts_code(code: &str) -> ErrorKind {
    match code {
        // The identity provider did not answer STS; the documentation says to retry.
        "IDPCommunicationError" => ErrorKind::Unavailable,
        _ => kind_of_code(code)
            .filter(|kind| matches!(kind, ErrorKind::Throttled | ErrorKind::Unavailable | ErrorKind::Timeout))
            .unwrap_or(ErrorKind::AccessDenied),
    }
}

/// The kind of an error code of IAM Identity Center.
pub(crate) fn kind_of_sso_code(code: &str) -> ErrorKind {
    match code {
        "TooManyRequestsException" => ErrorKind::Throttled,
        // The role or the account of the profile does not exist, or is not the session's.
        "InvalidRequestException" | "ResourceNotFoundException" | "ForbiddenException" => ErrorKind::AccessDenied,
        _ => kind_of_code(code).unwrap_or(ErrorKind::Unavailable),
    }
}

/// The remedy for a role that STS rejected, for people.
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
