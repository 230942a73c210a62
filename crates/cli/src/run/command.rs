use statefun_kinesis_spec::Severity;
use statefun_kinesis_store::DiskStore;

use super::{
    requirements::{check_arguments, check_functions},
    session::run_module,
};
use crate::{
    ExitCode,
    args::{Client, RunArguments},
    failure::Failure,
    log,
    module::ReadModule,
    terminal,
};

/// Runs a module until it is asked to stop, or until all input is processed.
pub(crate) fn run(arguments: &RunArguments) -> Result<ExitCode, Failure> {
    log::start(&arguments.log, arguments.log_format)?;
    check_arguments(arguments)?;
    let read = ReadModule::read(&arguments.module, stored_positions(arguments))?;
    terminal::tell_if_any(&read.render_as_text(terminal::colour_on_stderr()));
    let Some(module) = read.checked.module.as_ref() else {
        let errors = read.count(Severity::Error);
        let message =
            format!("the module has {errors} error{}; nothing was started", if errors == 1 { "" } else { "s" });
        let failure = Failure::new(ExitCode::InvalidModule, message);
        return Err(read.hint().into_iter().fold(failure, Failure::hint));
    };
    if module.ingresses.is_empty() {
        return Err(Failure::new(ExitCode::InvalidModule, "the module has no ingress, so there is nothing to read")
            .hint("add a document of kind io.statefun.kinesis.v1/ingress"));
    }
    check_functions(arguments.functions, module)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new(ExitCode::Setup, "cannot start the async runtime").because(&error))?;
    runtime.block_on(run_module(arguments, module))
}

/// Whether this run continues from stored positions. Streams in memory have no past, so the question does not arise.
fn stored_positions(arguments: &RunArguments) -> Option<bool> {
    match arguments.client {
        Client::Aws => Some(arguments.state.as_deref().is_some_and(DiskStore::is_in)),
        Client::Memory => None,
    }
}
