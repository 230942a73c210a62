use std::fmt;

/// The text of one module file, with the name that messages show.
///
/// The text may have keys in it: `Debug` prints its length only.
#[derive(Clone, PartialEq, Eq)]
pub struct SourceFile {
    /// What messages call the file, usually the path as the user wrote it.
    pub name: String,
    /// The whole text.
    pub text: String,
}

impl SourceFile {
    /// A file by name and text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        Self { name: name.into(), text: text.into() }
    }

    /// Line and column of a byte of the text, both counted from 1.
    ///
    /// An offset beyond the end means the end, one inside a character means the character. A byte order mark has no
    /// column.
    pub fn position(&self, offset: usize) -> Position {
        Position::walk(&self.text).to(offset)
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
