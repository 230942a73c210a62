//! Provides the credentials of a client.

use std::{path::Path, sync::Arc};

use aws_config::{
    Region,
    default_provider::credentials::DefaultCredentialsChain,
    profile::ProfileFileCredentialsProvider,
    sts::AssumeRoleProvider,
    web_identity_token::{StaticConfiguration, WebIdentityTokenCredentialsProvider},
};
use aws_credential_types::{
    Credentials,
    provider::{ProvideCredentials, SharedCredentialsProvider},
};
use statefun_kinesis_client::Clock;
use statefun_kinesis_types::{AwsCredentials, Secret};

use crate::{
    BuildError, kept_credentials::KeptCredentials, named_credentials::NamedCredentials, profile::Profile,
    role::RoleCredentials, sdk::Sdk,
};

/// Default session name of a role, which appears in CloudTrail.
const SESSION_NAME: &str = "statefun-kinesis";

/// Checks what can be checked without network, so that a mistake fails now rather than at the first call.
///
/// # Errors
///
/// When the token of a web identity cannot be read.
pub(crate) fn check_credentials(credentials: &AwsCredentials) -> Result<(), BuildError> {
    match credentials {
        AwsCredentials::WebIdentity { token_file, .. } => check_token(token_file),
        AwsCredentials::Default
        | AwsCredentials::Profile { .. }
        | AwsCredentials::Basic { .. }
        | AwsCredentials::AssumeRole { .. } => Ok(()),
    }
}

/// The credentials of a client. They are not loaded yet, and each load opens their source again.
pub(crate) fn credentials(
    credentials: &AwsCredentials,
    profile: &Profile,
    region: &Region,
    sdk: &Sdk,
    clock: Arc<dyn Clock>,
) -> KeptCredentials {
    let parts = (credentials.clone(), profile.clone(), region.clone(), sdk.clone());
    KeptCredentials::new(clock, move || {
        let (credentials, profile, region, sdk) = parts.clone();
        async move { source(&credentials, &profile, region, &sdk).await }
    })
}

/// Opens the source of credentials.
async fn source(
    credentials: &AwsCredentials,
    profile: &Profile,
    region: Region,
    sdk: &Sdk,
) -> SharedCredentialsProvider {
    match credentials {
        AwsCredentials::Default => {
            let chain = DefaultCredentialsChain::builder().configure(sdk.provider(Some(region.clone()))).region(region);
            let (provider, name) = (chain.build().await, sdk.default_chain.clone());
            SharedCredentialsProvider::new(NamedCredentials { provider, name })
        }
        AwsCredentials::Profile { name, .. } => {
            let provider = ProfileFileCredentialsProvider::builder()
                .configure(&sdk.provider(Some(region)))
                .profile_files(profile.files.clone())
                .profile_name(name)
                .build();
            SharedCredentialsProvider::new(NamedCredentials { provider, name: format!("the profile `{name}`") })
        }
        AwsCredentials::Basic { access_key_id, secret_access_key, session_token } => {
            SharedCredentialsProvider::new(Credentials::new(
                access_key_id.expose(),
                secret_access_key.expose(),
                session_token.as_ref().map(|token| token.expose().to_owned()),
                None,
                "statefun-kinesis",
            ))
        }
        AwsCredentials::WebIdentity { role_arn, token_file, session_name } => {
            SharedCredentialsProvider::new(web_identity(role_arn, token_file, session_name.as_deref(), region, sdk))
        }
        AwsCredentials::AssumeRole { role_arn, session_name, external_id } => {
            let role = assumed_role(role_arn, session_name.as_deref(), external_id.as_ref(), region, sdk);
            SharedCredentialsProvider::new(role.await)
        }
    }
}

/// A provider of a role's credentials, assumed with the token in a file.
fn web_identity(
    role_arn: &str,
    token_file: &Path,
    session_name: Option<&str>,
    region: Region,
    sdk: &Sdk,
) -> RoleCredentials<impl ProvideCredentials + use<>> {
    let provider = WebIdentityTokenCredentialsProvider::builder()
        .configure(&sdk.provider(Some(region)))
        .static_configuration(StaticConfiguration {
            web_identity_token_file: token_file.to_owned(),
            role_arn: role_arn.to_owned(),
            session_name: session_name.unwrap_or(SESSION_NAME).to_owned(),
        })
        .build();
    RoleCredentials { provider, role_arn: role_arn.to_owned(), token_file: Some(token_file.to_owned()) }
}

/// A provider of a role's credentials, assumed with the credentials of the default chain.
async fn assumed_role(
    role_arn: &str,
    session_name: Option<&str>,
    external_id: Option<&Secret>,
    region: Region,
    sdk: &Sdk,
) -> RoleCredentials<AssumeRoleProvider> {
    // A separate loader, because a custom endpoint of Kinesis must not be used for STS.
    let base = sdk.loader(region).load().await;
    let mut role =
        AssumeRoleProvider::builder(role_arn).session_name(session_name.unwrap_or(SESSION_NAME)).configure(&base);
    if let Some(external_id) = external_id {
        role = role.external_id(external_id.expose());
    }
    RoleCredentials { provider: role.build().await, role_arn: role_arn.to_owned(), token_file: None }
}

/// Rejects a token that STS cannot accept.
fn check_token(file: &Path) -> Result<(), BuildError> {
    let refused =
        |source: Box<dyn std::error::Error + Send + Sync>| Err(BuildError::NoToken { file: file.to_owned(), source });
    match std::fs::read_to_string(file) {
        Ok(token) if token.trim().is_empty() => refused("the file is empty".into()),
        Ok(_) => Ok(()),
        Err(error) => refused(error.into()),
    }
}

#[cfg(test)]
mod tests;
