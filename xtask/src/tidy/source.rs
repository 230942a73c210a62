//! Rust sources as the rules see them: without comments and literals, and with tests known as such.

use std::ops::Range;

/// The text with every character of comments and of string and character literals replaced by spaces. Lines stay where
/// they are.
pub(crate) fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let after_word = code.chars().next_back().is_some_and(|last| last.is_alphanumeric() || last == '_');
        let hidden = comment(rest).or_else(|| if after_word { quoted(rest) } else { literal(rest) });
        match hidden {
            Some(length) => {
                code.extend(rest[..length].chars().map(|hidden| if hidden == '\n' { '\n' } else { ' ' }));
                rest = &rest[length..];
            }
            None => {
                code.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
    }
    code
}

/// The length of the comment that the text begins with.
fn comment(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if depth == 0 {
            return None;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    (depth > 0).then_some(text.len())
}

/// The length of the literal that the text begins with, its prefix included.
fn literal(text: &str) -> Option<usize> {
    for prefix in ["br", "cr", "r"] {
        if let Some(length) = text.strip_prefix(prefix).and_then(raw) {
            return Some(prefix.len() + length);
        }
    }
    for prefix in ["b", "c"] {
        if let Some(length) = text.strip_prefix(prefix).and_then(quoted) {
            return Some(prefix.len() + length);
        }
    }
    quoted(text)
}

/// A raw string behind its `r`: quotes within hashes.
fn raw(text: &str) -> Option<usize> {
    let hashes = text.len() - text.trim_start_matches('#').len();
    let inner = text[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = inner.find(&end).map_or(inner.len(), |at| at + end.len());
    Some(hashes + 1 + length)
}

/// A string or a character; a lifetime is neither.
fn quoted(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|first| ['"', '\''].contains(first))?;
    if quote == '\'' {
        let mut inner = text[1..].chars();
        let first = inner.next()?;
        if first != '\\' && inner.next() != Some('\'') {
            return None;
        }
    }
    let mut characters = text.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        if character == '\\' {
            characters.next();
        } else if character == quote {
            return Some(at + 1);
        }
    }
    Some(text.len())
}

/// What `#[cfg(test)]` covers in code that [`code_only`] returned.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tests {
    /// Lines, from 0.
    pub(crate) lines: Vec<Range<usize>>,
    /// Names of modules that are files of their own.
    pub(crate) modules: Vec<String>,
}

impl Tests {
    pub(crate) fn find(code: &str) -> Self {
        const ATTRIBUTE: &str = "#[cfg(test)]";
        let mut tests = Self::default();
        let mut from = 0;
        while let Some(start) = code[from..].find(ATTRIBUTE).map(|at| from + at) {
            let item = start + ATTRIBUTE.len();
            let end = item_end(&code[item..]) + item;
            let line = |at: usize| code[..at].matches('\n').count();
            tests.lines.push(line(start)..line(end) + 1);
            let words = code[item..end].split_whitespace().skip_while(|word| *word != "mod");
            if let Some(name) = words.clone().nth(1).and_then(|word| word.strip_suffix(';')) {
                tests.modules.push(name.to_owned());
            }
            from = end;
        }
        tests
    }

    pub(crate) fn covers(&self, line: usize) -> bool {
        self.lines.iter().any(|range| range.contains(&line))
    }
}

/// Where the item that the code begins with ends: at its semicolon or behind its braces.
fn item_end(code: &str) -> usize {
    let mut depth = 0_usize;
    for (at, character) in code.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return at + 1;
                }
            }
            ';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &str) {
        assert_eq!(code_only(text), expect, "{text}");
    }

    #[test]
    fn comments_and_literals_become_spaces() {
        check("a // b\nc", "a     \nc");
        check("a /* b /* c */ \n */ d", "a              \n    d");
        check(r#"f("x\"y", 'z', '\'', b"q")"#, "f(      ,    ,     ,     )");
        check("r#\"a\"b\"#;", "        ;");
        check("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)");
        check("\"never closed", "             ");
        check("/// `println!`\nfn r() {}", "              \nfn r() {}");
        check("'é' é", "    é");
        check("for\"x\" bar\"y\"", "for    bar   ");
    }

    #[test]
    fn test_code_is_known() {
        let code = "fn a() {}\n#[cfg(test)]\n#[path = \"\"]\nmod tests {\n  fn b() { c() }\n}\nfn d() {}\n#[cfg(test)]\nmod cases;\n";
        let tests = Tests::find(code);
        assert_eq!(tests, Tests { lines: vec![1..6, 7..9], modules: vec!["cases".to_owned()] });
        assert!(!tests.covers(0) && tests.covers(4) && !tests.covers(6));
        assert_eq!(Tests::find("fn a() {}"), Tests::default());
    }
}
