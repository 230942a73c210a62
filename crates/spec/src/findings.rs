use std::{collections::BTreeMap, ops::Range};

use crate::{Code, Diagnostic, Label, Position, Severity, SourceFile};

/// Most diagnostics of one severity that are kept. More would not be read, and a hostile file could cause millions.
const KEPT_PER_SEVERITY: usize = 1000;

/// Most errors that are counted. Each takes a microsecond, kept or not, and a hostile file could have 200 000.
const COUNTED_ERRORS: usize = 10_000;

/// A range of bytes in one of the files. Texts are shorter than 4 GiB (see `MODULE_MAX_BYTES`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Place {
    pub(crate) file: u32,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Place {
    pub(crate) fn start_of(file: u32) -> Self {
        Self { file, start: 0, end: 0 }
    }
}

/// Most characters of a place that a diagnostic points at.
const POINTED_MAX_CHARS: usize = 200;

/// The part of a place that a reader can be shown: the beginning of its first line.
fn pointed(place: Place, files: &[SourceFile]) -> Place {
    let (start, end) = (place.start as usize, place.end as usize);
    let Some(text) = files.get(place.file as usize).and_then(|file| file.text.get(start..end)) else { return place };
    let cut = text.char_indices().take(POINTED_MAX_CHARS + 1).enumerate();
    let cut = cut
        .map(|(count, (at, c))| (count == POINTED_MAX_CHARS || matches!(c, '\n' | '\r'), at))
        .find(|(is_end, _)| *is_end);
    let length = cut.map_or(text.len(), |(_, at)| at);
    Place { end: place.start + u32::try_from(length).unwrap_or(0), ..place }
}

/// A diagnostic in the making: its places are not yet lines and columns.
#[derive(Debug)]
pub(crate) struct Finding {
    severity: Severity,
    code: Code,
    place: Place,
    message: String,
    labels: Vec<(Place, String)>,
    help: Option<String>,
    /// Nothing of the file stands in the message and the help.
    quotes_nothing: bool,
}

impl Finding {
    fn new(severity: Severity, code: Code, place: Place, message: impl Into<String>) -> Self {
        Self { severity, code, place, message: message.into(), labels: Vec::new(), help: None, quotes_nothing: false }
    }

    pub(crate) fn error(code: Code, place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Error, code, place, message)
    }

    pub(crate) fn warning(code: Code, place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Warning, code, place, message)
    }

    pub(crate) fn note(code: Code, place: Place, message: impl Into<String>) -> Self {
        Self::new(Severity::Note, code, place, message)
    }

    pub(crate) fn label(mut self, place: Place, message: impl Into<String>) -> Self {
        self.labels.push((place, message.into()));
        self
    }

    /// Says that nothing of the file is quoted, so that what is said holds for a secret too.
    pub(crate) fn without_quotes(self) -> Self {
        Self { quotes_nothing: true, ..self }
    }

    pub(crate) fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }
}

impl Finding {
    /// Takes the value out of what is said of it. An alias brings the value of a secret field into any other one, and in a
    /// text that is not YAML it is unknown what belongs to a secret.
    fn quote_nothing(&mut self) {
        match self.code {
            // These quote no value of a field that may have one.
            Code::Syntax
            | Code::Unreadable
            | Code::NotText
            | Code::TooLarge
            | Code::MissingField
            | Code::StaticKeys
            | Code::VariableNotSet
            | Code::InvalidVariable
            | Code::TooManyProblems => {}
            Code::WrongType => self.help = self.help.take().filter(|help| !help.contains('"')),
            code => {
                self.message = format!("{}; what stands here may be a secret, and is not shown", code.title());
                self.help = None;
            }
        }
    }
}

/// Whether a place has a part of a secret in it. The spans of a file are in order and apart.
fn overlaps(place: Place, secrets: &[Vec<Range<usize>>]) -> bool {
    let Some(spans) = secrets.get(place.file as usize) else { return false };
    let first = spans.partition_point(|span| span.end <= place.start as usize);
    spans.get(first).is_some_and(|span| span.start < place.end as usize)
}

/// Everything that was found so far, bounded in number.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    kept: Vec<Finding>,
    /// How many of each severity were found, kept or not.
    found: BTreeMap<Severity, usize>,
    /// Whether something was not read any more.
    gave_up: bool,
}

