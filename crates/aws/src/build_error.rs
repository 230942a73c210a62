use std::{fmt, path::PathBuf};

/// Why a client could not be made: something about the configuration, which a person has to change.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// Neither the caller, nor the environment, nor the profile names a region.
    #[error(
        "no AWS region was found; set AWS_REGION, give the profile a `region`, or name one in the module file: \
         `awsRegion: {{ type: specific, id: us-east-1 }}`"
    )]
    NoRegion,
    /// The region's id is not one.
    #[error("`{id}` is not the id of an AWS region, such as us-east-1")]
    InvalidRegion {
        /// What was given.
        id: String,
    },
    /// There is no such profile.
    #[error("there is no profile `{name}` in {place}; {}", Known(known))]
    NoProfile {
        /// The profile that was asked for.
        name: String,
        /// Where it was looked for.
        place: String,
        /// The profiles that are there, by name.
        known: Vec<String>,
    },
    /// The file of the profile could not be read.
    #[error("the profiles in {place} cannot be read")]
    ProfileFile {
        /// Which file or files.
        place: String,
        /// What is wrong with them.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The token of the web identity is not there.
    #[error(
        "the web identity token cannot be read from `{}`; mount it there (on EKS, give the pod a service account that \
         is annotated with the role), or correct `tokenFile`",
        file.display()
    )]
    NoToken {
        /// Where it should be.
        file: PathBuf,
        /// What is wrong with the file.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The HTTP client with bounded connections could not be made.
    #[error("no HTTP client with a bounded number of connections could be made")]
    Connections {
        /// Why not.
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
