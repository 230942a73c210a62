//! Finds a Python interpreter of a series, such as 3.13, that really runs.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::workspace;

/// An interpreter that ran and can make virtual environments.
#[derive(Clone, Debug)]
pub(crate) struct Python {
    pub(crate) program: PathBuf,
    /// Three numbers: `3.13.0`.
    pub(crate) version: String,
}

impl Python {
    /// The first interpreter of `series` (`3.13`) among: `$PYTHON313`, `python3.13` and `python3` on `PATH`, pyenv's
    /// versions, what `uv` knows.
    pub(crate) fn find(series: &str) -> Option<Self> {
        candidates(series).into_iter().find_map(|program| Self::check(program, series))
    }

    /// An interpreter of some series that is not too old for anything here.
    pub(crate) fn any() -> Option<Self> {
        ["3.13", "3.12", "3.11", "3.14", "3.10"].into_iter().find_map(Self::find)
    }

    /// Installs the series by `uv` where that is on `PATH`; nothing else that people commonly have installs an
    /// interpreter without root.
    pub(crate) fn obtain(series: &str) -> Option<Self> {
        let uv = workspace::on_path("uv")?;
        eprintln!("no Python {series} found; trying `uv python install {series}` …");
        let status = Command::new(uv).args(["python", "install", series]).stdin(Stdio::null()).status().ok()?;
        if !status.success() {
            return None;
        }
        Self::find(series)
    }

    /// A command that runs this interpreter.
    pub(crate) fn command(&self) -> Command {
        Command::new(&self.program)
    }

    /// Some `python3.13` are shims that only print an error, and some Pythons come without `venv`: both are found out
    /// by running them.
    fn check(program: PathBuf, series: &str) -> Option<Self> {
        let output = Command::new(&program)
            .args(["-c", "import sys, venv, ensurepip; print('%d.%d.%d' % sys.version_info[:3])"])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let version = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        let belongs = version.strip_prefix(series).is_some_and(|rest| rest.starts_with('.'));
        (output.status.success() && belongs).then_some(Self { program, version })
    }
}

/// The variable that names the interpreter of a series: `PYTHON313` for 3.13.
pub(crate) fn variable(series: &str) -> String {
    format!("PYTHON{}", series.replace('.', ""))
}

fn candidates(series: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    found.extend(std::env::var_os(variable(series)).map(PathBuf::from));
    found.extend(workspace::on_path(&format!("python{series}")));
    found.extend(workspace::on_path("python3"));
    let pyenv =
        std::env::var_os("PYENV_ROOT").map(PathBuf::from).or_else(|| Some(std::env::home_dir()?.join(".pyenv")));
    if let Some(versions) = pyenv.and_then(|root| std::fs::read_dir(root.join("versions")).ok()) {
        let mut folders: Vec<PathBuf> = versions
            .flatten()
            .filter(|entry| {
                let name = entry.file_name();
                let rest = name.to_str().and_then(|name| name.strip_prefix(series));
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
            .map(|entry| entry.path().join("bin").join("python3"))
            .collect();
        folders.sort();
        found.extend(folders);
    }
    found.extend(known_to_uv(series));
    found
}

fn known_to_uv(series: &str) -> Option<PathBuf> {
    let output = Command::new(workspace::on_path("uv")?)
        .args(["python", "find", "--no-project", series])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !path.trim().is_empty()).then(|| PathBuf::from(path.trim()))
}