impl Findings {
    pub(crate) fn push(&mut self, finding: Finding) {
        let found = self.found.entry(finding.severity).or_default();
        *found += 1;
        if *found <= KEPT_PER_SEVERITY {
            self.kept.push(finding);
        }
    }

    /// Whether another error would only be counted, so that its help is not needed.
    pub(crate) fn is_full(&self) -> bool {
        self.count(Severity::Error) >= KEPT_PER_SEVERITY
    }

    /// Whether another finding of this severity would be kept. One that is not needs no words.
    pub(crate) fn keeps(&self, severity: Severity) -> bool {
        self.count(severity) < KEPT_PER_SEVERITY
    }

    /// Whether there are so many errors that the search stops. The errors say so.
    pub(crate) fn gives_up(&mut self) -> bool {
        self.gave_up |= self.count(Severity::Error) >= COUNTED_ERRORS;
        self.gave_up
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    /// How many of a severity were found, kept or not.
    pub(crate) fn count(&self, severity: Severity) -> usize {
        self.found.get(&severity).copied().unwrap_or(0)
    }

    /// The diagnostics in the order of files and places. `secrets` are the places by file that must not be quoted.
    pub(crate) fn into_diagnostics(mut self, files: &[SourceFile], secrets: &[Vec<Range<usize>>]) -> Vec<Diagnostic> {
        for finding in &mut self.kept {
            if !finding.quotes_nothing && overlaps(finding.place, secrets) {
                finding.quote_nothing();
            }
        }
        // A node that is reached through two aliases is found wanting twice.
        self.kept.sort_by_key(|finding| (finding.place, finding.severity, finding.code));
        self.kept.dedup_by(|a, b| (a.place, a.code, &a.message) == (b.place, b.code, &b.message));
        for finding in &mut self.kept {
            finding.place = pointed(finding.place, files);
            for (place, _) in &mut finding.labels {
                *place = pointed(*place, files);
            }
        }
        if let Some(last) = self.kept.last().map(|finding| finding.place) {
            for (severity, found) in &self.found {
                if let Some(more @ 1..) = found.checked_sub(KEPT_PER_SEVERITY) {
                    let at_least = if self.gave_up { "at least " } else { "" };
                    let message = format!("{at_least}{more} more of severity `{severity}` are not listed");
                    self.kept.push(Finding::new(*severity, Code::TooManyProblems, last, message));
                }
            }
        }
        let positions = Positions::of(&self.kept, files);
        self.kept.into_iter().map(|finding| diagnostic(finding, &positions)).collect()
    }
}

fn diagnostic(finding: Finding, positions: &Positions) -> Diagnostic {
    let range = |place: Place| place.start as usize..place.end as usize;
    Diagnostic {
        code: finding.code,
        severity: finding.severity,
        message: finding.message,
        file: finding.place.file as usize,
        span: range(finding.place),
        position: positions.get(finding.place),
        labels: finding
            .labels
            .into_iter()
            .map(|(place, message)| Label {
                file: place.file as usize,
                span: range(place),
                position: positions.get(place),
                message,
            })
            .collect(),
        help: finding.help,
    }
}

/// Lines and columns of the places that are needed, worked out in one walk through each text.
struct Positions(BTreeMap<(u32, u32), Position>);

impl Positions {
    fn of(findings: &[Finding], files: &[SourceFile]) -> Self {
        let mut needed: BTreeMap<(u32, u32), Position> = findings
            .iter()
            .flat_map(|finding| std::iter::once(finding.place).chain(finding.labels.iter().map(|(place, _)| *place)))
            .map(|place| ((place.file, place.start), Position::START))
            .collect();
        let mut walk = None;
        for ((file, offset), position) in &mut needed {
            let Some(source) = files.get(*file as usize) else { continue };
            let (walked, from) = walk.get_or_insert((*file, Position::walk(&source.text)));
            if *walked != *file {
                (*walked, *from) = (*file, Position::walk(&source.text));
            }
            *position = from.to(*offset as usize);
        }
        Self(needed)
    }

    fn get(&self, place: Place) -> Position {
        self.0.get(&(place.file, place.start)).copied().unwrap_or(Position::START)
    }
}
