//! The keeper: a process that owns the server and outlives `cargo xtask e2e` by the moment that stopping takes.
//!
//! xtask may end by Ctrl-C, a panic, an error or a kill. In none of these can it be trusted to clean up, so it does
//! not: it holds a connection to the keeper, and when
//! that connection ends, the keeper kills the case runner and the server and removes their files. The keeper is in a
//! process group of its own, where no Ctrl-C of the
//! terminal arrives.
//!
//! The same socket is the control that cases get in `STATEFUN_KINESIS_E2E_CONTROL` as `ADDRESS/MARK`. A client
//! sends the mark as the first line, then commands,
//! one per line. Each is answered by one line when it is done: `ok`, or `error` and a reason.
//!
//! | command | effect |
//! |---|---|
//! | `start`       | starts the server on its port, with no data, and answers when it is ready; one that runs is left alone |
//! | `stop`        | kills the server and answers when all of its processes are gone |
//! | `attach`      | this connection is the run: when it ends, so does the keeper; refused while another is attached |
//! | `keep`        | the keeper stays when the attached connection ends (`--keep`) |
//! | `guard GROUP` | this process group is killed when the attached connection ends |
//! | `end`         | stops the server, ends the keeper |

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::probe::Endpoint;
use super::{docker, processes};

/// From the start of the process to an answer to ListStreams: 4 to 15 s were measured on two cores, ten times as long
/// is a hang.
const READY_WITHIN: Duration = Duration::from_secs(150);
/// How often readiness is asked for.
const ASK_EVERY: Duration = Duration::from_millis(100);
/// A run that has not attached by then is dead.
const ATTACHED_WITHIN: Duration = Duration::from_secs(30);

/// Variables that a server inherits. Nothing else does: a setting of LocalStack, an AWS profile or a proxy in the
/// user's shell must not change what the cases see.
const INHERITED: [&str; 5] = ["PATH", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH"];

/// A server to start, as data: it crosses a process boundary and outlives a run under `--keep`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Plan {
    pub(crate) backend: String,
    /// Unique to this server: the name of its folder, and what its processes carry in their environment.
    pub(crate) mark: String,
    /// On the loopback interface.
    pub(crate) port: u16,
    pub(crate) server: Program,
    /// The container that has to be removed too.
    pub(crate) container: Option<String>,
    /// LocalStack is not ready before its health page answers.
    pub(crate) health_page: bool,
    /// Names and versions, for the user.
    pub(crate) versions: Vec<(String, String)>,
}

