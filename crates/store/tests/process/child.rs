//! The process that commits.

use std::{
    io::{BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, ChildStdout, Command, ExitCode, Stdio},
    sync::mpsc,
};

use statefun_kinesis_store::{DiskSettings, DiskStore, Store as _};

use crate::{history, upgrade};

/// What makes this binary a child.
pub(crate) const ARGUMENT: &str = "run-as-child";

/// Small buffers, so that tables are written all the time.
pub(crate) fn settings() -> DiskSettings {
    let mut settings = DiskSettings::default();
    settings.write_buffer_bytes = 64 * 1024;
    settings.cache_bytes = 1024 * 1024;
    settings
}

/// A command that starts this binary as a child.
pub(crate) fn command(mode: &str, directory: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(ARGUMENT).arg(mode).arg(directory).stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// A child that is running, with the lines that it writes.
pub(crate) struct Running {
    pub(crate) process: Child,
    lines: mpsc::Receiver<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut process = command.spawn().unwrap();
        let stdout: ChildStdout = process.stdout.take().expect("stdout is a pipe");
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut line = String::new();
            // A line that a kill has cut short says nothing.
            while stdout.read_line(&mut line).is_ok_and(|read| read > 0) && line.ends_with('\n') {
                let _ = sender.send(std::mem::take(&mut line).trim().to_owned());
            }
            let _ = stdout.read_to_end(&mut Vec::new());
        });
        Self { process, lines }
    }

    /// Waits for the next line; none when the child has ended.
    pub(crate) fn line(&self) -> Option<String> {
        self.lines.recv().ok()
    }

    /// Kills the child with `SIGKILL`, and gives what it wrote that was not read yet.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        std::iter::from_fn(|| self.lines.recv().ok()).collect()
    }
}

pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let [mode, directory] = arguments else { return ExitCode::FAILURE };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        #[cfg(unix)]
        if mode == "open-without-room" {
            crate::full::open_without_room(directory).await;
            return ExitCode::SUCCESS;
        }
        let store = match mode.as_str() {
            "upgrade" => DiskStore::open_upgrading(directory, settings(), upgrade::convert).await.unwrap(),
            _ => DiskStore::open(directory, settings()).await.unwrap(),
        };
        match mode.as_str() {
            "commit" => commit(&store).await,
            "hold" | "upgrade" => {
                say("held");
                std::future::pending::<()>().await;
            }
            #[cfg(unix)]
            "full" => crate::full::fill(&store).await,
            #[cfg(unix)]
            "fill-and-end" => crate::full::fill_and_end(&store).await,
            _ => return ExitCode::FAILURE,
        }
        ExitCode::SUCCESS
    })
}

async fn commit(store: &DiskStore) {
    let mut step = history::last_step(store).await;
    loop {
        step += 1;
        store.commit(history::commit(step)).await.unwrap();
        say(&step.to_string());
    }
}

pub(crate) fn say(line: &str) {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}").and_then(|()| stdout.flush()).unwrap();
}
