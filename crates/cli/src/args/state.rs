use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use statefun_kinesis_types::{Address, FunctionType};

/// What to do with a state directory.
#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Show positions, sizes and the module of the last run; or the states of one address
    Inspect(InspectArguments),
    /// Print everything as JSON Lines: positions, states, messages, delayed messages, unsent records
    Export(ExportArguments),
    /// Delete positions, or everything
    Reset(ResetArguments),
    /// Upgrade a directory that an older version wrote; `run` also does this when it starts
    Upgrade(UpgradeArguments),
}

#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// The directory that `run` uses as --state
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,

    /// Show the states of an address of this function
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "id")]
    pub(crate) function: Option<FunctionType>,

    /// The id of the address: the partition key of its records
    #[arg(long, value_name = "ID", requires = "function", allow_hyphen_values = true)]
    pub(crate) id: Option<String>,

    /// Format on stdout
    #[arg(long, value_enum, default_value_t = InspectFormat::Human)]
    pub(crate) format: InspectFormat,
}

impl InspectArguments {
    /// The address whose states to show.
    pub(crate) fn address(&self) -> Option<Address> {
        let (function, id) = (self.function.clone()?, self.id.as_deref()?);
        Some(Address { function, id: id.into() })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InspectFormat {
    /// Tables
    Human,
    /// One JSON object, for programs
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// The directory that `run` uses as --state
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Args)]
#[group(id = "scope", required = true, multiple = false)]
pub(crate) struct ResetScope {
    /// Delete the positions and keep the rest: the next run reads from the startup position, so functions process
    /// records again
    #[arg(long)]
    pub(crate) positions: bool,

    /// Delete the store, even if it is damaged or a newer version wrote it: the next run starts over with empty state
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ResetArguments {
    /// The directory that `run` uses as --state
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,

    #[command(flatten)]
    pub(crate) scope: ResetScope,

    /// Do not ask for confirmation; required without a terminal
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UpgradeArguments {
    /// The directory that `run` uses as --state
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}
