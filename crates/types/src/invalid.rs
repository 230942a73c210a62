use std::{error::Error, fmt};

/// A text or number that is not a value of the type it was meant for.
///
/// `Display` names the type, shows the text (shortened when long) and says what would be valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidValue {
    what: &'static str,
    shown: String,
    expected: &'static str,
}

impl InvalidValue {
    /// Characters of the refused text that a message shows before it is cut.
    const SHOWN_MAX_CHARS: usize = 80;

    pub(crate) fn new(what: &'static str, text: &str, expected: &'static str) -> Self {
        let mut shown: String = text.chars().take(Self::SHOWN_MAX_CHARS).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        Self { what, shown, expected }
    }

    /// What the text was meant to be, such as `stream ARN`.
    pub fn what(&self) -> &'static str {
        self.what
    }

    /// What would have been valid, as a phrase that can follow "expected".
    pub fn expected(&self) -> &'static str {
        self.expected
    }
}

impl fmt::Display for InvalidValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a valid {}: expected {}", self.shown.escape_debug(), self.what, self.expected)
    }
}

impl Error for InvalidValue {}
