//! Output on stderr, where log lines and the progress line must not get mixed up.

use std::{
    io::{self, IsTerminal, Write},
    sync::{Mutex, PoisonError},
};

use indicatif::ProgressBar;
use tracing_subscriber::{EnvFilter, filter::LevelFilter, fmt::MakeWriter};

use crate::{ExitCode, failure::Failure};

/// The progress line that is on the terminal now.
static PROGRESS: Mutex<Option<ProgressBar>> = Mutex::new(None);

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
    wants_colour(&io::stderr())
}

/// Prints text to stderr. Errors are ignored, because there is no other place to report them.
pub(crate) fn tell(text: &str) {
    let mut text = text.trim_end().to_owned();
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
/// When the filter is invalid.
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
    // Only the first subscriber of a process can be set; it stays in use.
    let _ = subscriber.compact().try_init();
    Ok(())
}

/// A word of the filter that is not a level. Without this check, a mistyped level would be taken for the name of a module,
/// and no line of any other module would appear, not even errors.
fn no_level(filter: &str) -> Option<&str> {
    let mut words = filter.split(',').map(str::trim).filter(|word| !word.is_empty());
    words.find(|word| !word.contains(['=', '[', ']']) && word.parse::<LevelFilter>().is_err())
}

/// The filter, with some warnings of the SDK turned off unless the filter mentions the SDK.
fn directives(filter: &str) -> String {
    // The run's own error reports missing credentials with a hint. The SDK would print its internal structures.
    const QUIET: &str = "aws_config::imds::region=error,aws_config::meta::credentials::chain=error";
    if filter.contains("aws_config") { filter.to_owned() } else { format!("{QUIET},{filter}") }
}

/// The progress line on a terminal's stderr. Dropping this removes the line.
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
    fn warnings_of_the_sdk_about_missing_credentials_are_off() {
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
