//! What is wrong with a text that is not YAML, for people: the parser says where it stopped, and that is often behind the
//! mistake.

use std::ops::Range;

/// What is said of a syntax error.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Explanation {
    /// Where the mistake probably is, in bytes of the text.
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) help: Option<String>,
    /// Another place that matters.
    pub(super) label: Option<(Range<usize>, String)>,
}

/// Explains an error that the parser met at a byte, in its own words. Nothing of a value is quoted, since it may be a
/// secret.
pub(super) fn explain(text: &str, at: usize, info: &str) -> Explanation {
    if let Some(tab) = tab_in_indentation(text, at) {
        return explanation(tab..tab + 1, "a tab in the indentation", "indent with spaces");
    }
    if is_missing_colon(info)
        && let Some((span, what)) = colon_without_space(text, at)
    {
        return explanation(span, &what, "write a space between the colon and the value: `id: example/orders`");
    }
    if info.contains("did not find expected")
        && info.contains("block")
        && let Some(found) = wrong_indentation(text, at)
    {
        return found;
    }
    let end = text[at..].chars().next().filter(|c| !c.is_whitespace()).map_or(at, |c| at + c.len_utf8());
    let here = at..end;
    if info.contains("quoted scalar") {
        let quote = text[here.clone()].chars().next().filter(|c| matches!(c, '"' | '\''));
        if let Some(quote) = quote {
            let help = format!("write `{quote}` at the end of the value");
            return explanation(here, &format!("the quote `{quote}` is not closed on its line"), &help);
        }
    }
    if info.contains("unknown anchor") {
        let is_merge = text[..at].trim_end().ends_with("<<:");
        let help = if is_merge {
            "merge keys (`<<`) are not supported: write the fields out"
        } else {
            "`*name` repeats the value that has `&name` before it, earlier in the same document; put a text that \
             starts with `*` in quotes"
        };
        return explanation(here, "nothing before this alias has its anchor", help);
    }
    let help = if info.contains("mapping values are not allowed") {
        Some("put a value that contains `: ` in quotes, or correct the indentation")
    } else if info.contains("unexpected character") {
        Some("put a value that starts with this character in quotes")
    } else if info.contains("simple key expect") {
        Some("a field is a name, a colon, a space and a value: `id: example/orders`")
    } else {
        None
    };
    let message = format!("not YAML: {info}");
    Explanation { span: here, message, help: help.map(str::to_owned), label: None }
}

fn explanation(span: Range<usize>, what: &str, help: &str) -> Explanation {
    Explanation { span, message: format!("not YAML: {what}"), help: Some(help.to_owned()), label: None }
}

/// Whether the parser missed a colon, or met one where none belongs: both happen behind a colon without a space.
fn is_missing_colon(info: &str) -> bool {
    info.contains("mapping values are not allowed") || info.contains("simple key expect")
}

/// A line: where it starts, and its text without the line break.
type Line<'t> = (usize, &'t str);

/// The line with a byte and those above it in the same document, the nearest first. Empty lines and comments are left out.
fn lines_upwards(text: &str, at: usize) -> impl Iterator<Item = Line<'_>> {
    let line_end = text[at..].find(['\n', '\r']).map_or(text.len(), |newline| at + newline);
    let mut rest = Some(&text[..line_end]);
    let mut is_first = true;
    let lines = std::iter::from_fn(move || {
        let above = rest?;
        let start = above.rfind(['\n', '\r']).map_or(0, |newline| newline + 1);
        rest = start.checked_sub(1).map(|end| &above[..end]);
        Some((start, &above[start..]))
    });
    lines
        .take_while(move |(_, line)| {
            // The parser may stop at the mark of the next document.
            let is_mark = line.starts_with("---") && !is_first;
            is_first = false;
            !is_mark
        })
        .filter(|(_, line)| !line.trim().is_empty() && !line.trim_start().starts_with('#') && !line.starts_with("---"))
}

/// A field of a line, as far as its indentation goes: the column of its name, and the name before the first colon.
fn field(line: &str) -> Option<(usize, &str)> {
    let column = line.len() - line.trim_start_matches([' ', '-']).len();
    let (name, _) = line[column..].split_once(':')?;
    let is_name =
        !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'));
    is_name.then_some((column, name))
}

/// A field with a colon that no space follows: where name and colon are, and what is wrong. The parser takes such a line
/// for a text and goes on, so that it stops at one of the next lines.
fn colon_without_space(text: &str, at: usize) -> Option<(Range<usize>, String)> {
    const LINES: usize = 3;
    lines_upwards(text, at).take(LINES).find_map(|(start, line)| {
        let (column, name) = field(line)?;
        let behind = line[column + name.len() + 1..].chars().next()?;
        let what = match behind {
            ' ' | '\t' => return None,
            '/' if line[column + name.len() + 1..].starts_with("//") => return None,
            c if c.is_whitespace() => {
                format!("behind the colon of this field is U+{:04X}, which is not an ordinary space", u32::from(c))
            }
            _ => "there is no space behind the colon of this field".to_owned(),
        };
        let from = start + column;
        Some((from..from + name.len() + 1, what))
    })
}

/// The most lines that are looked at for fields above one: no document of a module is that long.
const MAX_LINES: usize = 1_000;

/// What is wrong with a line whose indentation is that of no field above it.
fn wrong_indentation(text: &str, at: usize) -> Option<Explanation> {
    let mut lines = lines_upwards(text, at);
    let (start, line) = lines.next().filter(|(start, line)| (*start..=start + line.len()).contains(&at))?;
    let (column, name) = field(line)?;
    if line.trim_start().starts_with('-') {
        return None;
    }
    // Each level above, by the field of it that is nearest: a level ends where a line is indented less.
    let mut levels: Vec<(usize, Range<usize>)> = Vec::new();
    for (start, line) in lines.take(MAX_LINES) {
        let Some((column, name)) = field(line) else { continue };
        if levels.iter().all(|(known, _)| column < *known) {
            levels.push((column, start + column..start + column + name.len()));
        }
        if column == 0 {
            break;
        }
    }
    let nearest = levels.iter().map(|(level, _)| level.abs_diff(column)).min()?;
    let mut near: Vec<_> = levels.into_iter().filter(|(level, _)| level.abs_diff(column) == nearest).collect();
    // Of two levels that are as near, the outer one is named first.
    near.reverse();
    let line_of = |at: usize| text[..at].split('\n').count();
    let levels: Vec<String> =
        near.iter().map(|(level, place)| format!("{level} spaces, like line {}", line_of(place.start))).collect();
    let (level, place) = near.into_iter().next()?;
    Some(Explanation {
        span: start + column..start + column + name.len(),
        message: format!("not YAML: this line is indented by {column} spaces, and no field above it is"),
        help: Some(format!("indent it by {}", levels.join(", or by "))),
        label: Some((place, format!("indented by {level}"))),
    })
}

/// The first tab that indents the line of an error or one of the two behind it: the parser sometimes blames the value
/// before the tab.
fn tab_in_indentation(text: &str, at: usize) -> Option<usize> {
    let start = text[..at].rfind('\n').map_or(0, |newline| newline + 1);
    let mut line_start = start;
    for line in text[start..].split_inclusive('\n').take(3) {
        let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
        if let Some(tab) = line[..blank].find('\t') {
            return Some(line_start + tab);
        }
        line_start += line.len();
    }
    None
}
