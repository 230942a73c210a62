use std::fmt;

use zeroize::Zeroize;

use crate::MODULE_MAX_BYTES;

/// The text of one module file, with the name that messages show.
///
/// The text may have keys in it: `Debug` prints its length only, and it is wiped when the file is dropped. What reading
/// the file from the disk left in other buffers is not.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// What messages call the file, usually the path as the user wrote it.
    pub name: String,
    /// The whole text.
    pub text: String,
    damage: Option<Damage>,
}

/// Why the text is not what the file has.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Damage {
    /// The file could not be read, for this reason and with this remedy.
    Unreadable { why: String, help: Option<String> },
    /// There were more bytes than a module file has, and none was kept.
    Cut,
    /// The byte is the first one that is not UTF-8; replacement characters stand in place of all such.
    NotUtf8(usize),
}

impl SourceFile {
    /// A file by name and text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into(), damage: None }
    }

    /// A file that could not be read: [`read_module`](crate::read_module) reports it beside the problems of the other
    /// files. `why` is the reason, such as the error of the system; `help` says what to do about it.
    ///
    /// ```
    /// use statefun_kinesis_spec::{Code, Options, SourceFile, read_module};
    ///
    /// let file = SourceFile::unreadable("modul.yaml", "No such file or directory", Some("check the path".to_owned()));
    /// let checked = read_module(&[file], &Options::default());
    /// assert_eq!(checked.diagnostics[0].code, Code::Unreadable);
    /// assert_eq!(checked.module, None);
    /// ```
    pub fn unreadable(name: impl Into<String>, why: impl Into<String>, help: Option<String>) -> Self {
        let damage = Damage::Unreadable { why: why.into(), help };
        Self { name: name.into(), text: String::new(), damage: Some(damage) }
    }

    /// A file by name and content, which may be anything.
    ///
    /// Bytes that are not UTF-8, and more of them than [`MODULE_MAX_BYTES`], become diagnostics of
    /// [`read_module`](crate::read_module). One byte more than the limit is enough to tell that there are too many, so
    /// there is no need to read more of a file:
    ///
    /// ```
    /// use std::io::Read;
    /// use statefun_kinesis_spec::{Code, MODULE_MAX_BYTES, Options, SourceFile, read_module};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let endless = std::io::repeat(b'x');
    /// let mut content = Vec::new();
    /// endless.take(MODULE_MAX_BYTES as u64 + 1).read_to_end(&mut content)?;
    /// let checked = read_module(&[SourceFile::from_bytes("module.yaml", content)], &Options::default());
    /// assert_eq!(checked.diagnostics[0].code, Code::TooLarge);
    /// # Ok(())
    /// # }
    /// ```
    pub fn from_bytes(name: impl Into<String>, mut content: Vec<u8>) -> Self {
        let name = name.into();
        if content.len() > MODULE_MAX_BYTES {
            content.zeroize();
            return Self { name, text: String::new(), damage: Some(Damage::Cut) };
        }
        match String::from_utf8(content) {
            Ok(text) => Self { name, text, damage: None },
            Err(error) => {
                let at = error.utf8_error().valid_up_to();
                let mut content = error.into_bytes();
                let text = String::from_utf8_lossy(&content).into_owned();
                content.zeroize();
                Self { name, text, damage: Some(Damage::NotUtf8(at)) }
            }
        }
    }

    /// Whether the content was too large to be kept.
    pub(crate) fn is_cut(&self) -> bool {
        self.damage == Some(Damage::Cut)
    }

    /// Why the file could not be read, and what to do about it.
    pub(crate) fn not_read(&self) -> Option<(&str, Option<&str>)> {
        match &self.damage {
            Some(Damage::Unreadable { why, help }) => Some((why, help.as_deref())),
            Some(Damage::Cut | Damage::NotUtf8(_)) | None => None,
        }
    }

    /// The first byte of the content that was not UTF-8: up to it, the text is the content.
    pub(crate) fn not_utf8(&self) -> Option<usize> {
        match self.damage {
            Some(Damage::NotUtf8(at)) => Some(at),
            Some(Damage::Unreadable { .. } | Damage::Cut) | None => None,
        }
    }

    /// Line and column of a byte of the text, both counted from 1.
    ///
    /// An offset beyond the end means the end, one inside a character means the character. A byte order mark has no
    /// column.
    pub fn position(&self, offset: usize) -> Position {
        Position::walk(&self.text).to(offset)
    }
}

impl Drop for SourceFile {
    fn drop(&mut self) {
        self.text.zeroize();
    }
}

impl fmt::Debug for SourceFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SourceFile").field("name", &self.name).field("bytes", &self.text.len()).finish()
    }
}

/// A place in a text for humans: line and column, counted from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Position {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
}

impl Position {
    pub(crate) const START: Self = Self { line: 1, column: 1 };

    pub(crate) fn walk(text: &str) -> Walk<'_> {
        Walk { text, at: 0, position: Self::START }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Turns ascending offsets into positions in one pass, however long the lines are.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    text: &'a str,
    at: usize,
    position: Position,
}

impl Walk<'_> {
    /// The position of an offset that is not before the one asked for last.
    pub(crate) fn to(&mut self, offset: usize) -> Position {
        let end = self.text.floor_char_boundary(offset).max(self.at);
        let bytes = self.text.as_bytes();
        for (index, c) in self.text[self.at..end].char_indices() {
            match c {
                // A lone carriage return ends a line in YAML; before a line feed, that one ends it.
                '\r' if bytes.get(self.at + index + 1) == Some(&b'\n') => self.position.column += 1,
                '\n' | '\r' => self.position = Position { line: self.position.line + 1, column: 1 },
                '\u{feff}' => {}
                _ => self.position.column += 1,
            }
        }
        self.at = end;
        self.position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, offset: usize, expected: &str) {
        assert_eq!(SourceFile::new("f", text).position(offset).to_string(), expected);
    }

    #[test]
    fn columns_count_characters_and_every_kind_of_line_break_counts_once() {
        check("", 0, "1:1");
        check("ab\ncd", 4, "2:2");
        check("ab\r\ncd", 5, "2:2");
        check("ab\rcd", 4, "2:2");
        check("äöü: x", 8, "1:6");
        check("äb", 1, "1:1");
        check("\u{feff}ab", 3, "1:1");
        check("ab", 99, "1:3");
    }
}
