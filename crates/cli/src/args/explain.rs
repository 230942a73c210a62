use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// A diagnostic code as `check` prints it, such as SFK0007, or its number; without one, all codes are listed
    pub(crate) code: Option<String>,
}
