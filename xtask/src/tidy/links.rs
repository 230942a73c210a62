//! Links between the files of the repository.

use super::{Finding, TextFile, Tree};

/// Every relative link of a Markdown file leads to a file or a folder.
pub(crate) fn targets(tree: &Tree) -> Vec<Finding> {
    let exists = |path: &str| {
        let folder = format!("{path}/");
        path.is_empty() || tree.paths.contains(path) || tree.paths.iter().any(|file| file.starts_with(&folder))
    };
    let mut findings = Vec::new();
    for file in tree.files.iter().filter(|file| file.path.ends_with(".md")) {
        for (line, target) in links(file) {
            let path = target.split(['#', '?']).next().unwrap_or_default();
            let outside = target.contains("://") || target.starts_with("mailto:");
            if outside || path.is_empty() || resolve(&file.path, path).is_some_and(|path| exists(&path)) {
                continue;
            }
            findings.push(Finding {
                path: file.path.clone(),
                line,
                what: format!("the link to `{target}` leads nowhere"),
                why: "a reader who follows it is lost",
                remedy: "mend the path, which is relative to this file, or remove the link".to_owned(),
            });
        }
    }
    findings
}

/// The path from the root that a link means; `None` when it leaves the repository.
fn resolve(file: &str, link: &str) -> Option<String> {
    let mut parts: Vec<&str> = match link.strip_prefix('/') {
        Some(_) => Vec::new(),
        None => file.split('/').rev().skip(1).collect::<Vec<_>>().into_iter().rev().collect(),
    };
    for part in link.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The targets of inline links and of link definitions, outside code.
fn links(file: &TextFile) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fence = None;
    for (index, line) in file.text.lines().enumerate() {
        let start = line.trim_start();
        let mark = ["```", "~~~"].into_iter().find(|mark| start.starts_with(mark));
        match (fence, mark) {
            (None, Some(mark)) => fence = Some(mark),
            (Some(open), Some(mark)) if open == mark => fence = None,
            (None, None) => {
                let mut add = |target| found.push((index + 1, target));
                inline(line, &mut add);
                definition(start, &mut add);
            }
            _ => {}
        }
    }
    found
}

/// `[text](target "title")`, also behind an image's exclamation mark.
fn inline<'a>(line: &'a str, add: &mut impl FnMut(&'a str)) {
    // Of the parts between backticks every second one is code.
    for text in line.split('`').step_by(2) {
        for (at, _) in text.match_indices("](") {
            let inner = &text[at + 2..];
            let target = match inner.strip_prefix('<') {
                Some(inner) => inner.split('>').next(),
                None => inner.split([')', ' ']).next(),
            };
            target.into_iter().for_each(&mut *add);
        }
    }
}

/// `[name]: target`.
fn definition<'a>(line: &'a str, add: &mut impl FnMut(&'a str)) {
    if let Some((name, target)) = line.strip_prefix('[').and_then(|line| line.split_once("]: "))
        && !name.contains(']')
        && !name.starts_with('^')
    {
        target.split_whitespace().next().into_iter().for_each(add);
    }
}

#[cfg(test)]
mod tests {
    use super::super::examples::{places, tree};
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &[&str]) {
        let files = [("README.md", ""), ("docs/a.md", text), ("docs/b.md", ""), ("crates/types/src/lib.rs", "")];
        assert_eq!(places(&targets(&tree(&[], &files))), expect, "{text}");
    }

    #[test]
    fn links_lead_somewhere() {
        check("[b](b.md) [`b`](b.md#part) ![x](./b.md \"title\") [r](../README.md)", &[]);
        check("[t](../crates/types) [t](../crates/types/) [top](..) [here](#part)", &[]);
        check("[out](https://example.org/x) [mail](mailto:a@b)", &[]);
        check("[c](c.md)", &["docs/a.md:1"]);
        check("\n[`c`](c.md) and [b](b.md)", &["docs/a.md:2"]);
        check("[up](../../x.md)", &["docs/a.md:1"]);
        check("[x]: c.md\n[y]: b.md\n[^1]: a note", &["docs/a.md:1"]);
        check("`[c](c.md)`\n\n```md\n[c](c.md)\n```\n[d](d.md)", &["docs/a.md:6"]);
    }
}
