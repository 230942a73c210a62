//! `statefun-kinesis state reset`.

use std::io::{self, IsTerminal, Write};

use statefun_kinesis_store::{Commit, DiskSettings, DiskStore, ErrorKind, KeyRange, Store, Table};

use super::store::{open, unusable};
use crate::{
    ExitCode,
    args::{ResetArguments, ResetScope},
    failure::Failure,
    terminal,
};

/// Deletes positions or everything, after a confirmation.
pub(super) async fn reset(arguments: &ResetArguments) -> Result<(), Failure> {
    match arguments.scope {
        ResetScope { all: true, .. } => remove(arguments).await,
        _ => delete_positions(arguments).await,
    }
}

async fn delete_positions(arguments: &ResetArguments) -> Result<(), Failure> {
    let directory = &arguments.directory;
    let unreadable = |error| unusable(&error);
    // While the store is open, no other process can open it.
    let store = open(directory).await?;
    confirm(
        arguments,
        "the next run reads from the startup position of each ingress; states and messages stay, and functions process \
         records again",
    )?;
    let mut commit = Commit::new();
    commit.delete_range(Table::Positions, KeyRange::ALL);
    store.commit(commit).await.map_err(unreadable)?;
    store.close().await.map_err(unreadable)?;
    terminal::tell(&format!("deleted the positions in {}; states and messages were kept", directory.display()));
    Ok(())
}

async fn remove(arguments: &ResetArguments) -> Result<(), Failure> {
    let directory = &arguments.directory;
    match DiskStore::open_existing(directory, DiskSettings::default()).await {
        Ok(store) => store.close().await.map_err(|error| unusable(&error))?,
        // A store that cannot be opened can still be removed.
        Err(error)
            if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Newer | ErrorKind::Older | ErrorKind::Io) => {}
        Err(error) => return Err(unusable(&error)),
    }
    confirm(
        arguments,
        "positions, states, messages and delayed messages are lost; the next run starts over with empty state",
    )?;
    // This fails if a run has opened the store in the meantime.
    DiskStore::remove(directory).await.map_err(|error| unusable(&error))?;
    terminal::tell(&format!("deleted the store in {}", directory.display()));
    Ok(())
}

/// Asks for confirmation on the terminal, unless `--yes` was given.
fn confirm(arguments: &ResetArguments, what: &str) -> Result<(), Failure> {
    if arguments.yes {
        return Ok(());
    }
    let directory = arguments.directory.display();
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        let message = format!("nothing was changed in {directory}: cannot ask for confirmation without a terminal");
        return Err(Failure::new(ExitCode::Usage, message).hint(format!("add --yes to confirm: {what}")));
    }
    let mut answer = String::new();
    let asked = write!(io::stderr(), "{directory}: {what}.\nContinue? [y/N] ").and_then(|()| io::stderr().flush());
    let read = asked.and_then(|()| io::stdin().read_line(&mut answer));
    if read.is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
        return Ok(());
    }
    Err(Failure::new(ExitCode::Usage, format!("nothing was changed in {directory}")))
}
