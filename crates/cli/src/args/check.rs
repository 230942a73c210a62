use clap::{Args, ValueEnum};

use super::{endpoint::endpoint_url, module::ModuleArguments};

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    pub(crate) module: ModuleArguments,

    /// Format of the results on stdout
    #[arg(long, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,

    /// Fail if there are warnings
    #[arg(long)]
    pub(crate) deny_warnings: bool,

    /// Call AWS with the module's regions and credentials: check that the streams exist and that access is allowed
    #[arg(long)]
    pub(crate) live: bool,

    /// With --live: call this server instead of AWS, for all regions of the module
    #[arg(long, value_name = "URL", requires = "live", value_parser = endpoint_url)]
    pub(crate) endpoint_url: Option<String>,

    /// Print only the minimum IAM policy that the module needs, as JSON
    #[arg(long, conflicts_with_all = ["live", "format"])]
    pub(crate) iam_policy: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Text that shows the lines of the files
    Human,
    /// One JSON object, for programs
    Json,
    /// GitHub workflow commands, which GitHub shows next to the lines of the files
    Github,
}
