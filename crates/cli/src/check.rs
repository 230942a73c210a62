//! `statefun-kinesis check`.

use std::io::{self, Write};

use statefun_kinesis_spec::{Code, Module, Severity};

use crate::{
    ExitCode,
    args::{CheckArguments, Format},
    failure::Failure,
    module::ReadModule,
    terminal,
};

/// Checks module files and prints what there is to say about them to stdout.
pub(crate) fn check(arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    let module = ReadModule::read(&arguments.module)?;
    let text = match arguments.format {
        Format::Human => module.render_for_people(terminal::colour_on_stdout()) + &verdict(&module),
        Format::Json => module.render_for_programs(),
    };
    writeln!(io::stdout(), "{text}")
        .map_err(|error| Failure::new(ExitCode::Output, "cannot write to stdout").because(&error))?;
    Ok(if module.checked.module.is_some() { ExitCode::Done } else { ExitCode::InvalidModule })
}

/// The last lines for people.
fn verdict(module: &ReadModule) -> String {
    let names: Vec<&str> = module.files.iter().map(|file| file.name.as_str()).collect();
    let names = names.join(", ");
    let warnings = match module.count(Severity::Warning) {
        0 => String::new(),
        count => format!(", {}", counted(count, "warning")),
    };
    match &module.checked.module {
        Some(found) => format!("{names}: valid: {}{warnings}", contents(found)),
        None => {
            let errors = counted(module.count(Severity::Error), "error");
            let hint = first_error(module).map_or_else(String::new, |code| {
                format!("\nhint: for more about a code: statefun-kinesis explain {code}")
            });
            format!("{names}: {errors}{warnings}{hint}")
        }
    }
}

/// The code of the first error, which is the one that a person begins with.
fn first_error(module: &ReadModule) -> Option<Code> {
    let mut diagnostics = module.checked.diagnostics.iter();
    diagnostics.find(|diagnostic| diagnostic.severity == Severity::Error).map(|diagnostic| diagnostic.code)
}

fn contents(module: &Module) -> String {
    let streams = module.ingresses.iter().map(|ingress| ingress.streams.len()).sum();
    format!(
        "{} reading {}, {}, {}",
        plural(module.ingresses.len(), "ingress", "ingresses"),
        counted(streams, "stream"),
        plural(module.egresses.len(), "egress", "egresses"),
        counted(module.endpoints.len(), "endpoint"),
    )
}

fn counted(count: usize, noun: &str) -> String {
    plural(count, noun, &format!("{noun}s"))
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
