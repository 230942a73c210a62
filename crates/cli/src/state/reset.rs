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

/// Forgets what is asked for, once somebody has said yes.
pub(super) async fn reset(arguments: &ResetArguments) -> Result<(), Failure> {
    match arguments.scope {
        ResetScope { all: true, .. } => remove(arguments).await,
        _ => forget_positions(arguments).await,
    }
}

async fn forget_positions(arguments: &ResetArguments) -> Result<(), Failure> {
    let directory = &arguments.directory;
    let unreadable = |error| unusable(&error);
    // From here on no other process can have it.
    let store = open(directory).await?;
    confirm(
        arguments,
        "the next run reads from the startup position of each ingress; states and messages stay, and count again what \
         they counted already",
    )?;
    let mut commit = Commit::new();
    commit.delete_range(Table::Positions, KeyRange::ALL);
    store.commit(commit).await.map_err(unreadable)?;
    store.close().await.map_err(unreadable)?;
    terminal::tell(&format!("the positions in {} are forgotten; the rest is as it was", directory.display()));
    Ok(())
}

async fn remove(arguments: &ResetArguments) -> Result<(), Failure> {
    let directory = &arguments.directory;
    match DiskStore::open_existing(directory, DiskSettings::default()).await {
        Ok(store) => store.close().await.map_err(|error| unusable(&error))?,
        // There is something to remove, whatever is wrong with it.
        Err(error)
            if matches!(error.kind(), ErrorKind::Damaged | ErrorKind::Newer | ErrorKind::Older | ErrorKind::Io) => {}
        Err(error) => return Err(unusable(&error)),
    }
    confirm(
        arguments,
        "positions, states, messages and delayed messages are lost; the next run starts over with empty state",
    )?;
    // Should a run have begun meanwhile, this refuses to.
    DiskStore::remove(directory).await.map_err(|error| unusable(&error))?;
    terminal::tell(&format!("the store in {} is removed", directory.display()));
    Ok(())
}

/// Asks on the terminal, unless the command line has said yes already.
fn confirm(arguments: &ResetArguments, what: &str) -> Result<(), Failure> {
    if arguments.yes {
        return Ok(());
    }
    let directory = arguments.directory.display();
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        let message = format!("nothing was changed in {directory}: there is no terminal to ask on");
        return Err(Failure::new(ExitCode::Usage, message).hint(format!("add --yes when this is meant: {what}")));
    }
    let mut answer = String::new();
    let asked = write!(io::stderr(), "{directory}: {what}.\nGo on? [y/N] ").and_then(|()| io::stderr().flush());
    let read = asked.and_then(|()| io::stdin().read_line(&mut answer));
    if read.is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str()) {
        return Ok(());
    }
    Err(Failure::new(ExitCode::Usage, format!("nothing was changed in {directory}")))
}
