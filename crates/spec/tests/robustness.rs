//! No text makes reading panic, or point outside the text.

use proptest::{prelude::*, sample::Index};
use statefun_kinesis_spec::{Checked, Options, Severity, SourceFile, Variables, read_module};

const FILES: [&str; 5] = [
    include_str!("seed/ingress.yaml"),
    include_str!("seed/egress.yaml"),
    include_str!("seed/localstack.yaml"),
    include_str!("../../../examples/orders/module.yaml"),
    include_str!("../../../examples/orders/localstack.yaml"),
];

/// Reads the texts, and checks what holds for every answer.
fn read(texts: &[&str]) -> Checked {
    let files: Vec<SourceFile> =
        texts.iter().zip(0..).map(|(text, n)| SourceFile::new(format!("{n}"), *text)).collect();
    let mut options = Options::default();
    options.variables = Variables::from_iter([("A", "a/b"), ("B", "\n${A}: [{"), ("C", ""), ("D", "7")]);
    read_with(texts, &files, &options)
}

fn read_with(texts: &[&str], files: &[SourceFile], options: &Options) -> Checked {
    let checked = read_module(files, options);
    let has_error = checked.diagnostics.iter().any(|diagnostic| diagnostic.severity == Severity::Error);
    assert_eq!(checked.module.is_some(), !has_error);
    assert!(checked.diagnostics.is_sorted_by_key(|diagnostic| (diagnostic.file, diagnostic.span.start)));
    for diagnostic in &checked.diagnostics {
        let places = diagnostic.labels.iter().map(|label| (label.file, &label.span, label.position));
        for (file, span, position) in places.chain([(diagnostic.file, &diagnostic.span, diagnostic.position)]) {
            let text = texts[file].get(span.clone()).expect("a span lies between characters of its file");
            assert!(!text.contains('\n'), "a span stays on its line");
            assert_eq!(files[file].position(span.start), position);
        }
        assert!(!diagnostic.message.contains('\n'), "{}", diagnostic.message);
    }
    for (file, text) in texts.iter().enumerate() {
        let spans = checked.secret_spans(file);
        assert!(
            spans.iter().all(|span| text
                .get(span.clone())
                .is_some_and(|text| !text.is_empty() && !text.contains(['\n', '\r'])))
        );
        assert!(spans.is_sorted_by(|a, b| a.end < b.start));
    }
    checked
}

/// One change to a text, at a relative place.
#[derive(Clone, Debug)]
enum Edit {
    Insert(Index, String),
    Remove(Index, Index),
    DoubleLine(Index),
    RemoveLine(Index),
    Indent(Index, usize),
}

impl Edit {
    fn apply(&self, text: &str) -> String {
        let chars: Vec<char> = text.chars().collect();
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        if chars.is_empty() {
            return text.to_owned();
        }
        match self {
            Self::Insert(at, new) => {
                let (before, after) = chars.split_at(at.index(chars.len()));
                before.iter().chain(&new.chars().collect::<Vec<_>>()).chain(after).collect()
            }
            Self::Remove(a, b) => {
                let (a, b) = (a.index(chars.len()), b.index(chars.len()));
                chars[..a.min(b)].iter().chain(&chars[a.max(b).min(a.min(b) + 20)..]).collect()
            }
            Self::DoubleLine(at) => {
                let at = at.index(lines.len());
                lines.insert(at, lines[at].clone());
                lines.concat()
            }
            Self::RemoveLine(at) => {
                lines.remove(at.index(lines.len()));
                lines.concat()
            }
            Self::Indent(at, by) => {
                let at = at.index(lines.len());
                lines[at].insert_str(0, &" ".repeat(*by));
                lines.concat()
            }
        }
    }
}

