use std::{borrow::Cow, rc::Rc};

use zeroize::Zeroize;

use crate::findings::Place;

/// A value of a document, with its place.
#[derive(Debug)]
pub(crate) struct Node<'a> {
    pub(crate) place: Place,
    pub(crate) value: Value<'a>,
    /// False when a syntax error cut the node off, so that nothing follows from what is not in it.
    pub(crate) is_complete: bool,
    /// Whether the text of a scalar in this one or below has a `${`.
    pub(crate) has_variable: bool,
    /// Levels below this one.
    pub(super) height: u8,
    /// Nodes in this one and below, aliases followed.
    pub(super) size: u32,
    /// Bytes of the texts of scalars in this one and below, aliases followed.
    pub(super) text_bytes: u32,
}

impl<'a> Node<'a> {
    /// The node with another value of the same shape.
    pub(crate) fn with_value(&self, value: Value<'a>) -> Self {
        let Self { place, is_complete, has_variable, height, size, text_bytes, .. } = *self;
        Self { place, value, is_complete, has_variable, height, size, text_bytes }
    }
}

#[derive(Debug)]
pub(crate) enum Value<'a> {
    Scalar(Scalar<'a>),
    Sequence(Vec<Rc<Node<'a>>>),
    /// Names and values in file order, doubles included.
    Mapping(Vec<(Rc<Node<'a>>, Rc<Node<'a>>)>),
}

/// A text, and what YAML takes it for.
///
/// A text of its own, which escapes, line folds and variables make, is wiped when it is dropped: it may be a secret. What
/// the parser had of it in buffers that it gave back in the meantime cannot be.
#[derive(Debug)]
pub(crate) struct Scalar<'a> {
    pub(crate) text: Cow<'a, str>,
    pub(crate) kind: Kind,
    /// The text as it stands in the file, if variables in it were replaced: the one that messages may quote.
    pub(crate) written: Option<Cow<'a, str>>,
}

impl Drop for Scalar<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(text) = &mut self.text {
            text.zeroize();
        }
    }
}

/// The types of the YAML 1.2 core schema, as far as module files tell them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Boolean,
    Number,
    String,
    /// A text with a variable that could not be replaced, or with a tag that is not supported. Either was reported.
    Unknown,
}

impl Kind {
    /// What an unquoted text is (YAML 1.2.2, section 10.3.2).
    pub(super) fn of_plain(text: &str) -> Self {
        match text {
            "" | "~" | "null" | "Null" | "NULL" => Self::Null,
            "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Self::Boolean,
            _ if is_number(text) => Self::Number,
            _ => Self::String,
        }
    }
}

fn is_number(text: &str) -> bool {
    let digits = |s: &str, is: fn(&u8) -> bool| !s.is_empty() && s.as_bytes().iter().all(is);
    if let Some(hex) = text.strip_prefix("0x") {
        return digits(hex, u8::is_ascii_hexdigit);
    }
    if let Some(octal) = text.strip_prefix("0o") {
        return digits(octal, |b| (b'0'..=b'7').contains(b));
    }
    if matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") {
        return true;
    }
    // What Rust calls a float beyond this, such as `inf` and `nan`, has letters that no YAML number has.
    unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        && unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'))
        && unsigned.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: Kind, texts: &[&str]) {
        for text in texts {
            assert_eq!(Kind::of_plain(text), kind, "{text:?}");
        }
    }

    #[test]
    fn plain_scalars_have_the_types_of_the_core_schema() {
        check(Kind::Null, &["", "~", "null"]);
        check(Kind::Boolean, &["true", "FALSE"]);
        check(Kind::Number, &["0", "-1", "+12", "1713830400", "1.5", ".5", "1e3", "0x1F", "0o17", "-.inf", ".nan"]);
        check(
            Kind::String,
            &["no", "yes", "1a", "0x", "inf", "nan", "1_000", "2026-04-23T00:00:00.000Z", "-", ".", "e3"],
        );
    }
}
