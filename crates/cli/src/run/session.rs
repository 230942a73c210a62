//! One run of a module, from its first connection to its end.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use statefun_kinesis_consumer::Settings;
use statefun_kinesis_router::{Router, RunError, Unfinished};
use statefun_kinesis_spec::Module;
use tokio_util::sync::CancellationToken;

use super::{
    ending::{ended, not_started},
    input::Input,
    outputs::Outputs,
    reporter::Reporter,
    stop::Stop,
};
use crate::{
    ExitCode,
    admin::{Admin, Sources},
    args::{Functions, RunArguments},
    backend::Backend,
    failure::Failure,
    handler::RunHandler,
    regional_ingress::RegionalIngress,
    state_directory::StateDirectory,
    terminal,
    writers::Writer,
};

/// Runs a module until it is asked to stop, or until all input is processed.
pub(super) async fn run_module(arguments: &RunArguments, module: &Module) -> Result<ExitCode, Failure> {
    let stop = Stop::listen()?;
    let admin = Admin::open(arguments.admin.as_ref(), stop.token()).await?;
    let backend = Arc::new(Backend::new(arguments.client, arguments.endpoint_url.clone(), module).await?);
    let state = match &arguments.state {
        Some(directory) => Some(StateDirectory::open(directory, arguments.state_bytes()).await?),
        None => None,
    };
    let ingresses = RegionalIngress::all_of(module, &backend).await?;
    if let Some(state) = &state {
        state.fit(module, &ingresses, &arguments.allowed).await?;
    }
    let input = match &arguments.input {
        Some(path) => Some(Input::read(path, &ingresses).await?),
        None => None,
    };

    let outputs = Outputs::open(arguments, stop.token())?;
    let handler = RunHandler::new(arguments, module, &backend, state.as_ref(), &outputs.stdout).await?;
    let router = router(arguments, module, &backend, &ingresses, &handler, &outputs).await?;
    outputs.begin()?;
    let started = Instant::now();
    let progress = router.progress();
    if let Some(admin) = &admin {
        admin.reading(Sources::new(&router, handler.functions(), backend.clock(), Arc::clone(&backend)));
    }
    stop.reading_begins();
    terminal::tell(&ready(module, arguments));
    let reporter = Reporter::start(Arc::clone(&progress), started);
    let ran = run_router(router, input, &ingresses, &handler, stop.token()).await;
    reporter.stop().await;
    let ran = ran?;
    outputs.result()?;
    ended(ran, &progress, started, arguments)
}

/// Builds the router with all ingresses and egresses.
async fn router(
    arguments: &RunArguments,
    module: &Module,
    backend: &Arc<Backend>,
    ingresses: &[RegionalIngress],
    handler: &RunHandler,
    outputs: &Outputs,
) -> Result<Router, Failure> {
    let mut builder = Router::builder(handler.handler.clone()).clock(backend.clock());
    for ingress in ingresses {
        builder = builder.ingress(ingress.ingress(reading(arguments, backend)));
    }
    for egress in &module.egresses {
        let writer = Writer::of_egress(Arc::clone(backend), egress, outputs.file.clone());
        builder = builder.egress_through(egress.clone(), writer);
    }
    builder.build().await.map_err(|error| not_started(&error, arguments))
}

/// Runs the router to its end. With input, the run ends when all of it is processed.
///
/// # Errors
///
/// When the input cannot be put into its streams.
async fn run_router(
    router: Router,
    input: Option<Input>,
    ingresses: &[RegionalIngress],
    handler: &RunHandler,
    shutdown: &CancellationToken,
) -> Result<Result<Unfinished, RunError>, Failure> {
    let feeding = async {
        if let Some(input) = input {
            input.feed(ingresses, handler).await?;
            shutdown.cancel();
        }
        Ok(())
    };
    let running = router.run(shutdown.clone());
    tokio::pin!(running);
    tokio::pin!(feeding);
    // Feeding is not awaited when the router ends first: it would wait forever for records that nothing processes.
    tokio::select! {
        ran = &mut running => Ok(ran),
        fed = &mut feeding => {
            if fed.is_err() {
                shutdown.cancel();
            }
            let ran = running.await;
            fed?;
            Ok(ran)
        }
    }
}

/// How to read streams.
fn reading(arguments: &RunArguments, backend: &Backend) -> Settings {
    // Saving to memory costs nothing.
    let checkpoint_interval = if arguments.state.is_some() { arguments.checkpoint_interval } else { Duration::ZERO };
    Settings { checkpoint_interval, ..backend.reading() }
}

fn ready(module: &Module, arguments: &RunArguments) -> String {
    let streams: Vec<String> = module
        .ingresses
        .iter()
        .flat_map(|ingress| &ingress.streams)
        .map(|route| route.stream.name().to_string())
        .collect();
    let functions = match arguments.functions {
        Functions::Echo => "echo",
        Functions::Log => "log",
        Functions::Remote => "remote",
    };
    format!("ready: reading {} for functions: {functions}", streams.join(", "))
}
