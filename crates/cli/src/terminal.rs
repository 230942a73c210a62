//! Output on stderr, where log lines and the progress line must not get mixed up.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use indicatif::ProgressBar;
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

use crate::{failure::Failure, log::json_line};

/// The progress line that is on the terminal now.
static PROGRESS: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Whether each text on stderr is a line of JSON. It is global because a failure is printed after everything else is gone.
static IS_JSON: AtomicBool = AtomicBool::new(false);

/// From now on every text on stderr is a line of JSON, for programs that collect logs.
pub(crate) fn use_json_on_stderr() {
    IS_JSON.store(true, Ordering::Relaxed);
}

fn is_json_on_stderr() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// Whether to use colour: on a terminal, unless `NO_COLOR` is set or the terminal is dumb.
fn wants_colour(stream: &impl IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    stream.is_terminal() && !set("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether diagnostics on stdout are coloured.
pub(crate) fn colour_on_stdout() -> bool {
    wants_colour(&io::stdout())
}

/// Whether diagnostics on stderr are coloured.
pub(crate) fn colour_on_stderr() -> bool {
    !is_json_on_stderr() && wants_colour(&io::stderr())
}

/// Prints text to stderr.
pub(crate) fn tell(text: &str) {
    print(Level::INFO, text);
}

/// Prints a failure to stderr.
pub(crate) fn tell_failure(failure: &Failure) {
    print(Level::ERROR, &failure.to_string());
}

/// Prints text to stderr. Errors are ignored, because there is no other place to report them.
fn print(level: Level, text: &str) {
    let text = text.trim_end();
    let mut text = if is_json_on_stderr() { json_line(level, text) } else { text.to_owned() };
    text.push('\n');
    let _ = Stderr.write_all(text.as_bytes());
}

/// Prints text to stderr, unless it is empty.
pub(crate) fn tell_if_any(text: &str) {
    if !text.is_empty() {
        tell(text);
    }
}

/// Writes to stderr, above the progress line if there is one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &*PROGRESS.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(bar) => bar.suspend(|| io::stderr().write(bytes)),
            None => io::stderr().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

/// The progress line on a terminal's stderr. Dropping this removes the line.
#[derive(Debug)]
pub(crate) struct ProgressLine(());

impl ProgressLine {
    /// Shows the line, if stderr is a terminal that somebody reads.
    pub(crate) fn start() -> Option<Self> {
        if !io::stderr().is_terminal() || is_json_on_stderr() {
            return None;
        }
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        *PROGRESS.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
        Some(Self(()))
    }

    /// Replaces the text of the line.
    pub(crate) fn set(&self, text: String) {
        if let Some(bar) = &*PROGRESS.lock().unwrap_or_else(PoisonError::into_inner) {
            bar.set_message(text);
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if let Some(bar) = PROGRESS.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }
}
