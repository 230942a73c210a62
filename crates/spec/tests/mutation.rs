//! One change to a right file, and what is said of it has to be said where the change is.
//!
//! Every field of every file below is renamed, dropped and given a value of another type, one at a time.

use std::ops::Range;

use statefun_kinesis_spec::{Code, Options, Severity, SourceFile, read_module};

const FILES: [&str; 5] = [
    include_str!("mutation/ingress.yaml"),
    include_str!("mutation/egress.yaml"),
    include_str!("mutation/endpoint.yaml"),
    include_str!("mutation/apache.yaml"),
    include_str!("mutation/legacy.yaml"),
];

/// The fields whose absence is an error, wherever they stand in the files.
const REQUIRED: &[&str] = &[
    "accessKeyId",
    "date",
    "egress",
    "endpoint",
    "functions",
    "id",
    "ingress",
    "kind",
    "meta",
    "module",
    "name",
    "profile",
    "profileName",
    "roleArn",
    "secretAccessKey",
    "spec",
    "streams",
    "targets",
    "timestamp",
    "tokenFile",
    "type",
    "urlPathTemplate",
    "valueType",
    "version",
];

/// A field that starts on a line of a file.
#[derive(Debug)]
struct Field {
    name: String,
    /// The line of the name, and the lines of the value below it.
    lines: Range<usize>,
    /// Columns of the name, in bytes.
    columns: Range<usize>,
    /// The line of the field that this one belongs to, or of the first field beside it.
    parents: Vec<usize>,
}

fn depth(line: &str) -> usize {
    line.len() - line.trim_start_matches([' ', '-']).len()
}

fn fields(text: &str) -> Vec<Field> {
    let lines: Vec<&str> = text.lines().collect();
    let field = |(number, line): (usize, &&str)| {
        let start = depth(line);
        let name = line[start..].split_once(':')?.0;
        let is_item = line.trim_start().starts_with("- ");
        let ends = |other: &&str| other.trim() == "---" || depth(other) <= start && !other.trim().is_empty();
        let deeper = lines[number + 1..].iter().take_while(|other| !ends(other)).count();
        let mut parents = Vec::new();
        let above = lines[..number].iter().rposition(|other| depth(other) < start && other.trim() != "---");
        parents.extend(above.filter(|_| start > 0));
        // The field that is first in the same mapping: in a list, the one with the dash.
        let mut first = None;
        for (above, other) in lines[..number].iter().enumerate().rev() {
            if is_item || depth(other) < start || other.trim() == "---" {
                break;
            }
            if depth(other) == start {
                first = Some(above);
                if other.trim_start().starts_with("- ") {
                    break;
                }
            }
        }
        parents.extend(first);
        if is_item || first.is_none() {
            parents.push(number);
        }
        Some(Field {
            name: name.to_owned(),
            lines: number..number + 1 + deeper,
            columns: start..start + name.len(),
            parents,
        })
    };
    lines.iter().enumerate().filter(|(_, line)| **line != "---").filter_map(field).collect()
}

/// The errors of a text, each as the bytes that it points at and what it says.
fn errors(text: &str) -> Vec<(Range<usize>, String, Code)> {
    let files = [SourceFile::new("f", text)];
    let checked = read_module(&files, &Options::default());
    let errors = checked.diagnostics.iter().filter(|found| found.severity == Severity::Error);
    errors.map(|found| (found.span.clone(), found.to_line(&files), found.code)).collect()
}

fn bytes_of(text: &str, lines: Range<usize>) -> Range<usize> {
    let start = text.split_inclusive('\n').take(lines.start).map(str::len).sum();
    let len: usize = text.split_inclusive('\n').skip(lines.start).take(lines.len()).map(str::len).sum();
    start..start + len
}

