//! `cargo xtask ci`: every check, cheap ones first, each with a heading and its time.
//!
//! `.ci/run` calls the same steps, with the README's `cargo test --workspace` in their middle. All of them use the debug
//! profile and one target folder, and select the same features wherever Cargo lets them, so that nothing is built twice.

use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::ValueEnum;

use crate::workspace::{self, cargo};
use crate::{e2e, tidy};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The steps to run, in this order; all of them when none is named.
    #[arg(value_enum, value_name = "STEP")]
    steps: Vec<Step>,
}

/// A check, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Step {
    /// Formatting, without changing anything.
    Fmt,
    /// The invariants of ARCHITECTURE.md.
    Tidy,
    /// Lints of all targets, also of the end-to-end cases, as errors.
    Clippy,
    /// All tests that need no server: the README's command.
    Test,
    /// The documentation, broken links as errors.
    Doc,
    /// The end-to-end cases on LocalStack, and on the fake what that is not able to.
    E2e,
}

impl Step {
    fn commands(self) -> Vec<Command> {
        let arguments: &[&[&str]] = match self {
            Self::Fmt => &[&["fmt", "--all", "--check"]],
            Self::Clippy => &[
                &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"],
                // `--all-targets` leaves out a target that `cargo test` does not run.
                &["clippy", "--workspace", "--test", "e2e", "--", "-D", "warnings"],
            ],
            Self::Test => &[&["test", "--workspace"]],
            Self::Doc => &[&["doc", "--workspace", "--no-deps"]],
            Self::Tidy | Self::E2e => &[],
        };
        let command = |arguments: &&[&str]| {
            let mut command = cargo();
            command.args(*arguments);
            if self == Self::Doc {
                command.env("RUSTDOCFLAGS", "-D warnings");
            }
            command
        };
        arguments.iter().map(command).collect()
    }

    fn run(self) -> Result<()> {
        for mut command in self.commands() {
            println!("$ {}", workspace::display(&command));
            workspace::run(&mut command)?;
        }
        match self {
            Self::Tidy => tidy::run(),
            Self::E2e => e2e::run(&e2e::Arguments::gate()),
            Self::Fmt | Self::Clippy | Self::Test | Self::Doc => Ok(()),
        }
    }
}

/// Runs the steps and stops at the first one that fails.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let steps = match arguments.steps.as_slice() {
        [] => Step::value_variants(),
        steps => steps,
    };
    let mut times = Vec::new();
    for &step in steps {
        println!("\n== {step:?}");
        let started = Instant::now();
        let outcome = step.run();
        times.push((step, started.elapsed()));
        if let Err(error) = outcome {
            summarize(&times);
            bail!("{step:?}: {error:#}");
        }
    }
    summarize(&times);
    Ok(())
}

fn summarize(times: &[(Step, Duration)]) {
    println!("\n== Times");
    for (step, time) in times {
        println!("{:<7} {:>7.1} s", format!("{step:?}"), time.as_secs_f64());
    }
}
