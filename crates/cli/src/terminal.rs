//! What is said on stderr, so that log lines and the progress line do not tear each other apart.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Mutex, PoisonError},
};

use indicatif::ProgressBar;
use tracing_subscriber::{EnvFilter, filter::LevelFilter, fmt::MakeWriter};

use crate::{ExitCode, failure::Failure};

/// The progress line that is on the terminal now.
static PROGRESS: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// Whether colour is wanted there: on a terminal, unless `NO_COLOR` or a dumb terminal says no.
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
    wants_colour(&io::stderr())
}

/// Says something on stderr. Nobody is left to be told when stderr itself is closed.
pub(crate) fn tell(text: &str) {
    let mut text = text.trim_end().to_owned();
    text.push('\n');
    let _ = Stderr.write_all(text.as_bytes());
}

/// Says something on stderr if there is something to say.
pub(crate) fn tell_if_any(text: &str) {
    if !text.is_empty() {
        tell(text);
    }
}

/// Writes to stderr, above the progress line if there is one.
#[derive(Clone, Copy, Debug)]
struct Stderr;

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

/// Sends log lines to stderr.
///
/// # Errors
///
/// When the filter cannot be understood.
pub(crate) fn start_log(filter: &str) -> Result<(), Failure> {
    let hint = "write a level (error, warn, info, debug, trace), or levels by module: \
                `info,statefun_kinesis_consumer=debug`";
    if let Some(word) = no_level(filter) {
        return Err(Failure::new(ExitCode::Usage, format!("`{word}` is not a log level")).hint(hint));
    }
    let filter = EnvFilter::try_new(directives(filter)).map_err(|error| {
        Failure::new(ExitCode::Usage, format!("`{filter}` is not a log filter")).because(&error).hint(hint)
    })?;
    let subscriber =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(Stderr).with_ansi(colour_on_stderr());
    // A second subscriber cannot be set; the first one then goes on to serve.
    let _ = subscriber.compact().try_init();
    Ok(())
}

/// A word of the filter that is no level. It would be taken for a module, all of whose lines appear, and those of no other
/// one: who mistypes a level would never learn of an error.
fn no_level(filter: &str) -> Option<&str> {
    let mut words = filter.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.find(|word| !word.contains(['=', '[', ']']) && word.parse::<LevelFilter>().is_err())
}

/// The filter with what the SDK is not to say, unless the filter speaks of it.
fn directives(filter: &str) -> String {
    // What was not found is told by the run's own error, with what to do; here it would appear as the SDK's structures.
    const QUIET: &str = "aws_config::imds::region=error,aws_config::meta::credentials::chain=error";
    if filter.contains("aws_config") { filter.to_owned() } else { format!("{QUIET},{filter}") }
}

/// A line on a terminal's stderr that says how far the work is; it is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct ProgressLine(());

impl ProgressLine {
    /// Shows the line, if stderr is a terminal.
    pub(crate) fn start() -> Option<Self> {
        if !io::stderr().is_terminal() {
            return None;
        }
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(std::time::Duration::from_millis(120));
        *PROGRESS.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar);
        Some(Self(()))
    }

    /// Says how far the work is now.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_level_is_not_taken_for_a_module() {
        for filter in ["", "info", "WARN", "off", "3", "info, statefun_kinesis_consumer=debug", "[span{a=1}]=debug"] {
            assert_eq!(no_level(filter), None, "{filter}");
        }
        for (filter, word) in
            [("wran", "wran"), ("a=debug,inof", "inof"), ("info,statefun_kinesis", "statefun_kinesis")]
        {
            assert_eq!(no_level(filter), Some(word), "{filter}");
        }
    }

    #[test]
    fn the_sdk_does_not_tell_twice_what_it_did_not_find() {
        let quiet = "aws_config::imds::region=error,aws_config::meta::credentials::chain=error";
        #[track_caller]
        fn check(filter: &str, expect: &str) {
            assert_eq!(directives(filter), expect);
            assert!(EnvFilter::try_new(directives(filter)).is_ok(), "{expect}");
        }
        check("info", &format!("{quiet},info"));
        check("warn,statefun_kinesis_consumer=debug", &format!("{quiet},warn,statefun_kinesis_consumer=debug"));
        check("", &format!("{quiet},"));
        check("info,aws_config=debug", "info,aws_config=debug");
    }
}
