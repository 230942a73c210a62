use std::{fmt, path::PathBuf};

/// Why a client could not be created. All causes are errors of the configuration.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Neither the caller, nor the environment, nor the profile names a region.
    #[error(
        "no AWS region was found; set AWS_REGION, give the profile a `region`, or name one in the module file: \
         `awsRegion: {{ type: specific, id: us-east-1 }}`"
    )]
    NoRegion,
    /// The region's id is not valid.
    #[error("`{id}` is not the id of an AWS region, such as us-east-1")]
    InvalidRegion {
        /// What was given.
        id: String,
    },
    /// The profile does not exist.
    #[error("there is no profile `{name}` in {place}; {}", Known(known))]
    NoProfile {
        /// The profile's name.
        name: String,
        /// The files that were searched.
        place: String,
        /// The names of the existing profiles.
        known: Vec<String>,
    },
    /// The file of the profile could not be read.
    #[error("the profiles in {place} cannot be read")]
    ProfileFile {
        /// The file or files.
        place: String,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The token of the web identity cannot be read.
    #[error(
        "the web identity token cannot be read from `{}`; mount it there (on EKS, give the pod a service account that \
         is annotated with the role), or correct `tokenFile`",
        file.display()
    )]
    NoToken {
        /// The path of its file.
        file: PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The file of trusted certificates cannot be used.
    #[error(
        "the trusted certificates in `{}` cannot be used; correct AWS_CA_BUNDLE, or unset it to trust the certificates of \
         the system",
        file.display()
    )]
    CaBundle {
        /// The path of the file.
        file: PathBuf,
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The HTTP client could not be created.
    #[error("the HTTP client could not be created")]
    Connections {
        /// The cause.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The endpoint is not a URL.
    #[error("`{url}` is not an endpoint: {reason}, such as http://localhost:4566")]
    InvalidEndpoint {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
}

struct Known<'a>(&'a [String]);

impl fmt::Display for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => f.write_str("there are none at all; `aws configure` makes one"),
            names => write!(f, "found there: {}", names.join(", ")),
        }
    }
}
