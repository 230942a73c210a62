//! The command line: what each subcommand takes. Nothing here does anything with it.

mod allowed_changes;
mod check;
mod command_line;
mod endpoint;
mod explain;
mod module;
mod run;
mod state;

pub(crate) use allowed_changes::AllowedChanges;
pub(crate) use check::{CheckArguments, Format};
pub(crate) use command_line::{Arguments, Command};
pub(crate) use explain::ExplainArguments;
pub(crate) use module::{ModuleArguments, is_standard_stream};
pub(crate) use run::{Client, Functions, LogFormat, RunArguments};
pub(crate) use state::{
    ExportArguments, InspectArguments, InspectFormat, ResetArguments, ResetScope, StateCommand, UpgradeArguments,
};
