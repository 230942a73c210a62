use std::{fmt::Display, num::NonZeroU32, str::FromStr};

use statefun_kinesis_types::{InvalidValue, Secret};

use super::{Decoder, Entry, Placed, shown};
use crate::{
    Code,
    findings::Finding,
    yaml::{Kind, Scalar, Secrets, Value},
};

impl Decoder<'_> {
    /// Reports a value that is not what the field takes.
    pub(super) fn wrong_type(&mut self, entry: Entry<'_>, expected: &str, help: Option<String>) {
        let found = match &entry.node.value {
            Value::Scalar(scalar) => match scalar.kind {
                Kind::Null => "has no value",
                Kind::Boolean => "not a boolean",
                Kind::Number => "not a number",
                Kind::String => "not a string",
            },
            Value::Sequence(_) => "not a list",
            Value::Mapping(_) => "not a mapping",
        };
        let words = entry.words();
        let message = match &entry.node.value {
            Value::Scalar(scalar) if scalar.kind == Kind::Null => format!("{words} {found}: it takes {expected}"),
            _ => format!("{words} must be {expected}, {found}"),
        };
        self.findings.push(Finding::error(Code::WrongType, entry.place(), message).help(help));
    }

    /// A text that is not empty.
    pub(super) fn text<'n>(&mut self, entry: Entry<'n>) -> Option<&'n str> {
        self.text_of(entry, "a string")
    }

    fn text_of<'n>(&mut self, entry: Entry<'n>, expected: &str) -> Option<&'n str> {
        let is_secret = Secrets::is_secret_name(entry.name);
        let scalar = match &entry.node.value {
            Value::Scalar(scalar) if scalar.kind == Kind::String => scalar,
            Value::Scalar(Scalar { text, kind: Kind::Boolean | Kind::Number }) => {
                let help = if is_secret {
                    "put it in quotes".to_owned()
                } else {
                    format!("put it in quotes: \"{}\"", shown(text))
                };
                self.wrong_type(entry, expected, Some(help));
                return None;
            }
            _ => {
                self.wrong_type(entry, expected, None);
                return None;
            }
        };
        let text = scalar.text.as_ref();
        if text.trim().is_empty() {
            let message = format!("{} is empty: it takes {expected}", entry.words());
            self.findings.push(Finding::error(Code::WrongType, entry.place(), message));
            return None;
        }
        if has_variable(text) {
            let message = format!("{} has a variable in it, and variables are not replaced", entry.words());
            let finding = Finding::error(Code::VariableNotReplaced, entry.place(), message);
            self.findings
                .push(finding.help("write the value itself, or fill the file in before it is read".to_owned()));
            return None;
        }
        Some(text)
    }

    /// A text that a type of its own reads.
    pub(super) fn value<T>(
        &mut self,
        entry: Entry<'_>,
        code: Code,
        help: impl FnOnce(&str) -> Option<String>,
    ) -> Option<Placed<T>>
    where
        T: FromStr<Err = InvalidValue>,
    {
        let text = self.text(entry)?;
        match text.parse() {
            Ok(value) => Some(Placed { value, place: entry.node.place }),
            Err(error) => {
                self.invalid(entry, code, &error, help(text));
                None
            }
        }
    }

    /// Reports a text that is not a value of its type.
    pub(super) fn invalid(&mut self, entry: Entry<'_>, code: Code, error: &dyn Display, help: Option<String>) {
        self.findings.push(Finding::error(code, entry.place(), error.to_string()).help(help));
    }

    /// A key or a password: any text, quoted in no message.
    pub(super) fn secret(&mut self, entry: Entry<'_>) -> Option<Secret> {
        self.text(entry).map(Secret::new)
    }

    /// A whole number from 1 to 4 294 967 295, in quotes or not, as StateFun takes it.
    pub(super) fn positive(&mut self, entry: Entry<'_>) -> Option<NonZeroU32> {
        let Value::Scalar(scalar @ Scalar { kind: Kind::Number | Kind::String, text }) = &entry.node.value else {
            self.wrong_type(entry, "a whole number", None);
            return None;
        };
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if !is_whole && scalar.kind == Kind::String {
            if has_variable(text) {
                return self.text(entry).and(None);
            }
            self.wrong_type(entry, "a whole number", None);
            return None;
        }
        let number = text.parse().ok();
        if number.is_none() {
            let message =
                format!("{} must be a whole number from 1 to {}, not {}", entry.words(), u32::MAX, shown(text));
            self.findings.push(Finding::error(Code::InvalidNumber, entry.place(), message));
        }
        number
    }
}

/// Whether a text has `${NAME}` or `${NAME:-default}` in it.
fn has_variable(text: &str) -> bool {
    text.match_indices("${").any(|(at, _)| {
        let name = &text[at + 2..];
        name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.contains('}')
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_recognised() {
        for text in ["${NAME}", "a${NAME:-b}c", "${x} ${y}"] {
            assert!(has_variable(text), "{text}");
        }
        for text in ["$NAME", "{function.name}", "${", "${}", "${1}", "$ {NAME}"] {
            assert!(!has_variable(text), "{text}");
        }
    }
}
