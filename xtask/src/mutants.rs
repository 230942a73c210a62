//! `cargo xtask mutants`: changes the code in single places, and shows which changes no test notices.
//!
//! [cargo-mutants](https://mutants.rs) makes the changes and runs the tests of the changed package for each; it is installed
//! below `target/` when it is missing. All changes of a crate take hours, so a random sample is tried. A seed makes the same
//! sample again, as long as the code is the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};

use crate::workspace;

/// The version that is installed. Its output is read here, so that another one may need another reader.
const VERSION: &str = "27.1.0";

/// What cargo-mutants ends with when changes were missed, and when tests took too long with some.
const MISSED: i32 = 2;
const TIMED_OUT: i32 = 3;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The crate, such as `producer`; without one, all below `crates/`.
    package: Option<String>,
    /// How many changes are tried.
    #[arg(long, default_value_t = 50)]
    sample: usize,
    /// Makes the sample; without it another one each time.
    #[arg(long)]
    seed: Option<u64>,
    /// Fail when fewer changes than this, in percent, are noticed.
    #[arg(long, default_value_t = 92, value_parser = clap::value_parser!(u8).range(0..=100))]
    threshold: u8,
}

/// Tries the changes, and prints which of them no test noticed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let folder = workspace::root().join("target/mutants");
    let tool = tool(&folder)?;
    let packages = packages(arguments.package.as_deref())?;
    let all = list(&tool, &packages)?;
    ensure!(!all.is_empty(), "there is nothing to change");
    let seed = arguments.seed.unwrap_or_else(new_seed);
    let sample = sample(&all, arguments.sample, seed);
    eprintln!("{} of {} changes, --seed {seed}", sample.len(), all.len());

    let mut command = command(&tool, &folder);
    command.arg("--output").arg(&folder).args(["--iterate", "--no-shuffle", "--colors=never"]);
    for package in &packages {
        command.args(["--package", package]);
    }
    leave_out(&folder.join("mutants.out"), all.iter().map(String::as_str).filter(|name| !sample.contains(name)))?;
    let status = command.status().context("cannot start cargo-mutants")?;
    if !matches!(status.code(), Some(0 | MISSED | TIMED_OUT)) {
        bail!("cargo-mutants failed ({status}); its log is in {}", folder.join("mutants.out").display());
    }
    let outcome = Outcome::read(&folder.join("mutants.out"))?;
    if let Some(other) = outcome.names().find(|name| !sample.contains(name)) {
        bail!("cargo-mutants tried a change outside the sample: {other}");
    }
    print!("{outcome}");
    outcome.check(arguments.threshold)
}

/// The program, which is installed when it is not there.
fn tool(folder: &Path) -> Result<PathBuf> {
    let root = folder.join("tool");
    let program = root.join("bin/cargo-mutants");
    if !program.is_file() {
        let mut command = workspace::cargo();
        command.args(["install", "cargo-mutants", "--version", VERSION, "--locked", "--root"]).arg(root);
        command.arg("--target-dir").arg(folder.join("tool-build"));
        eprintln!("$ {}", workspace::display(&command));
        workspace::run(&mut command)?;
    }
    Ok(program)
}

/// cargo-mutants in the root, with a folder of its own for what it builds, so that other builds need not wait.
fn command(tool: &Path, folder: &Path) -> Command {
    let mut command = Command::new(tool);
    command.arg("mutants").current_dir(workspace::root()).env("CARGO_TARGET_DIR", folder.join("build"));
    command
}

/// The packages below `crates/`, or the one of this folder.
fn packages(folder: Option<&str>) -> Result<Vec<String>> {
    let metadata = workspace::metadata()?;
    let crates = workspace::root().join("crates");
    let mut found = Vec::new();
    for package in metadata.workspace_packages() {
        let Ok(path) = package.manifest_path.as_std_path().strip_prefix(&crates) else { continue };
        let own = path.parent().unwrap_or(path);
        if folder.is_none_or(|folder| own == Path::new(folder)) {
            found.push(package.name.to_string());
        }
    }
    ensure!(!found.is_empty(), "there is no crate `{}` below crates/", folder.unwrap_or_default());
    Ok(found)
}

/// All changes that cargo-mutants knows for the packages, by their names.
fn list(tool: &Path, packages: &[String]) -> Result<Vec<String>> {
    let mut command = Command::new(tool);
    command.args(["mutants", "--list", "--colors=never"]).current_dir(workspace::root());
    for package in packages {
        command.args(["--package", package]);
    }
    let output = command.output().context("cannot start cargo-mutants")?;
    ensure!(output.status.success(), "cargo-mutants: {}", String::from_utf8_lossy(&output.stderr).trim());
    let names = String::from_utf8(output.stdout).context("the list is not UTF-8")?;
    Ok(names.lines().map(str::to_owned).collect())
}

