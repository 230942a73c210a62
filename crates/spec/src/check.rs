use std::ops::Range;

use crate::{
    Code, Diagnostic, Module, SourceFile, Variables,
    decode::Decoder,
    findings::{Finding, Findings, Place},
    yaml::{self, Loaded, Secrets},
};

/// How strictly module files are read. The default is strict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Makes unknown fields warnings instead of errors.
    pub lenient: bool,
    /// Skips documents of transports that are not supported, with a warning, instead of refusing them.
    pub ignore_unsupported: bool,
    /// What `${NAME}` in a value of a `spec` stands for. By default no variable is set.
    pub variables: Variables,
    /// Whether positions are stored from which reading goes on. Where there are none, an ingress that starts at `latest`
    /// is worth a warning; by default nothing is known about it, and nothing said.
    pub stored_positions: Option<bool>,
}

/// What reading a module gave.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Checked {
    /// The module; there is one if and only if no diagnostic is an error.
    pub module: Option<Module>,
    /// Every problem, in the order of files and places; of each severity the first thousand.
    pub diagnostics: Vec<Diagnostic>,
    secrets: Vec<Vec<Range<usize>>>,
}

impl Checked {
    /// Where keys and passwords stand in the text of a file: in order, apart from each other, and each within a line.
    /// Code that shows lines of the file masks these bytes.
    pub fn secret_spans(&self, file: usize) -> &[Range<usize>] {
        self.secrets.get(file).map_or(&[], Vec::as_slice)
    }
}

/// Reads the documents of one or more files as one module, and checks them.
///
/// No text makes it panic, and none keeps it busy for long: a file has at most [`MODULE_MAX_BYTES`], and limits on depth,
/// number and length of values hold with aliases followed. A file of the worst kind takes some 50 MB of memory at most, and
/// about as long as a right one of the same size. Without files the module is empty.
///
/// [`MODULE_MAX_BYTES`]: crate::MODULE_MAX_BYTES
pub fn read_module(files: &[SourceFile], options: &Options) -> Checked {
    let mut findings = Findings::default();
    let mut secrets = Secrets::default();
    let trees: Vec<Loaded<'_>> =
        files.iter().zip(0..).map(|(source, file)| yaml::load(file, source, &mut findings, &mut secrets)).collect();
    report_empty_files(files, &trees, &mut findings);
    let secrets = secrets.into_spans(files);
    let mut decoder = Decoder::new(options, files, &secrets, &mut findings);
    for document in trees.iter().flat_map(|tree| &tree.documents) {
        if decoder.gives_up() {
            break;
        }
        decoder.document(document);
    }
    let module = decoder.finish();
    Checked {
        module: (!findings.has_errors()).then_some(module),
        diagnostics: findings.into_diagnostics(files, &secrets),
        secrets,
    }
}

/// A module without any document is an error; beside files that have some, an empty one is only odd.
fn report_empty_files(files: &[SourceFile], trees: &[Loaded<'_>], findings: &mut Findings) {
    let is_empty = |tree: &Loaded<'_>| tree.documents.is_empty() && !tree.is_broken;
    let all_are_empty = trees.iter().all(is_empty);
    for ((source, tree), file) in files.iter().zip(trees).zip(0..) {
        if !is_empty(tree) {
            continue;
        }
        let message = if source.text.trim_matches(['\u{feff}', ' ', '\t', '\r', '\n']).is_empty() {
            "the file is empty: it has no documents"
        } else {
            "the file has no documents"
        };
        let finding = if all_are_empty { Finding::error } else { Finding::warning };
        let help = "a module file has one document with `kind` and `spec` for each ingress, egress and endpoint";
        let place = Place::start_of(file);
        findings.push(finding(Code::NoDocuments, place, message.to_owned()).help(help.to_owned()));
    }
}
