//! `statefun-kinesis explain`.

use std::io::{self, Write};

use statefun_kinesis_spec::Code;

use crate::{ExitCode, args::ExplainArguments, failure::Failure};

/// Prints what a code stands for, with a wrong and a right example, to stdout.
pub(crate) fn explain(arguments: &ExplainArguments) -> Result<ExitCode, Failure> {
    // Parsed here and not by clap, so that a wrong code is told in the same form as other failures.
    let code = arguments.code.parse::<Code>().map_err(|error| {
        Failure::from_error(ExitCode::Usage, &error).hint("`statefun-kinesis check` prints the code of each problem")
    })?;
    io::stdout()
        .write_all(code.explanation().as_bytes())
        .map_err(|error| Failure::new(ExitCode::Output, "cannot write to stdout").because(&error))?;
    Ok(ExitCode::Done)
}
