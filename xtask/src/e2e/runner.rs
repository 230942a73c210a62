//! Builds the case runner and the command line, runs the cases, counts them.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use cargo_metadata::Message;

use super::processes;
use super::sdks::Sdks;
use crate::workspace;

const CASES: &str = "e2e";
const COMMAND_LINE: &str = "statefun-kinesis";
const FAKE: &str = "fake-kinesis";

/// The built programs.
pub(crate) struct Programs {
    cases: PathBuf,
    command_line: PathBuf,
    /// The server that is the fake behind HTTP.
    pub(crate) fake: PathBuf,
}

/// Builds them in one call.
///
/// The flags select the same features of all dependencies as `cargo test --workspace` does, so that after it nothing
/// but these is compiled.
pub(crate) fn build() -> Result<Programs> {
    let mut command = workspace::cargo();
    command
        .args(["build", "--workspace", "--bin", COMMAND_LINE, "--bin", FAKE, "--test", CASES])
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let shown = workspace::display(&command);
    let mut child = command.spawn().context("cannot start cargo")?;
    let output = child.stdout.take().context("cargo has no output")?;
    let (mut cases, mut command_line, mut fake) = (None, None, None);
    for message in Message::parse_stream(BufReader::new(output)) {
        let Message::CompilerArtifact(artifact) = message? else {
            continue;
        };
        let Some(program) = artifact.executable else {
            continue;
        };
        match artifact.target.name.as_str() {
            CASES if artifact.target.is_test() => cases = Some(program.into_std_path_buf()),
            COMMAND_LINE if artifact.target.is_bin() => {
                command_line = Some(program.into_std_path_buf());
            }
            FAKE if artifact.target.is_bin() => fake = Some(program.into_std_path_buf()),
            _ => {}
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("`{shown}` failed ({status})");
    }
    Ok(Programs {
        cases: cases.with_context(|| format!("`{shown}` built no test `{CASES}`"))?,
        command_line: command_line.with_context(|| format!("`{shown}` built no binary"))?,
        fake: fake.with_context(|| format!("`{shown}` built no server"))?,
    })
}

impl Programs {
    /// The case runner with its environment.
    pub(crate) fn cases(&self, endpoint: &str, backend: &str, sdks: &Sdks, arguments: &[String]) -> Cases {
        let mut command = Command::new(&self.cases);
        command
            .current_dir(workspace::root().join("tests").join("e2e"))
            .args(arguments)
            .env("STATEFUN_KINESIS_E2E_ENDPOINT", endpoint)
            .env("STATEFUN_KINESIS_E2E_BACKEND", backend)
            .env("STATEFUN_KINESIS_BIN", &self.command_line)
            .env_remove("STATEFUN_KINESIS_E2E_BESIDES")
            .env_remove("STATEFUN_KINESIS_E2E_CONTROL");
        sdks.variables(&mut command);
        // The server is on this machine: a proxy of the user's shell has no business between it and the cases.
        for proxy in ["http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(proxy);
        }
        // It sees a pipe and would not colour; an explicit wish of the user comes first.
        let colour_chosen = arguments.iter().any(|argument| argument.starts_with("--color"));
        if std::io::stdout().is_terminal() && !colour_chosen {
            command.arg("--color=always");
        }
        Cases { command, own_group: false }
    }
}

/// The case runner, about to be started.
pub(crate) struct Cases {
    command: Command,
    own_group: bool,
}

impl Cases {
    /// Runs only what this backend is not able to.
    pub(crate) fn besides(&mut self, backend: &str) {
        self.command.env("STATEFUN_KINESIS_E2E_BESIDES", backend);
    }

    /// Passes on how to control the server, whose keeper then also ends the cases when this program is gone.
    pub(crate) fn control(&mut self, control: &str) {
        self.command.env("STATEFUN_KINESIS_E2E_CONTROL", control);
        processes::in_own_group(&mut self.command);
        self.own_group = true;
    }

    /// Runs the cases, shows their output, and returns how many ran. `started` gets the runner's process group.
    pub(crate) fn run(mut self, started: impl FnOnce(u32) -> Result<()>) -> Result<u64> {
        let mut child =
            self.command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start the cases")?;
        let output = child.stdout.take().context("the cases have no output")?;
        if let Err(error) = started(child.id()) {
            child.kill()?;
            child.wait()?;
            return Err(error);
        }
        let mut count = 0;
        let mut terminal = std::io::stdout();
        for line in BufReader::new(output).split(b'\n') {
            let mut line = line?;
            count += ran(&String::from_utf8_lossy(&line)).unwrap_or(0);
            line.push(b'\n');
            terminal.write_all(&line)?;
            terminal.flush()?;
        }
        let status = child.wait()?;
        if self.own_group {
            // A case that failed may have left its command line running.
            processes::kill_group(child.id());
        }
        if !status.success() {
            bail!("the end-to-end cases failed ({status})");
        }
        Ok(count)
    }
}

/// How many cases ran, from a closing line: `test result: ok. 3 passed; 1 failed; 2 ignored; …`.
fn ran(line: &str) -> Option<u64> {
    let (_, counts) = line.split_once("test result: ")?;
    let number = |word: &str| -> Option<u64> {
        let (before, _) = counts.split_once(word)?;
        before.split_whitespace().next_back()?.parse().ok()
    };
    Some(number(" passed;")? + number(" failed;")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_counted_from_the_closing_line() {
        let check = |line, expect| assert_eq!(ran(line), expect, "{line}");
        check("test result: ok. 3 passed; 0 failed; 2 ignored; 0 measured; 1 filtered out; finished in 0.00s", Some(3));
        check(
            "test result: \u{1b}[31mFAILED\u{1b}[0m. 3 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
            Some(4),
        );
        check("test result: ok. 0 passed; 0 failed; 7 ignored;", Some(0));
        check("test result ... ok", None);
        check("", None);
    }
}
