//! From trees of nodes to the model: one file per thing that a module file describes.
//!
//! What may stand where is in tables ([`Shape`], [`Tagged`]), so that another name or another dialect is another row.

mod across;
mod aws;
mod document;
mod duration;
mod egress;
mod endpoint;
mod ingress;
mod object;
mod properties;
mod scalar;
mod startup;
mod suggest;
mod tagged;

use across::Across;
use object::{Entry, Field, Object, Shape};
use tagged::{Tagged, Variant};

use crate::{
    Module, Options,
    findings::{Findings, Place},
};

/// The dialect of Apache StateFun 3, which kzmlabs' continuation reads too.
const STATEFUN: &str = "Apache StateFun";

/// The dialect of kzmlabs' continuation alone.
const KZMLABS: &str = "kzmlabs' StateFun";

/// Reads documents one after the other into one module.
pub(crate) struct Decoder<'d> {
    options: &'d Options,
    findings: &'d mut Findings,
    module: Module,
    across: Across,
}

impl<'d> Decoder<'d> {
    pub(crate) fn new(options: &'d Options, findings: &'d mut Findings) -> Self {
        Self { options, findings, module: Module::default(), across: Across::default() }
    }

    /// The module, after the checks that need all of it. It is whole only if there were no errors.
    pub(crate) fn finish(mut self) -> Module {
        self.check_targets();
        self.module
    }
}

/// A value with the place where it stands.
#[derive(Clone, Debug)]
struct Placed<T> {
    value: T,
    place: Place,
}

/// A text of the file as a message shows it: on one line, and cut when long.
fn shown(text: &str) -> String {
    const MAX_CHARS: usize = 80;
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
