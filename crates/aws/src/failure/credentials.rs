//! Why a request could not be signed: what is wrong with the source of the credentials, and what to do about it.

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sso::operation::get_role_credentials::GetRoleCredentialsError;
use aws_sdk_sts::operation::{
    assume_role::AssumeRoleError, assume_role_with_web_identity::AssumeRoleWithWebIdentityError,
};
use aws_smithy_runtime_api::client::{orchestrator::HttpResponse, result::ConnectorError};
use statefun_kinesis_client::ErrorKind;

use super::{StdError, find, says};
use crate::{
    code::{kind_of_sso_code, kind_of_sts_code, sts_remedy},
    role::RoleFailed,
};

/// A request without a signature: its credentials could not be loaded.
pub(super) struct Unsigned {
    pub(super) kind: ErrorKind,
    pub(super) words: String,
    /// The error code of the service that was asked for credentials.
    pub(super) code: Option<String>,
}

impl Unsigned {
    fn new(kind: ErrorKind, words: &str) -> Self {
        Self { kind, words: words.to_owned(), code: None }
    }

    /// What is wrong with the credentials; `None` if something else keeps the request from being sent.
    pub(super) fn of(cause: &ConnectorError) -> Option<Self> {
        let credentials = find::<CredentialsError>(cause)?;
        let of_service = by_sts(cause).or_else(|| by_sso(cause)).or_else(|| by_container(cause));
        Some(of_service.unwrap_or_else(|| match credentials {
            CredentialsError::ProviderTimedOut(_) => {
                Self::new(ErrorKind::Timeout, "the source of the credentials did not answer in time")
            }
            CredentialsError::CredentialsNotLoaded(_) => Self::new(ErrorKind::AccessDenied, NO_CREDENTIALS),
            _ if find::<RoleFailed>(cause).is_some() && find::<std::io::Error>(cause).is_some() => {
                Self::new(ErrorKind::AccessDenied, NO_TOKEN)
            }
            _ if says(cause, "SSO token") || says(cause, "/.aws/sso/cache") => {
                Self::new(ErrorKind::AccessDenied, NO_SSO_SESSION)
            }
            _ if find(cause).is_some_and(is_about_a_file) => Self::new(ErrorKind::AccessDenied, NO_TOKEN_OF_CHAIN),
            CredentialsError::InvalidConfiguration(_) => Self::new(ErrorKind::AccessDenied, BROKEN_CREDENTIALS),
            // A program that failed, an endpoint of the container that answered 500: the next time it may succeed.
            _ => Self::new(ErrorKind::Unavailable, FAILED_SOURCE),
        }))
    }
}

const NO_CREDENTIALS: &str = "no AWS credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a \
                              profile, or run under a role (web identity, ECS or EC2)";

const BROKEN_CREDENTIALS: &str = "the AWS credentials could not be loaded; the causes below say from where";

const FAILED_SOURCE: &str = "the source of the AWS credentials failed; the causes below say which, and why";

const NO_SSO_SESSION: &str = "the AWS credentials could not be loaded from IAM Identity Center (SSO); renew the session \
                              with `aws sso login`, with `--profile` if the profile is not the default one";

const NO_CREDENTIALS_FOR_ROLE: &str = "no AWS credentials were found to assume the role; set \
                                       AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, choose a profile by AWS_PROFILE, \
                                       or run under a role";

const NO_TOKEN: &str = "the web identity token cannot be read; mount it where `tokenFile` or AWS_WEB_IDENTITY_TOKEN_FILE \
                        says (on EKS, give the pod a service account that is annotated with the role)";

const NO_TOKEN_OF_CHAIN: &str = "a token that the source of the AWS credentials needs cannot be read; mount it where \
                                 AWS_WEB_IDENTITY_TOKEN_FILE (IRSA), AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE (EKS Pod \
                                 Identity), or `web_identity_token_file` of the profile says";

/// Whether a file is at fault, and not a connection.
fn is_about_a_file(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied};

    [IsADirectory, NotADirectory, NotFound, PermissionDenied].contains(&error.kind())
}

