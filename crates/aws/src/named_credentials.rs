use std::{error::Error as StdError, fmt};

use aws_credential_types::provider::{ProvideCredentials, error::CredentialsError, future};

/// Provides the credentials of another provider. Its errors name their source, which those of the SDK do not.
#[derive(Debug)]
pub(crate) struct NamedCredentials<P> {
    pub(crate) provider: P,
    /// The source, in words.
    pub(crate) name: String,
}

impl<P: ProvideCredentials> ProvideCredentials for NamedCredentials<P> {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async {
            let loaded = self.provider.provide_credentials().await;
            loaded.map_err(|error| with_name(error, &self.name))
        })
    }
}

/// The error of a source with its name, and of the same kind.
fn with_name(error: CredentialsError, name: &str) -> CredentialsError {
    let named = |error| SourceFailed { name: name.to_owned(), error };
    match error {
        CredentialsError::CredentialsNotLoaded(_) => CredentialsError::not_loaded(named(error)),
        CredentialsError::InvalidConfiguration(_) => CredentialsError::invalid_configuration(named(error)),
        CredentialsError::ProviderError(_) => CredentialsError::provider_error(named(error)),
        // It has no place for a cause.
        CredentialsError::ProviderTimedOut(_) => error,
        other => CredentialsError::unhandled(named(other)),
    }
}

/// A source of credentials failed. The causes are those of its error, which itself says no more than that.
#[derive(Debug)]
struct SourceFailed {
    name: String,
    error: CredentialsError,
}

impl fmt::Display for SourceFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} gave no credentials", self.name)
    }
}

impl StdError for SourceFailed {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.error.source()
    }
}
