//! Module files from the disk, and their diagnostics for people and programs.

use std::{fs::File, io::Read, path::Path};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet, renderer::DecorStyle};
use serde::Serialize;
use statefun_kinesis_spec::{Checked, Code, Diagnostic, MODULE_MAX_BYTES, Options, Severity, SourceFile, read_module};

use crate::{ExitCode, args::ModuleArguments, failure::Failure};

/// Module files that were read, with all that there is to say about them.
#[derive(Debug)]
pub(crate) struct ReadModule {
    pub(crate) files: Vec<SourceFile>,
    pub(crate) checked: Checked,
}

impl ReadModule {
    /// Reads and checks the files.
    ///
    /// # Errors
    ///
    /// When a file is not there, too large, or not text.
    pub(crate) fn read(arguments: &ModuleArguments) -> Result<Self, Failure> {
        let files = arguments.files.iter().map(|path| read_file(path)).collect::<Result<Vec<_>, _>>()?;
        let mut options = Options::default();
        options.lenient = arguments.lenient;
        options.ignore_unsupported = arguments.ignore_unsupported;
        // A name or a value that is not UTF-8 cannot stand in a module file.
        let variables = std::env::vars_os();
        options.variables =
            variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
        let checked = read_module(&files, &options);
        Ok(Self { files, checked })
    }

    /// How many of the diagnostics are of this severity.
    pub(crate) fn count(&self, severity: Severity) -> usize {
        self.checked.diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }

    /// The diagnostics with the lines of the files that they are about; keys and passwords are masked.
    pub(crate) fn render_for_people(&self, colour: bool) -> String {
        let shown: Vec<String> = (0..self.files.len()).map(|file| self.without_secrets(file)).collect();
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut text = String::new();
        for diagnostic in &self.checked.diagnostics {
            text.push_str(&renderer.render(&[self.group(diagnostic, &shown)]));
            text.push_str("\n\n");
        }
        text
    }

    fn group<'a>(&'a self, diagnostic: &'a Diagnostic, shown: &'a [String]) -> Group<'a> {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            _ => Level::NOTE,
        };
        let snippet = |file: usize| Snippet::source(shown[file].as_str()).path(self.files[file].name.as_str());
        let mut main = snippet(diagnostic.file).annotation(AnnotationKind::Primary.span(diagnostic.span.clone()));
        for label in diagnostic.labels.iter().filter(|label| label.file == diagnostic.file) {
            main = main.annotation(AnnotationKind::Context.span(label.span.clone()).label(label.message.as_str()));
        }
        let mut group = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.as_str()).element(main);
        for label in diagnostic.labels.iter().filter(|label| label.file != diagnostic.file) {
            let there = AnnotationKind::Context.span(label.span.clone()).label(label.message.as_str());
            group = group.element(snippet(label.file).annotation(there));
        }
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        // What an option of the command line can do about it; the reader of module files knows none.
        match (diagnostic.severity, diagnostic.code) {
            (Severity::Error, Code::UnknownField) => {
                group.element(Level::NOTE.message("--lenient makes unknown fields warnings"))
            }
            (Severity::Error, Code::KindNotServed) => {
                group.element(Level::NOTE.message("--ignore-unsupported skips such documents with a warning"))
            }
            _ => group,
        }
    }

    /// A file's text with stars in place of secrets: as many as the secret has bytes, so that all places stay right.
    fn without_secrets(&self, file: usize) -> String {
        let mut text = self.files[file].text.clone();
        for span in self.checked.secret_spans(file) {
            let stars: String = text[span.clone()].bytes().map(|byte| if byte == b'\n' { '\n' } else { '*' }).collect();
            text.replace_range(span.clone(), &stars);
        }
        text
    }

    /// The diagnostics as one JSON object.
    pub(crate) fn render_for_programs(&self) -> String {
        let place = |file: usize, span: &std::ops::Range<usize>| {
            let (start, end) = (self.files[file].position(span.start), self.files[file].position(span.end));
            PlaceJson {
                file: &self.files[file].name,
                line: start.line,
                column: start.column,
                end_line: end.line,
                end_column: end.column,
                byte_start: span.start,
                byte_end: span.end,
            }
        };
        let report = ReportJson {
            version: 1,
            errors: self.count(Severity::Error),
            warnings: self.count(Severity::Warning),
            diagnostics: self
                .checked
                .diagnostics
                .iter()
                .map(|diagnostic| DiagnosticJson {
                    code: diagnostic.code.as_str(),
                    severity: diagnostic.severity.to_string(),
                    message: &diagnostic.message,
                    place: place(diagnostic.file, &diagnostic.span),
                    labels: diagnostic
                        .labels
                        .iter()
                        .map(|label| LabelJson { message: &label.message, place: place(label.file, &label.span) })
                        .collect(),
                    help: diagnostic.help.as_deref(),
                })
                .collect(),
        };
        serde_json::to_string_pretty(&report).unwrap_or_default()
    }
}

/// The object that `check --format json` prints. Fields may be added; none changes its meaning within a `version`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReportJson<'a> {
    version: u32,
    errors: usize,
    warnings: usize,
    diagnostics: Vec<DiagnosticJson<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct DiagnosticJson<'a> {
    code: &'a str,
    severity: String,
    message: &'a str,
    place: PlaceJson<'a>,
    labels: Vec<LabelJson<'a>>,
    help: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LabelJson<'a> {
    message: &'a str,
    place: PlaceJson<'a>,
}

/// Lines and columns count from 1, columns in characters, the end excluded; bytes count from 0.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PlaceJson<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
    byte_start: usize,
    byte_end: usize,
}

/// Reads one module file, and never more of it than a module file may have.
fn read_file(path: &Path) -> Result<SourceFile, Failure> {
    let invalid = |message: String| Failure::new(ExitCode::InvalidModule, message);
    let name = path.display();
    let unreadable = |error: std::io::Error| {
        let failure = invalid(format!("cannot read the module file {name}")).because(&error);
        match error.kind() {
            std::io::ErrorKind::NotFound => failure.hint("check the path; the file is usually called module.yaml"),
            _ => failure,
        }
    };
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(invalid(format!("{name} is a directory, not a module file"))
            .hint(format!("name the file in it, such as {}", path.join("module.yaml").display())));
    }
    let mut bytes = Vec::new();
    // One byte more than allowed tells a file that is too large from one that just fits.
    file.take(MODULE_MAX_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() > MODULE_MAX_BYTES {
        return Err(invalid(format!("{name} is larger than {} MiB, and so not a module file", MODULE_MAX_BYTES >> 20)));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|&&byte| byte == b'\n').count() + 1;
        invalid(format!("{name}:{line}: not a text file: byte {valid} is not UTF-8"))
            .hint("save the module file as UTF-8")
    })?;
    Ok(SourceFile::new(name.to_string(), text))
}
