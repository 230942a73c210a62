/// What to say about the first character of a word that is not ASCII, where all expected words are: it looks like another
/// character, or like none.
pub(super) fn lookalike(word: &str) -> Option<String> {
    let odd = word.chars().find(|c| !c.is_ascii())?;
    let number = u32::from(odd);
    let what = match odd {
        '\u{370}'..='\u{3ff}' => "a Greek letter",
        '\u{400}'..='\u{52f}' => "a Cyrillic letter",
        '\u{2018}'..='\u{201f}' => "a typographic quote",
        '\u{2010}'..='\u{2015}' | '\u{2212}' => "a dash",
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' => "an invisible character",
        '\u{ff01}'..='\u{ff5e}' => "a full-width character",
        c if c.is_whitespace() => "not an ordinary space",
        _ => "not an ASCII character",
    };
    // Such a character would not be seen between the backticks.
    let is_visible = !matches!(what, "an invisible character" | "not an ordinary space");
    Some(if is_visible {
        format!("`{odd}` in it is U+{number:04X}, {what}")
    } else {
        format!("it has U+{number:04X} in it, {what}")
    })
}

/// A help text, with what there is to say about the characters of the word that it is about.
pub(super) fn with_lookalike(help: String, word: &str) -> String {
    match lookalike(word) {
        Some(odd) => format!("{help}\n{odd}"),
        None => help,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_look_like_others_are_named() {
        for (word, expected) in [
            ("kind", None),
            ("", None),
            ("kіnd", Some("`і` in it is U+0456, a Cyrillic letter")),
            ("ο", Some("`ο` in it is U+03BF, a Greek letter")),
            ("“a”", Some("`“` in it is U+201C, a typographic quote")),
            ("us–east", Some("`–` in it is U+2013, a dash")),
            ("a\u{a0}b", Some("it has U+00A0 in it, not an ordinary space")),
            ("a\u{200b}b", Some("it has U+200B in it, an invisible character")),
            ("ａ", Some("`ａ` in it is U+FF41, a full-width character")),
            ("ü", Some("`ü` in it is U+00FC, not an ASCII character")),
        ] {
            assert_eq!(lookalike(word).as_deref(), expected, "{word}");
        }
    }
}
