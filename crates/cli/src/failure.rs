use std::{error::Error, fmt};

use statefun_kinesis_types::ErrorChain;

use crate::ExitCode;

/// Why the command failed.
///
/// `Display` prints the error, its causes and a hint, one per line.
#[derive(Debug)]
pub(crate) struct Failure {
    exit_code: ExitCode,
    lines: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// A failure with a message.
    pub(crate) fn new(exit_code: ExitCode, message: impl Into<String>) -> Self {
        Self { exit_code, lines: vec![message.into()], hint: None }
    }

    /// A failure caused by an error, with the chain of its sources.
    pub(crate) fn from_error(exit_code: ExitCode, error: &dyn Error) -> Self {
        Self { exit_code, lines: lines(error), hint: None }
    }

    /// Adds the error that caused the failure, and the chain of its sources.
    #[must_use]
    pub(crate) fn because(mut self, error: &dyn Error) -> Self {
        self.lines.extend(lines(error));
        self
    }

    /// Adds a hint: what to do now.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        self.exit_code
    }
}

/// An error and its sources, one line each.
pub(crate) fn lines(error: &dyn Error) -> Vec<String> {
    ErrorChain(error).errors().map(ToString::to_string).collect()
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.lines.iter().enumerate() {
            let label = if index == 0 { "error" } else { "  because" };
            writeln!(f, "{label}: {line}")?;
        }
        match &self.hint {
            Some(hint) => writeln!(f, "hint: {hint}"),
            None => Ok(()),
        }
    }
}
