use clap::{Args, ValueEnum};
use statefun_kinesis_spec::Code;

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

    /// With --deny-warnings: accept warnings with this code, such as SFK0038 or 38; may be given several times, or take
    /// a list with commas
    #[arg(long, value_name = "CODE", requires = "deny_warnings", value_delimiter = ',')]
    pub(crate) allow: Vec<Code>,

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

impl CheckArguments {
    /// Whether a warning with this code fails the check.
    pub(crate) fn denies(&self, code: Code) -> bool {
        // Who asks for documents to be skipped accepts that they are.
        let is_skipped = self.module.ignore_unsupported && code == Code::KindNotServed;
        self.deny_warnings && !is_skipped && !self.allow.contains(&code)
    }
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
