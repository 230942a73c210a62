//! What Rust code must not contain.

use std::collections::HashSet;

use super::source::{Tests, code_only};
use super::{Finding, TextFile, Tree};

/// Past this many lines outside tests, a file is named in a note: it wants to become two.
const LONG: usize = 600;
/// Past this many, the note is a finding.
const TOO_LONG: usize = 800;

/// A Rust file, read.
pub(super) struct Source<'a> {
    pub(super) file: &'a TextFile,
    code: String,
    pub(super) tests: Tests,
}

impl<'a> Source<'a> {
    fn read(file: &'a TextFile) -> Self {
        let code = code_only(&file.text);
        let tests = Tests::find(&code);
        Self { file, code, tests }
    }

    /// Lines outside tests, from 0.
    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.code.lines().enumerate().filter(|(line, _)| !self.tests.covers(*line))
    }
}

/// All Rust files that ship: neither tests nor benchmarks nor examples nor build scripts, nor modules that exist only
/// in tests.
pub(super) fn shipped(tree: &Tree) -> Vec<Source<'_>> {
    const OTHERS: [&str; 3] = ["tests", "benches", "examples"];
    let sources: Vec<_> = tree
        .rust_files()
        .filter(|file| !file.path.split('/').any(|part| OTHERS.contains(&part) || part == "build.rs"))
        .map(Source::read)
        .collect();
    let test_modules: HashSet<String> = sources
        .iter()
        .flat_map(|source| source.tests.modules.iter().map(|module| module_path(&source.file.path, module)))
        .collect();
    sources
        .into_iter()
        .filter(|source| {
            let path = source.file.path.trim_end_matches(".rs");
            !test_modules.iter().any(|module| path == module || path.starts_with(&format!("{module}/")))
        })
        .collect()
}

/// The path, without `.rs`, of a module that a file declares.
fn module_path(file: &str, module: &str) -> String {
    let (folder, name) = file.rsplit_once('/').unwrap_or(("", file));
    match name {
        "lib.rs" | "main.rs" | "mod.rs" => format!("{folder}/{module}"),
        name => format!("{folder}/{}/{module}", name.trim_end_matches(".rs")),
    }
}

/// No bare `allow` and no ignored test, in tests neither.
pub(crate) fn attributes(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.rust_files() {
        for (line, code) in code_only(&file.text).lines().enumerate() {
            let code = code.trim_start();
            let mut found = |what: &str, why: &'static str, remedy: &str| {
                findings.push(Finding {
                    path: file.path.clone(),
                    line: line + 1,
                    what: what.to_owned(),
                    why,
                    remedy: remedy.to_owned(),
                });
            };
            if code.starts_with('#') && words(code).any(|(word, after)| word == "allow" && after.starts_with('(')) {
                found(
                    "a bare `allow`",
                    "an exception without a reason stays for ever",
                    "write #[expect(the_lint, reason = \"…\")], which also tells when it is no longer needed",
                );
            }
            if code.starts_with("#[ignore") {
                found(
                    "an ignored test",
                    "a test that does not run looks green and checks nothing",
                    "make it run, move it to the end-to-end cases, or remove it",
                );
            }
        }
    }
    findings
}

/// Libraries neither print nor read the environment.
pub(crate) fn outside_world(tree: &Tree) -> Vec<Finding> {
    const MACROS: [&str; 5] = ["print", "println", "eprint", "eprintln", "dbg"];
    const STREAMS: [&str; 3] = ["stdin", "stdout", "stderr"];
    let mut findings = Vec::new();
    for source in shipped(tree) {
        let exempt = tree
            .package_of(&source.file.path)
            .is_none_or(|package| ["statefun-kinesis", "xtask"].contains(&package.name.as_str()) || package.is_tests());
        if exempt {
            continue;
        }
        for (line, code) in source.lines() {
            for (word, after) in words(code) {
                let (what, remedy) = if word == "env" && after.starts_with("::") {
                    ("the environment is read", "take the value as an argument; the command line reads it")
                } else if MACROS.contains(&word) && after.starts_with('!') {
                    ("a library prints", "return it, or log it by `tracing`")
                } else if STREAMS.contains(&word) && after.starts_with("()") {
                    ("a library uses a standard stream", "take a reader or a writer as an argument")
                } else {
                    continue;
                };
                findings.push(Finding {
                    path: source.file.path.clone(),
                    line: line + 1,
                    what: what.to_owned(),
                    why: "only `cli`, `xtask` and tests print or read the environment: a library is used where there is no terminal",
                    remedy: remedy.to_owned(),
                });
            }
        }
    }
    findings
}

/// Only `aws` names crates of the AWS SDK.
pub(crate) fn aws_names(tree: &Tree) -> Vec<Finding> {
    const CRATES: [&str; 6] =
        ["aws_config", "aws_credential_types", "aws_runtime", "aws_sdk_", "aws_smithy_", "aws_types"];
    let mut findings = Vec::new();
    for file in tree.rust_files() {
        if tree.package_of(&file.path).is_none_or(|package| package.name == "statefun-kinesis-aws") {
            continue;
        }
        for (line, code) in code_only(&file.text).lines().enumerate() {
            let named = words(code).find(|(word, _)| CRATES.iter().any(|prefix| word.starts_with(prefix)));
            if let Some((word, _)) = named {
                findings.push(Finding {
                    path: file.path.clone(),
                    line: line + 1,
                    what: format!("`{word}` is named"),
                    why: "only `statefun-kinesis-aws` names the AWS SDK, so that it can be exchanged",
                    remedy: "offer what is needed in `statefun-kinesis-aws`, in its own or the client's types"
                        .to_owned(),
                });
            }
        }
    }
    findings
}

