use std::path::{Path, PathBuf};

use clap::Args;

/// The module files, and how strictly to check them.
#[derive(Debug, Args)]
pub(crate) struct ModuleArguments {
    /// Module files; several files form one module; `-` is stdin
    #[arg(value_name = "MODULE.YAML", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// Report unknown fields as warnings instead of errors
    #[arg(long)]
    pub(crate) lenient: bool,

    /// Skip documents for other transports, such as Kafka or kinds of another namespace, with a warning
    #[arg(long)]
    pub(crate) ignore_unsupported: bool,
}

/// Whether a path of the command line stands for stdin or stdout.
pub(crate) fn is_standard_stream(path: &Path) -> bool {
    path.as_os_str() == "-"
}