fn edit() -> impl Strategy<Value = Edit> {
    let snippet = prop_oneof![
        "[-:{}\\[\\],&*!|>'\"%@`#?~<\t\r\n ]{1,4}",
        "[a-zäß日🦀0-9]{1,3}",
        prop::sample::select(vec![
            "---\n",
            "...\n",
            "&a ",
            "*a",
            "!!str ",
            "- ",
            "? ",
            "\u{feff}",
            "\0",
            "\u{85}",
            "\u{2028}",
            "${A}",
            "${B}",
            "${C:-x}",
            "${D}",
            "${",
            "$${",
            "${NONE}",
            "${A:-${B}}",
            "${ä}",
            "\"${B}\"",
            ": ${D}\n",
            "}",
            "<<: *a\n",
            "kind: ",
            "spec:\n",
            "null",
            "1e400",
            "0x",
            "# c\n",
            "|\n",
            ">-\n",
            "'",
            "\"",
            "{}",
            "[]",
        ])
        .prop_map(str::to_owned),
    ];
    prop_oneof![
        3 => (any::<Index>(), snippet).prop_map(|(at, new)| Edit::Insert(at, new)),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(a, b)| Edit::Remove(a, b)),
        1 => any::<Index>().prop_map(Edit::DoubleLine),
        1 => any::<Index>().prop_map(Edit::RemoveLine),
        1 => (any::<Index>(), 1..4_usize).prop_map(|(at, by)| Edit::Indent(at, by)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        read(&[&text]);
    }

    #[test]
    fn any_heap_of_yaml_characters_is_answered(text in "[-:{}\\[\\],&*!|>'\"%@#?~<a0ä \t\r\n]{0,80}") {
        read(&[&text]);
    }

    #[test]
    fn any_variable_in_any_value_is_answered(
        value in any::<String>(),
        written in prop::collection::vec(
            prop::sample::select(vec![
                "${A}", "${B}", "${N}", "${A:-x}", "${NONE:-ä}", "${NONE}", "${A:-${B}}", "$${", "${", "${}", "$", "}", "a", "ä ",
            ]),
            0..5,
        ),
        quote in prop::sample::select(vec!["", "\"", "'", ">\n        ", "|\n        "]),
        file in 0..FILES.len(),
        at in any::<Index>(),
    ) {
        let fields: Vec<usize> = FILES[file].match_indices(": ").map(|(at, _)| at + 2).collect();
        let (before, after) = FILES[file].split_at(fields[at.index(fields.len())]);
        let after = after.split_once('\n').map_or("", |(_, after)| after);
        let end = if quote.contains('\n') { "" } else { quote };
        let text = format!("{before}{quote}{}{end}\n{after}", written.concat());
        let mut options = Options::default();
        let value = format!("hunter2{value}");
        options.variables = Variables::from_iter([("A", "hunter2"), ("B", value.as_str()), ("N", "7")]);
        let files = [SourceFile::new("0", text.as_str())];
        let checked = read_with(&[&text], &files, &options);
        let said = format!("{:?} {options:?}", checked.diagnostics);
        prop_assert!(!said.contains("hunter2"), "{}\n{}", said, text);
    }

    #[test]
    fn damaged_module_files_are_answered(
        file in 0..FILES.len(),
        other in 0..FILES.len(),
        edits in prop::collection::vec(edit(), 1..8),
    ) {
        let text = edits.iter().fold(FILES[file].to_owned(), |text, edit| edit.apply(&text));
        read(&[&text]);
        read(&[FILES[other], &text]);
    }
}

#[test]
fn line_breaks_and_a_byte_order_mark_do_not_matter() {
    let said = |checked: &Checked| -> Vec<_> {
        checked.diagnostics.iter().map(|diagnostic| (diagnostic.message.clone(), diagnostic.position)).collect()
    };
    for file in FILES {
        let unix = read(&[file]);
        for other in [file.replace('\n', "\r\n"), file.replace('\n', "\r"), format!("\u{feff}{file}")] {
            let other = read(&[&other]);
            assert_eq!(said(&unix), said(&other));
            assert_eq!(unix.module, other.module);
        }
    }
}

/// JSON is YAML, and the parser reads a whole document of it before it tells of anything.
#[test]
fn an_ingress_of_a_thousand_streams_may_be_written_as_json() {
    let stream = |number: usize| {
        format!(
            r#"{{"stream": "s-{number}", "streamArn": "arn:aws:kinesis:us-east-1:123456789012:stream/s-{number}",
            "valueType": "a/b", "targets": ["a/b"]}}"#
        )
    };
    let streams: Vec<String> = (0..1000).map(stream).collect();
    let text = format!(
        r#"{{"kind": "io.statefun.kinesis.v1/ingress", "spec": {{"id": "a/b", "streams": [{}]}}}}"#,
        streams.join(", ")
    );
    let module = read(&[&text]).module.expect("the module is right");
    assert_eq!(module.ingresses[0].streams.len(), 1000);
}