impl Plan {
    /// The plan in the folder of a run.
    pub(crate) fn read(run: &Path) -> Result<Self> {
        let text = fs::read_to_string(run.join("plan.json"))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Stores the plan in the folder of a run.
    pub(crate) fn write(&self, run: &Path) -> Result<()> {
        fs::write(run.join("plan.json"), serde_json::to_string_pretty(self)?)?;
        Ok(())
    }

    /// Kills whatever of this server still runs; `leader` is the process that was started.
    pub(crate) fn kill(&self, leader: Option<u32>) -> Result<()> {
        if let Some(container) = &self.container {
            docker::remove(container);
        }
        processes::kill_marked(leader, &self.mark)
    }
}

/// A program with its arguments and the whole of its environment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Program {
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Program {
    pub(crate) fn new(program: &Path) -> Self {
        let new = Self { program: program.to_owned(), arguments: Vec::new(), environment: Vec::new() };
        new.inherit(&INHERITED)
    }

    pub(crate) fn argument(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    pub(crate) fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|&argument| argument.to_owned()));
        self
    }

    /// Sets a variable; the last setting of a name counts.
    pub(crate) fn variable(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// Takes variables over from our own environment where they are set.
    pub(crate) fn inherit(mut self, names: &[&str]) -> Self {
        for &name in names {
            if let Ok(value) = std::env::var(name) {
                self.environment.push((name.to_owned(), value));
            }
        }
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// Runs the keeper of the plan in `run` until its run is over.
pub(crate) fn keep_server(run: &Path) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no port on the loopback interface")?;
    let keeper = Arc::new(Keeper {
        plan: Plan::read(run)?,
        run: run.to_owned(),
        server: Mutex::new(None),
        leader: AtomicU32::new(0),
        attachment: Mutex::new(Attachment::default()),
        ending: AtomicBool::new(false),
    });
    // The file appears complete or not at all.
    let unfinished = run.join("control.new");
    fs::write(&unfinished, listener.local_addr()?.to_string())?;
    fs::rename(unfinished, run.join("control"))?;

    let waiting = Arc::clone(&keeper);
    thread::spawn(move || {
        thread::sleep(ATTACHED_WITHIN);
        if !lock(&waiting.attachment).ever {
            waiting.end();
        }
    });
    for connection in listener.incoming().flatten() {
        let keeper = Arc::clone(&keeper);
        thread::spawn(move || keeper.serve(connection));
    }
    Ok(())
}

struct Keeper {
    plan: Plan,
    run: PathBuf,
    /// Locked for the whole of a start and of a stop.
    server: Mutex<Option<Child>>,
    /// The process that was started last, 0 before the first: known without waiting for the lock on `server`.
    leader: AtomicU32,
    attachment: Mutex<Attachment>,
    /// Set before a start in progress is interrupted, so that it gives up.
    ending: AtomicBool,
}

/// What is known of the run that the server was started for.
#[derive(Default)]
struct Attachment {
    ever: bool,
    now: bool,
    keep: bool,
    guarded: Vec<u32>,
}

impl Keeper {
    fn serve(&self, connection: TcpStream) {
        let mut attached = false;
        // A connection that breaks is one that ended.
        let _ = self.converse(connection, &mut attached);
        if attached {
            let mut attachment = lock(&self.attachment);
            attachment.now = false;
            for group in attachment.guarded.drain(..) {
                processes::kill_group(group);
            }
            let keep = attachment.keep;
            drop(attachment);
            if !keep {
                self.end();
            }
        }
    }

    fn converse(&self, connection: TcpStream, attached: &mut bool) -> Result<()> {
        let mut answers = connection.try_clone()?;
        let mut lines = BufReader::new(connection).lines();
        // The port is open to every user of the machine; the mark is known to this one only.
        if lines.next().transpose()?.as_deref() != Some(self.plan.mark.as_str()) {
            return Ok(());
        }
        for line in lines {
            let line = line?;
            let outcome = match line.split_once(' ').unwrap_or((line.as_str(), "")) {
                ("start", "") => self.start(),
                ("stop", "") => self.stop(),
                ("attach", "") => self.attach(attached),
                ("keep", "") => {
                    lock(&self.attachment).keep = true;
                    Ok(())
                }
                ("guard", group) => self.guard(group),
                ("end", "") => {
                    self.clean_up();
                    writeln!(answers, "ok")?;
                    std::process::exit(0);
                }
                _ => Err(anyhow::anyhow!("unknown command `{line}`")),
            };
            match outcome {
                Ok(()) => writeln!(answers, "ok")?,
                // The answer is one line.
                Err(error) => {
                    writeln!(answers, "error {}", format!("{error:#}").replace('\n', " "))?;
                }
            }
        }
        Ok(())
    }

    fn attach(&self, attached: &mut bool) -> Result<()> {
        let mut attachment = lock(&self.attachment);
        if attachment.now {
            bail!("another run uses this server");
        }
        *attached = true;
        *attachment = Attachment { ever: true, now: true, keep: false, guarded: Vec::new() };
        Ok(())
    }

    fn guard(&self, group: &str) -> Result<()> {
        let group: u32 = group.parse().context("a process group is a number")?;
        // 0 and 1 would mean our own group and every process there is.
        if group < 2 {
            bail!("{group} is no process group of a run");
        }
        lock(&self.attachment).guarded.push(group);
        Ok(())
    }

    fn start(&self) -> Result<()> {
        let mut server = lock(&self.server);
        if self.ending.load(Ordering::SeqCst) {
            bail!("the run is over");
        }
        if let Some(child) = server.as_mut() {
            if child.try_wait()?.is_none() {
                return Ok(());
            }
            // What it left behind would hold the port.
            self.plan.kill(Some(child.id()))?;
        }
        let log = File::options().create(true).append(true).open(self.run.join("server.log"))?;
        let mut command = self.plan.server.command();
        command
            .env(processes::MARK, &self.plan.mark)
            .current_dir(&self.run)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = processes::in_own_group(&mut command)
            .spawn()
            .with_context(|| format!("cannot start {}", self.plan.server.program.display()))?;
        self.leader.store(child.id(), Ordering::SeqCst);
        let child = server.insert(child);
        self.wait_until_ready(child)
    }

    fn wait_until_ready(&self, child: &mut Child) -> Result<()> {
        let endpoint = Endpoint::loopback(self.plan.port);
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if self.ending.load(Ordering::SeqCst) {
                bail!("the run is over");
            }
            if let Some(status) = child.try_wait()? {
                bail!("the server ended before it was ready ({status})");
            }
            let asked = if self.plan.health_page {
                endpoint.localstack_version().and_then(|_| endpoint.list_streams())
            } else {
                endpoint.list_streams()
            };
            match asked {
                Ok(()) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    return Err(error.context(format!("not ready after {} s", READY_WITHIN.as_secs())));
                }
                Err(_) => thread::sleep(ASK_EVERY),
            }
        }
    }

    fn stop(&self) -> Result<()> {
        let mut server = lock(&self.server);
        let Some(mut child) = server.take() else {
            return Ok(());
        };
        let killed = self.plan.kill(Some(child.id()));
        child.wait()?;
        killed
    }

    fn clean_up(&self) {
        self.ending.store(true, Ordering::SeqCst);
        // A start in progress waits for an answer of the server: with the server gone it ends at once, and nothing can
        // start after it.
        let leader = match self.leader.load(Ordering::SeqCst) {
            0 => None,
            leader => Some(leader),
        };
        if let Err(error) = self.plan.kill(leader) {
            eprintln!("{error:#}");
        }
        if let Err(error) = self.stop() {
            eprintln!("{error:#}");
        }
        // What cannot be removed now is found and removed by the next run.
        let _ = fs::remove_dir_all(&self.run);
    }

    fn end(&self) {
        self.clean_up();
        std::process::exit(0);
    }
}

/// A thread that panicked left nothing half done that the others could not go on with.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
