use std::{fmt, path::PathBuf};

use zeroize::Zeroize;

/// Where the service is: a module file's `awsRegion`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum AwsRegion {
    /// Whatever the AWS default chain finds: environment, profile, instance metadata.
    #[default]
    Default,
    /// A region by its id, such as `us-east-1`.
    Specific {
        /// The region's id.
        id: String,
    },
    /// A server at an address of its own, such as LocalStack.
    CustomEndpoint {
        /// An `http://` or `https://` URI.
        endpoint: String,
        /// The region's id, with which requests are signed.
        id: String,
    },
}

impl AwsRegion {
    /// The region's id, if the module file names one.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Default => None,
            Self::Specific { id } | Self::CustomEndpoint { id, .. } => Some(id),
        }
    }
}

/// Who asks: a module file's `awsCredentials`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum AwsCredentials {
    /// Whatever the AWS default chain finds: environment, profile, SSO, web identity (IRSA), ECS, instance metadata.
    #[default]
    Default,
    /// A profile of the AWS configuration files.
    Profile {
        /// The profile's name.
        name: String,
        /// A credentials file other than the usual one.
        path: Option<PathBuf>,
    },
    /// Static keys.
    Basic {
        /// The access key id.
        access_key_id: Secret,
        /// The secret access key.
        secret_access_key: Secret,
        /// The token that belongs to temporary keys.
        session_token: Option<Secret>,
    },
    /// A role that is taken on with the token of a web identity, as pods of EKS have it (IRSA).
    WebIdentity {
        /// The role's ARN.
        role_arn: String,
        /// The file with the token. It is read again whenever the keys are renewed.
        token_file: PathBuf,
        /// What CloudTrail calls the session; without one the client makes a name up.
        session_name: Option<String>,
    },
    /// A role that is taken on with the credentials of the AWS default chain, as one does for another account.
    AssumeRole {
        /// The role's ARN.
        role_arn: String,
        /// What CloudTrail calls the session; without one the client makes a name up.
        session_name: Option<String>,
        /// The external id that the owner of the role requires.
        external_id: Option<Secret>,
    },
}

/// Text that must reach no log, no message and no debug output.
///
/// `Debug` and `Display` print `[redacted]`; [`Secret::expose`] is the one way to the text. The memory of the text is
/// wiped when the secret is dropped; copies that others made before or with `expose` are theirs to wipe.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Secret(Box<str>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let credentials = AwsCredentials::Basic {
            access_key_id: Secret::new("AKIA"),
            secret_access_key: Secret::new("hunter2"),
            session_token: Some(Secret::new("hunter2")),
        };
        let printed = format!("{credentials:?} {credentials:#?} {}", Secret::new("hunter2"));
        assert!(!printed.contains("hunter2") && !printed.contains("AKIA"), "{printed}");
    }
}
