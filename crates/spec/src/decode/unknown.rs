//! Fields with names that a mapping does not have.

use super::{
    Decoder, Entry, KINDS, listed,
    lookalike::with_lookalike,
    shown, suggest,
    table::{Field, Shape, Takes, Variant},
};
use crate::{
    Code, Severity,
    findings::{Finding, Place},
};

impl Decoder<'_> {
    /// Reports a field that is in no row, and returns the one that it was probably meant to be.
    pub(super) fn unknown_field(
        &mut self,
        entry: Entry<'_>,
        what: &'static str,
        shape: &'static Shape,
        variants: &'static [Variant],
        (text, place): (&str, Place),
    ) -> Option<&'static str> {
        let severity = if self.options.lenient { Severity::Warning } else { Severity::Error };
        let finding = if self.options.lenient { Finding::warning } else { Finding::error };
        if !self.findings.keeps(severity) {
            // It is only counted, and its text is not shown.
            self.findings.push(finding(Code::UnknownField, place, String::new()));
            return None;
        }
        let owner = variants.iter().find(|variant| has(&variant.shape, text));
        let nearest = if owner.is_some() { None } else { meant(shape, text) };
        let help = match (nearest, owner) {
            (Some(name), _) => format!("did you mean `{name}`?"),
            (None, Some(owner)) => format!("`{text}` belongs to type `{}`", owner.name),
            (None, None) => match self.place_of(entry, shape, text) {
                Some(place) => place,
                None => {
                    format!("the fields of {what} are {}", listed(shape.fields.iter().map(|field| field.name), "and"))
                }
            },
        };
        let message = format!("{what} has no field `{}`", shown(text));
        self.findings.push(finding(Code::UnknownField, place, message).help(with_lookalike(help, text)));
        // With a mere warning the absence of the right name must be an error of its own.
        nearest.filter(|_| !self.options.lenient)
    }

    /// Where a field belongs that is not one of this mapping: the name is that of a field elsewhere.
    fn place_of(&self, entry: Entry<'_>, shape: &'static Shape, text: &str) -> Option<String> {
        if text == "<<" {
            return Some("merge keys are not supported: write the fields out".to_owned());
        }
        if let Some((_, hint)) = shape.hints.iter().find(|(name, _)| *name == text) {
            return Some((*hint).to_owned());
        }
        let spec = self.spec_shape?;
        if !std::ptr::eq(shape, spec) && has(spec, text) {
            return Some(if has(spec, entry.name) {
                format!("`{text}` belongs one level up, beside `{}`", entry.name)
            } else {
                format!("`{text}` belongs directly below `spec`")
            });
        }
        let mut holders = shape.fields.iter().filter(|field| holds(&field.takes, text));
        if let (Some(holder), None) = (holders.next(), holders.next()) {
            let is_list = matches!(holder.takes, Takes::List(_));
            let each = if is_list { "each entry of " } else { "" };
            return Some(format!("`{text}` belongs in {each}`{}`", holder.name));
        }
        let shapes = KINDS.iter().filter(|kind| kind.dialect.is_none()).filter_map(|kind| kind.reads.shape());
        let other = shapes.filter(|other| !std::ptr::eq(*other, spec)).find(|other| has(other, text))?;
        let names = listed(shape.fields.iter().map(|field| field.name), "and");
        Some(format!("`{text}` is a field of {}; the fields here are {names}", other.what))
    }
}

fn is_called(field: &Field, name: &str) -> bool {
    field.name == name || field.aliases.iter().any(|alias| alias.name == name)
}

fn has(shape: &Shape, name: &str) -> bool {
    shape.fields.iter().any(|field| is_called(field, name))
}

/// Whether what a field takes is a mapping that has such a field, or a list of such mappings.
fn holds(takes: &Takes, name: &str) -> bool {
    match takes {
        Takes::Object(shape) => has(shape, name),
        Takes::Tagged(tagged) => tagged.variants.iter().any(|variant| has(&variant.shape, name)),
        Takes::List(item) => holds(item, name),
        Takes::Text(_)
        | Takes::Tag
        | Takes::Word(_)
        | Takes::Integer { .. }
        | Takes::Duration { .. }
        | Takes::Properties(_) => false,
    }
}

/// The field that a name was probably meant to be: another runtime has it under that name, or the name is misspelt.
fn meant(shape: &'static Shape, text: &str) -> Option<&'static str> {
    if let Some(field) = shape.fields.iter().find(|field| field.mistaken.contains(&text)) {
        return Some(field.name);
    }
    let names = shape.fields.iter().map(|field| field.name);
    suggest::nearest(text, names).or_else(|| {
        // A misspelt name of another dialect means the same field.
        let aliases = || shape.fields.iter().flat_map(|field| field.aliases.iter().map(move |alias| (alias, field)));
        let nearest = suggest::nearest(text, aliases().map(|(alias, _)| alias.name))?;
        aliases().find(|(alias, _)| alias.name == nearest).map(|(_, field)| field.name)
    })
}
