use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use statefun_kinesis_types::{Address, FunctionType};

/// What is to be done with a state directory.
#[derive(Debug, Subcommand)]
pub(crate) enum StateCommand {
    /// Show how far streams were read, how much is stored, and what the module was; or the values of one address
    Inspect(InspectArguments),
    /// Print everything as JSON Lines: positions, values, messages, delayed messages, records that wait
    Export(ExportArguments),
    /// Forget positions, or everything
    Reset(ResetArguments),
    /// Bring a directory that an older version wrote to the format of this version; a run does so by itself
    Upgrade(UpgradeArguments),
}

#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// The directory that a run has as --state
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,

    /// Show the values of an address of this function
    #[arg(long, value_name = "NAMESPACE/NAME", requires = "id")]
    pub(crate) function: Option<FunctionType>,

    /// The id of the address: the partition key of its records
    #[arg(long, value_name = "ID", requires = "function", allow_hyphen_values = true)]
    pub(crate) id: Option<String>,

    /// How it is written to stdout
    #[arg(long, value_enum, default_value_t = InspectFormat::Human)]
    pub(crate) format: InspectFormat,
}

impl InspectArguments {
    /// The address whose values are asked for.
    pub(crate) fn address(&self) -> Option<Address> {
        let (function, id) = (self.function.clone()?, self.id.as_deref()?);
        Some(Address { function, id: id.into() })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum InspectFormat {
    /// Tables, for people
    Human,
    /// One JSON object, for programs
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// The directory that a run has as --state
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Args)]
#[group(id = "scope", required = true, multiple = false)]
pub(crate) struct ResetScope {
    /// Forget how far streams were read, and keep the rest: the next run reads from the startup position, and states
    /// count again what they counted already
    #[arg(long)]
    pub(crate) positions: bool,

    /// Remove the store, also one that is damaged or that a newer version wrote: the next run starts over with empty state
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ResetArguments {
    /// The directory that a run has as --state
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,

    #[command(flatten)]
    pub(crate) scope: ResetScope,

    /// Do not ask; needed where there is no terminal
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct UpgradeArguments {
    /// The directory that a run has as --state
    #[arg(value_name = "DIR")]
    pub(crate) directory: PathBuf,
}
