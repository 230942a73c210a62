//! The page of each diagnostic code is about that code, and its examples are what they are said to be.

use std::{collections::BTreeSet, path::Path};

use statefun_kinesis_spec::{Checked, Code, Options, Severity, SourceFile, read_module};

use crate::tests::blocks;

/// A code whose wrong example stands on its page as text, since no YAML block can show it.
struct ShownAsText {
    code: Code,
    reason: &'static str,
    /// What the page describes; it yields the code.
    example: SourceFile,
}

fn shown_as_text() -> [ShownAsText; 3] {
    [
        ShownAsText {
            code: Code::NotText,
            reason: "a control character is invisible on a page, and no page may have one",
            example: SourceFile::new(
                "example",
                "kind: io.statefun.kinesis.v1/egress\nspec: {id: example/notifications, streamName: a\0b}\n",
            ),
        },
        ShownAsText {
            code: Code::TooManyProblems,
            reason: "it takes more than a thousand problems",
            example: SourceFile::new("example", "kind: io.statefun.kinesis/egress\n---\n".repeat(1001)),
        },
        ShownAsText {
            code: Code::Unreadable,
            reason: "it is about a file that has no text",
            example: SourceFile::unreadable("modul.yaml", "No such file or directory", None),
        },
    ]
}

/// Reads an example of a code as those would who know what the code is about.
fn read_example(code: Code, text: &str) -> Checked {
    let mut options = Options::default();
    options.stored_positions = (code == Code::LatestWithoutPosition).then_some(false);
    read_module(&[SourceFile::new("example", text)], &options)
}

/// The only block with this info string in a part of a page.
#[track_caller]
fn only_block(code: Code, part: &str, info: &str) -> Option<String> {
    let mut found = blocks(part, info);
    assert!(found.len() <= 1, "{code}: several blocks `{info}` in one part of the page");
    found.pop().map(|(_, text)| text)
}

#[test]
fn every_code_has_a_page_with_a_wrong_and_a_right_example() {
    for &code in Code::ALL {
        let page = code.explanation();
        assert_eq!(page.lines().next(), Some(format!("# {code}: {}", code.title()).as_str()), "the heading of {code}");
        let headings: Vec<&str> = page.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(headings, ["## Wrong", "## Right"], "{code}");
        let (introduction, examples) = page.split_once("\n## Wrong\n").expect("the heading is there");
        let (wrong, right) = examples.split_once("\n## Right\n").expect("the heading is there");
        assert!(introduction.lines().count() > 2, "{code}: the page says what is wrong");
        wrong_example(code, wrong);
        let right = only_block(code, right, "yaml").unwrap_or_else(|| panic!("{code}: there is no right example"));
        let checked = read_example(code, &right);
        assert!(checked.module.is_some(), "{code}: the right example is wrong: {:#?}", checked.diagnostics);
        assert!(checked.diagnostics.is_empty(), "{code}: the right example is not quite: {:#?}", checked.diagnostics);
    }
}

#[track_caller]
fn wrong_example(code: Code, part: &str) {
    let [error, warning, text] = ["yaml,error", "yaml,warning", "text"].map(|info| only_block(code, part, info));
    match (error, warning, text) {
        (Some(error), None, None) => {
            let checked = read_example(code, &error);
            let first = checked.diagnostics.iter().find(|found| found.severity == Severity::Error);
            assert_eq!(first.map(|found| found.code), Some(code), "{:#?}", checked.diagnostics);
        }
        (None, Some(warning), None) => {
            let checked = read_example(code, &warning);
            assert!(checked.module.is_some(), "{code}: the example has errors: {:#?}", checked.diagnostics);
            let codes: Vec<Code> = checked.diagnostics.iter().map(|found| found.code).collect();
            assert_eq!(codes, [code], "{:#?}", checked.diagnostics);
        }
        (None, None, Some(_)) => {
            let Some(shown) = shown_as_text().into_iter().find(|shown| shown.code == code) else {
                panic!("{code}: a wrong example is YAML, unless it is among those shown as text");
            };
            let found = read_module(&[shown.example], &Options::default()).diagnostics;
            assert!(found.iter().any(|found| found.code == code), "{code} is shown as text: {}", shown.reason);
        }
        _ => panic!("{code}: the page has exactly one wrong example"),
    }
}

#[test]
fn every_page_is_that_of_a_code() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/diagnostics");
    let entries = std::fs::read_dir(folder).expect("there is a folder of pages");
    let pages: BTreeSet<String> = entries
        .map(|entry| entry.expect("the folder can be read").file_name().to_string_lossy().into_owned())
        .collect();
    let expected: BTreeSet<String> = Code::ALL.iter().map(|code| format!("{code}.md")).collect();
    assert_eq!(pages, expected);
}