/// The failure of a call of STS; `None` if STS was not called.
fn by_sts(cause: &ConnectorError) -> Option<Unsigned> {
    let assumed = find::<SdkError<AssumeRoleError, HttpResponse>>(cause).map(Call::of);
    let called =
        assumed.or_else(|| find::<SdkError<AssumeRoleWithWebIdentityError, HttpResponse>>(cause).map(Call::of))?;
    Some(match called {
        Call::Refused { code, said } => {
            let kind = code.map_or(ErrorKind::Unavailable, kind_of_sts_code);
            let remedy = code.and_then(sts_remedy).map(|remedy| format!("; {remedy}")).unwrap_or_default();
            let words = format!("STS did not give the role: {said}{remedy}");
            Unsigned { kind, words, code: code.map(str::to_owned) }
        }
        // Assuming a role needs other credentials, and those are missing.
        Call::TimedOut | Call::Failed if is_without_base(cause) => {
            Unsigned::new(ErrorKind::AccessDenied, NO_CREDENTIALS_FOR_ROLE)
        }
        Call::TimedOut => Unsigned::new(ErrorKind::Timeout, "STS did not answer in time"),
        Call::Failed => Unsigned::new(ErrorKind::Unavailable, "STS could not be asked for the role"),
    })
}

/// The failure of a call of IAM Identity Center; `None` if it was not called.
fn by_sso(cause: &ConnectorError) -> Option<Unsigned> {
    Some(match Call::of(find::<SdkError<GetRoleCredentialsError, HttpResponse>>(cause)?) {
        Call::Refused { code: Some("UnauthorizedException"), .. } => {
            Unsigned::new(ErrorKind::AccessDenied, NO_SSO_SESSION)
        }
        Call::Refused { code, said } => Unsigned {
            kind: code.map_or(ErrorKind::Unavailable, kind_of_sso_code),
            words: format!("IAM Identity Center (SSO) did not give the role: {said}"),
            code: code.map(str::to_owned),
        },
        Call::TimedOut => Unsigned::new(ErrorKind::Timeout, "IAM Identity Center (SSO) did not answer in time"),
        Call::Failed => {
            Unsigned::new(ErrorKind::Unavailable, "IAM Identity Center (SSO) could not be asked for the role")
        }
    })
}

/// The failure of a request to the endpoint of a container; `None` if it was not asked, or answered.
fn by_container(cause: &ConnectorError) -> Option<Unsigned> {
    const URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI or AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";

    let asked = find::<SdkError<CredentialsError, HttpResponse>>(cause)?;
    Some(if is_timeout(asked) {
        let words = format!("the endpoint that gives credentials to this container ({URI}) did not answer in time");
        Unsigned::new(ErrorKind::Timeout, &words)
    } else {
        let words = format!("the endpoint that gives credentials to this container ({URI}) could not be asked");
        Unsigned::new(ErrorKind::Unavailable, &words)
    })
}

/// How a call of a service that gives credentials failed.
enum Call<'a> {
    /// The service answered with an error.
    Refused {
        code: Option<&'a str>,
        said: &'a str,
    },
    TimedOut,
    Failed,
}

impl<'a> Call<'a> {
    fn of<E: ProvideErrorMetadata>(error: &'a SdkError<E, HttpResponse>) -> Self {
        match error.as_service_error() {
            Some(refused) => {
                Self::Refused { code: refused.code(), said: refused.message().unwrap_or("no reason was given") }
            }
            None if is_timeout(error) => Self::TimedOut,
            None => Self::Failed,
        }
    }
}

fn is_timeout<E>(error: &SdkError<E, HttpResponse>) -> bool {
    match error {
        SdkError::TimeoutError(_) => true,
        SdkError::DispatchFailure(dispatch) => dispatch.is_timeout(),
        _ => false,
    }
}

/// Whether there are no credentials at all to ask for others.
fn is_without_base(cause: &ConnectorError) -> bool {
    let mut next = cause.source();
    while let Some(error) = next {
        if matches!(error.downcast_ref(), Some(CredentialsError::CredentialsNotLoaded(_))) {
            return true;
        }
        next = error.source();
    }
    false
}
