//! A run's side of the keeper: launch one or take over a kept one, and talk to it.

use std::fs::{self, File};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::install::last_lines;
use super::keeper::Plan;
use super::processes;

/// A keeper opens its socket within milliseconds; a folder without one after this time is a dead run's.
const LAUNCHED_WITHIN: Duration = Duration::from_secs(20);

/// The folders of all servers, one each: its plan, its log, its files.
#[derive(Debug)]
pub(crate) struct Runs {
    folder: PathBuf,
}

impl Runs {
    pub(crate) fn below(state: &Path) -> Self {
        Self { folder: state.join("run") }
    }

    /// A new folder with a mark that no other run has.
    pub(crate) fn create(&self) -> Result<(String, PathBuf)> {
        let mark = format!("{:016x}", RandomState::new().build_hasher().finish());
        let run = self.folder.join(&mark);
        fs::create_dir_all(&run)?;
        Ok((mark, run))
    }

    /// Attaches to all kept servers that `wanted` accepts. What dead runs left is removed on the way.
    pub(crate) fn take_over(&self, wanted: impl Fn(&Plan) -> bool) -> Result<Vec<Session>> {
        let mut sessions = Vec::new();
        let Ok(runs) = fs::read_dir(&self.folder) else {
            return Ok(sessions);
        };
        for run in runs {
            let run = run?.path();
            let Ok(plan) = Plan::read(&run) else {
                remove_when_old(&run)?;
                continue;
            };
            if !wanted(&plan) && keeper_answers(&run, &plan) {
                continue;
            }
            match Session::attach(&run, &plan) {
                Ok(session) => sessions.extend(session),
                Err(_) if run.join("control").exists() => {
                    plan.kill(None)?;
                    fs::remove_dir_all(&run)?;
                }
                Err(_) => remove_when_old(&run)?,
            }
        }
        Ok(sessions)
    }
}

fn keeper_answers(run: &Path, plan: &Plan) -> bool {
    fs::read_to_string(run.join("control")).is_ok_and(|address| connect(&address, plan).is_ok())
}

fn connect(address: &str, plan: &Plan) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(address).context("no keeper answers")?;
    writeln!(stream, "{}", plan.mark)?;
    Ok(stream)
}

/// Sends one command and waits until it is done.
fn ask(connection: &mut TcpStream, command: &str) -> Result<()> {
    writeln!(connection, "{command}")?;
    let mut answer = String::new();
    // One answer follows one command: nothing is lost when the buffer goes.
    BufReader::new(connection).read_line(&mut answer)?;
    match answer.trim_end() {
        "ok" => Ok(()),
        "" => bail!("the server's keeper is gone"),
        answer => bail!("{}", answer.strip_prefix("error ").unwrap_or(answer)),
    }
}

/// A folder without a plan or a socket may belong to a run that begins right now.
fn remove_when_old(run: &Path) -> Result<()> {
    let age = fs::metadata(run)?.modified()?.elapsed().unwrap_or_default();
    if age > LAUNCHED_WITHIN * 2 {
        fs::remove_dir_all(run)?;
    }
    Ok(())
}

/// A claim on a keeper. While it lives the server lives; when it is dropped the server is stopped, unless
/// [`Session::keep`] was called.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) plan: Plan,
    run: PathBuf,
    address: String,
    /// Its end, however this program ends, is the end of the server.
    _attached: TcpStream,
    keep: bool,
}

impl Session {
    /// Starts a keeper for the plan, with a copy of this program.
    pub(crate) fn launch(run: &Path, plan: &Plan) -> Result<Self> {
        plan.write(run)?;
        let output = File::create(run.join("keeper.log"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("keep-server").arg(run).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        let mut keeper = processes::in_own_group(&mut command).spawn().context("cannot start the server's keeper")?;
        let deadline = Instant::now() + LAUNCHED_WITHIN;
        while !run.join("control").exists() {
            if let Some(status) = keeper.try_wait()? {
                let log = fs::read_to_string(run.join("keeper.log")).unwrap_or_default();
                bail!("the server's keeper ended ({status}): {log}");
            }
            if Instant::now() > deadline {
                bail!("the server's keeper does not answer");
            }
            thread::sleep(Duration::from_millis(10));
        }
        // It ends when we do; waiting for it keeps it from staying a zombie until then.
        thread::spawn(move || keeper.wait());
        Self::attach(run, plan)?.context("the server's keeper belongs to another run")
    }

    /// Claims the server of a keeper; `None` when another run has it. Fails when no keeper answers.
    fn attach(run: &Path, plan: &Plan) -> Result<Option<Self>> {
        let address = fs::read_to_string(run.join("control"))?;
        let mut connection = connect(&address, plan)?;
        if ask(&mut connection, "attach").is_err() {
            return Ok(None);
        }
        Ok(Some(Self { plan: plan.clone(), run: run.to_owned(), address, _attached: connection, keep: false }))
    }

    /// Sends one command on a connection of its own, so that a long one does not hide the end of the attached one.
    fn ask(&self, command: &str) -> Result<()> {
        let mut connection = connect(&self.address, &self.plan)?;
        ask(&mut connection, command)
    }

    /// Starts the server unless it runs, and waits until it is ready.
    pub(crate) fn start(&self) -> Result<()> {
        self.ask("start")
    }

    /// Has a process group killed if this program ends before it.
    pub(crate) fn guard(&self, leader: u32) -> Result<()> {
        self.ask(&format!("guard {leader}"))
    }

    /// Leaves the server up when this session ends.
    pub(crate) fn keep(&mut self) -> Result<()> {
        self.ask("keep")?;
        self.keep = true;
        Ok(())
    }

    /// What cases need to stop the server and start it again.
    pub(crate) fn control(&self) -> String {
        format!("{}/{}", self.address, self.plan.mark)
    }

    /// The end of what the server printed.
    pub(crate) fn log_tail(&self, lines: usize) -> String {
        let text = fs::read(self.log()).unwrap_or_default();
        last_lines(&String::from_utf8_lossy(&text), lines)
    }

    /// Copies the log to where it outlives the run, and returns the place.
    pub(crate) fn save_log(&self) -> Result<PathBuf> {
        let state = self.run.ancestors().nth(2).context("a run lies in the folder of all runs")?;
        let saved = state.join(format!("{}.log", self.plan.backend));
        fs::copy(self.log(), &saved)?;
        Ok(saved)
    }

    /// The file that the server's output goes to.
    pub(crate) fn log(&self) -> PathBuf {
        self.run.join("server.log")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // When this fails, the end of the connection says the same.
        if !self.keep {
            let _ = self.ask("end");
        }
    }
}
