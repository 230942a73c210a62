use std::collections::HashMap;
use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail, ensure};

use crate::case::until;
use crate::limit;

/// Lines of stdout that a failed case shows: the last ones.
const SHOWN_LINES: usize = 10;

/// The program under test, running. It is killed when this is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    transcript: Arc<Transcript>,
    readers: Vec<JoinHandle<()>>,
}

/// How large the files of a program may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// As large as those of whoever runs the cases.
    AsEver,
    /// Up to so many bytes, as on a disk that has no more room; `None` until [`Program::limit_files`] says otherwise. The
    /// program is not ended by the signal that comes with that, as none comes when a disk is full.
    Limited(Option<u64>),
}

impl Files {
    fn launch(self, program: &Path) -> Command {
        let Self::Limited(bytes) = self else { return Command::new(program) };
        // A shell counts in blocks of 512 bytes. What it ignores is ignored by what it becomes.
        let limit = bytes.map(|bytes| format!("ulimit -S -f {}; ", bytes / 512)).unwrap_or_default();
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(format!("trap '' XFSZ; {limit}exec \"$0\" \"$@\"")).arg(program);
        command
    }
}

/// What the program said until it ended, and how it ended.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` after a signal.
    pub code: Option<i32>,
    /// All lines of stdout.
    pub stdout: Vec<String>,
    /// All that was written to stderr.
    pub stderr: String,
}

impl Program {
    pub(crate) fn start(
        program: &Path,
        home: &Path,
        variables: &HashMap<&str, String>,
        arguments: &[&str],
        files: Files,
    ) -> Result<Self> {
        let mut command = files.launch(program);
        command
            .args(arguments)
            // Neither proxies nor AWS profiles of whoever runs the cases may have a say in them.
            .env_clear()
            .env("HOME", home)
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("RUST_BACKTRACE", "1")
            .envs(variables)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let transcript = Arc::new(Transcript {
            arguments: arguments.join(" "),
            stdout: Lines::default(),
            stderr: Lines::default(),
            status: Mutex::default(),
        });
        let readers = vec![
            follow(child.stdout.take(), &transcript, |transcript| &transcript.stdout),
            follow(child.stderr.take(), &transcript, |transcript| &transcript.stderr),
        ];
        Ok(Self { child, transcript, readers })
    }

    pub(crate) fn transcript(&self) -> Arc<Transcript> {
        Arc::clone(&self.transcript)
    }

    /// Waits until the program says that it is ready.
    ///
    /// # Errors
    ///
    /// When it ends instead, or takes too long.
    pub async fn ready(&mut self) -> Result<()> {
        self.says("ready: ").await.map(drop)
    }

    /// Waits for a line on stderr that contains a text, in any case, and gives it.
    ///
    /// # Errors
    ///
    /// When the program ends before, or it takes too long.
    pub async fn says(&mut self, text: &str) -> Result<String> {
        let text = text.to_lowercase();
        until(&format!("`{text}` on stderr"), async || {
            let status = self.child.try_wait()?;
            let found = self.transcript.stderr.find(|line| line.to_lowercase().contains(&text));
            match (found, status) {
                (None, Some(status)) => bail!("the program ended ({status}) without having said it"),
                (found, _) => Ok(found),
            }
        })
        .await
    }

    /// Waits until stdout has so many lines, and gives all that there are.
    ///
    /// # Errors
    ///
    /// When the program ends before, or it takes too long.
    pub async fn prints(&mut self, lines: usize) -> Result<Vec<String>> {
        until(&format!("{lines} lines on stdout"), async || {
            let status = self.child.try_wait()?;
            let found = self.transcript.stdout.count();
            match status {
                _ if found >= lines => Ok(Some(self.transcript.stdout.all())),
                Some(status) => bail!("the program ended ({status}) after {found} of {lines} lines"),
                None => Ok(None),
            }
        })
        .await
        .with_context(|| format!("it printed {} of {lines} lines", self.transcript.stdout.count()))
    }

    /// Whether the program has not ended.
    ///
    /// # Errors
    ///
    /// The operating system's.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Sends a signal by its name without `SIG`.
    ///
    /// # Errors
    ///
    /// When the program is not there any more.
    pub fn signal(&mut self, name: &str) -> Result<()> {
        ensure!(self.is_running()?, "the program ended before SIG{name} could be sent");
        // The standard library sends no signals but SIGKILL; the shell's own `kill` is everywhere.
        let sent = Command::new("sh")
            .args(["-c", "kill -s \"$1\" \"$2\"", "kill", name, &self.child.id().to_string()])
            .status()?;
        ensure!(sent.success(), "SIG{name} could not be sent");
        Ok(())
    }

