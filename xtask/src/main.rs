//! `cargo xtask`: the checks of this repository and its end-to-end gate.
//!
//! | command | what it does |
//! |---|---|
//! | `cargo xtask ci [STEP…]`   | every check, with headings and timings; `.ci/run` is this and `cargo test --workspace` |
//! | `cargo xtask tidy`         | the invariants of ARCHITECTURE.md, from `cargo metadata` and the sources |
//! | `cargo xtask e2e`          | starts a Kinesis server, runs the end-to-end cases against it, stops it |
//! | `cargo xtask bench`        | the benchmarks as one table, each beside its floor |
//! | `cargo xtask fuzz`         | a million module files that libFuzzer makes up, and what holds for each |
//! | `cargo xtask mutants`      | changes of the code, each in one place, and those that no test notices |
//!
//! Exit codes: 0 when everything passed, 1 when a check failed, 2 when the arguments are wrong.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line talks to its user")]

mod bench;
mod ci;
mod e2e;
mod fuzz;
mod mutants;
mod tidy;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Checks of this repository and its end-to-end gate.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the checks that the continuous integration runs, in its order.
    Ci(ci::Arguments),
    /// Check the invariants of ARCHITECTURE.md.
    Tidy,
    /// Start a Kinesis server, run the end-to-end cases against it, stop it.
    E2e(e2e::Arguments),
    /// Run the benchmarks and print one table.
    Bench(bench::Arguments),
    /// Let libFuzzer look for module files that break a property; needs a C++ compiler.
    Fuzz(fuzz::Arguments),
    /// Change the code in single places, and show which changes no test notices.
    Mutants(mutants::Arguments),
    /// Own a server for `e2e`, and stop it when `e2e` is gone (started by `e2e` itself).
    #[command(hide = true)]
    KeepServer {
        /// The folder of the run, which holds its plan.
        run: PathBuf,
    },
}

fn main() -> ExitCode {
    let outcome = match Arguments::parse().command {
        Command::Ci(arguments) => ci::run(&arguments),
        Command::Tidy => tidy::run(),
        Command::E2e(arguments) => e2e::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments),
        Command::Fuzz(arguments) => fuzz::run(&arguments),
        Command::Mutants(arguments) => mutants::run(&arguments),
        Command::KeepServer { run } => e2e::keep_server(&run),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\nerror: {error:#}");
            ExitCode::FAILURE
        }
    }
}
