//! `statefun-kinesis explain`.

use std::io::{self, Write};

use statefun_kinesis_spec::Code;

use crate::{ExitCode, args::ExplainArguments, failure::Failure};

/// Prints the meaning of a code to stdout, with a wrong and a correct example.
pub(crate) fn explain(arguments: &ExplainArguments) -> Result<ExitCode, Failure> {
    // Parsed here and not by clap, so that a wrong code is reported in the same form as other failures.
    let code = arguments.code.parse::<Code>().map_err(|error| {
        let failure = Failure::from_error(ExitCode::Usage, &error);
        match near(&arguments.code)[..] {
            [] => failure.hint("`statefun-kinesis check` prints the code of each problem"),
            ref near => {
                let lines: Vec<_> = near.iter().map(|code| format!("\n  {code}: {}", code.title())).collect();
                failure.hint(format!("did you mean one of these?{}", lines.concat()))
            }
        }
    })?;
    io::stdout()
        .write_all(code.explanation().as_bytes())
        .map_err(|error| Failure::new(ExitCode::Output, "cannot write to stdout").because(&error))?;
    Ok(ExitCode::Done)
}

/// Codes that the user may have meant, the most likely first: the code with that number, codes with a typo, or codes
/// whose title contains the words.
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
    let number = |text: &str| text.parse::<u32>().ok();
    let digits = text.trim_start_matches(|c: char| !c.is_ascii_digit());
    let meant = Code::ALL.iter().find(|code| number(digits).is_some_and(|it| number(&code.as_str()[3..]) == Some(it)));
    let mut ranked: Vec<(usize, Code)> = Code::ALL
        .iter()
        .filter(|code| Some(*code) != meant)
        .filter_map(|&code| {
            let typos = strsim::osa_distance(&text, &code.as_str().to_lowercase());
            let in_title = text.chars().any(char::is_alphabetic)
                && text.split_whitespace().all(|word| code.title().to_lowercase().contains(word));
            (in_title || meant.is_none() && typos <= TYPOS).then_some((typos, code))
        })
        .collect();
    ranked.sort();
    meant.copied().into_iter().chain(ranked.into_iter().map(|(_, code)| code)).take(MOST).collect()
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
        check("7", &["SFK0007"]);
        check("SFK7", &["SFK0007"]);
        check("FSK0007", &["SFK0007"]);
        check("duration", &["SFK0024"]);
        check("", &[]);
        check("\u{1b}[0m", &[]);
        check(&"x".repeat(1 << 20), &[]);
        assert_eq!(near("SFK000").len(), 5, "at most five");
    }
}