/// Files that are far too long.
pub(crate) fn lengths(tree: &Tree) -> Vec<Finding> {
    measured(tree)
        .into_iter()
        .filter(|(_, lines)| *lines > TOO_LONG)
        .map(|(path, lines)| Finding {
            path,
            line: 0,
            what: format!("{lines} lines outside tests"),
            why: "a file of this length holds more than its name announces",
            remedy: format!("make modules of its parts; {LONG} lines are a good limit, {TOO_LONG} the last one"),
        })
        .collect()
}

/// Notes about files that grow too long.
pub(crate) fn long_files(tree: &Tree) -> Vec<String> {
    measured(tree)
        .into_iter()
        .filter(|(_, lines)| (LONG + 1..=TOO_LONG).contains(lines))
        .map(|(path, lines)| format!("{path}: {lines} lines outside tests; past {LONG} a file wants to become two"))
        .collect()
}

fn measured(tree: &Tree) -> Vec<(String, usize)> {
    shipped(tree).into_iter().map(|source| (source.file.path.clone(), source.lines().count())).collect()
}

/// The identifiers of a line, each with the text that follows it.
fn words(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(|character| !is_part(character));
        let length = rest.find(|character| !is_part(character)).unwrap_or(rest.len());
        if length == 0 {
            return None;
        }
        let (word, after) = rest.split_at(length);
        rest = after;
        Some((word, after))
    })
}

#[cfg(test)]
mod tests {
    use super::super::examples::{places, tree};
    use super::*;

    #[track_caller]
    fn check(rule: fn(&Tree) -> Vec<Finding>, path: &str, text: &str, expect: &[usize]) {
        let folder = path.split('/').take(2).collect::<Vec<_>>().join("/");
        let found: Vec<_> = rule(&tree(&[(&folder, &[])], &[(path, text)])).iter().map(|f| f.line).collect();
        assert_eq!(found, expect, "{path}: {text}");
    }

    #[test]
    fn bare_allows_and_ignored_tests() {
        let check = |text, expect: &[usize]| check(attributes, "crates/types/src/lib.rs", text, expect);
        check("#[allow(dead_code)]\nfn f() {}", &[1]);
        check("#![allow(dead_code)]", &[1]);
        check("#[cfg_attr(test, allow(dead_code))]", &[1]);
        check("#[cfg(test)]\nmod tests {\n    #[ignore = \"slow\"]\n    fn f() {}\n}", &[3]);
        check("#[expect(dead_code, reason = \"allow(me)\")]\n// #[allow(x)]\nfn allow() { allow(1) }", &[]);
    }

    #[test]
    fn libraries_have_no_outside_world() {
        let rule = outside_world;
        check(rule, "crates/types/src/lib.rs", "use std::env::var;", &[1]);
        check(rule, "crates/types/src/lib.rs", "fn f() {\n    env::var(\"X\");\n    println!();\n}", &[2, 3]);
        check(rule, "crates/types/src/lib.rs", "let out = std::io::stdout();", &[1]);
        check(rule, "crates/types/src/lib.rs", "env!(\"X\"); writeln!(stdout, \"\"); // println!", &[]);
        check(rule, "crates/types/src/lib.rs", "#[cfg(test)]\nmod tests {\n    fn f() { println!() }\n}", &[]);
        check(rule, "crates/types/tests/all.rs", "println!()", &[]);
        check(rule, "crates/types/benches/all.rs", "println!()", &[]);
        check(rule, "crates/cli/src/main.rs", "println!(); std::env::args();", &[]);
        check(rule, "tests/e2e/src/lib.rs", "println!()", &[]);
    }

    #[test]
    fn a_module_that_exists_only_in_tests_is_test_code() {
        let tree = tree(
            &[("crates/types", &[])],
            &[
                ("crates/types/src/lib.rs", "#[cfg(test)]\nmod bench;\nmod real;\n"),
                ("crates/types/src/bench.rs", "fn f() { println!() }\n"),
                ("crates/types/src/bench/deep.rs", "fn f() { println!() }\n"),
                ("crates/types/src/real.rs", "#[cfg(test)]\nmod cases;\nfn f() { println!() }\n"),
                ("crates/types/src/real/cases.rs", "fn f() { println!() }\n"),
            ],
        );
        assert_eq!(places(&outside_world(&tree)), ["crates/types/src/real.rs:3"]);
    }

    #[test]
    fn the_sdk_is_named_in_one_package() {
        check(aws_names, "crates/cli/src/main.rs", "use aws_sdk_kinesis::Client;", &[1]);
        check(aws_names, "crates/cli/tests/all.rs", "aws_config::load()", &[1]);
        check(aws_names, "crates/cli/src/main.rs", "let aws_region = 1; // aws_config", &[]);
        check(aws_names, "crates/aws/src/lib.rs", "use aws_sdk_kinesis::Client;", &[]);
    }

    #[test]
    fn only_lines_outside_tests_count() {
        let path = "crates/types/src/lib.rs";
        let lines = |count| "fn f() {}\n".repeat(count);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", lines(1000));
        check(lengths, path, &lines(TOO_LONG), &[]);
        check(lengths, path, &lines(TOO_LONG + 1), &[0]);
        check(lengths, path, &format!("{}{tests}", lines(TOO_LONG)), &[]);
        let notes = |count| long_files(&tree(&[("crates/types", &[])], &[(path, &lines(count))])).len();
        assert_eq!((notes(LONG), notes(LONG + 1), notes(TOO_LONG + 1)), (0, 1, 0));
    }
}
