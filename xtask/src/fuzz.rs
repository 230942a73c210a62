//! `cargo xtask fuzz`: lets libFuzzer look for module files that break a property of reading them.
//!
//! The target is `crates/spec/fuzz`, a workspace of its own: it is built with the coverage of LLVM, which stable Rust has,
//! and with the C++ of libFuzzer. It starts from the corpus beside it, the examples, and every YAML text of the
//! documentation and of the tests of `spec`. An input that breaks a property is kept, and the run fails.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace;

/// What makes the compiler count which ways through the code an input takes, as `cargo fuzz` does it.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
];

/// Most memory for one allocation and for all, in MiB. The bound on an answer is checked by a test; this ends a run that
/// fills the machine.
const MEMORY_MIB: usize = 1024;

/// Most seconds for one input; it is far below 0.1 s, and the machine may be busy.
const TIMEOUT_S: usize = 10;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How many inputs are tried.
    #[arg(long, default_value_t = 1_000_000)]
    runs: u64,
    /// Most bytes of an input.
    #[arg(long, default_value_t = 4096)]
    max_len: usize,
    /// Write the inputs that reach something of their own into the corpus of the repository, and try no others.
    #[arg(long)]
    merge: bool,
    /// Try only these inputs, such as one that broke a property.
    inputs: Vec<PathBuf>,
}

/// Builds the target, and tries the inputs.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let folder = workspace::root().join("crates/spec/fuzz");
    let state = workspace::root().join("target/fuzz");
    let program = build(&folder, &state)?;
    let (seeds, found, broken) = (state.join("seeds"), state.join("found"), state.join("broken"));
    for folder in [&found, &broken] {
        fs::create_dir_all(folder)?;
    }
    let corpus = folder.join("corpus");
    let mut command = Command::new(program);
    command.arg(format!("-rss_limit_mb={MEMORY_MIB}")).arg(format!("-timeout={TIMEOUT_S}"));
    command.arg(format!("-artifact_prefix={}/", broken.display()));
    if !arguments.inputs.is_empty() {
        command.args(&arguments.inputs);
    } else {
        write_seeds(&seeds)?;
        command.arg(format!("-max_len={}", arguments.max_len));
        if arguments.merge {
            command.arg("-merge=1").args([&corpus, &seeds, &found]);
        } else {
            command.arg(format!("-runs={}", arguments.runs)).arg("-print_final_stats=1");
            command.arg(format!("-dict={}", folder.join("dictionary.txt").display()));
            // New inputs go into the first folder.
            command.args([&found, &corpus, &seeds]);
        }
    }
    workspace::run(&mut command)
        .with_context(|| format!("inputs that broke a property are in {}", broken.display()))?;
    if arguments.merge { name_as_yaml(&corpus) } else { Ok(()) }
}

fn build(folder: &Path, state: &Path) -> Result<PathBuf> {
    let host = host()?;
    let mut command = workspace::cargo();
    command.args(["build", "--release", "--target", &host]).current_dir(folder);
    // With a target given, the flags are not those of build scripts.
    command.env("CARGO_ENCODED_RUSTFLAGS", COVERAGE.join("\u{1f}")).env("CARGO_TARGET_DIR", state.join("build"));
    eprintln!("$ {} (with coverage, in {})", workspace::display(&command), folder.display());
    workspace::run(&mut command).context("the target is built with Rust and a C++ compiler, such as g++ or clang")?;
    Ok(state.join("build").join(host).join("release/read_module"))
}

/// The name of this machine's target, such as `x86_64-unknown-linux-gnu`.
fn host() -> Result<String> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into())).arg("-vV").output()?;
    let text = String::from_utf8(output.stdout)?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc names no host")?.to_owned())
}

/// Writes every module file that the repository shows into a folder, each into a file of its own.
fn write_seeds(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    fs::create_dir_all(folder)?;
    let root = workspace::root();
    let mut seeds = Vec::new();
    for (path, pieces) in [
        ("examples/orders", whole as fn(&str) -> Vec<String>),
        ("crates/spec/tests/seed", whole),
        ("crates/spec/tests/table", literals),
        ("docs", blocks),
        ("docs/diagnostics", blocks),
    ] {
        let entries = fs::read_dir(root.join(path)).with_context(|| format!("the folder {path}"))?;
        for entry in entries {
            let path = entry?.path();
            let is_text =
                path.extension().is_some_and(|extension| ["yaml", "rs", "md"].iter().any(|x| extension == *x));
            if is_text {
                seeds.extend(pieces(&fs::read_to_string(&path)?));
            }
        }
    }
    if seeds.len() < 100 {
        bail!("only {} module files were found in the repository", seeds.len());
    }
    for (number, seed) in seeds.iter().enumerate() {
        fs::write(folder.join(format!("{number:04}")), seed)?;
    }
    eprintln!("{} module files to start from", seeds.len());
    Ok(())
}

fn whole(text: &str) -> Vec<String> {
    vec![text.to_owned()]
}

/// The fenced YAML blocks of a page.
fn blocks(page: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        if line.trim_start().starts_with("```yaml") {
            let block = lines.by_ref().take_while(|line| !line.trim_start().starts_with("```"));
            blocks.push(block.map(|line| line.to_owned() + "\n").collect());
        }
    }
    blocks
}

/// The string literals of several lines in a Rust file, without their indentation: in a table of cases, module files.
fn literals(code: &str) -> Vec<String> {
    let parts = code.split('"').skip(1).step_by(2);
    parts.filter(|text| text.starts_with('\n') && text.contains(": ")).map(dedent).collect()
}

fn dedent(text: &str) -> String {
    let text = text.trim_start_matches('\n');
    let depth = text.lines().filter(|line| !line.trim().is_empty()).map(|line| line.len() - line.trim_start().len());
    let depth = depth.min().unwrap_or(0);
    text.lines().map(|line| line.get(depth..).unwrap_or("").to_owned() + "\n").collect()
}

/// Files of the corpus are called after their content, and end in `.yaml`.
fn name_as_yaml(corpus: &Path) -> Result<()> {
    for entry in fs::read_dir(corpus)? {
        let path = entry?.path();
        if path.extension().is_none() {
            fs::rename(&path, path.with_extension("yaml"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_blocks_of_pages_and_literals_of_tables() {
        assert_eq!(
            blocks("# A\n```yaml,error\na: b\n```\n```rust\nx\n```\n```yaml\nc: d\n```\n"),
            ["a: b\n", "c: d\n"]
        );
        let code = "check(\n    \"\n    a:\n      b: c\n    \",\n    \"f:1:1: error\",\n);";
        assert_eq!(literals(code), ["a:\n  b: c\n\n"]);
    }
}
