//! `cargo xtask tidy`: the invariants of ARCHITECTURE.md, from `cargo metadata` and the sources.
//!
//! A rule is a function from the [`Tree`] to [`Finding`]s. It sees the files that git knows or would add, so that a new
//! file is checked before its first commit.

mod code;
mod enums;
mod graph;
mod links;
mod manifest;
mod source;
mod text;

use std::collections::BTreeSet;
use std::fmt;
use std::process::Command;

use anyhow::{Context, Result, bail};
use cargo_metadata::DependencyKind;

use crate::workspace;

/// Everything that the rules look at.
pub(crate) struct Tree {
    files: Vec<TextFile>,
    /// Paths of all files, also of those that are not text.
    paths: BTreeSet<String>,
    packages: Vec<Package>,
}

/// A file that is UTF-8 text.
pub(crate) struct TextFile {
    /// From the root, with slashes.
    path: String,
    text: String,
}

/// A package of the workspace.
pub(crate) struct Package {
    name: String,
    /// From the root, with slashes: `crates/types`.
    folder: String,
    dependencies: Vec<Dependency>,
}

impl Package {
    fn manifest(&self) -> String {
        format!("{}/Cargo.toml", self.folder)
    }

    /// End-to-end and documentation tests: packages whose whole purpose is to test.
    fn is_tests(&self) -> bool {
        self.folder.starts_with("tests/")
    }
}

/// A dependency as the manifest lists it.
pub(crate) struct Dependency {
    /// What the manifest and the code call it.
    name: String,
    package: String,
    dev: bool,
}

/// A place where a rule does not hold.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    path: String,
    /// From 1; 0 for the file as a whole.
    line: usize,
    what: String,
    why: &'static str,
    remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => writeln!(f, "{}: {}", self.path, self.what)?,
            line => writeln!(f, "{}:{line}: {}", self.path, self.what)?,
        }
        writeln!(f, "  why:    {}", self.why)?;
        write!(f, "  remedy: {}", self.remedy)
    }
}

/// Checks the tree and prints what is wrong with it.
pub(crate) fn run() -> Result<()> {
    let tree = Tree::load()?;
    for note in code::long_files(&tree) {
        println!("note: {note}");
    }
    let findings = findings(&tree);
    for finding in &findings {
        println!("{finding}\n");
    }
    println!("tidy: {} files, {} packages, {} finding(s)", tree.paths.len(), tree.packages.len(), findings.len());
    if !findings.is_empty() {
        bail!("the tree is not tidy");
    }
    Ok(())
}

fn findings(tree: &Tree) -> Vec<Finding> {
    let rules: [fn(&Tree) -> Vec<Finding>; 12] = [
        graph::directions,
        graph::reserved_dependencies,
        manifest::inherited_lints,
        manifest::unused_workspace_dependencies,
        manifest::unused_dependencies,
        code::attributes,
        code::outside_world,
        code::aws_names,
        code::lengths,
        enums::hidden_variants,
        text::lines_and_names,
        links::targets,
    ];
    let mut findings: Vec<Finding> = rules.iter().flat_map(|rule| rule(tree)).collect();
    findings.sort();
    findings
}

impl Tree {
    fn load() -> Result<Self> {
        let root = workspace::root();
        let listing = Command::new("git")
            .current_dir(root)
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .output()
            .context("git is needed to know which files belong to the repository")?;
        if !listing.status.success() {
            bail!("git ls-files: {}", String::from_utf8_lossy(&listing.stderr).trim());
        }
        let listing = String::from_utf8(listing.stdout).context("a path is not UTF-8")?;
        let mut paths = BTreeSet::new();
        let mut files = Vec::new();
        for path in listing.split('\0').filter(|path| !path.is_empty()) {
            // A file that was deleted and not yet committed is listed too.
            let Ok(bytes) = std::fs::read(root.join(path)) else {
                continue;
            };
            paths.insert(path.to_owned());
            if let Ok(text) = String::from_utf8(bytes)
                && !text.contains('\0')
            {
                files.push(TextFile { path: path.to_owned(), text });
            }
        }
        Ok(Self { files, paths, packages: packages()? })
    }

    fn file(&self, path: &str) -> Option<&TextFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// The package that a file belongs to.
    fn package_of(&self, path: &str) -> Option<&Package> {
        self.packages
            .iter()
            .find(|package| path.strip_prefix(&package.folder).is_some_and(|rest| rest.starts_with('/')))
    }

    /// The line of a package's manifest that lists the dependency; 0 when it is not found.
    fn dependency_line(&self, package: &Package, dependency: &Dependency) -> usize {
        let lists =
            |line: &str| line.strip_prefix(&dependency.name).is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
        let manifest = self.file(&package.manifest());
        manifest.and_then(|file| file.text.lines().position(lists)).map_or(0, |index| index + 1)
    }

    fn rust_files(&self) -> impl Iterator<Item = &TextFile> {
        self.files.iter().filter(|file| file.path.ends_with(".rs"))
    }
}

fn packages() -> Result<Vec<Package>> {
    let root = workspace::root();
    let metadata = workspace::metadata()?;
    metadata
        .workspace_packages()
        .into_iter()
        .map(|package| {
            let folder = package
                .manifest_path
                .parent()
                .and_then(|folder| folder.strip_prefix(root).ok())
                .with_context(|| format!("{} lies outside of the workspace", package.name))?;
            let dependencies = package.dependencies.iter().map(|dependency| Dependency {
                name: dependency.rename.clone().unwrap_or_else(|| dependency.name.clone()),
                package: dependency.name.clone(),
                dev: dependency.kind == DependencyKind::Development,
            });
            Ok(Package {
                name: package.name.to_string(),
                folder: folder.as_str().replace('\\', "/"),
                dependencies: dependencies.collect(),
            })
        })
        .collect()
}

#[cfg(test)]
pub(crate) mod examples {
    //! Small trees for the tests of the rules.

    use super::*;

    /// A tree of packages, given as folder and dependencies (`dev:` before the name of a development dependency), and
    /// files.
    pub(crate) fn tree(packages: &[(&str, &[&str])], files: &[(&str, &str)]) -> Tree {
        let packages = packages.iter().map(|(folder, dependencies)| Package {
            name: match folder.rsplit_once('/') {
                Some(("crates", "cli")) => "statefun-kinesis".to_owned(),
                Some((_, name)) => format!("statefun-kinesis-{name}"),
                None => (*folder).to_owned(),
            },
            folder: (*folder).to_owned(),
            dependencies: dependencies
                .iter()
                .map(|text| {
                    let name = text.strip_prefix("dev:").unwrap_or(text);
                    Dependency { name: name.to_owned(), package: name.to_owned(), dev: text.starts_with("dev:") }
                })
                .collect(),
        });
        Tree {
            packages: packages.collect(),
            paths: files.iter().map(|(path, _)| (*path).to_owned()).collect(),
            files: files
                .iter()
                .map(|(path, text)| TextFile { path: (*path).to_owned(), text: (*text).to_owned() })
                .collect(),
        }
    }

    /// Findings as `path:line`, which is what most tests look at.
    pub(crate) fn places(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(|finding| format!("{}:{}", finding.path, finding.line)).collect()
    }
}
