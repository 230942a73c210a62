//! Module files, and their diagnostics as text.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, Read},
    ops::Range,
    path::Path,
};

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet, renderer::DecorStyle};
use statefun_kinesis_spec::{
    Checked, Code, Diagnostic, MODULE_MAX_BYTES, Options, Position, Severity, SourceFile, read_module,
};

use crate::{
    ExitCode,
    args::{ModuleArguments, is_standard_stream},
    failure::Failure,
    masked_text::{Lines, MaskedText},
};

/// Module files with their diagnostics.
#[derive(Debug)]
pub(crate) struct ReadModule {
    pub(crate) files: Vec<SourceFile>,
    pub(crate) checked: Checked,
}

/// Line and column after the last character of a span, both counted from 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EndPosition {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl ReadModule {
    /// Reads and checks the files. `stored_positions` says whether a run would continue from stored positions, if that is
    /// known.
    ///
    /// # Errors
    ///
    /// When stdin is to be read twice.
    pub(crate) fn read(arguments: &ModuleArguments, stored_positions: Option<bool>) -> Result<Self, Failure> {
        if arguments.files.iter().filter(|path| is_standard_stream(path)).count() > 1 {
            return Err(Failure::new(ExitCode::Usage, "`-` stands for stdin, which can be read only once")
                .hint("name each other module file by its path"));
        }
        let files: Vec<SourceFile> = arguments.files.iter().map(|path| read_file(path)).collect();
        let mut options = Options::default();
        options.lenient = arguments.lenient;
        options.ignore_unsupported = arguments.ignore_unsupported;
        options.stored_positions = stored_positions;
        // Module files are UTF-8, so they cannot name a variable that is not.
        let variables = std::env::vars_os();
        options.variables =
            variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect();
        let checked = read_module(&files, &options);
        Ok(Self { files, checked })
    }

    /// The codes of warnings that `is_denied` names, each once and with the number of its warnings.
    pub(crate) fn warnings(&self, is_denied: impl Fn(Code) -> bool) -> BTreeMap<Code, usize> {
        let warnings = self.checked.diagnostics.iter().filter(|found| found.severity == Severity::Warning);
        let mut codes = BTreeMap::new();
        for found in warnings.filter(|found| is_denied(found.code)) {
            *codes.entry(found.code).or_default() += 1;
        }
        codes
    }

    /// How many of the diagnostics are of this severity.
    pub(crate) fn count(&self, severity: Severity) -> usize {
        self.checked.diagnostics.iter().filter(|diagnostic| diagnostic.severity == severity).count()
    }

    /// How to learn more about the first error, which is the one to fix first.
    pub(crate) fn hint(&self) -> Option<String> {
        let mut diagnostics = self.checked.diagnostics.iter();
        let first = diagnostics.find(|diagnostic| diagnostic.severity == Severity::Error)?;
        Some(format!("for more about a code: statefun-kinesis explain {}", first.code))
    }

    /// The names of the files, as the user wrote them.
    pub(crate) fn names(&self) -> String {
        let names: Vec<&str> = self.files.iter().map(|file| file.name.as_str()).collect();
        names.join(", ")
    }

    /// Where a span ends. It is computed from the start, because a walk through the whole file for each problem would be
    /// slow.
    pub(crate) fn end_of(&self, file: usize, span: &Range<usize>, start: Position) -> EndPosition {
        let inside = SourceFile::new("", &self.files[file].text[span.clone()]).position(span.len());
        let column = if inside.line == 1 { start.column + inside.column - 1 } else { inside.column };
        EndPosition { line: start.line + inside.line - 1, column }
    }

    /// The diagnostics with the affected lines of the files. Keys and passwords are masked.
    pub(crate) fn render_as_text(&self, colour: bool) -> String {
        let files = self.files.iter().enumerate();
        let shown: Vec<MaskedText> =
            files.map(|(index, file)| MaskedText::new(&file.text, self.checked.secret_spans(index))).collect();
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let renderer = renderer.decor_style(DecorStyle::Ascii);
        let mut text = String::new();
        for diagnostic in &self.checked.diagnostics {
            text.push_str(&renderer.render(&[self.group(diagnostic, &shown)]));
            text.push_str("\n\n");
        }
        text
    }

    fn group<'a>(&'a self, diagnostic: &'a Diagnostic, shown: &'a [MaskedText]) -> Group<'a> {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
            Severity::Note => Level::NOTE,
        };
        let name = |file: usize| self.files[file].name.as_str();
        let snippet =
            |file: usize, lines: &Lines<'a>| Snippet::source(lines.text).line_start(lines.first).path(name(file));
        let origin =
            |file: usize, position: Position| Origin::path(name(file)).line(position.line).char_column(position.column);
        // Labels close to the problem are shown in the same snippet.
        let mut near = vec![&diagnostic.span];
        let mut far = Vec::new();
        for label in &diagnostic.labels {
            let spans = near.iter().copied().chain([&label.span]);
            if label.file == diagnostic.file && shown[label.file].around(spans).is_some() {
                near.push(&label.span);
            } else {
                far.push(label);
            }
        }
        let group = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.as_str());
        let mut group = match shown[diagnostic.file].around(near.into_iter()) {
            Some(lines) => {
                let primary = AnnotationKind::Primary.span(lines.place(&diagnostic.span));
                let mut here = snippet(diagnostic.file, &lines).annotation(primary);
                for label in diagnostic.labels.iter().filter(|label| !far.iter().any(|far| std::ptr::eq(*far, *label)))
                {
                    let place = AnnotationKind::Context.span(lines.place(&label.span));
                    here = here.annotation(place.label(label.message.as_str()));
                }
                group.element(here)
            }
            None => group.element(origin(diagnostic.file, diagnostic.position)),
        };
        for label in far {
            group = match shown[label.file].around(std::iter::once(&label.span)) {
                Some(lines) => {
                    let place = AnnotationKind::Context.span(lines.place(&label.span));
                    group.element(snippet(label.file, &lines).annotation(place.label(label.message.as_str())))
                }
                None => group
                    .element(Level::NOTE.message(label.message.as_str()))
                    .element(origin(label.file, label.position)),
            };
        }
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        match option_against(diagnostic) {
            Some(option) => group.element(Level::NOTE.message(option)),
            None => group,
        }
    }
}

