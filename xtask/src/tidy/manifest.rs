//! What manifests have to say, and what they must not say in vain.

use super::{Finding, Tree};

/// Every package takes its lints from the workspace.
pub(crate) fn inherited_lints(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &tree.packages {
        let path = package.manifest();
        let inherits = tree.file(&path).is_some_and(|file| {
            section(&file.text, "[lints]").any(|(_, line)| line.replace(' ', "") == "workspace=true")
        });
        if !inherits {
            findings.push(Finding {
                path,
                line: 0,
                what: format!("`{}` does not take its lints from the workspace", package.name),
                why: "a lint does not protect the workspace when a package leaves it out",
                remedy: "add a section [lints] with the line `workspace = true`".to_owned(),
            });
        }
    }
    findings
}

/// Every entry of `[workspace.dependencies]` is used by a member.
pub(crate) fn unused_workspace_dependencies(tree: &Tree) -> Vec<Finding> {
    let Some(root) = tree.file("Cargo.toml") else {
        return Vec::new();
    };
    let used = |name: &str| {
        tree.packages.iter().flat_map(|package| &package.dependencies).any(|dependency| dependency.name == name)
    };
    section(&root.text, "[workspace.dependencies]")
        .filter_map(|(line, text)| Some((line, text.split_once(['=', '.'])?.0.trim())))
        .filter(|(_, name)| !used(name))
        .map(|(line, name)| Finding {
            path: root.path.clone(),
            line,
            what: format!("no member uses the dependency `{name}`"),
            why: "a list of dependencies is read as what the project stands on",
            remedy: "remove the line".to_owned(),
        })
        .collect()
}

/// Every dependency of a package is named in its code or its documentation.
///
/// Packages in `tests/` compile the Markdown of the repository too.
pub(crate) fn unused_dependencies(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &tree.packages {
        let folder = format!("{}/", package.folder);
        let belongs = |path: &str| {
            path.starts_with(&folder) && path.ends_with(".rs") || package.is_tests() && path.ends_with(".md")
        };
        let code: Vec<&str> =
            tree.files.iter().filter(|file| belongs(&file.path)).map(|file| file.text.as_str()).collect();
        for dependency in &package.dependencies {
            // A library may be called otherwise than its package: `md5` of `md-5`.
            let called = [dependency.name.replace('-', "_"), dependency.name.replace('-', "")];
            if called.iter().any(|name| code.iter().any(|text| names(text, name))) {
                continue;
            }
            findings.push(Finding {
                path: package.manifest(),
                line: tree.dependency_line(package, dependency),
                what: format!("`{}` lists `{}` and never names it", package.name, dependency.name),
                why: "every dependency costs compile time and trust of those who pull the package",
                remedy: "remove the line".to_owned(),
            });
        }
    }
    findings
}

/// Whether the text has the identifier as a whole word.
pub(crate) fn names(text: &str, identifier: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(identifier).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let after = text[start + identifier.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// The lines of a section of a TOML file, with their numbers, without comments and empty lines. Enough for manifests
/// that are written as Cargo writes them.
fn section<'a>(text: &'a str, header: &'a str) -> impl Iterator<Item = (usize, &'a str)> {
    text.lines()
        .enumerate()
        .skip_while(move |(_, line)| line.trim() != header)
        .skip(1)
        .take_while(|(_, line)| !line.starts_with('['))
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::super::examples::{places, tree};
    use super::*;

    #[test]
    fn lints_come_from_the_workspace() {
        let check = |manifest: &str, expect: usize| {
            let tree = tree(&[("crates/types", &[])], &[("crates/types/Cargo.toml", manifest)]);
            assert_eq!(inherited_lints(&tree).len(), expect, "{manifest}");
        };
        check("[package]\nname = \"x\"\n\n[lints]\nworkspace = true\n", 0);
        check("[package]\nname = \"x\"\n", 1);
        check("[package]\nname = \"x\"\n\n[lints]\n# workspace = true\n", 1);
        check("[lints]\n\n[dependencies]\nworkspace = true\n", 1);
    }

    #[test]
    fn workspace_dependencies_are_used() {
        let manifest = "[workspace.dependencies]\n# a word\nbytes = \"1\"\ntokio = { version = \"1\" }\nused.path = \"x\"\n\n[profile.dev]\ndebug = 1\n";
        let tree = tree(&[("crates/types", &["tokio", "dev:used"])], &[("Cargo.toml", manifest)]);
        assert_eq!(places(&unused_workspace_dependencies(&tree)), ["Cargo.toml:3"]);
    }

    #[test]
    fn dependencies_are_named_in_the_code() {
        let tree = tree(
            &[("crates/types", &["md-5", "once-cell", "dev:proptest", "bytes"]), ("tests/docs", &["tokio"])],
            &[
                ("crates/types/Cargo.toml", "[dependencies]\nbytes = \"1\"\n"),
                ("crates/types/src/lib.rs", "use md5::Md5;\nuse once_cell::sync;\nlet megabytes = 1;\n"),
                ("crates/types/tests/all.rs", "proptest::proptest! {}\n"),
                ("README.md", "`tokio` and `bytes`\n"),
                ("crates/other/src/lib.rs", "use bytes::Bytes;\n"),
            ],
        );
        assert_eq!(places(&unused_dependencies(&tree)), ["crates/types/Cargo.toml:2"]);
    }
}
