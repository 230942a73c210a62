use std::path::PathBuf;

use clap::Args;

/// The module files, and how strictly to check them.
#[derive(Debug, Args)]
pub(crate) struct ModuleArguments {
    /// Module files; several files form one module
    #[arg(value_name = "MODULE.YAML", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// Report unknown fields as warnings instead of errors
    #[arg(long)]
    pub(crate) lenient: bool,

    /// Skip documents for other transports, such as Kafka, with a warning
    #[arg(long)]
    pub(crate) ignore_unsupported: bool,
}
