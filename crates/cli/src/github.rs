//! Diagnostics as workflow commands of GitHub Actions, which shows them beside the lines of the files.

use std::fmt::Write;

use statefun_kinesis_spec::{Diagnostic, Severity};

use crate::module::ReadModule;

/// The diagnostics, one workflow command each.
pub(crate) fn render(module: &ReadModule) -> String {
    module.checked.diagnostics.iter().map(|diagnostic| command(module, diagnostic)).collect()
}

fn command(module: &ReadModule, diagnostic: &Diagnostic) -> String {
    let level = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "notice",
    };
    let start = diagnostic.position;
    let end = module.end_of(diagnostic.file, &diagnostic.span, start);
    // A span that ends with a line break does not include the next line.
    let end_line = if end.column == 1 { end.line.saturating_sub(1).max(start.line) } else { end.line };
    let name = property(&module.files[diagnostic.file].name);
    let mut text = format!("::{level} file={name},line={},endLine={end_line}", start.line);
    // GitHub takes columns within one line only.
    if start.line == end.line {
        let _ = write!(text, ",col={},endColumn={}", start.column, end.column);
    }
    let _ = write!(text, ",title={}::{}", diagnostic.code, data(&diagnostic.message));
    if let Some(help) = &diagnostic.help {
        let _ = write!(text, "%0Ahelp: {}", data(help));
    }
    text.push('\n');
    text
}

/// A problem without a place in a file.
pub(crate) fn error(title: &str, message: &str) -> String {
    format!("::error title={}::{}\n", property(title), data(message))
}

/// The text after the second pair of colons.
fn data(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// The value of a property, which ends at a comma and, for the last one, at a colon.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_end_a_value_are_escaped() {
        assert_eq!(property("a,b:c%\r\n"), "a%2Cb%3Ac%25%0D%0A");
        assert_eq!(data("50 % of a: b, c\n"), "50 %25 of a: b, c%0A");
        assert_eq!(error("a: b", "c: d"), "::error title=a%3A b::c: d\n");
    }
}
