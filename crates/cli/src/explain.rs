//! `statefun-kinesis explain`.

use std::io::{self, Write};

use statefun_kinesis_spec::Code;

use crate::{ExitCode, args::ExplainArguments, failure::Failure};

/// Prints the meaning of a code to stdout, with a wrong and a correct example; without a code, the list of all codes.
pub(crate) fn explain(arguments: &ExplainArguments) -> Result<ExitCode, Failure> {
    let text = match &arguments.code {
        None => Code::ALL.iter().map(|&code| line(code)).collect(),
        Some(code) => plain(explained(code)?.explanation()),
    };
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| Failure::new(ExitCode::Output, "cannot write to stdout").because(&error))?;
    Ok(ExitCode::Done)
}

/// The code that the user named.
fn explained(text: &str) -> Result<Code, Failure> {
    // Parsed here and not by clap, so that a wrong code is reported in the same form as other failures.
    text.parse().map_err(|error| {
        let failure = Failure::from_error(ExitCode::Usage, &error);
        match near(text)[..] {
            [] => failure.hint("`statefun-kinesis explain` lists all codes"),
            ref near => {
                let lines: String = near.iter().map(|&code| format!("\n  {}", line(code).trim_end())).collect();
                failure.hint(format!("did you mean one of these?{lines}"))
            }
        }
    })
}

/// A code in a list.
fn line(code: Code) -> String {
    format!("{code}: {}\n", code.title())
}

/// A page of Markdown as text for a terminal: headings and blocks of code lose their marks, and code is indented instead.
fn plain(page: &str) -> String {
    const FENCE: &str = "```";
    let mut text = String::with_capacity(page.len());
    let mut is_code = false;
    for line in page.lines() {
        if line.starts_with(FENCE) {
            is_code = !is_code;
        } else if is_code {
            // An empty line has no blanks at its end.
            text += if line.is_empty() { "" } else { "    " };
            text += line;
            text.push('\n');
        } else if let Some(heading) = line.strip_prefix("## ") {
            text += heading;
            text += ":\n";
        } else {
            text += &without_links(line.strip_prefix("# ").unwrap_or(line));
            text.push('\n');
        }
    }
    text
}

/// A line of Markdown with its links as words: `[unknown kind](SFK0007.md)` becomes `unknown kind (SFK0007)`.
fn without_links(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, (words, target), after)) = next_link(rest) {
        text += before;
        text += words;
        if let Some(code) = target.strip_suffix(".md").filter(|name| name.parse::<Code>().is_ok()) {
            text += &format!(" ({code})");
        }
        rest = after;
    }
    text + rest
}

/// What is before the first link of a line, its words and target, and what is behind it.
fn next_link(line: &str) -> Option<(&str, (&str, &str), &str)> {
    let middle = line.find("](")?;
    let start = line[..middle].rfind('[')?;
    let (target, after) = line[middle + "](".len()..].split_once(')')?;
    Some((&line[..start], (&line[start + 1..middle], target), after))
}

/// Codes that the user may have meant, the most likely first: codes with a typo, or codes whose title contains the
/// words.
fn near(text: &str) -> Vec<Code> {
    /// Most codes that are shown. More would not help.
    const MOST: usize = 5;
    /// Characters that may differ from a code.
    const TYPOS: usize = 2;

    // A code has seven characters; much longer texts are not worth comparing.
    let text: String = text.trim().chars().take(80).collect::<String>().to_lowercase();
    if text.is_empty() {
        return Vec::new();
    }
    // The number is that of a code, whatever is before it: `FSK0007`.
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let meant = digits.parse::<Code>().ok();
    let mut ranked: Vec<(usize, Code)> = Code::ALL
        .iter()
        .filter(|code| Some(**code) != meant)
        .filter_map(|&code| {
            let typos = strsim::osa_distance(&text, &code.as_str().to_lowercase());
            let in_title = text.chars().any(char::is_alphabetic)
                && text.split_whitespace().all(|word| code.title().to_lowercase().contains(word));
            (in_title || meant.is_none() && typos <= TYPOS).then_some((typos, code))
        })
        .collect();
    ranked.sort();
    meant.into_iter().chain(ranked.into_iter().map(|(_, code)| code)).take(MOST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let near: Vec<_> = near(text).into_iter().map(Code::as_str).collect();
        assert_eq!(near, expected, "{text}");
    }

    #[test]
    fn a_mistyped_code_suggests_similar_codes() {
        check("FSK0007", &["SFK0007"]);
        check("SFK-7", &["SFK0007"]);
        check("duration", &["SFK0024"]);
        check("", &[]);
        check("\u{1b}[0m", &[]);
        check(&"x".repeat(1 << 20), &[]);
        assert_eq!(near("SFK000").len(), 5, "at most five");
    }

    #[test]
    fn a_page_is_printed_without_the_marks_of_markdown() {
        let page = "# SFK0007: a title\n\nSee [a `kind`](SFK0008.md), `[::1]` and [b](x.md).\n\n## Wrong\n\n\
                    ```yaml,error\nkind: [a](b)\n\nspec: {}\n```\n";
        let expected = "SFK0007: a title\n\nSee a `kind` (SFK0008), `[::1]` and b.\n\nWrong:\n\n    kind: [a](b)\n\n    \
                        spec: {}\n";
        assert_eq!(plain(page), expected);
        for code in Code::ALL {
            let text = plain(code.explanation());
            assert!(!text.contains("```") && !text.contains("](") && !text.contains("\n#"), "{text}");
        }
    }
}
