//! What is said about which module file: every case is a file, and what comes of it.
//!
//! A line of the outcome is `file:line:column: severity[code]: message`; [`check_all`] adds labels and help.

use statefun_kinesis_spec::{Checked, Options, SourceFile, read_module};

#[path = "schema/mod.rs"]
mod schema;

/// The text without the indentation that it has in this file, and without the line break at its start.
fn dedent(text: &str) -> String {
    let text = text.strip_prefix('\n').unwrap_or(text);
    let depth =
        text.lines().filter(|line| !line.trim().is_empty()).map(|line| line.len() - line.trim_start().len()).min();
    text.lines().map(|line| line.get(depth.unwrap_or(0)..).unwrap_or("").to_owned() + "\n").collect()
}

fn read(texts: &[&str], options: &Options) -> (Vec<SourceFile>, Checked) {
    let names = ["f", "g", "h"];
    let files: Vec<SourceFile> = names.iter().zip(texts).map(|(name, text)| SourceFile::new(*name, *text)).collect();
    let checked = read_module(&files, options);
    let has_error = checked.diagnostics.iter().any(|d| d.severity == statefun_kinesis_spec::Severity::Error);
    assert_eq!(checked.module.is_some(), !has_error, "there is a module if and only if there is no error");
    schema::check_agreement(&files, options, &checked);
    (files, checked)
}

#[track_caller]
fn compare(actual: &str, expected: &str) {
    let expected = dedent(expected);
    assert!(actual == expected.trim_end(), "\n--- expected\n{}\n--- actual\n{actual}\n", expected.trim_end());
}

#[track_caller]
fn check_with(options: &Options, yaml: &str, expected: &str) {
    let (files, checked) = read(&[&dedent(yaml)], options);
    let lines: Vec<String> = checked.diagnostics.iter().map(|diagnostic| diagnostic.to_line(&files)).collect();
    compare(&lines.join("\n"), expected);
}

#[track_caller]
fn check(yaml: &str, expected: &str) {
    check_with(&Options::default(), yaml, expected);
}

/// Like [`check`], with labels and help, and with several files.
#[track_caller]
fn check_all(yaml: &[&str], expected: &str) {
    check_all_with(&Options::default(), yaml, expected);
}

#[track_caller]
fn check_all_with(options: &Options, yaml: &[&str], expected: &str) {
    let texts: Vec<String> = yaml.iter().map(|text| dedent(text)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let (files, checked) = read(&texts, options);
    let mut lines = Vec::new();
    for diagnostic in &checked.diagnostics {
        lines.push(diagnostic.to_line(&files));
        for label in &diagnostic.labels {
            lines.push(format!("  {}:{}: {}", files[label.file].name, label.position, label.message));
        }
        for line in diagnostic.help.iter().flat_map(|help| help.lines()) {
            lines.push(format!("  help: {line}"));
        }
    }
    compare(&lines.join("\n"), expected);
}

/// An ingress with these lines in its `spec`, from line 4 on; the rest of it is right.
fn ingress(lines: &str) -> String {
    format!("kind: io.statefun.kinesis.v1/ingress\nspec:\n  id: example/orders\n{}{STREAMS}", indented(lines, 2))
}

const STREAMS: &str = "  streams:
    - streamArn: arn:aws:kinesis:us-east-1:123456789012:stream/orders
      valueType: example/Order
      targets: [example/order-handler]
";

/// An ingress with this list of streams, from line 5 on.
fn streams(lines: &str) -> String {
    format!("kind: io.statefun.kinesis.v1/ingress\nspec:\n  id: example/orders\n  streams:\n{}", indented(lines, 4))
}

/// An egress with these lines in its `spec`, from line 4 on.
fn egress(lines: &str) -> String {
    format!("kind: io.statefun.kinesis.v1/egress\nspec:\n  id: example/notifications\n{}", indented(lines, 2))
}

/// An endpoint with these lines in its `spec`, from line 3 on.
fn endpoint(lines: &str) -> String {
    format!("kind: io.statefun.endpoints.v2/http\nspec:\n{}", indented(lines, 2))
}

fn indented(lines: &str, by: usize) -> String {
    dedent(lines).lines().map(|line| format!("{:by$}{line}\n", "")).collect()
}

mod table {
    mod aws;
    mod consumer;
    mod documents;
    mod egresses;
    mod endpoints;
    mod fields;
    mod handling;
    mod legacy;
    mod mistakes;
    mod properties;
    mod startup;
    mod streams;
    mod text;
    mod variables;
    mod warnings;
}
