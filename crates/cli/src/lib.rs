//! The `statefun-kinesis` command: arguments, wiring, rendering, and exit codes.
//!
//! The other crates do the work. Only this crate prints, reads the environment and knows all backends. As a library, it
//! exports the [`ExitCode`]s, which scripts and tests rely on.
//!
//! stdout is for data: routed messages (`--functions log`), egress records (`--output -`), diagnostics of `check`. stderr
//! is for everything else: progress, log lines, the summary, errors.

mod admin;
mod args;
mod aws_environment;
mod backend;
mod check;
mod clients;
mod exit;
mod explain;
mod failure;
mod functions;
mod github;
mod handler;
mod input;
mod live;
mod log;
mod masked_text;
mod module;
mod needs;
mod output;
mod output_client;
mod policy;
mod records;
mod regional_ingress;
mod report;
mod run;
mod schema;
mod signals;
mod state;
mod state_directory;
mod summary;
mod terminal;
mod writers;

pub use exit::ExitCode;

use args::{Arguments, Command};
use clap::Parser;

/// Runs the command with the arguments of the process.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        // Help and version are requested data; everything else is a mistake in the command line.
        Err(error) => {
            let is_requested = !error.use_stderr();
            return match error.print() {
                Ok(()) if is_requested => ExitCode::Done,
                Ok(()) => ExitCode::Usage,
                Err(_) => ExitCode::Output,
            };
        }
    };
    let result = match &arguments.command {
        Command::Check(arguments) => check::check(arguments),
        Command::Explain(arguments) => explain::explain(arguments),
        Command::Run(arguments) => run::run(arguments),
        Command::Schema => schema::schema(),
        Command::State(command) => state::state(command),
    };
    result.unwrap_or_else(|failure| {
        terminal::tell_failure(&failure);
        failure.exit_code()
    })
}
