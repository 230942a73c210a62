//! The text of a module file with its secrets masked.

use std::ops::Range;

/// A file's text with asterisks instead of secrets, split into lines.
#[derive(Debug)]
pub(crate) struct MaskedText {
    text: String,
    /// Where each line starts.
    lines: Vec<usize>,
}

impl MaskedText {
    /// Replaces each byte of a secret with an asterisk, so that offsets stay correct. The spans are sorted, do not
    /// overlap, and each is within one line.
    pub(crate) fn new(text: &str, secrets: &[Range<usize>]) -> Self {
        let mut masked = String::with_capacity(text.len());
        for secret in secrets {
            masked.push_str(&text[masked.len()..secret.start]);
            masked.extend(text[secret.clone()].bytes().map(|_| '*'));
        }
        masked.push_str(&text[masked.len()..]);
        let ends = masked.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at + 1);
        let lines = std::iter::once(0).chain(ends).collect();
        Self { text: masked, lines }
    }

    /// The lines that contain all the spans; `None` if they are too long to show.
    ///
    /// This is fast also for a thousand problems in a large file: it searches only the starts of lines.
    pub(crate) fn around<'s>(&self, spans: impl Iterator<Item = &'s Range<usize>>) -> Option<Lines<'_>> {
        let (first, last) =
            spans.fold((usize::MAX, 0), |(first, last), span| (span.start.min(first), span.end.max(last)));
        let line_of = |offset: usize| self.lines.partition_point(|start| *start <= offset).saturating_sub(1);
        let line = line_of(first.min(last));
        let start = self.lines.get(line).copied().unwrap_or_default();
        let end = self.lines.get(line_of(last) + 1).copied().unwrap_or(self.text.len());
        let text = &self.text[start..end];
        (text.len() <= Lines::MAX_BYTES).then_some(Lines { text, first: line + 1, start })
    }
}

/// Some lines of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lines<'a> {
    pub(crate) text: &'a str,
    /// The number of the first one, from 1.
    pub(crate) first: usize,
    /// The byte of the file at which they start.
    pub(crate) start: usize,
}

impl Lines<'_> {
    /// Most bytes to show at a time: about a hundred lines of a typical module file.
    const MAX_BYTES: usize = 8 << 10;

    /// The offsets of a span in these lines.
    pub(crate) fn place(&self, span: &Range<usize>) -> Range<usize> {
        span.start - self.start..span.end - self.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_become_asterisks_and_offsets_stay() {
        let shown = MaskedText::new("key: AKIA\nsecret: \"wörd\"\nend", &[5..9, 18..25]);
        assert_eq!(shown.text, "key: ****\nsecret: *******\nend");
    }

    fn around<'a>(shown: &'a MaskedText, spans: &[(usize, usize)]) -> Option<Lines<'a>> {
        let spans: Vec<Range<usize>> = spans.iter().map(|(start, end)| *start..*end).collect();
        shown.around(spans.iter())
    }

    #[test]
    fn the_lines_of_the_spans_are_cut_out() {
        let shown = MaskedText::new("one\ntwo\r\nthree\n", &[]);
        for (spans, (text, first, start)) in [
            (&[(0, 3)][..], ("one\n", 1, 0)),
            (&[(4, 4)], ("two\r\n", 2, 4)),
            (&[(10, 12), (5, 6)], ("two\r\nthree\n", 2, 4)),
            (&[(3, 4)], ("one\ntwo\r\n", 1, 0)),
            (&[(15, 15)], ("", 4, 15)),
        ] {
            assert_eq!(around(&shown, spans), Some(Lines { text, first, start }), "{spans:?}");
        }
        assert!(around(&MaskedText::new("", &[]), &[(0, 0)]).is_some());
    }

    #[test]
    fn lines_that_are_too_long_are_not_shown() {
        let text = ["x".repeat(Lines::MAX_BYTES + 1), "short".to_owned(), "x\n".repeat(Lines::MAX_BYTES)].join("\n");
        let shown = MaskedText::new(&text, &[]);
        let short = (Lines::MAX_BYTES + 2, Lines::MAX_BYTES + 7);
        assert_eq!(around(&shown, &[short]).unwrap().text, "short\n");
        assert_eq!(around(&shown, &[(0, 1)]), None);
        assert_eq!(around(&shown, &[short, (text.len(), text.len())]), None);
    }
}
