//! `cargo xtask e2e`: a Kinesis server for as long as the end-to-end cases run.
//!
//! Everything it needs is installed below `target/e2e`, once. The cases are the test target `e2e` of the package
//! `statefun-kinesis-e2e`; they get
//!
//! | variable | content |
//! |---|---|
//! | `STATEFUN_KINESIS_E2E_ENDPOINT` | `http://127.0.0.1:PORT`; access key `test`, region `us-east-1`, account 000000000000 |
//! | `STATEFUN_KINESIS_E2E_BACKEND`  | `localstack`, `kinesis-mock`, `ferrokinesis` or `fake` |
//! | `STATEFUN_KINESIS_E2E_BESIDES`  | the backend on which all cases ran before: only those are wanted that it is not able to |
//! | `STATEFUN_KINESIS_BIN`          | the built command line |
//! | `STATEFUN_KINESIS_E2E_CONTROL`  | how to stop and start the server (see `keeper`); absent with `--endpoint` |
//! | `STATEFUN_KINESIS_E2E_PYTHON`   | a Python that has the SDK of Stateful Functions; absent where there is no Python |
//! | `STATEFUN_KINESIS_E2E_AGGREGATION_PYTHON` | a Python that has the KPL's record format; absent likewise |
//! | `STATEFUN_KINESIS_E2E_NODE_PATH` | a `PATH` on which `node` is; absent where there is none |
//! | `STATEFUN_KINESIS_E2E_NODE_MODULES` | the packages of the SDK for Node.js |

mod backend;
mod docker;
mod install;
mod keeper;
mod node;
mod probe;
mod processes;
mod python;
mod runner;
mod sdks;
mod session;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::TcpListener;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use self::backend::{Backend, Installed, Recipe};
use self::install::Installations;
pub(crate) use self::keeper::keep_server;
use self::probe::Endpoint;
use self::sdks::Sdks;
use self::session::{Runs, Session};
use crate::workspace;

/// How much of the server's log is shown when a case fails.
const LOG_LINES: usize = 200;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The server to run the cases against.
    #[arg(long, value_enum, default_value_t = Backend::Localstack)]
    backend: Backend,
    /// Use a server that runs already, of the kind that --backend names; nothing is started or stopped.
    #[arg(long, value_name = "URL", conflicts_with = "keep")]
    endpoint: Option<String>,
    /// Leave the server up; the next run uses it, and stops it unless it has --keep too.
    #[arg(long)]
    keep: bool,
    /// Stop the servers that were left up, and run nothing.
    #[arg(long, conflicts_with_all = ["keep", "endpoint", "cases"])]
    stop: bool,
    /// Words that select cases, and other arguments of the case runner, such as --list.
    #[arg(last = true, value_name = "FILTER")]
    cases: Vec<String>,
}

impl Arguments {
    /// The gate: every case on LocalStack, and on the fake what that is not able to.
    pub(crate) fn gate() -> Self {
        Self { backend: Backend::Localstack, endpoint: None, keep: false, stop: false, cases: Vec::new() }
    }

    /// Whether all that can be tried is to be tried.
    fn is_gate(&self) -> bool {
        self.backend == Backend::Localstack && self.endpoint.is_none() && !self.keep && self.cases.is_empty()
    }
}

/// Runs the cases as the arguments say.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let state = workspace::metadata()?.target_directory.into_std_path_buf().join("e2e");
    let runs = Runs::below(&state);
    if arguments.stop {
        let kept = runs.take_over(|_| true)?;
        println!("stopping {} server(s)", kept.len());
        return Ok(());
    }
    let installations = Installations::below(&state);
    let (server, programs, sdks) = match &arguments.endpoint {
        Some(url) => (Server::Running(running(url)?), runner::build()?, Sdks::install(&installations)?),
        None => {
            let (session, programs, sdks) = start(arguments.backend, &installations, &runs)?;
            (Server::Ours(session), programs, sdks)
        }
    };
    server.announce(arguments.backend);
    run_cases(arguments, arguments.backend, None, server, &programs, &sdks)?;
    if arguments.is_gate() {
        println!("\nwhat {} is not able to", arguments.backend.name());
        let server = Server::Ours(start_server(Backend::Fake, &Installed::Fake, &programs, &runs)?);
        server.announce(Backend::Fake);
        run_cases(arguments, Backend::Fake, Some(arguments.backend), server, &programs, &sdks)?;
    }
    Ok(())
}

/// Where the cases find Kinesis.
enum Server {
    Ours(Session),
    Running(Endpoint),
}

impl Server {
    fn endpoint(&self) -> Endpoint {
        match self {
            Self::Ours(session) => Endpoint::loopback(session.plan.port),
            Self::Running(endpoint) => endpoint.clone(),
        }
    }

