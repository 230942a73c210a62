//! `statefun-kinesis schema`.

use std::io::{self, Write};

use crate::{ExitCode, failure::Failure};

/// Prints the JSON Schema of module files to stdout.
pub(crate) fn schema() -> Result<ExitCode, Failure> {
    let schema = statefun_kinesis_spec::json_schema();
    writeln!(io::stdout(), "{}", schema.trim_end())
        .map_err(|error| Failure::new(ExitCode::Output, "cannot write to stdout").because(&error))?;
    Ok(ExitCode::Done)
}
