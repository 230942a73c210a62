use std::{fmt, ops::Range};

use crate::{Code, Position, SourceFile};

/// One problem of a module file: data, which the caller renders.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Diagnostic {
    /// What kind of problem it is.
    pub code: Code,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong, in one line. It never quotes a secret.
    pub message: String,
    /// The file, as an index into the files that were read.
    pub file: usize,
    /// The place, in bytes of that file's text; both ends lie between characters.
    pub span: Range<usize>,
    /// Line and column of the start of the span.
    pub position: Position,
    /// Other places that belong to the problem.
    pub labels: Vec<Label>,
    /// What to do, in one or more lines. It never quotes a secret.
    pub help: Option<String>,
}

impl Diagnostic {
    /// The problem in one line, `file:line:column: severity[code]: message`, as editors and `grep` like it.
    ///
    /// `files` are the files that were read.
    pub fn to_line(&self, files: &[SourceFile]) -> String {
        let name = files.get(self.file).map_or("?", |file| file.name.as_str());
        format!("{name}:{}: {}[{}]: {}", self.position, self.severity, self.code, self.message)
    }
}

/// Another place that belongs to a problem, with what there is to say about it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Label {
    /// The file, as an index into the files that were read.
    pub file: usize,
    /// The place, in bytes of that file's text; both ends lie between characters.
    pub span: Range<usize>,
    /// Line and column of the start of the span.
    pub position: Position,
    /// What is there, such as "first declared here".
    pub message: String,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// The module cannot run.
    Error,
    /// The module runs, probably not as it was meant.
    Warning,
    /// The module runs as it was meant; there is something to know about it.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}
