//! What holds for every text file: names, places and white space.

use super::{Finding, TextFile, Tree};

/// Names that say nothing about what is in the file.
const EMPTY_NAMES: [&str; 8] = ["common", "helper", "helpers", "manager", "managers", "misc", "util", "utils"];

/// Hosts of package registries, written so that this file does not name them.
const REGISTRIES: [&str; 8] = [
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("npmjs", ".org"),
    concat!("npmjs", ".com"),
    concat!("deb.debian", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("repo.maven.apache", ".org"),
];

/// Folders of one machine or one person.
const PLACES: [&str; 3] = [concat!("/", "root/"), concat!("/", "home/"), concat!("/", "work/")];

/// Data whose bytes are the point, and output that a tool wrote: white space is theirs.
const VERBATIM_FOLDERS: [&str; 3] = ["fixtures", "snapshots", "testdata"];

/// File names, registry hosts, absolute paths, white space at the end of lines and of files.
pub(crate) fn lines_and_names(tree: &Tree) -> Vec<Finding> {
    let mut findings: Vec<Finding> = tree.paths.iter().filter_map(|path| empty_name(path)).collect();
    for file in &tree.files {
        hosts_and_places(file, &mut findings);
        if !file.path.split('/').any(|part| VERBATIM_FOLDERS.contains(&part)) {
            white_space(file, &mut findings);
        }
    }
    findings
}

fn empty_name(path: &str) -> Option<Finding> {
    let empty =
        path.split('/').map(|part| part.split('.').next().unwrap_or(part)).find(|stem| EMPTY_NAMES.contains(stem))?;
    Some(Finding {
        path: path.to_owned(),
        line: 0,
        what: format!("nothing in the field is called `{empty}`"),
        why: "such a file attracts everything that has no home",
        remedy: "name it for what it holds: a shard, a lease, a checkpoint".to_owned(),
    })
}

fn hosts_and_places(file: &TextFile, findings: &mut Vec<Finding>) {
    for (index, line) in file.text.lines().enumerate() {
        if let Some(host) = REGISTRIES.into_iter().find(|host| names_host(line, host)) {
            findings.push(Finding {
                path: file.path.clone(),
                line: index + 1,
                what: format!("the registry host `{host}` is named"),
                why: "packages come from wherever the user's Cargo, pip and npm are told to get them",
                remedy: "name the package, and leave the place to the package client".to_owned(),
            });
        }
        if let Some(place) = PLACES.into_iter().find(|place| names_place(line, place)) {
            findings.push(Finding {
                path: file.path.clone(),
                line: index + 1,
                what: format!("a path below `{place}` is named"),
                why: "it exists on one machine only",
                remedy: "make it relative to the repository, or take it from the environment".to_owned(),
            });
        }
    }
}

/// Cargo.lock names its source by the address of the index's repository, which is no host.
fn names_host(line: &str, host: &str) -> bool {
    line.match_indices(host).any(|(at, _)| !line[at + host.len()..].starts_with("-index"))
}

/// An absolute path begins where no other path goes on.
fn names_place(line: &str, place: &str) -> bool {
    line.match_indices(place).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        !before.is_some_and(|before| before.is_alphanumeric() || "._-~}*/)>".contains(before))
    })
}

fn white_space(file: &TextFile, findings: &mut Vec<Finding>) {
    let mut found = |line: usize, what: &str| {
        findings.push(Finding {
            path: file.path.clone(),
            line,
            what: what.to_owned(),
            why: "it shows up as a change in the next edit of a neighbouring line",
            remedy: "let the editor mend it on saving".to_owned(),
        });
    };
    for (index, line) in file.text.split_terminator('\n').enumerate() {
        if line.ends_with(char::is_whitespace) {
            found(index + 1, "white space at the end of the line");
        }
    }
    let count = file.text.lines().count();
    if !file.text.is_empty() && !file.text.ends_with('\n') {
        found(count, "no line break at the end of the file");
    } else if file.text.ends_with("\n\n") {
        found(count, "empty lines at the end of the file");
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::tree;
    use super::*;

    #[track_caller]
    fn check(path: &str, text: &str, expect: &[usize]) {
        let found: Vec<_> = lines_and_names(&tree(&[], &[(path, text)])).iter().map(|f| f.line).collect();
        assert_eq!(found, expect, "{path}: {text}");
    }

    #[test]
    fn file_names_say_something() {
        check("crates/types/src/shard.rs", "", &[]);
        check("crates/types/src/utils.rs", "", &[0]);
        check("crates/types/src/common/mod.rs", "", &[0]);
        check("docs/helpers.md", "", &[0]);
        check("docs/managed.md", "", &[]);
    }

    #[test]
    fn registries_and_machines_are_not_named() {
        for host in REGISTRIES {
            check("a.md", &format!("x\nsee https://{host}/y\n"), &[2]);
        }
        check("Cargo.lock", &format!("source = \"https://example.org/{}-index\"\n", REGISTRIES[0]), &[]);
        for place in PLACES {
            check("a.md", &format!("in `{place}me`\n"), &[1]);
            check("a.md", &format!("{place}me\n"), &[1]);
            check("a.md", &format!("in ~{place}me, target{place}x, $HOME{place}x\n"), &[]);
        }
    }

    #[test]
    fn white_space_ends_no_line_and_no_file() {
        check("a.rs", "a\nb\n", &[]);
        check("a.rs", "", &[]);
        check("a.rs", "a \nb\t\nc\n", &[1, 2]);
        check("a.rs", "a\r\n", &[1]);
        check("a.rs", "a\nb", &[2]);
        check("a.rs", "a\n\n", &[2]);
        check("crates/spec/tests/fixtures/a.yaml", "a \nb", &[]);
    }
}
