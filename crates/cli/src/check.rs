//! `statefun-kinesis check`.

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use statefun_kinesis_spec::{Code, Module, Severity};

use crate::{
    ExitCode,
    args::{CheckArguments, Format},
    clients::AwsClients,
    failure::Failure,
    github,
    live::Findings,
    module::ReadModule,
    policy::Policies,
    report, terminal,
};

/// Checks module files and prints the results to stdout.
pub(crate) fn check(arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    let module = ReadModule::read(&arguments.module, None)?;
    let denied = module.warnings(|code| arguments.denies(code));
    let found = module.checked.module.as_ref().filter(|_| denied.is_empty());
    if arguments.iam_policy {
        return policy(&module, found);
    }
    // A module that fails the check needs no calls to AWS.
    let findings = match found {
        Some(found) if arguments.live => Some(check_live(arguments, found)?),
        _ => None,
    };
    let code = match (found, &findings) {
        (None, _) => ExitCode::InvalidModule,
        (_, Some(findings)) if !findings.passed() => ExitCode::Setup,
        _ => ExitCode::Done,
    };
    let mut verdict = verdict(&module, &denied);
    if arguments.live && found.is_none() {
        verdict += "\nAWS was not called: --live needs a module that passes the check";
    }
    let text = match arguments.format {
        Format::Human => {
            let colour = terminal::colour_on_stdout();
            let findings = findings.as_ref().map_or_else(String::new, |findings| {
                format!("\n{}\n{}\n{POLICY_HINT}", findings.as_text(colour), findings.verdict())
            });
            module.render_as_text(colour) + &verdict + &findings
        }
        Format::Json => report::render(&module, code == ExitCode::Done, findings.as_ref().map(Findings::for_programs)),
        Format::Github => {
            let findings = findings
                .as_ref()
                .map_or_else(String::new, |findings| format!("\n{}{}", findings.for_github(), findings.verdict()));
            github::render(&module) + &verdict + &findings
        }
    };
    print(&text)?;
    Ok(code)
}

const POLICY_HINT: &str =
    "hint: `statefun-kinesis check --iam-policy` prints the minimum IAM policy that the module needs";

fn print(text: &str) -> Result<(), Failure> {
    writeln!(io::stdout(), "{text}")
        .map_err(|error| Failure::new(ExitCode::Output, "cannot write to stdout").because(&error))
}

/// Prints only the policy to stdout, so that it can be piped; everything else goes to stderr.
fn policy(module: &ReadModule, found: Option<&Module>) -> Result<ExitCode, Failure> {
    terminal::tell_if_any(&module.render_as_text(terminal::colour_on_stderr()));
    let Some(found) = found else {
        let failure =
            Failure::new(ExitCode::InvalidModule, "cannot print a policy for a module that does not pass the check");
        return Err(module.hint().into_iter().fold(failure, Failure::hint));
    };
    let policies = Policies::new(found);
    for note in &policies.notes {
        terminal::tell(&format!("note: {note}"));
    }
    print(&policies.render())?;
    Ok(ExitCode::Done)
}

/// Calls the service to check everything that the module needs.
fn check_live(arguments: &CheckArguments, module: &Module) -> Result<Findings, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new(ExitCode::Setup, "cannot start the async runtime").because(&error))?;
    let aws = AwsClients::new(arguments.endpoint_url.clone());
    Ok(runtime.block_on(Findings::of(module, &aws)))
}

/// The last lines of the human format. `denied` are the codes of warnings that fail the check, with their numbers.
fn verdict(module: &ReadModule, denied: &BTreeMap<Code, usize>) -> String {
    let names = module.names();
    let warnings = match module.count(Severity::Warning) {
        0 => String::new(),
        count => format!(", {}", counted(count, "warning")),
    };
    match &module.checked.module {
        Some(_) if !denied.is_empty() => {
            let rejected = counted(denied.values().sum(), "warning");
            let codes: Vec<String> = denied.keys().map(|code| format!("--allow {code}")).collect();
            let hint = format!("to accept warnings of a code: {}", codes.join(" "));
            format!("{names}: {rejected}, rejected by --deny-warnings\nhint: {hint}")
        }
        Some(found) => format!("{names}: valid: {}{warnings}", contents(found)),
        None => {
            let errors = counted(module.count(Severity::Error), "error");
            let hint = module.hint().map_or_else(String::new, |hint| format!("\nhint: {hint}"));
            format!("{names}: {errors}{warnings}{hint}")
        }
    }
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
