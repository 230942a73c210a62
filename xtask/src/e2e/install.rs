//! Software of servers, in private folders under `target/e2e/install`, each complete or not used.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// How much of an installer's output is shown when it fails.
const SHOWN_LINES: usize = 40;

/// The folder that holds all installations.
pub(crate) struct Installations {
    folder: PathBuf,
}

impl Installations {
    pub(crate) fn below(state: &Path) -> Self {
        Self { folder: state.join("install") }
    }

    /// Makes sure that `name` is installed as `stamp` says, and returns its folder.
    ///
    /// The stamp holds everything that the content depends on. It is written last, so an installation that was
    /// interrupted, or made from other inputs, is removed and
    /// made again. Runs that come at the same time wait for each other.
    pub(crate) fn ensure(
        &self,
        name: &str,
        stamp: &str,
        fill: impl FnOnce(&Path, &Log) -> Result<()>,
    ) -> Result<PathBuf> {
        fs::create_dir_all(&self.folder)?;
        let lock = File::create(self.folder.join("lock"))?;
        if lock.try_lock().is_err() {
            eprintln!("waiting for another run that installs into {}", self.folder.display());
            lock.lock()?;
        }
        let folder = self.folder.join(name);
        let complete = folder.join("complete");
        if fs::read_to_string(&complete).is_ok_and(|found| found == stamp) {
            return Ok(folder);
        }
        eprintln!("installing {name} into {} …", folder.display());
        let started = Instant::now();
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let log = Log { path: self.folder.join(format!("{name}.log")) };
        File::create(&log.path)?;
        fill(&folder, &log).with_context(|| format!("{name} could not be installed"))?;
        fs::write(complete, stamp)?;
        eprintln!("installed {name} in {:.1} s", started.elapsed().as_secs_f64());
        Ok(folder)
    }
}

/// Where the output of installers goes.
pub(crate) struct Log {
    path: PathBuf,
}

impl Log {
    /// Runs an installer; when it fails, the error carries the end of what it printed.
    pub(crate) fn run(&self, command: &mut Command) -> Result<()> {
        let output = File::options().append(true).open(&self.path)?;
        let shown = workspace::display(command);
        let status = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .status()
            .with_context(|| format!("cannot start `{shown}`"))?;
        if !status.success() {
            let text = fs::read_to_string(&self.path).unwrap_or_default();
            bail!("`{shown}` failed ({status}):\n{}", last_lines(&text, SHOWN_LINES));
        }
        Ok(())
    }
}

/// The last `count` lines of a text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("xtask-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a temporary folder");
        folder
    }

    #[test]
    fn an_installation_is_made_once_and_again_when_its_stamp_changes_or_it_broke_off() {
        let state = scratch("install");
        let installations = Installations::below(&state);
        let install = |stamp: &str, works: bool| {
            let mut called = false;
            let outcome = installations.ensure("thing", stamp, |folder, _| {
                called = true;
                assert_eq!(fs::read_dir(folder)?.count(), 0, "it starts empty");
                fs::write(folder.join("content"), stamp)?;
                if !works {
                    bail!("broke off half way");
                }
                Ok(())
            });
            assert_eq!(outcome.is_ok(), works || !called);
            called
        };
        assert!(install("one", false));
        assert!(install("one", true), "the half installation was not used");
        assert!(!install("one", true), "the complete one is");
        assert!(install("two", true), "another stamp, another installation");
        fs::remove_dir_all(state).expect("removable");
    }

    #[test]
    fn the_last_lines_of_a_text() {
        assert_eq!(last_lines("a\nb\nc\n", 2), "b\nc");
        assert_eq!(last_lines("a\n", 2), "a");
        assert_eq!(last_lines("", 2), "");
    }
}
