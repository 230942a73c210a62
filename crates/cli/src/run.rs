//! `statefun-kinesis run`.

use std::{
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use statefun_kinesis_consumer::Settings;
use statefun_kinesis_router::{Progress, Router, RunError};
use statefun_kinesis_spec::{Module, Severity, StartupPosition};
use statefun_kinesis_store::DiskStore;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    ExitCode,
    admin::{Admin, Sources},
    args::{Client, Functions, RunArguments},
    backend::Backend,
    failure::Failure,
    feed::{self, Intake},
    handler::RunHandler,
    lanes::Lane,
    module::ReadModule,
    output::Output,
    records::InputRecord,
    signals::Signals,
    state_directory::StateDirectory,
    summary,
    terminal::{self, ProgressLine},
    writers::Writer,
};

/// Runs a module until it is asked to stop, or until all input is processed.
pub(crate) fn run(arguments: &RunArguments) -> Result<ExitCode, Failure> {
    terminal::start_log(&arguments.log)?;
    check_arguments(arguments)?;
    let read = ReadModule::read(&arguments.module, stored_positions(arguments))?;
    terminal::tell_if_any(&read.render_for_people(terminal::colour_on_stderr()));
    let Some(module) = read.checked.module.as_ref() else {
        let errors = read.count(Severity::Error);
        let message =
            format!("the module has {errors} error{}; nothing was started", if errors == 1 { "" } else { "s" });
        let failure = Failure::new(ExitCode::InvalidModule, message);
        return Err(read.hint().into_iter().fold(failure, Failure::hint));
    };
    if module.ingresses.is_empty() {
        return Err(Failure::new(ExitCode::InvalidModule, "the module has no ingress: there is nothing to read")
            .hint("add a document of kind io.statefun.kinesis.v1/ingress"));
    }
    check_functions(arguments.functions, module)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::new(ExitCode::Setup, "cannot start threads").because(&error))?;
    runtime.block_on(run_module(arguments, module))
}

/// Whether this run goes on where another one stopped. In memory nothing is there to go on with, and nothing is missed.
fn stored_positions(arguments: &RunArguments) -> Option<bool> {
    match arguments.client {
        Client::Aws => Some(arguments.state.as_deref().is_some_and(DiskStore::is_in)),
        Client::Memory => None,
    }
}

/// Checks that the module has what its functions need.
fn check_functions(functions: Functions, module: &Module) -> Result<(), Failure> {
    let refuse = |message: String, hint: &str| Err(Failure::new(ExitCode::InvalidModule, message).hint(hint));
    match functions {
        Functions::Echo if module.egresses.is_empty() => refuse(
            "--functions echo needs an egress, and the module has none".to_owned(),
            "add a document of kind io.statefun.kinesis.v1/egress, or use --functions log",
        ),
        Functions::Echo => match module.egresses.iter().find(|egress| egress.stream_name.is_none()) {
            Some(egress) => refuse(
                format!("--functions echo has nowhere to send to: egress {} has no streamName", egress.id),
                "give the egress a streamName",
            ),
            None => Ok(()),
        },
        Functions::Remote => {
            let targets =
                module.ingresses.iter().flat_map(|ingress| &ingress.streams).flat_map(|stream| &stream.targets);
            match targets.into_iter().find(|target| module.endpoint_for(target).is_none()) {
                Some(target) => refuse(
                    format!("no endpoint of the module serves the function {target}"),
                    "add a document of kind io.statefun.endpoints.v2/http, or try the module without functions: \
                     --functions log or --functions echo",
                ),
                None => Ok(()),
            }
        }
        Functions::Log => Ok(()),
    }
}

