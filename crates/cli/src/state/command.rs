use super::{export, inspect, reset, upgrade};
use crate::{ExitCode, args::StateCommand, failure::Failure};

/// Runs a `state` subcommand. No other process may use the directory.
pub(crate) fn state(command: &StateCommand) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new(ExitCode::Setup, "cannot start the async runtime").because(&error))?;
    runtime.block_on(async {
        match command {
            StateCommand::Inspect(arguments) => inspect::inspect(arguments).await,
            StateCommand::Export(arguments) => export::export(arguments).await,
            StateCommand::Reset(arguments) => reset::reset(arguments).await,
            StateCommand::Upgrade(arguments) => upgrade::upgrade(arguments).await,
        }
    })?;
    Ok(ExitCode::Done)
}
