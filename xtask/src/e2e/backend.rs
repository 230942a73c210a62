//! The servers that speak Kinesis on one machine: what each needs, how it is installed, how it is started.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::docker;
use super::install::Installations;
use super::keeper::{Plan, Program};
use super::node::Node;
use super::python::{self, Python};
use super::runner::Programs;
use crate::workspace;

/// LocalStack's engine, and a backend of its own. Newer than the 0.5.2 that LocalStack 4.14.0 would take.
const KINESIS_MOCK: &str = "0.6.2";
const FERROKINESIS: &str = "0.7.0";
/// The last image that starts without an account.
const LOCALSTACK_IMAGE: &str = "localstack/localstack:4.14.0";

/// More shards than all cases together make; the servers' defaults are 10 to 50.
const SHARD_LIMIT: &str = "1000";
/// How long a stream stays CREATING or UPDATING, in milliseconds: long enough to be seen by a case, short enough not to
/// matter.
const STATE_CHANGE_MILLIS: &str = "500";

/// Two versions of LocalStack in host mode, the preferred one first: series of Python, version, its pinned packages.
const LOCALSTACK: [(&str, &str, &str); 2] = [
    ("3.13", "4.14.0", include_str!("../../../tests/e2e/server/localstack-4.14.0-python3.13.txt")),
    ("3.11", "4.7.0", include_str!("../../../tests/e2e/server/localstack-4.7.0-python3.11.txt")),
];

/// The server that the cases run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Backend {
    /// LocalStack 4.14.0 (the gate's backend): its Docker image, or from PyPI and npm.
    Localstack,
    /// kinesis-mock 0.6.2 from npm: LocalStack's engine alone.
    KinesisMock,
    /// ferrokinesis 0.7.0, built by `cargo install`.
    Ferrokinesis,
    /// This workspace's fake behind HTTP, the one server whose enhanced fan-out can be relied on.
    Fake,
}

impl Backend {
    /// The name on the command line and in `STATEFUN_KINESIS_E2E_BACKEND`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Localstack => "localstack",
            Self::KinesisMock => "kinesis-mock",
            Self::Ferrokinesis => "ferrokinesis",
            Self::Fake => "fake",
        }
    }
}

/// How a backend is run on this machine, with the tools that it takes.
#[derive(Debug)]
pub(crate) enum Recipe {
    LocalstackImage,
    LocalstackHost { python: Python, node: Node, version: &'static str, requirements: &'static str },
    KinesisMock { node: Node },
    Ferrokinesis,
    Fake,
}

impl Recipe {
    /// Finds the tools that the backend needs, or says which are missing and how to get them.
    pub(crate) fn choose(backend: Backend, installations: &Installations) -> Result<Self> {
        match backend {
            Backend::Localstack => {
                if docker::daemon_answers() {
                    match docker::ensure_image(LOCALSTACK_IMAGE) {
                        Ok(()) => return Ok(Self::LocalstackImage),
                        Err(error) => eprintln!("no Docker image, so host mode: {error:#}"),
                    }
                }
                Self::localstack_host(installations)
            }
            Backend::KinesisMock => Ok(Self::KinesisMock { node: Node::find(Python::any().as_ref(), installations)? }),
            Backend::Ferrokinesis => Ok(Self::Ferrokinesis),
            Backend::Fake => Ok(Self::Fake),
        }
    }

    fn localstack_host(installations: &Installations) -> Result<Self> {
        let (wanted, ..) = LOCALSTACK[0];
        let found = LOCALSTACK
            .iter()
            .find_map(|entry| Some((Python::find(entry.0)?, entry)))
            .filter(|(python, _)| python.version.starts_with(wanted))
            .or_else(|| Some((Python::obtain(wanted)?, &LOCALSTACK[0])))
            .or_else(|| Some((Python::find(LOCALSTACK[1].0)?, &LOCALSTACK[1])));
        let Some((python, &(series, version, requirements))) = found else {
            bail!(missing_python());
        };
        if series != wanted {
            eprintln!("no Python {wanted} here, so LocalStack {version} on Python {}", python.version);
        }
        Ok(Self::LocalstackHost { node: Node::find(Some(&python), installations)?, python, version, requirements })
    }

