//! What holds for the answer to any bytes. The fuzz target checks it, and so does a test, on fewer bytes.

use std::ops::Range;

use statefun_kinesis_spec::{Checked, Diagnostic, Options, Severity, SourceFile, Variables, read_module};

/// What divides an input into files.
const FILE_END: &[u8] = b"\n%%%\n";

/// What stands for a key or a password in an input, and in the value of a variable.
const SECRET: &str = "hunter2";

/// Reads the input as one file or several, strictly and leniently, and checks the answers.
pub(crate) fn check(input: &[u8]) {
    let files = files(input);
    let mut options = Options::default();
    options.variables =
        Variables::from_iter([("A", "a/b"), ("S", "xhunter2x"), ("N", "7"), ("E", ""), ("Y", "\n${A}: [{")]);
    let strict = read_module(&files, &options);
    check_answer(&files, &strict);
    options.lenient = true;
    options.ignore_unsupported = true;
    let lenient = read_module(&files, &options);
    check_answer(&files, &lenient);
    assert!(
        errors(&lenient) <= errors(&strict),
        "lenient is stricter:\n{:#?}\n{:#?}",
        lines(&files, &lenient),
        lines(&files, &strict)
    );
}

fn files(input: &[u8]) -> Vec<SourceFile> {
    let mut files = Vec::new();
    let mut rest = input;
    while let Some(at) = rest.windows(FILE_END.len()).position(|window| window == FILE_END) {
        files.push(SourceFile::from_bytes(files.len().to_string(), rest[..=at].to_vec()));
        rest = &rest[at + FILE_END.len()..];
    }
    files.push(SourceFile::from_bytes(files.len().to_string(), rest.to_vec()));
    files
}

fn errors(checked: &Checked) -> usize {
    checked.diagnostics.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
}

fn lines(files: &[SourceFile], checked: &Checked) -> Vec<String> {
    checked.diagnostics.iter().map(|diagnostic| diagnostic.to_line(files)).collect()
}

fn check_answer(files: &[SourceFile], checked: &Checked) {
    assert_eq!(checked.module.is_some(), errors(checked) == 0, "there is a module if and only if there is no error");
    let order = |diagnostic: &Diagnostic| (diagnostic.file, diagnostic.span.start);
    assert!(checked.diagnostics.is_sorted_by_key(order), "{:#?}", lines(files, checked));
    for diagnostic in &checked.diagnostics {
        let labels = diagnostic.labels.iter().map(|label| (label.file, &label.span, label.position));
        for (file, span, position) in labels.chain([(diagnostic.file, &diagnostic.span, diagnostic.position)]) {
            let pointed = files[file].text.get(span.clone()).expect("a span lies between characters of its file");
            assert!(!pointed.contains(['\n', '\r']), "a span stays on its line: {pointed:?}");
            assert_eq!(files[file].position(span.start), position);
        }
        assert!(!diagnostic.message.contains(['\n', '\r']), "a message is one line: {:?}", diagnostic.message);
        assert!(!diagnostic.message.is_empty());
    }
    for (number, file) in files.iter().enumerate() {
        check_masks(&file.text, checked.secret_spans(number));
    }
    check_secrets(files, checked);
}

/// Masks are in order and apart, and leave line breaks alone.
fn check_masks(text: &str, masks: &[Range<usize>]) {
    for mask in masks {
        let masked = text.get(mask.clone()).expect("a mask lies between characters of its file");
        assert!(!masked.is_empty() && !masked.contains(['\n', '\r']), "a mask stays on its line: {masked:?}");
    }
    assert!(masks.is_sorted_by(|a, b| a.end < b.start), "masks are apart: {masks:?}");
}

/// A secret that stands in the files under masks only, and in a variable, is said nowhere.
fn check_secrets(files: &[SourceFile], checked: &Checked) {
    let shown = files.iter().enumerate().any(|(number, file)| {
        let mut shown = file.text.clone().into_bytes();
        for mask in checked.secret_spans(number) {
            shown[mask.clone()].fill(b'*');
        }
        String::from_utf8_lossy(&shown).contains(SECRET)
    });
    if !shown {
        let said = format!("{checked:?} {files:?}");
        assert!(!said.contains(SECRET), "a secret was said: {:#?}\n{said}", lines(files, checked));
    }
}