    fn announce(&self, backend: Backend) {
        println!("endpoint  {}", self.endpoint());
        println!("backend   {}", backend.name());
        match self {
            Self::Ours(session) => {
                for (name, version) in &session.plan.versions {
                    println!("version   {name} {version}");
                }
            }
            Self::Running(endpoint) => match endpoint.localstack_version() {
                Ok(version) if !endpoint.tls => println!("version   LocalStack {version}"),
                _ => println!("version   unknown (a running server)"),
            },
        }
    }
}

/// Installs the server while the programs are built: one waits for downloads while the other compiles.
///
/// The server starts after both. Beside a compiler it took 47 s in place of 9 s to be ready.
fn start(backend: Backend, installations: &Installations, runs: &Runs) -> Result<(Session, runner::Programs, Sdks)> {
    // Said before minutes of compiling: what is missing.
    let recipe = Recipe::choose(backend, installations)?;
    let (installed, programs) = thread::scope(|scope| {
        let installed =
            scope.spawn(|| Ok::<_, anyhow::Error>((recipe.install(installations)?, Sdks::install(installations)?)));
        let programs = runner::build();
        (installed.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), programs)
    });
    let ((installed, sdks), programs) = (installed?, programs?);
    Ok((start_server(backend, &installed, &programs, runs)?, programs, sdks))
}

fn start_server(backend: Backend, installed: &Installed, programs: &runner::Programs, runs: &Runs) -> Result<Session> {
    let (mark, run) = runs.create()?;
    let plan = installed.plan(backend, programs, &run, &mark, free_port()?)?;
    let started = Instant::now();
    // Those of other versions are stopped at the end of this statement.
    let kept = runs
        .take_over(|kept| kept.backend == plan.backend)?
        .into_iter()
        .find(|session| session.plan.versions == plan.versions);
    if let Some(session) = kept {
        std::fs::remove_dir_all(run)?;
        session.start()?;
        eprintln!("using the {} that was left up", backend.name());
        return Ok(session);
    }
    eprintln!("starting {} …", backend.name());
    let session = Session::launch(&run, &plan)?;
    if let Err(error) = session.start() {
        show_log(&session);
        return Err(error.context(format!("{} did not start", backend.name())));
    }
    eprintln!("{} ready after {:.1} s", backend.name(), started.elapsed().as_secs_f64());
    Ok(session)
}

/// A server that someone else started, when it answers.
fn running(url: &str) -> Result<Endpoint> {
    let endpoint = Endpoint::parse(url)?;
    if endpoint.tls {
        endpoint.accepts()?;
    } else {
        endpoint.list_streams().with_context(|| format!("{url} does not serve Kinesis"))?;
    }
    Ok(endpoint)
}

fn run_cases(
    arguments: &Arguments,
    backend: Backend,
    besides: Option<Backend>,
    server: Server,
    programs: &runner::Programs,
    sdks: &Sdks,
) -> Result<()> {
    let endpoint = server.endpoint().to_string();
    let mut cases = programs.cases(&endpoint, backend.name(), sdks, &arguments.cases);
    if let Some(other) = besides {
        cases.besides(other.name());
    }
    let outcome = match server {
        Server::Running(_) => cases.run(|_| Ok(())),
        Server::Ours(mut session) => {
            if arguments.keep {
                session.keep()?;
            }
            cases.control(&session.control());
            let outcome = cases.run(|group| session.guard(group));
            if outcome.is_err() {
                show_log(&session);
            }
            if arguments.keep {
                println!("{endpoint} stays up; its log is {}", session.log().display());
                println!("stop it with: cargo xtask e2e --stop");
            }
            outcome
        }
    };
    let count = outcome?;
    if count == 0 && !arguments.cases.iter().any(|argument| argument == "--list") {
        bail!("no case ran: none of them matches {:?}", arguments.cases);
    }
    Ok(())
}

fn show_log(session: &Session) {
    eprintln!("\nthe last {LOG_LINES} lines of the server's log:");
    eprintln!("{}", session.log_tail(LOG_LINES));
    if let Ok(saved) = session.save_log() {
        eprintln!("all of it: {}", saved.display());
    }
}

/// A port of the loopback interface that nothing listens on.
///
/// From below the ranges that systems take the ports of outgoing connections from, or one of those could occupy it
/// before the server does.
fn free_port() -> Result<u16> {
    const FIRST: u16 = 20_000;
    const COUNT: u64 = 12_000;
    for _ in 0..100 {
        let chance = RandomState::new().build_hasher().finish() % COUNT;
        let port = FIRST + u16::try_from(chance).expect("less than COUNT");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("none of 100 ports from {FIRST} upwards is free")
}
