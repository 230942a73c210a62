use std::{error::Error as StdError, fmt, path::PathBuf};

use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError, future};

/// Provides the credentials of a role. Its errors name the role and the token file, which those of STS do not.
#[derive(Debug)]
pub(crate) struct RoleCredentials<P> {
    pub(crate) provider: P,
    pub(crate) role_arn: String,
    pub(crate) token_file: Option<PathBuf>,
}

impl<P: ProvideCredentials> ProvideCredentials for RoleCredentials<P> {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            self.provider.provide_credentials().await.map_err(|error| {
                let timed_out = matches!(error, CredentialsError::ProviderTimedOut(_));
                let failed =
                    RoleFailed { role_arn: self.role_arn.clone(), token_file: self.token_file.clone(), source: error };
                // Only a timeout keeps its kind. For all other errors, `failure` searches the sources.
                if timed_out { failed.source } else { CredentialsError::provider_error(failed) }
            })
        })
    }
}

/// The error for a role that could not be assumed.
#[derive(Debug)]
pub(crate) struct RoleFailed {
    role_arn: String,
    token_file: Option<PathBuf>,
    source: CredentialsError,
}

impl fmt::Display for RoleFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the role {} could not be taken on", self.role_arn)?;
        match &self.token_file {
            Some(file) => write!(f, " with the web identity token in `{}`", file.display()),
            None => Ok(()),
        }
    }
}

impl StdError for RoleFailed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.source)
    }
}
