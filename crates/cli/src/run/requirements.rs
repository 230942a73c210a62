//! What can be checked before a run starts anything.

use std::path::PathBuf;

use statefun_kinesis_spec::Module;

use crate::{
    ExitCode,
    args::{Client, Functions, RunArguments, is_standard_stream},
    failure::Failure,
};

/// Checks that the module has what the chosen functions need.
pub(super) fn check_functions(functions: Functions, module: &Module) -> Result<(), Failure> {
    let refuse = |message: String, hint: &str| Err(Failure::new(ExitCode::InvalidModule, message).hint(hint));
    match functions {
        Functions::Echo if module.egresses.is_empty() => refuse(
            "--functions echo needs an egress, and the module has none".to_owned(),
            "add a document of kind io.statefun.kinesis.v1/egress, or use --functions log",
        ),
        Functions::Echo => match module.egresses.iter().find(|egress| egress.stream_name.is_none()) {
            Some(egress) => refuse(
                format!("--functions echo needs a streamName in every egress, and egress {} has none", egress.id),
                "give the egress a streamName",
            ),
            None => Ok(()),
        },
        Functions::Remote => {
            let targets =
                module.ingresses.iter().flat_map(|ingress| &ingress.streams).flat_map(|stream| &stream.targets);
            match targets.into_iter().find(|target| module.endpoint_for(target).is_none()) {
                Some(target) => refuse(
                    format!("the module has no endpoint for the function {target}"),
                    "add a document of kind io.statefun.endpoints.v2/http, or run without remote functions: \
                     --functions log or --functions echo",
                ),
                None => Ok(()),
            }
        }
        Functions::Log => Ok(()),
    }
}

/// Checks that the options fit together, as far as the command line cannot tell by itself.
pub(super) fn check_arguments(arguments: &RunArguments) -> Result<(), Failure> {
    let usage = |message: &str, hint: &str| Err(Failure::new(ExitCode::Usage, message).hint(hint));
    let is_stdin = |path: &PathBuf| is_standard_stream(path);
    if arguments.input.as_ref().is_some_and(is_stdin) && arguments.module.files.iter().any(is_stdin) {
        return usage(
            "the module and --input both name stdin, which can be read only once",
            "name the module file or the file of --input by its path",
        );
    }
    match arguments.client {
        Client::Aws if arguments.input.is_some() => {
            usage("--input works only with streams in memory", "add --client memory, or remove --input")
        }
        Client::Memory if arguments.endpoint_url.is_some() => {
            usage("--endpoint-url has no effect with --client memory", "remove one of them")
        }
        Client::Memory if arguments.state.is_some() => usage(
            "--state cannot be used with --client memory: the positions would outlive the streams",
            "remove one of them",
        ),
        Client::Aws | Client::Memory => Ok(()),
    }
}