    /// Lets no file of the program grow beyond so many bytes, or removes that limit. [`Files::Limited`] says what the
    /// program has to be started with for that.
    ///
    /// # Errors
    ///
    /// When the program is not there any more, and elsewhere than on Linux.
    pub fn limit_files(&mut self, bytes: Option<u64>) -> Result<()> {
        ensure!(self.is_running()?, "the program ended before its files could be limited");
        limit::files(self.child.id(), bytes)
    }

    /// The most bytes of memory that the program has had at a time.
    ///
    /// # Errors
    ///
    /// When the program is not there any more, and elsewhere than on Linux.
    pub fn peak_memory(&self) -> Result<u64> {
        self.memory_of("VmHWM:")
    }

    /// The bytes of memory that the program has now.
    ///
    /// # Errors
    ///
    /// As [`Program::peak_memory`].
    pub fn memory(&self) -> Result<u64> {
        self.memory_of("VmRSS:")
    }

    fn memory_of(&self, field: &str) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let kibibytes = status.lines().find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB"));
        Ok(kibibytes.with_context(|| format!("no {field}"))?.trim().parse::<u64>()? * 1024)
    }

    /// Kills the program, as `kill -9` does, and waits until it is gone.
    ///
    /// # Errors
    ///
    /// When it ended before by itself.
    pub async fn kill(mut self) -> Result<()> {
        ensure!(self.is_running()?, "the program ended before it could be killed");
        self.child.kill()?;
        self.ended().await.map(drop)
    }

    /// Waits until the program has ended.
    ///
    /// # Errors
    ///
    /// When that takes too long.
    pub async fn ended(mut self) -> Result<Ended> {
        let status = until("the program to end", async || Ok(self.child.try_wait()?)).await?;
        for reader in self.readers.drain(..) {
            // The ends of the pipes are gone with the program, so the readers end too.
            let _ = reader.join();
        }
        *self.transcript.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
        Ok(Ended {
            code: status.code(),
            stdout: self.transcript.stdout.all(),
            stderr: self.transcript.stderr.all().join("\n"),
        })
    }

    /// Asks the program to stop with a signal, and waits until it has.
    ///
    /// # Errors
    ///
    /// When it takes too long, or does not end with exit code 0.
    pub async fn stop(mut self, signal: &str) -> Result<Ended> {
        self.signal(signal)?;
        let ended = self.ended().await?;
        ensure!(ended.code == Some(0), "after SIG{signal} the exit code is {:?}, not 0", ended.code);
        Ok(ended)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself; both then have nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a program said so far.
#[derive(Debug)]
pub(crate) struct Transcript {
    arguments: String,
    stdout: Lines,
    stderr: Lines,
    status: Mutex<Option<ExitStatus>>,
}

impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = *self.status.lock().unwrap_or_else(PoisonError::into_inner);
        let status = status.map_or("did not end by itself".to_owned(), |status| status.to_string());
        writeln!(f, "\n--- statefun-kinesis {} ({status}), stderr:", self.arguments)?;
        for line in self.stderr.all() {
            writeln!(f, "{line}")?;
        }
        let stdout = self.stdout.all();
        writeln!(f, "--- stdout, {} lines:", stdout.len())?;
        for line in stdout.iter().skip(stdout.len().saturating_sub(SHOWN_LINES)) {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Lines {
    lines: Mutex<Vec<String>>,
    /// Beside the lock, as it is asked for much more often than the lines.
    count: AtomicUsize,
}

impl Lines {
    fn push(&self, line: String) {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        self.count.fetch_add(1, Ordering::Release);
    }

    fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    fn all(&self) -> Vec<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn find(&self, matches: impl Fn(&str) -> bool) -> Option<String> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter().find(|line| matches(line)).cloned()
    }
}

fn follow(
    pipe: Option<impl Read + Send + 'static>,
    transcript: &Arc<Transcript>,
    lines: fn(&Transcript) -> &Lines,
) -> JoinHandle<()> {
    let transcript = Arc::clone(transcript);
    std::thread::spawn(move || {
        let Some(pipe) = pipe else { return };
        for line in BufReader::new(pipe).split(b'\n') {
            let Ok(line) = line else { return };
            lines(&transcript).push(String::from_utf8_lossy(&line).into_owned());
        }
    })
}