/// The option of the command line with which an error is not one. The `spec` crate does not know the options.
fn option_against(diagnostic: &Diagnostic) -> Option<&'static str> {
    if diagnostic.severity != Severity::Error {
        None
    } else if diagnostic.code == Code::UnknownField {
        Some("--lenient reports unknown fields as warnings")
    } else if diagnostic.code == Code::KindNotServed {
        Some("--ignore-unsupported skips such documents with a warning")
    } else {
        None
    }
}

/// Reads one module file, up to the size limit of module files. A file that cannot be read is a problem of the module like
/// all others, so that it appears in every format, next to those of the other files.
fn read_file(path: &Path) -> SourceFile {
    if is_standard_stream(path) {
        return match read_content(io::stdin().lock()) {
            Ok(bytes) => SourceFile::from_bytes("stdin", bytes),
            Err(error) => SourceFile::unreadable("stdin", error.to_string(), None),
        };
    }
    let name = path.display().to_string();
    let opened = File::open(path).and_then(|file| Ok((file.metadata()?.is_dir(), file)));
    let content = match opened {
        Ok((true, _)) => {
            let help = format!("name the file in it, such as {}", path.join("module.yaml").display());
            return SourceFile::unreadable(name, "it is a directory", Some(help));
        }
        Ok((false, file)) => read_content(file),
        Err(error) => Err(error),
    };
    match content {
        // Invalid content is reported like all other problems, with its place.
        Ok(bytes) => SourceFile::from_bytes(name, bytes),
        Err(error) => {
            let help = match error.kind() {
                io::ErrorKind::NotFound => Some("check the path; the file is usually called module.yaml"),
                io::ErrorKind::PermissionDenied => Some("let the user that runs this command read the file"),
                _ => None,
            };
            SourceFile::unreadable(name, error.to_string(), help.map(str::to_owned))
        }
    }
}

fn read_content(input: impl Read) -> io::Result<Vec<u8>> {
    // The buffer never grows, so that secrets are in one place of the memory only.
    let mut bytes = Vec::with_capacity(MODULE_MAX_BYTES + 1);
    // One byte more than allowed distinguishes a file that is too large from one that just fits.
    input.take(MODULE_MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
