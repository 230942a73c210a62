use clap::{Args, ValueEnum};

use super::{endpoint::endpoint_url, module::ModuleArguments};

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    pub(crate) module: ModuleArguments,

    /// How what was found is written to stdout
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,

    /// Let the check fail when there is a warning
    #[arg(long)]
    pub(crate) deny_warnings: bool,

    /// Ask AWS, with the module's own regions and credentials: whether the streams are there and may be used
    #[arg(long)]
    pub(crate) live: bool,

    /// With --live: ask this server in place of AWS, whatever the module's regions say
    #[arg(long, value_name = "URL", requires = "live", value_parser = endpoint_url)]
    pub(crate) endpoint_url: Option<String>,

    /// Print the least IAM policy that the module needs, as JSON, and nothing else
    #[arg(long, conflicts_with_all = ["live", "format"])]
    pub(crate) iam_policy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// With the lines of the file, for people
    Human,
    /// One JSON object, for programs
    Json,
    /// Workflow commands, which GitHub shows beside the lines of the files
    Github,
}
