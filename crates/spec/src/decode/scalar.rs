use std::{num::NonZeroU32, time::Duration};

use statefun_kinesis_types::{LogLevel, Secret, StreamArn, StreamName};

use super::{
    Decoder, Entry, Placed,
    lookalike::{lookalike, with_lookalike},
    shown, suggest,
    table::{OfText, Takes, Text, Word},
};
use crate::{
    Code,
    duration::parse_duration,
    findings::{Finding, Place},
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
                // What could not be replaced in it was reported.
                Kind::Unknown => return,
            },
            Value::Sequence(_) => "not a list",
            Value::Mapping(_) => "not a mapping",
        };
        let words = entry.words();
        let message = match &entry.node.value {
            Value::Scalar(scalar) if scalar.kind == Kind::Null => format!("{words} {found}: it takes {expected}"),
            Value::Scalar(_) | Value::Sequence(_) | Value::Mapping(_) => {
                format!("{words} must be {expected}, {found}")
            }
        };
        self.findings.push(Finding::error(Code::WrongType, entry.place(), message).help(help));
    }

    /// A text that is not blank.
    pub(super) fn text<'n>(&mut self, entry: Entry<'n>) -> Option<&'n str> {
        let text = self.any_text(entry)?;
        self.check_ambiguity(entry, text);
        Some(text)
    }

    fn any_text<'n>(&mut self, entry: Entry<'n>) -> Option<&'n str> {
        debug_assert!(
            matches!(entry.takes, Takes::Text(_) | Takes::Tag | Takes::Word(_)),
            "{} takes a text",
            entry.name
        );
        let expected = "a string";
        let is_secret = Secrets::is_secret_name(entry.name);
        let scalar = match &entry.node.value {
            Value::Scalar(scalar @ Scalar { kind: Kind::String, .. }) => scalar,
            Value::Scalar(Scalar { text, kind: Kind::Boolean | Kind::Number, .. }) => {
                let help = if is_secret {
                    "put it in quotes".to_owned()
                } else {
                    format!("put it in quotes: \"{}\"", shown(text))
                };
                self.wrong_type(entry, expected, Some(help));
                return None;
            }
            Value::Scalar(Scalar { kind: Kind::Null | Kind::Unknown, .. }) | Value::Sequence(_) | Value::Mapping(_) => {
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
        // A password may begin with any character.
        if !is_secret && text.starts_with(['“', '”', '„', '‘', '’', '‚', '«', '»', '‹', '›']) {
            let message =
                format!("{} is in quotes that YAML does not know, so that they are part of it", entry.words());
            let help = "put it in straight quotes, \"…\", or in none".to_owned();
            self.findings.push(Finding::error(Code::TypographicQuotes, entry.place(), message).help(help));
            return None;
        }
        Some(text)
    }

    /// Warns of a word that YAML 1.1, which StateFun reads, takes for a boolean, as it stands without quotes.
    fn check_ambiguity(&mut self, entry: Entry<'_>, text: &str) {
        const BOOLEANS: [&str; 4] = ["yes", "no", "on", "off"];
        let is_boolean = BOOLEANS.iter().any(|word| word.eq_ignore_ascii_case(text));
        if is_boolean && entry.written().is_none() && self.stands_in_file(entry.node.place, text) {
            let message = format!("`{text}` without quotes is a boolean in YAML 1.1, which StateFun reads");
            let help = format!("put it in quotes: \"{text}\"");
            self.findings.push(Finding::warning(Code::AmbiguousText, entry.place(), message).help(help));
        }
    }

    fn stands_in_file(&self, place: Place, text: &str) -> bool {
        let file = self.files.get(place.file as usize);
        file.and_then(|file| file.text.get(place.start as usize..place.end as usize)) == Some(text)
    }

    /// A text that a type of its own reads.
    pub(super) fn value<T: OfText>(&mut self, entry: Entry<'_>) -> Option<Placed<T>> {
        debug_assert!(matches!(entry.takes, Takes::Text(text) if *text == T::TEXT), "{}: {:?}", entry.name, T::TEXT);
        let text = self.any_text(entry)?;
        match text.parse() {
            Ok(value) => {
                self.check_ambiguity(entry, text);
                Some(entry.placed(value))
            }
            Err(error) => {
                let (what, expected) = (error.what(), error.expected());
                let message = format!("{} is not a valid {what}: expected {expected}", entry.quoted(text));
                let written = entry.written().unwrap_or(text);
                let help = help(entry, T::TEXT, written).or_else(|| lookalike(written));
                self.findings.push(Finding::error(T::TEXT.code(), entry.place(), message).help(help));
                None
            }
        }
    }

    /// A key or a password: any text, quoted in no message.
    pub(super) fn secret(&mut self, entry: Entry<'_>) -> Option<Secret> {
        debug_assert!(matches!(entry.takes, Takes::Text(Text::Secret)), "{} is a secret", entry.name);
        self.any_text(entry).map(Secret::new)
    }

    /// The ARN of a role.
    pub(super) fn role_arn(&mut self, entry: Entry<'_>) -> Option<String> {
        debug_assert!(matches!(entry.takes, Takes::Text(Text::RoleArn)), "{} is the ARN of a role", entry.name);
        let text = self.text(entry)?;
        if is_role_arn(text) {
            return Some(text.to_owned());
        }
        let message = format!("{} is not the ARN of a role", entry.quoted(text));
        let help = "it is of the form `arn:aws:iam::<12-digit account>:role/<name>`".to_owned();
        self.findings.push(Finding::error(Code::InvalidRoleArn, entry.place(), message).help(help));
        None
    }

    /// One of the words that the field takes.
    pub(super) fn word(&mut self, entry: Entry<'_>) -> Option<&'static str> {
        let Takes::Word(words) = entry.takes else { unreachable!("{} takes a word", entry.name) };
        let text = self.any_text(entry)?;
        let is_meant = |word: &&Word| word.name.eq_ignore_ascii_case(text);
        if let Some(word) = words.iter().find(is_meant) {
            return Some(word.name);
        }
        let message = format!("{} cannot be {}", entry.words(), entry.quoted(text));
        let names = || words.iter().map(|word| word.name);
        let written = entry.written().unwrap_or(text);
        let help = match suggest::nearest(written, names()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("it is {}", super::listed(names(), "or")),
        };
        let help = with_lookalike(help, written);
        self.findings.push(Finding::error(Code::UnknownWord, entry.place(), message).help(help));
        None
    }

    /// How loudly something is logged; without the field, as a warning.
    pub(super) fn log_level(&mut self, entry: Option<Entry<'_>>) -> Option<LogLevel> {
        let Some(entry) = entry else { return Some(LogLevel::default()) };
        self.word(entry)?.parse().ok()
    }

    /// A whole number of the field's range, in quotes or not, as StateFun takes it.
    pub(super) fn integer(&mut self, entry: Entry<'_>) -> Option<NonZeroU32> {
        let Takes::Integer { min, max } = *entry.takes else { unreachable!("{} takes a number", entry.name) };
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
        let number = text.parse().ok().filter(|number| (min..=max).contains(number)).and_then(NonZeroU32::new);
        if number.is_none() {
            let found = if entry.written().is_some() { entry.quoted(text) } else { shown(text) };
            let message = format!("{} must be a whole number from {min} to {max}, not {found}", entry.words());
            self.findings.push(Finding::error(Code::InvalidNumber, entry.place(), message));
        }
        number
    }

    /// A duration as Flink writes it.
    pub(super) fn duration(&mut self, entry: Entry<'_>) -> Option<Duration> {
        let Takes::Duration { may_be_zero } = *entry.takes else { unreachable!("{} takes a duration", entry.name) };
        let Value::Scalar(Scalar { text, kind: Kind::Number | Kind::String, .. }) = &entry.node.value else {
            self.wrong_type(entry, "a duration", Some(format!("for example\n{}", entry.example)));
            return None;
        };
        let problem = match parse_duration(text) {
            Some(time) if may_be_zero || !time.is_zero() => return Some(time),
            Some(_) => "cannot be zero",
            None if text.trim().is_empty() => "is empty",
            None => "is not a duration",
        };
        let message = match problem {
            "is not a duration" => format!("{} {problem}", entry.quoted(text)),
            _ => format!("{} {problem}", entry.words()),
        };
        let help = "for example `30s`, `2 min`, or a bare number of milliseconds".to_owned();
        self.findings.push(Finding::error(Code::InvalidDuration, entry.place(), message).help(help));
        None
    }

    /// The value of an optional field: `None` when it is wrong, which was reported, and `Some(None)` when it is not
    /// there.
    pub(super) fn optional<'n, T>(
        &mut self,
        entry: Option<Entry<'n>>,
        read: impl FnOnce(&mut Self, Entry<'n>) -> Option<T>,
    ) -> Option<Option<T>> {
        match entry {
            Some(entry) => read(self, entry).map(Some),
            None => Some(None),
        }
    }
}

pub(super) fn is_role_arn(text: &str) -> bool {
    let parts: Vec<&str> = text.splitn(6, ':').collect();
    let [scheme, partition, service, region, account, resource] = parts[..] else { return false };
    scheme == "arn"
        && (partition == "aws" || partition.starts_with("aws-"))
        && (service, region) == ("iam", "")
        && account.len() == 12
        && account.bytes().all(|b| b.is_ascii_digit())
        && resource.strip_prefix("role/").is_some_and(|name| !name.is_empty() && !name.contains(char::is_whitespace))
}

/// What to do about a text that is not what it should be. The text may be quoted.
fn help(entry: Entry<'_>, kind: Text, text: &str) -> Option<String> {
    match kind {
        Text::TypeName | Text::ConsumerName => Some(format!("for example `{}`", entry.example_value())),
        Text::StreamArn => text
            .parse::<StreamName>()
            .is_ok()
            .then(|| "this is a short name, which goes into `stream`; `streamArn` takes the whole ARN".to_owned()),
        Text::StreamName => {
            let name = text.parse::<StreamArn>().ok()?.name();
            Some(match entry.name {
                "stream" => format!("an ARN goes into `streamArn`; the short name is `{name}`"),
                field => format!("`{field}` takes the short name, not the ARN:\n{field}: {name}"),
            })
        }
        Text::Any
        | Text::Secret
        | Text::FunctionPattern
        | Text::StreamRef
        | Text::RoleArn
        | Text::RegionId
        | Text::Endpoint
        | Text::UrlTemplate
        | Text::Path
        | Text::Timestamp
        | Text::Date => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_recognised() {
        for good in ["arn:aws:iam::123456789012:role/a", "arn:aws-cn:iam::000000000000:role/path/to/name"] {
            assert!(is_role_arn(good), "{good}");
        }
        for bad in [
            "",
            "role/a",
            "arn:aws:iam::123456789012:user/a",
            "arn:aws:iam::1234:role/a",
            "arn:aws:iam:us-east-1:123456789012:role/a",
            "arn:aws:sts::123456789012:role/a",
            "arn:aws:iam::123456789012:role/",
            "arn:gcp:iam::123456789012:role/a",
        ] {
            assert!(!is_role_arn(bad), "{bad}");
        }
    }
}