fn check_arguments(arguments: &RunArguments) -> Result<(), Failure> {
    let usage = |message: &str, hint: &str| Err(Failure::new(ExitCode::Usage, message).hint(hint));
    match arguments.client {
        Client::Aws if arguments.input.is_some() => {
            usage("--input puts records into streams in memory only", "add --client memory, or leave --input out")
        }
        Client::Memory if arguments.endpoint_url.is_some() => {
            usage("--endpoint-url names a server, and --client memory has none", "leave one of them out")
        }
        Client::Memory if arguments.state.is_some() => usage(
            "--state keeps what belongs to positions in streams, and streams in memory are gone at the end",
            "leave one of them out",
        ),
        Client::Aws | Client::Memory => Ok(()),
    }
}

async fn run_module(arguments: &RunArguments, module: &Module) -> Result<ExitCode, Failure> {
    let shutdown = CancellationToken::new();
    // Heard from the first moment on: a start may wait for streams, and the first process of a container dies of no signal
    // that it does not listen to.
    let reads = Arc::new(AtomicBool::new(false));
    tokio::spawn(stop_on_signals(Signals::listen()?, shutdown.clone(), Arc::clone(&reads)));
    let admin = Admin::open(arguments.admin.as_ref(), &shutdown).await?;
    let backend = Arc::new(Backend::new(arguments.client, arguments.endpoint_url.clone(), module).await?);
    let state = match &arguments.state {
        Some(directory) => Some(StateDirectory::open(directory, arguments.state_bytes()).await?),
        None => None,
    };
    let lanes = Lane::all_of(module, &backend).await?;
    if let Some(state) = &state {
        state.fit(module, &lanes, &arguments.allowed).await?;
    }
    // Broken input is told before anything starts.
    let input = match &arguments.input {
        Some(path) => {
            let intake = intake(&lanes).await?;
            Some((feed::read_records(path, &intake)?, intake))
        }
        None => None,
    };

    let output = arguments.output.as_ref().map(|path| Output::open(path, shutdown.clone())).transpose()?;
    let stdout = Output::stdout(shutdown.clone());
    let handler = RunHandler::new(arguments, module, &backend, state.as_ref(), &stdout).await?;
    let mut builder = Router::builder(handler.handler.clone()).clock(backend.clock());
    for lane in &lanes {
        builder = builder.ingress(lane.ingress(reading(arguments, &backend)));
    }
    for egress in &module.egresses {
        let writer = Writer::of_egress(Arc::clone(&backend), egress, output.clone());
        builder = builder.egress_through(egress.clone(), writer);
    }
    let router = builder.build().await.map_err(|error| not_started(&error, arguments))?;
    if let Some(output) = &output {
        output.begin()?;
    }
    let started = Instant::now();
    let progress = router.progress();
    if let Some(admin) = &admin {
        admin.reading(Sources::new(&router, handler.functions(), backend.clock()));
    }
    // From the next line on, a signal stops the run in an orderly way.
    reads.store(true, Ordering::Release);
    terminal::tell(&ready(module, arguments));
    let reporter = tokio::spawn(report(Arc::clone(&progress), started));

    let feeding = async {
        if let Some((records, intake)) = input {
            feed(records, &intake, &lanes, &handler).await?;
            shutdown.cancel();
        }
        Ok(())
    };
    // Feeding fails before the router does, or waits for it for ever when the router ends early.
    let running = router.run(shutdown.clone());
    tokio::pin!(running);
    tokio::pin!(feeding);
    let ran = tokio::select! {
        ran = &mut running => ran,
        fed = &mut feeding => {
            if fed.is_err() {
                shutdown.cancel();
            }
            let ran = running.await;
            fed?;
            ran
        }
    };
    reporter.abort();
    let _ = reporter.await;
    stdout.result()?;
    if let Some(output) = &output {
        output.result()?;
    }
    let unfinished = ran.map_err(|error| run_failure(&error))?;
    terminal::tell(&summary::at_the_end(&progress, started.elapsed()));
    if unfinished.is_empty() {
        return Ok(ExitCode::Done);
    }
    let message = format!("the run was stopped with work left: {unfinished} were not finished in time");
    Err(Failure::new(ExitCode::Unfinished, message).hint(match arguments.functions {
        Functions::Remote if arguments.state.is_none() => {
            "with --state DIR they wait in the directory, and a stop takes a second at most"
        }
        Functions::Remote | Functions::Echo | Functions::Log => {
            "with --state DIR the next run reads their records again"
        }
    }))
}

