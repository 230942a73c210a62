use std::collections::BTreeMap;

use crate::{Code, Diagnostic, Label, Position, Severity, SourceFile};

/// Most diagnostics of one severity that are kept. Nobody reads more, and a hostile file could ask for millions.
const KEPT_PER_SEVERITY: usize = 1000;

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
}

impl Finding {
    fn new(severity: Severity, code: Code, place: Place, message: impl Into<String>) -> Self {
        Self { severity, code, place, message: message.into(), labels: Vec::new(), help: None }
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

    pub(crate) fn help(mut self, help: impl Into<Option<String>>) -> Self {
        self.help = help.into();
        self
    }
}

/// Everything that was found so far, bounded in number.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    kept: Vec<Finding>,
    /// How many of each severity were found, kept or not.
    found: BTreeMap<Severity, usize>,
}

impl Findings {
    pub(crate) fn push(&mut self, finding: Finding) {
        let found = self.found.entry(finding.severity).or_default();
        *found += 1;
        if *found <= KEPT_PER_SEVERITY {
            self.kept.push(finding);
        }
    }

    /// Whether another error would only be counted, so that nobody need work out its help.
    pub(crate) fn is_full(&self) -> bool {
        self.count(Severity::Error) >= KEPT_PER_SEVERITY
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.count(Severity::Error) > 0
    }

    fn count(&self, severity: Severity) -> usize {
        self.found.get(&severity).copied().unwrap_or(0)
    }

    /// The diagnostics in the order of files and places.
    pub(crate) fn into_diagnostics(mut self, files: &[SourceFile]) -> Vec<Diagnostic> {
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
                    let message = format!("{more} more of severity `{severity}` are not listed");
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
