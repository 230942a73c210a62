//! The output of `check --format json`. docs/checking.md lists every field, and a test compares the two.

use std::ops::Range;

use serde::Serialize;
use statefun_kinesis_spec::{Position, Severity};

use crate::{live::LiveJson, module::ReadModule};

/// The diagnostics as one JSON object, with the findings of `--live` if it was given.
pub(crate) fn render(module: &ReadModule, passed: bool, live: Option<LiveJson>) -> String {
    let report = Report {
        version: 1,
        passed,
        errors: module.count(Severity::Error),
        warnings: module.count(Severity::Warning),
        diagnostics: module
            .checked
            .diagnostics
            .iter()
            .map(|diagnostic| Diagnostic {
                code: diagnostic.code.as_str(),
                severity: diagnostic.severity.to_string(),
                message: &diagnostic.message,
                place: Place::new(module, diagnostic.file, &diagnostic.span, diagnostic.position),
                labels: diagnostic
                    .labels
                    .iter()
                    .map(|label| Label {
                        message: &label.message,
                        place: Place::new(module, label.file, &label.span, label.position),
                    })
                    .collect(),
                help: diagnostic.help.as_deref(),
            })
            .collect(),
        live,
    };
    serde_json::to_string_pretty(&report).unwrap_or_default()
}

/// Within a `version`, fields may be added, but none is removed or changes its meaning.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    version: u32,
    passed: bool,
    errors: usize,
    warnings: usize,
    diagnostics: Vec<Diagnostic<'a>>,
    live: Option<LiveJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Diagnostic<'a> {
    code: &'a str,
    severity: String,
    message: &'a str,
    place: Place<'a>,
    labels: Vec<Label<'a>>,
    help: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Label<'a> {
    message: &'a str,
    place: Place<'a>,
}

/// Lines and columns count from 1, columns in characters, the end excluded; bytes count from 0.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Place<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    byte_start: usize,
    byte_end: usize,
}

impl<'a> Place<'a> {
    fn new(module: &'a ReadModule, file: usize, span: &Range<usize>, start: Position) -> Self {
        let end = module.end_of(file, span, start);
        Self {
            file: &module.files[file].name,
            line: start.line,
            column: start.column,
            end_line: end.line,
            end_column: end.column,
            byte_start: span.start,
            byte_end: span.end,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value;
    use statefun_kinesis_spec::{Options, SourceFile, read_module};

    use super::*;
    use crate::live;

    type Fields = BTreeMap<String, BTreeSet<&'static str>>;

    /// The fields that docs/checking.md lists, each with its types.
    fn documented() -> Fields {
        const TYPES: [&str; 5] = ["string", "number", "boolean", "object", "null"];
        let page = include_str!("../../../docs/checking.md");
        let (_, table) = page.split_once("| field | type | what it is |\n|---|---|---|\n").unwrap();
        let rows = table.lines().take_while(|line| line.starts_with('|'));
        let row = |line: &str| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
            let types = cells[1].split(" or ").map(|text| *TYPES.iter().find(|known| **known == text).unwrap());
            (cells[0].trim_matches('`').to_owned(), types.collect())
        };
        rows.map(row).collect()
    }

    /// The fields of a report. For a list, the fields of its entries.
    fn found(path: &str, value: &Value, fields: &mut Fields) {
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(items) => {
                return items.iter().for_each(|item| found(&format!("{path}[]"), item, fields));
            }
            Value::Object(object) => {
                // Places of labels have the fields of places, which are listed once.
                if path == "diagnostics[].labels[].place" {
                    let place: Vec<_> = object.keys().cloned().collect();
                    let expected = ["byteEnd", "byteStart", "column", "endColumn", "endLine", "file", "line"];
                    assert_eq!(place, expected);
                } else {
                    for (name, value) in object {
                        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                        found(&path, value, fields);
                    }
                }
                "object"
            }
        };
        if !path.is_empty() {
            fields.entry(path.to_owned()).or_default().insert(kind);
        }
    }

    fn module(text: &str) -> ReadModule {
        let files = vec![SourceFile::new("module.yaml", text)];
        let checked = read_module(&files, &Options::default());
        ReadModule { files, checked }
    }

    #[tokio::test(start_paused = true)]
    async fn the_documentation_lists_exactly_the_existing_fields() {
        let mut fields = Fields::new();
        let twice = "kind: io.statefun.kinesis.v1/egress\nspec:\n  id: a/b\n  streamName: out\n";
        // One has labels and one has no help: both are what they are for any module file.
        for text in [[twice, "---\n", twice].concat(), "kind: [".to_owned(), String::new()] {
            let report = render(&module(&text), false, None);
            found("", &serde_json::from_str(&report).unwrap(), &mut fields);
        }
        for live in live::examples().await {
            let report = render(&module(""), true, Some(live));
            found("", &serde_json::from_str(&report).unwrap(), &mut fields);
        }
        assert_eq!(fields, documented());
    }
}