    /// Installs what the recipe needs, once, and says how the server is then started.
    pub(crate) fn install(self, installations: &Installations) -> Result<Installed> {
        match self {
            Self::LocalstackImage => Ok(Installed::LocalstackImage),
            Self::LocalstackHost { python, node, version, requirements } => {
                let engine = install_kinesis_mock(&node, installations)?;
                let stamp = format!("{}\n{}\n{requirements}", python.program.display(), python.version);
                let name = format!("localstack-{version}");
                let environment = installations.ensure(&name, &stamp, |folder, log| {
                    log.run(python.command().args(["-m", "venv"]).arg(folder))
                        .context("on Debian and Ubuntu, `venv` is a package of its own: python3-venv")?;
                    let list = folder.join("requirements.txt");
                    std::fs::write(&list, requirements)?;
                    let program = folder.join("bin").join("python");
                    log.run(Command::new(program).args(["-m", "pip", "install", "-r"]).arg(list))
                })?;
                Ok(Installed::LocalstackHost {
                    python: environment.join("bin").join("python"),
                    engine,
                    versions: vec![
                        ("LocalStack".to_owned(), format!("{version} (host mode)")),
                        ("kinesis-mock".to_owned(), KINESIS_MOCK.to_owned()),
                        ("Python".to_owned(), python.version),
                        ("Node.js".to_owned(), node.version.clone()),
                    ],
                    node,
                })
            }
            Self::KinesisMock { node } => {
                Ok(Installed::KinesisMock { engine: install_kinesis_mock(&node, installations)?, node })
            }
            Self::Fake => Ok(Installed::Fake),
            Self::Ferrokinesis => {
                let stamp = format!("{FERROKINESIS}\n");
                let folder = installations.ensure("ferrokinesis", &stamp, |folder, log| {
                    eprintln!("(an optimised build of about 230 crates: several minutes)");
                    log.run(
                        workspace::cargo()
                            .args(["install", "ferrokinesis", "--locked", "--version", FERROKINESIS, "--root"])
                            .arg(folder),
                    )
                })?;
                Ok(Installed::Ferrokinesis { program: folder.join("bin").join("ferrokinesis") })
            }
        }
    }
}

/// A backend whose software is on this machine.
#[derive(Debug)]
pub(crate) enum Installed {
    LocalstackImage,
    LocalstackHost {
        /// The interpreter of the virtual environment.
        python: PathBuf,
        /// The prefix of npm under which kinesis-mock lies.
        engine: PathBuf,
        node: Node,
        versions: Vec<(String, String)>,
    },
    KinesisMock {
        engine: PathBuf,
        node: Node,
    },
    Ferrokinesis {
        program: PathBuf,
    },
    /// Built with the cases.
    Fake,
}

impl Installed {
    /// The plan of a server that listens on `port` of the loopback interface, keeps its files in `run`, and whose
    /// processes carry `mark`.
    pub(crate) fn plan(
        &self,
        backend: Backend,
        programs: &Programs,
        run: &Path,
        mark: &str,
        port: u16,
    ) -> Result<Plan> {
        let (server, container, versions) = match self {
            Self::LocalstackImage => {
                let container = format!("statefun-kinesis-e2e-{mark}");
                let mut settings = localstack_settings(port);
                settings.push(("GATEWAY_LISTEN", "0.0.0.0:4566".to_owned()));
                (
                    docker::server(LOCALSTACK_IMAGE, &container, port, &settings),
                    Some(container),
                    vec![("LocalStack".to_owned(), format!("{LOCALSTACK_IMAGE} (Docker)"))],
                )
            }
            Self::LocalstackHost { python, engine, node, versions } => {
                let root = run.join("root");
                link_engine(&root, engine)?;
                let mut program = Program::new(python).argument(script("loopback.py"));
                for (name, value) in localstack_settings(port) {
                    program = program.variable(name, value);
                }
                program = program
                    // LocalStack writes to /usr/lib, /var/lib and /etc when it believes to be in a container, as in
                    // many CI machines.
                    .variable("OVERRIDE_IN_DOCKER", "0")
                    .variable("FILESYSTEM_ROOT", path(&root))
                    .variable("KINESIS_MOCK_VERSION", KINESIS_MOCK)
                    .variable("GATEWAY_LISTEN", format!("127.0.0.1:{port}"))
                    .variable("HOME", path(&root))
                    .variable("PATH", text(node.path()))
                    .variable("NODE_OPTIONS", preload());
                (program, None, versions.clone())
            }
            Self::KinesisMock { engine, node } => {
                let package = engine.join("node_modules").join("kinesis-local");
                let program = Program::new(Path::new("node"))
                    .argument(path(&package.join("main.js")))
                    .variable("KINESIS_MOCK_CERT_PATH", path(&package.join("server.json")))
                    .variable("KINESIS_MOCK_PLAIN_PORT", port.to_string())
                    .variable("KINESIS_MOCK_TLS_PORT", super::free_port()?.to_string())
                    .variable("SHARD_LIMIT", SHARD_LIMIT)
                    .variable("PATH", text(node.path()))
                    .variable("NODE_OPTIONS", preload());
                let versions = vec![
                    ("kinesis-mock".to_owned(), KINESIS_MOCK.to_owned()),
                    ("Node.js".to_owned(), node.version.clone()),
                ];
                (program, None, versions)
            }
            Self::Ferrokinesis { program } => {
                // It listens on every interface and has no setting for it: the one server here that others can reach.
                let port = port.to_string();
                let server = Program::new(program).arguments(&[
                    "--port",
                    &port,
                    "--account-id",
                    "000000000000",
                    "--region",
                    "us-east-1",
                    "--shard-limit",
                    SHARD_LIMIT,
                ]);
                let versions = vec![("ferrokinesis".to_owned(), FERROKINESIS.to_owned())];
                (server, None, versions)
            }
            Self::Fake => {
                // One that was left up and is older than the program is not used again.
                let built = std::fs::metadata(&programs.fake)?.modified()?.duration_since(UNIX_EPOCH)?;
                let versions = vec![("fake-kinesis".to_owned(), format!("built at {} s", built.as_secs()))];
                (Program::new(&programs.fake).argument(port.to_string()), None, versions)
            }
        };
        Ok(Plan {
            backend: backend.name().to_owned(),
            mark: mark.to_owned(),
            port,
            server,
            container,
            health_page: backend == Backend::Localstack,
            versions,
        })
    }
}

