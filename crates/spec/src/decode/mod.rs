//! From trees of nodes to the model: one file per thing that a module file describes.
//!
//! What may stand where is in tables ([`table`]), so that another name or another dialect is another row.

mod across;
mod consumer;
mod credentials;
mod document;
mod egress;
mod endpoint;
mod handling;
mod ingress;
mod legacy;
mod lookalike;
mod object;
mod properties;
mod region;
mod scalar;
mod startup;
mod suggest;
pub(crate) mod table;
mod tagged;
mod unknown;
mod variable;

use std::ops::Range;

use across::Across;
pub(crate) use document::KINDS;
pub(crate) use legacy::FILE as LEGACY;
use object::{Entry, Object};
use table::Shape;

use crate::{
    MODULE_MAX_BYTES, Module, Options, Severity, SourceFile,
    findings::{Findings, Place},
    yaml::user_of,
};

/// The dialect of Apache StateFun 3, which kzmlabs' continuation reads too.
const STATEFUN: &str = "Apache StateFun";

/// The dialect of kzmlabs' continuation alone.
const KZMLABS: &str = "kzmlabs' StateFun";

/// Reads documents one after the other into one module.
pub(crate) struct Decoder<'d> {
    options: &'d Options,
    files: &'d [SourceFile],
    /// Where keys and passwords stand in the files.
    secret_spans: &'d [Vec<Range<usize>>],
    /// How many bytes values with variables may still have, all together; nothing once they had too many.
    variable_bytes_left: Option<usize>,
    findings: &'d mut Findings,
    /// What the `spec` of the document has in it that is being read.
    spec_shape: Option<&'static Shape>,
    /// How many errors there were before this document.
    errors_before: usize,
    module: Module,
    across: Across,
}

impl<'d> Decoder<'d> {
    pub(crate) fn new(
        options: &'d Options,
        files: &'d [SourceFile],
        secret_spans: &'d [Vec<Range<usize>>],
        findings: &'d mut Findings,
    ) -> Self {
        Self {
            options,
            files,
            secret_spans,
            variable_bytes_left: Some(MODULE_MAX_BYTES),
            findings,
            spec_shape: None,
            errors_before: 0,
            module: Module::default(),
            across: Across::default(),
        }
    }

    /// Whether so much is wrong that the rest is not worth reading; it then is not read.
    pub(crate) fn gives_up(&mut self) -> bool {
        self.findings.gives_up()
    }

    /// Whether the document that is being read has an error. What seems to be missing in it may be what is wrong.
    fn document_has_errors(&self) -> bool {
        self.findings.count(Severity::Error) > self.errors_before
    }

    /// The module, after the checks that need all of it. It is whole only if there were no errors.
    pub(crate) fn finish(mut self) -> Module {
        self.check_targets();
        self.check_reach();
        self.module
    }
}

/// A value with the place where it stands.
#[derive(Clone, Debug)]
struct Placed<T> {
    value: T,
    place: Place,
    /// The text as it stands in the file, if variables in it were replaced.
    written: Option<String>,
}

impl<T> Placed<T> {
    /// The same place with something that was made of the value.
    fn map<U>(self, make: impl FnOnce(T) -> U) -> Placed<U> {
        Placed { value: make(self.value), place: self.place, written: self.written }
    }

    /// What messages call the value: its own text, or what stands in the file in its place.
    fn shown<'s>(&'s self, text: &'s str) -> &'s str {
        self.written.as_deref().unwrap_or(text)
    }
}

/// A text of the file as a message shows it: on one line, cut when long, and without the password of an address.
fn shown(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    if let Some(user) = user_of(text) {
        return shown(&format!("{}…{}", &text[..user.start], &text[user.end + 1..]));
    }
    let mut shown: String = text.chars().take(MAX_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// Names as a list for a sentence: `a`, `b` and `c`.
fn listed<'s>(names: impl IntoIterator<Item = &'s str>, last: &str) -> String {
    let quoted: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((only, [])) => only.clone(),
        Some((end, start)) => format!("{} {last} {end}", start.join(", ")),
        None => String::new(),
    }
}