/// How streams are read.
fn reading(arguments: &RunArguments, backend: &Backend) -> Settings {
    // In memory a save costs nothing.
    let checkpoint_interval = if arguments.state.is_some() { arguments.checkpoint_interval } else { Duration::ZERO };
    Settings { checkpoint_interval, ..backend.reading() }
}

/// The streams into which input can be put.
async fn intake(lanes: &[Lane]) -> Result<Intake, Failure> {
    let mut intake = Intake::new();
    for lane in lanes {
        for route in &lane.spec.streams {
            let summary = lane.service.describe_stream_summary(&route.stream).await;
            let summary = summary.map_err(|error| Failure::from_error(ExitCode::Setup, &error))?;
            intake.insert(summary.arn, (Arc::clone(&lane.service) as Arc<_>, summary.max_record_bytes));
        }
    }
    Ok(intake)
}

/// Puts the input into its streams, and waits until all of it is processed.
async fn feed(records: Vec<InputRecord>, intake: &Intake, lanes: &[Lane], handler: &RunHandler) -> Result<(), Failure> {
    let put = statefun_kinesis_types::Timestamp::now();
    let last = feed::put_records(records, intake).await?;
    for lane in lanes {
        if let StartupPosition::AtTimestamp(start) = lane.spec.startup
            && start > put
        {
            warn!(ingress = %lane.spec.id, %start, "the startup position lies in the future: no record of the input is read");
            continue;
        }
        handler.processed(&lane.spec.id, &last).await;
    }
    Ok(())
}

/// Stops the run at the first SIGINT or SIGTERM, and the process at the second, or at the first while nothing is read.
async fn stop_on_signals(mut signals: Signals, shutdown: CancellationToken, reads: Arc<AtomicBool>) {
    signals.next().await;
    if !reads.load(Ordering::Acquire) {
        terminal::tell("stopped before anything was read");
        std::process::exit(ExitCode::Done as i32);
    }
    terminal::tell("stopping: in-flight records are being finished or saved; a second signal stops at once");
    shutdown.cancel();
    signals.next().await;
    terminal::tell("stopped at once; in-flight records were not finished");
    std::process::exit(ExitCode::Interrupted as i32);
}

/// Says how far the run is: all the time on a terminal, now and then elsewhere.
async fn report(progress: Arc<Progress>, started: Instant) {
    const TERMINAL: Duration = Duration::from_millis(200);
    const PLAIN: Duration = Duration::from_secs(30);
    let line = ProgressLine::start();
    let interval = if line.is_some() { TERMINAL } else { PLAIN };
    let mut seen = progress.counts();
    loop {
        tokio::time::sleep(interval).await;
        let counts = progress.counts();
        match &line {
            Some(line) => line.set(summary::on_the_way(&counts, started.elapsed())),
            None if counts != seen => info!("{}", summary::on_the_way(&counts, started.elapsed())),
            None => {}
        }
        seen = counts;
    }
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

fn not_started(error: &dyn Error, arguments: &RunArguments) -> Failure {
    let failure = Failure::from_error(ExitCode::Setup, error);
    match (arguments.client, &arguments.endpoint_url) {
        (Client::Memory, _) => failure,
        (Client::Aws, Some(url)) => failure.hint(format!("{url} was asked in place of AWS (--endpoint-url)")),
        (Client::Aws, None) => failure.hint("`statefun-kinesis check --live` asks about all that the module needs"),
    }
}

fn run_failure(error: &RunError) -> Failure {
    let code = match error {
        RunError::Functions(_) | RunError::Dropped { .. } => ExitCode::Functions,
        RunError::InvalidRecord(_) => ExitCode::InvalidRecord,
        RunError::Ingress { .. } | RunError::NoRoute { .. } | RunError::Egress(_) => ExitCode::Kinesis,
    };
    Failure::from_error(code, error)
}
