use std::{num::NonZeroU32, str::FromStr};

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
            Value::Scalar(Scalar { kind: Kind::Unknown, .. }) => return,
            Value::Scalar(scalar) => match scalar.kind {
                Kind::Null => "has no value",
                Kind::Boolean => "not a boolean",
                Kind::Number => "not a number",
                Kind::String | Kind::Unknown => "not a string",
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
            Value::Scalar(Scalar { text, kind: Kind::Boolean | Kind::Number, .. }) => {
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
        Some(text)
    }

    /// A text that a type of its own reads. `help` gets the text that may be quoted.
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
            Ok(value) => Some(entry.placed(value)),
            Err(error) => {
                let message = match entry.written() {
                    Some(_) => {
                        format!("{} is not a valid {}: expected {}", entry.quoted(text), error.what(), error.expected())
                    }
                    None => error.to_string(),
                };
                let help = help(entry.written().unwrap_or(text));
                self.findings.push(Finding::error(code, entry.place(), message).help(help));
                None
            }
        }
    }

    /// A key or a password: any text, quoted in no message.
    pub(super) fn secret(&mut self, entry: Entry<'_>) -> Option<Secret> {
        self.text(entry).map(Secret::new)
    }

    /// A whole number from 1 to 4 294 967 295, in quotes or not, as StateFun takes it.
    pub(super) fn positive(&mut self, entry: Entry<'_>) -> Option<NonZeroU32> {
        let Value::Scalar(scalar @ Scalar { kind: Kind::Number | Kind::String, text, .. }) = &entry.node.value else {
            self.wrong_type(entry, "a whole number", None);
            return None;
        };
        let digits = text.strip_prefix('-').unwrap_or(text);
        let is_whole = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        if !is_whole && scalar.kind == Kind::String {
            self.wrong_type(entry, "a whole number", None);
            return None;
        }
        let number = text.parse().ok();
        if number.is_none() {
            let found = if entry.written().is_some() { entry.quoted(text) } else { shown(text) };
            let message = format!("{} must be a whole number from 1 to {}, not {found}", entry.words(), u32::MAX);
            self.findings.push(Finding::error(Code::InvalidNumber, entry.place(), message));
        }
        number
    }
}
