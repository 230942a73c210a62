use std::{error::Error, fmt};

use statefun_kinesis_types::ErrorChain;

use crate::ExitCode;

/// Why the command ends without having done what it was asked to do.
///
/// `Display` is what a person reads: the error, the errors below it, and a hint, a line each.
#[derive(Debug)]
pub(crate) struct Failure {
    exit_code: ExitCode,
    lines: Vec<String>,
    hint: Option<String>,
}

impl Failure {
    /// A failure with a message of its own.
    pub(crate) fn new(exit_code: ExitCode, message: impl Into<String>) -> Self {
        Self { exit_code, lines: vec![message.into()], hint: None }
    }

    /// A failure by an error, with the chain below it.
    pub(crate) fn from_error(exit_code: ExitCode, error: &dyn Error) -> Self {
        Self { exit_code, lines: lines(error), hint: None }
    }

    /// The same with the error that led to it, and the chain below that.
    #[must_use]
    pub(crate) fn because(mut self, error: &dyn Error) -> Self {
        self.lines.extend(lines(error));
        self
    }

    /// The same with a way out.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    pub(crate) fn exit_code(&self) -> ExitCode {
        self.exit_code
    }
}

/// An error and those below it, a line each.
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