/// LocalStack's settings apart from where it listens and writes.
fn localstack_settings(port: u16) -> Vec<(&'static str, String)> {
    [
        ("SERVICES", "kinesis,sts,iam,s3"),
        ("DNS_ADDRESS", "0"),
        ("DISABLE_EVENTS", "1"),
        ("SKIP_SSL_CERT_DOWNLOAD", "1"),
        ("KINESIS_PERSISTENCE", "0"),
        ("KINESIS_LATENCY", STATE_CHANGE_MILLIS),
        ("KINESIS_SHARD_LIMIT", SHARD_LIMIT),
        // Below that, every request that the engine refuses is a stack trace in the log, and cases provoke many.
        ("KINESIS_MOCK_LOG_LEVEL", "ERROR"),
    ]
    .into_iter()
    .map(|(name, value)| (name, value.to_owned()))
    .chain([("LOCALSTACK_HOST", format!("localhost:{port}"))])
    .collect()
}

fn install_kinesis_mock(node: &Node, installations: &Installations) -> Result<PathBuf> {
    let package = format!("kinesis-local@{KINESIS_MOCK}");
    installations.ensure(&format!("kinesis-mock-{KINESIS_MOCK}"), &package, |folder, log| {
        log.run(&mut node.install(folder, &package))
    })
}

/// Puts the engine where LocalStack looks for it, so that it does not install one of its own.
///
/// Each run has a root of its own: two LocalStacks in one root remove each other's files.
fn link_engine(root: &Path, engine: &Path) -> Result<()> {
    let parent = root.join("usr/lib/localstack/kinesis-local");
    std::fs::create_dir_all(&parent)?;
    #[cfg(unix)]
    std::os::unix::fs::symlink(engine, parent.join(KINESIS_MOCK))?;
    #[cfg(not(unix))]
    bail!("host mode of LocalStack needs a Unix; {} cannot be linked", engine.display());
    Ok(())
}

/// A file of `tests/e2e/server`.
fn script(name: &str) -> String {
    path(&workspace::root().join("tests/e2e/server").join(name))
}

fn preload() -> String {
    format!("--require={}", script("loopback.cjs"))
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

fn text(value: OsString) -> String {
    value.to_string_lossy().into_owned()
}

fn missing_python() -> String {
    let (series, version, _) = LOCALSTACK[0];
    let (older_series, older_version, _) = LOCALSTACK[1];
    let docker = if workspace::on_path("docker").is_some() {
        "the docker command is here but no daemon answers"
    } else {
        "there is no docker command"
    };
    format!(
        "LocalStack needs Docker or Python {series} ({docker}, and no working Python {series} was found).\n\
         Any one of these is enough:\n\
         \x20 * start a Docker daemon;\n\
         \x20 * install Python {series}: `apt-get install python{series} python{series}-venv`, `brew install python@{series}`,\n\
         \x20   `uv python install {series}` or `pyenv install {series}`;\n\
         \x20 * name an interpreter: {}=/path/to/python{series};\n\
         \x20 * install Python {older_series}, for the older LocalStack {older_version};\n\
         \x20 * use another server: `cargo xtask e2e --backend kinesis-mock` (Node.js only), or `--endpoint URL` for a running one.\n\
         LocalStack {version} itself and its packages are then installed by this command.",
        python::variable(series),
    )
}

/// Whether a program starts at all and reports success.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
