use clap::Args;

#[derive(Debug, Args)]
pub(crate) struct ExplainArguments {
    /// A diagnostic code as `check` prints it, such as SFK0007
    pub(crate) code: String,
}
