//! The profiles of the AWS configuration files.

use std::{borrow::Cow, path::Path};

use aws_config::profile::ProfileSet;
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use statefun_kinesis_types::AwsCredentials;

use crate::BuildError;

/// A profile, and the files where a client looks it up.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    /// The profile of the credentials; `None` leaves the choice to the environment.
    pub(crate) name: Option<String>,
    pub(crate) files: EnvConfigFiles,
}

impl Profile {
    /// Finds the profile of these credentials.
    ///
    /// # Errors
    ///
    /// When the credentials name a profile that does not exist, or a file that cannot be read.
    pub(crate) async fn of(credentials: &AwsCredentials) -> Result<Self, BuildError> {
        let (name, path) = match credentials {
            AwsCredentials::Profile { name, path } => (name, path.as_deref()),
            AwsCredentials::Default
            | AwsCredentials::Basic { .. }
            | AwsCredentials::WebIdentity { .. }
            | AwsCredentials::AssumeRole { .. } => return Ok(Self { name: None, files: EnvConfigFiles::default() }),
        };
        let files = match path {
            // Read as both kinds, since only the headings of its sections show which kind of file it is.
            Some(path) => EnvConfigFiles::builder()
                .with_file(EnvConfigFileKind::Config, path)
                .with_file(EnvConfigFileKind::Credentials, path)
                .build(),
            None => EnvConfigFiles::default(),
        };
        check(name, path, &files).await?;
        Ok(Self { name: Some(name.clone()), files })
    }
}

/// Checks that the profile exists, so that a mistyped name fails now rather than at the first call.
async fn check(name: &str, path: Option<&Path>, files: &EnvConfigFiles) -> Result<(), BuildError> {
    let place = match path {
        Some(path) => format!("`{}`", path.display()),
        None => "~/.aws/config and ~/.aws/credentials (or AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE)".to_owned(),
    };
    let found: ProfileSet = match aws_config::profile::load(
        &Default::default(),
        &Default::default(),
        files,
        Some(Cow::Owned(name.to_owned())),
    )
    .await
    {
        Ok(found) => found,
        Err(source) => return Err(BuildError::ProfileFile { place, source: source.into() }),
    };
    if found.get_profile(name).is_some() {
        return Ok(());
    }
    let mut known: Vec<String> = found.profiles().map(str::to_owned).collect();
    known.sort_unstable();
    Err(BuildError::NoProfile { name: name.to_owned(), place, known })
}