fn replace_lines(text: &str, lines: Range<usize>, with: &[String]) -> String {
    let all: Vec<&str> = text.lines().collect();
    let kept = all[..lines.start].iter().map(|line| (*line).to_owned());
    let rest = all[lines.end..].iter().map(|line| (*line).to_owned());
    kept.chain(with.iter().cloned()).chain(rest).map(|line| line + "\n").collect()
}

#[test]
fn the_files_are_right() {
    for text in FILES {
        assert_eq!(errors(text), [], "{text}");
        assert!(fields(text).len() > 10, "{text}");
    }
}

#[test]
fn a_renamed_field_is_pointed_at() {
    for text in FILES {
        for field in fields(text) {
            if is_property(&field) {
                continue;
            }
            let line = text.lines().nth(field.lines.start).unwrap();
            let renamed = format!("{}{}x{}", &line[..field.columns.start], field.name, &line[field.columns.end..]);
            let changed = replace_lines(text, field.lines.start..field.lines.start + 1, &[renamed]);
            let start = bytes_of(&changed, field.lines.start..field.lines.start + 1).start + field.columns.start;
            let name = start..start + field.name.len() + 1;
            let found = errors(&changed);
            assert!(found.iter().any(|(span, ..)| *span == name), "{}: {found:#?}\n{changed}", field.name);
            // Nothing that only follows from it is said: a field is unknown, or missing, but not both.
            assert_eq!(found.len(), 1, "{}: {found:#?}\n{changed}", field.name);
        }
    }
}

#[test]
fn a_value_of_another_type_is_pointed_at() {
    for text in FILES {
        for field in fields(text) {
            for value in ["[[1]]", "true", "{x: [y]}"] {
                let is_free = is_property(&field) || field.name == "clientConfigProperties" && value.starts_with('{');
                if is_free && value == "true" {
                    continue;
                }
                let line = text.lines().nth(field.lines.start).unwrap();
                let changed = format!("{}: {value}", &line[..field.columns.end]);
                let changed = replace_lines(text, field.lines.clone(), &[changed]);
                let place = bytes_of(&changed, field.lines.start..field.lines.start + 1);
                let found = errors(&changed);
                let covers =
                    |span: &Range<usize>| span.start < place.end && place.start + field.columns.start < span.end;
                assert!(found.iter().any(|(span, ..)| covers(span)), "{}: {value}: {found:#?}\n{changed}", field.name);
            }
        }
    }
}

#[test]
fn a_required_field_that_is_gone_is_missed_where_it_was() {
    for text in FILES {
        for field in fields(text) {
            let lines: Vec<&str> = text.lines().collect();
            // A transport is the asynchronous one unless it says something else.
            let is_required =
                REQUIRED.contains(&field.name.as_str()) && !lines[field.lines.start].contains("io.statefun.transports");
            let is_item = lines[field.lines.start].trim_start().starts_with("- ");
            let next = lines.get(field.lines.end).filter(|next| depth(next) == field.columns.start && **next != "---");
            let changed = match next {
                // The next field of the same entry is the one with the dash now.
                Some(next) if is_item && !next.trim_start().starts_with("- ") => {
                    let dash = field.columns.start - 2;
                    let first = format!("{}- {}", &next[..dash], &next[dash + 2..]);
                    replace_lines(text, field.lines.start..field.lines.end + 1, &[first])
                }
                _ => replace_lines(text, field.lines.clone(), &[]),
            };
            let found = errors(&changed);
            if !is_required {
                continue;
            }
            let is_near = |span: &Range<usize>| {
                field.parents.iter().any(|parent| {
                    let place = bytes_of(&changed, *parent..*parent + 1);
                    place.contains(&span.start)
                })
            };
            assert!(found.iter().any(|(span, ..)| is_near(span)), "{field:?}: {found:#?}\n{changed}");
        }
    }
}

/// Whether a field is a client property, which may have any name and any scalar.
fn is_property(field: &Field) -> bool {
    field.name.contains('.') || ["SocketTimeout", "MaxConnections"].contains(&field.name.as_str())
}