fn new_seed() -> u64 {
    // Short enough to be typed.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs() % 1_000_000)
}

/// So many of the names, in their order, each as likely as any other.
fn sample(names: &[String], size: usize, seed: u64) -> BTreeSet<&str> {
    let mut state = seed;
    let mut places: Vec<usize> = (0..names.len()).collect();
    let size = size.min(places.len());
    for place in 0..size {
        // SplitMix64: its numbers are good from the first one on, whatever the seed.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = state;
        number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        number ^= number >> 31;
        let left = (places.len() - place) as u64;
        places.swap(place, place + (number % left) as usize);
    }
    places[..size].iter().map(|place| names[*place].as_str()).collect()
}

/// Makes `--iterate` leave out the changes with these names: it does not repeat what an earlier run noticed.
///
/// A regular expression with `--re` does not do, because the tool ignores it for some kinds of changes and tries all of
/// those.
fn leave_out<'a>(output: &Path, names: impl Iterator<Item = &'a str>) -> Result<()> {
    if output.exists() {
        fs::remove_dir_all(output).with_context(|| format!("cannot remove {}", output.display()))?;
    }
    fs::create_dir_all(output).with_context(|| format!("cannot create {}", output.display()))?;
    let path = output.join("caught.txt");
    let lines: String = names.flat_map(|name| [name, "\n"]).collect();
    fs::write(&path, lines).with_context(|| format!("cannot write {}", path.display()))
}

/// What became of the changes, by their names.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    /// A test failed.
    caught: Vec<String>,
    /// All tests passed.
    missed: Vec<String>,
    /// The tests did not end: the change was noticed.
    timed_out: Vec<String>,
    /// The change does not compile, and counts as none.
    unviable: Vec<String>,
}

impl Outcome {
    /// Reads the lists that cargo-mutants writes.
    fn read(folder: &Path) -> Result<Self> {
        let list = |name: &str| {
            let path = folder.join(name);
            let text = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
            anyhow::Ok(text.lines().map(str::to_owned).collect())
        };
        Ok(Self {
            caught: list("caught.txt")?,
            missed: list("missed.txt")?,
            timed_out: list("timeout.txt")?,
            unviable: list("unviable.txt")?,
        })
    }

    /// All that were tried.
    fn names(&self) -> impl Iterator<Item = &str> {
        [&self.caught, &self.missed, &self.timed_out, &self.unviable].into_iter().flatten().map(String::as_str)
    }

    fn noticed(&self) -> usize {
        self.caught.len() + self.timed_out.len()
    }

    /// Fails when fewer of the changes that compile were noticed than this, in percent.
    fn check(&self, threshold: u8) -> Result<()> {
        let tried = self.noticed() + self.missed.len();
        ensure!(tried > 0, "none of the changes compiles: try a larger sample");
        ensure!(
            self.noticed() * 100 >= tried * usize::from(threshold),
            "{} of {tried} changes were noticed, fewer than {threshold} %",
            self.noticed()
        );
        Ok(())
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (caught, timed_out, unviable) = (self.caught.len(), self.timed_out.len(), self.unviable.len());
        writeln!(
            f,
            "mutants: {caught} caught, {} missed, {timed_out} timed out, {unviable} do not compile",
            self.missed.len()
        )?;
        self.missed.iter().try_for_each(|name| writeln!(f, "missed: {name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("{number:03}")).collect()
    }

    #[test]
    fn a_sample_has_its_size_and_is_the_same_for_the_same_seed() {
        let all = names(100);
        assert_eq!(sample(&all, 10, 1).len(), 10);
        assert_eq!(sample(&all, 10, 1), sample(&all, 10, 1));
        assert_ne!(sample(&all, 10, 1), sample(&all, 10, 2));
        assert_eq!(sample(&all, 1_000, 1).len(), 100);
        assert!(sample(&[], 10, 1).is_empty());
    }

    #[test]
    fn each_change_is_as_likely_as_any_other() {
        let all = names(10);
        let mut counts = [0; 10];
        for seed in 0..1_000 {
            for name in sample(&all, 3, seed) {
                counts[name.parse::<usize>().unwrap()] += 1;
            }
        }
        assert!(counts.iter().all(|count| (240..360).contains(count)), "{counts:?}");
    }

    #[test]
    fn too_few_noticed_changes_fail() {
        let outcome = |caught, missed, timed_out| Outcome {
            caught: names(caught),
            missed: names(missed),
            timed_out: names(timed_out),
            unviable: names(5),
        };
        assert!(outcome(91, 8, 1).check(92).is_ok());
        assert!(outcome(91, 9, 0).check(92).is_err());
        assert!(outcome(0, 0, 0).check(0).is_err(), "nothing was tried");
        assert_eq!(
            outcome(2, 1, 0).to_string(),
            "mutants: 2 caught, 1 missed, 0 timed out, 5 do not compile\nmissed: 000\n"
        );
    }
}
