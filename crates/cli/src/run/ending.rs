//! How a run ended.

use std::{error::Error, time::Instant};

use statefun_kinesis_router::{EgressError, Progress, RunError, Unfinished};

use crate::{
    ExitCode,
    args::{Client, Functions, RunArguments},
    failure::Failure,
    summary, terminal,
};

/// Prints the summary of a run that ended, and fails when something was left unfinished.
pub(super) fn ended(
    result: Result<Unfinished, RunError>,
    progress: &Progress,
    started: Instant,
    arguments: &RunArguments,
) -> Result<ExitCode, Failure> {
    let unfinished = result.map_err(|error| run_failure(&error))?;
    terminal::tell(&summary::at_the_end(progress, started.elapsed()));
    if unfinished.is_empty() {
        return Ok(ExitCode::Done);
    }
    let message = format!("the run was stopped before all work was finished: {unfinished} were not finished in time");
    Err(Failure::new(ExitCode::Unfinished, message).hint(match arguments.functions {
        Functions::Remote if arguments.state.is_none() => {
            "with --state DIR, unfinished work stays in the directory, and a stop takes a second at most"
        }
        Functions::Remote | Functions::Echo | Functions::Log => {
            "with --state DIR, the next run reads these records again"
        }
    }))
}

/// The failure of a run whose router could not be built.
pub(super) fn not_started(error: &dyn Error, arguments: &RunArguments) -> Failure {
    let failure = Failure::from_error(ExitCode::Setup, error);
    match (arguments.client, &arguments.endpoint_url) {
        (Client::Memory, _) => failure,
        (Client::Aws, Some(url)) => failure.hint(format!("calls went to {url} instead of AWS (--endpoint-url)")),
        (Client::Aws, None) => {
            failure.hint("`statefun-kinesis check --live` checks everything that the module needs from AWS")
        }
    }
}

/// The failure of a run that ended with an error. The hint names the setting that decides whether such an error ends a
/// run, where there is one.
fn run_failure(error: &RunError) -> Failure {
    let (code, hint) = match error {
        RunError::InvalidRecord(_) => (
            ExitCode::InvalidRecord,
            Some(
                "to read on after such a record, set `invalidRecordHandling` of the ingress or of its stream to the type \
                 `skip` or `dead-letter`",
            ),
        ),
        RunError::Functions(error) => (ExitCode::Functions, error.hint()),
        RunError::Dropped { .. } => (ExitCode::Functions, None),
        RunError::Egress(
            EgressError::NotStored { .. }
            | EgressError::Refused { .. }
            | EgressError::Unsendable { .. }
            | EgressError::NotAllowed { .. },
        ) => (
            ExitCode::Kinesis,
            Some(
                "`failedRecordHandling` of the egress decides what happens to a record that cannot be stored; \
                 `statefun-kinesis check --live` checks the stream and the permissions",
            ),
        ),
        RunError::Ingress { .. } => {
            (ExitCode::Kinesis, Some("`statefun-kinesis check --live` checks the stream and the permissions"))
        }
        RunError::NoRoute { .. } | RunError::Egress(EgressError::Unknown { .. }) => (ExitCode::Kinesis, None),
    };
    let failure = Failure::from_error(code, error);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

#[cfg(test)]
mod tests;
