use std::ops::Range;

use super::node::Value;
use crate::{SourceFile, findings::Place};

/// The places of keys and passwords in the files.
///
/// They are found by the names of the fields, in documents of every kind and under misspelt names too: code that renders a
/// problem must not print a secret because its field is the problem.
#[derive(Debug, Default)]
pub(crate) struct Secrets(Vec<Place>);

impl Secrets {
    pub(super) fn push(&mut self, place: Place) {
        self.0.push(place);
    }

    /// Whether a field of this name has a key or a password as its value.
    pub(crate) fn is_secret_name(name: &str) -> bool {
        // A name of a field is short; a long text in its place is not searched.
        const MAX_LEN: usize = 200;
        if name.len() > MAX_LEN {
            return false;
        }
        if name.is_ascii() {
            return has_mark(name.as_bytes());
        }
        let plain: String = name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
        has_mark(plain.as_bytes())
    }

    /// Marks what follows a secret's name on its line, and the deeper lines below, without understanding the text. It is
    /// for texts that are not YAML, where there is no tree to find values in.
    pub(super) fn mark_lines(&mut self, text: &str, file: u32) {
        let mut start = 0;
        // The least indentation of lines that go on with a secret. It is 0 when the value has not begun yet.
        let mut below: Option<usize> = None;
        for line in text.split_inclusive(['\n', '\r']) {
            let content = line.trim_end();
            let indent = content.len() - content.trim_start().len();
            let is_value = below.is_some_and(|depth| indent >= depth);
            let secret_from = if content.is_empty() {
                None
            } else if is_value {
                // Only the first line of a value may stand anywhere.
                below = below.map(|depth| if depth == 0 { indent.max(1) } else { depth });
                Some(indent)
            } else {
                let from = secret_value(content);
                below = from.map(|from| if from == content.len() { 0 } else { indent + 1 });
                from
            };
            if let Some(from) = secret_from.filter(|&from| from < content.len()) {
                self.push(place(file, start + from..start + content.len()));
            }
            start += line.len();
        }
    }

    /// The places by file, in order, those that overlap joined, and cut where a line ends: a mask must not swallow the
    /// line breaks that places in the text are counted by.
    pub(crate) fn into_spans(mut self, files: &[SourceFile]) -> Vec<Vec<Range<usize>>> {
        self.0.sort();
        let mut spans: Vec<Vec<Range<usize>>> = vec![Vec::new(); files.len()];
        for place in self.0 {
            let (file, mut start) = (place.file as usize, place.start as usize);
            let Some(text) = files.get(file).and_then(|file| file.text.get(start..place.end as usize)) else {
                continue;
            };
            for line in text.split_inclusive(['\n', '\r']) {
                let end = start + line.trim_end_matches(['\n', '\r']).len();
                match spans[file].last_mut() {
                    Some(last) if start <= last.end => last.end = last.end.max(end),
                    _ if start < end => spans[file].push(start..end),
                    _ => {}
                }
                start += line.len();
            }
        }
        spans
    }
}

/// What a field's name says about its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NameOf {
    /// A key or a password, whatever it is.
    Secret,
    /// A mapping with keys in it; anything else in its place is as secret as they are.
    Credentials,
    Other,
}

impl NameOf {
    pub(super) fn value_of(name: &str) -> Self {
        const CREDENTIALS: &[u8] = b"credentials";
        let end = name.len().saturating_sub(CREDENTIALS.len());
        if Secrets::is_secret_name(name) {
            Self::Secret
        } else if name.as_bytes()[end..].eq_ignore_ascii_case(CREDENTIALS) {
            Self::Credentials
        } else {
            Self::Other
        }
    }

    /// Whether this value of the field must not be shown.
    pub(super) fn is_secret(self, value: &Value<'_>) -> bool {
        match self {
            Self::Secret => true,
            Self::Credentials => !matches!(value, Value::Mapping(_)),
            Self::Other => matches!(value, Value::Scalar(scalar) if user_of(&scalar.text).is_some()),
        }
    }
}

/// Where in an address its user and password stand, `https://user:password@host`; the scheme may be missing.
pub(crate) fn user_of(text: &str) -> Option<Range<usize>> {
    let start = text.find("://").map_or(0, |at| at + "://".len());
    let end = text[start..].find(['/', '?', '#']).map_or(text.len(), |at| start + at);
    let at = start + text[start..end].rfind('@')?;
    (start > 0 || text[..at].contains(':')).then_some(start..at)
}

/// Whether a name is that of a key or a password, its punctuation and large letters aside. Every field of every file is
/// asked, so that nothing is copied.
fn has_mark(name: &[u8]) -> bool {
    (0..name.len()).any(|at| {
        let marks: &[&[u8]] = match name[at].to_ascii_lowercase() {
            b'a' => &[b"accesskey"],
            b'k' => &[b"keyid"],
            b'p' => &[b"password", b"passwd", b"passphrase"],
            b's' => &[b"secret"],
            b't' => &[b"token"],
            _ => return false,
        };
        marks.iter().any(|mark| {
            let mut letters = name[at..].iter().filter(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii());
            mark.iter().all(|expected| letters.next().is_some_and(|byte| byte.eq_ignore_ascii_case(expected)))
        })
    })
}

/// Where the value starts on a line that names a secret.
fn secret_value(line: &str) -> Option<usize> {
    let mut from = 0;
    while let Some(colon) = line[from..].find(':').map(|at| from + at) {
        if Secrets::is_secret_name(&line[from..colon]) {
            let rest = &line[colon + 1..];
            return Some(line.len() - rest.trim_start().len());
        }
        from = colon + 1;
    }
    None
}

fn place(file: u32, range: Range<usize>) -> Place {
    let narrow = |offset: usize| u32::try_from(offset).unwrap_or(u32::MAX);
    Place { file, start: narrow(range.start), end: narrow(range.end) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_name_however_it_is_written() {
        for name in ["accessKeyId", "secretAccessKey", "secret_acess_key", "aws.credentials.provider.basic.secretkey"] {
            assert!(Secrets::is_secret_name(name), "{name}");
        }
        for name in ["id", "profile", "streamName", "kind", ""] {
            assert!(!Secrets::is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn lines_of_a_text_that_is_not_yaml_are_masked_from_the_colon_on() {
        let text = "a: {secretAccessKey: \"hunter2\n  hunter3\nid: x\r\nsecretAccessKey:\n\thunter4\nid: y";
        let mut secrets = Secrets::default();
        secrets.mark_lines(text, 0);
        let masked: Vec<&str> =
            secrets.into_spans(&[SourceFile::new("f", text)])[0].iter().map(|span| &text[span.clone()]).collect();
        assert_eq!(masked, ["\"hunter2", "hunter3", "hunter4"]);
    }
}
