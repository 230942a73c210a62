use std::path::PathBuf;

use clap::Args;

/// The module files and how strictly they are read.
#[derive(Debug, Args)]
pub(crate) struct ModuleArguments {
    /// Module files; several of them are one module
    #[arg(value_name = "MODULE.YAML", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// Make unknown fields warnings instead of errors
    #[arg(long)]
    pub(crate) lenient: bool,

    /// Skip documents of other transports, such as Kafka, with a warning
    #[arg(long)]
    pub(crate) ignore_unsupported: bool,
}
