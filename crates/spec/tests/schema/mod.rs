//! Module files as another library validates them, by the JSON Schema.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde::Deserialize;
use serde_json::Value;
use statefun_kinesis_spec::{Checked, Code, Options, Severity, SourceFile, json_schema};

static SCHEMA: LazyLock<Validator> = LazyLock::new(|| {
    let schema: Value = serde_json::from_str(&json_schema()).expect("the schema is JSON");
    assert!(jsonschema::meta::is_valid(&schema), "the schema is one");
    jsonschema::draft202012::new(&schema).expect("the schema compiles")
});

/// What the schema says about the documents of a file; nothing where the other library cannot read them.
pub(crate) fn problems(text: &str) -> Option<Vec<String>> {
    let mut problems = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let document = json(serde_yaml::Value::deserialize(document).ok()?);
        problems.extend(SCHEMA.iter_errors(&document).map(|error| format!("{}: {error}", error.instance_path())));
    }
    Some(problems)
}

fn json(yaml: serde_yaml::Value) -> Value {
    match yaml {
        serde_yaml::Value::Sequence(items) => items.into_iter().map(json).collect(),
        serde_yaml::Value::Mapping(fields) => {
            let name = |key| match json(key) {
                Value::String(name) => name,
                other => other.to_string(),
            };
            fields.into_iter().map(|(key, value)| (name(key), json(value))).collect()
        }
        serde_yaml::Value::Tagged(tagged) => json(tagged.value),
        scalar => serde_json::to_value(scalar).expect("a scalar is JSON"),
    }
}

/// What a file is refused for because of its form, which the schema knows.
const OF_FORM: &[Code] = &[
    Code::NotADocument,
    Code::MissingKind,
    Code::UnknownKind,
    Code::KindNotServed,
    Code::MissingField,
    Code::UnknownField,
    Code::WrongType,
    Code::UnknownType,
    Code::UnknownWord,
    Code::EmptyList,
    Code::InvalidNumber,
    Code::InvalidStreamName,
    Code::InvalidRegion,
    Code::InvalidName,
];

/// What only one of the two sees, or sees otherwise: then they need not agree.
const OF_TEXT: &[Code] = &[
    Code::Syntax,
    Code::NotText,
    Code::TooLarge,
    Code::NoDocuments,
    Code::DuplicateField,
    Code::UnsupportedTag,
    Code::VariableNotSet,
    Code::InvalidVariable,
];

/// The schema passes what is right, and refuses what is refused because of its form.
#[track_caller]
pub(crate) fn check_agreement(files: &[SourceFile], options: &Options, checked: &Checked) {
    if options.lenient || options.ignore_unsupported {
        return;
    }
    for (number, file) in files.iter().enumerate() {
        let errors: Vec<_> =
            checked.diagnostics.iter().filter(|d| d.file == number && d.severity == Severity::Error).collect();
        if errors.iter().any(|error| OF_TEXT.contains(&error.code)) {
            continue;
        }
        // The schema knows neither what variables stand for nor what client properties take, and the other library takes
        // `012` for a text.
        let is_unsure = |text: &str| text.contains("${") || text.starts_with('0');
        let has_properties = file.text.contains("clientConfigProperties");
        let errors: Vec<_> = errors
            .into_iter()
            .filter(|error| !file.text.get(error.span.clone()).is_some_and(is_unsure) && !has_properties)
            .collect();
        let is_right = checked.diagnostics.iter().all(|d| d.file != number || d.severity != Severity::Error);
        let Some(problems) = problems(&file.text) else { continue };
        let said: Vec<String> = errors.iter().map(|error| error.to_line(files)).collect();
        if is_right {
            assert!(problems.is_empty(), "the schema refuses what is right: {problems:#?}\n{}", file.text);
        } else if errors.iter().any(|error| OF_FORM.contains(&error.code)) {
            assert!(!problems.is_empty(), "the schema passes what is wrong: {said:#?}\n{}", file.text);
        }
    }
}
