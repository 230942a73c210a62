use std::{collections::BTreeMap, fmt, ops::Range};

use zeroize::{Zeroize, Zeroizing};

/// The variables that values of a `spec` may name, usually those of the process's environment.
///
/// `${NAME}` in a value stands for the variable's value, and `${NAME:-default}` for the default where the variable is
/// not set or empty; `$${` is a literal `${`. Values and defaults are literal text, in which nothing is replaced.
///
/// ```
/// use statefun_kinesis_spec::{Options, SourceFile, Variables, read_module};
///
/// let yaml = "\
/// kind: io.statefun.kinesis.v1/egress
/// spec:
///   id: example/notifications
///   streamName: ${STAGE}-notifications
///   maxOutstandingRecords: ${OUTSTANDING:-500}
/// ";
/// let mut options = Options::default();
/// options.variables = Variables::from_iter([("STAGE", "test")]);
/// let module = read_module(&[SourceFile::new("module.yaml", yaml)], &options).module.expect("the file is right");
/// assert_eq!(module.egresses[0].stream_name.as_ref().unwrap().as_str(), "test-notifications");
/// assert_eq!(module.egresses[0].max_outstanding_records.get(), 500);
/// ```
///
/// Any of them may be a secret: `Debug` prints the names only, no diagnostic quotes a value, and values are wiped when
/// they are dropped, as are the texts that they were put into. The environment that they came from is not.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Variables(BTreeMap<String, String>);

impl Variables {
    /// The value of a variable, if it is set.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// The text with the values in place of the variables, which has at most `max_bytes` bytes.
    ///
    /// Every problem is reported with its place in the text; after one there is no text.
    pub(crate) fn replace<'t>(
        &self,
        text: &'t str,
        max_bytes: usize,
        mut report: impl FnMut(Range<usize>, Problem<'t>),
    ) -> Option<String> {
        let mut replaced = Replaced::default();
        let mut is_right = true;
        let mut from = 0;
        while let Some(at) = text[from..].find("${").map(|at| from + at) {
            if text[from..at].ends_with('$') {
                replaced.push(&text[from..at - 1]);
                replaced.push("${");
                from = at + 2;
                continue;
            }
            replaced.push(&text[from..at]);
            let Some(end) = text[at..].find('}').map(|end| at + end) else {
                report(at..text.len(), Problem::Unclosed);
                return None;
            };
            from = end + 1;
            let inner = &text[at + 2..end];
            let (name, default) = match inner.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inner, None),
            };
            let set = self.get(name).filter(|value| default.is_none() || !value.is_empty());
            let problem = if !is_name(name) {
                Problem::Name
            } else if default.is_some_and(|default| default.contains("${")) {
                Problem::Nested
            } else if let Some(value) = set.or(default) {
                if replaced.0.len() + value.len() > max_bytes {
                    report(at..from, Problem::TooLong);
                    return None;
                }
                replaced.push(value);
                continue;
            } else {
                Problem::NotSet(name)
            };
            report(at..from, problem);
            is_right = false;
        }
        replaced.push(&text[from..]);
        is_right.then(|| std::mem::take(&mut *replaced.0))
    }
}

/// A text that grows and leaves nothing of itself behind.
#[derive(Default)]
struct Replaced(Zeroizing<String>);

impl Replaced {
    fn push(&mut self, text: &str) {
        let needed = self.0.len() + text.len();
        if needed > self.0.capacity() {
            let mut larger = String::with_capacity(needed.max(2 * self.0.capacity()));
            larger.push_str(&self.0);
            // The old text is wiped here.
            self.0 = Zeroizing::new(larger);
        }
        self.0.push_str(text);
    }
}

impl Drop for Variables {
    fn drop(&mut self) {
        self.0.values_mut().for_each(Zeroize::zeroize);
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Variables {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self(variables.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why a variable of a text could not be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Problem<'t> {
    /// No variable has this name, and there is no default.
    NotSet(&'t str),
    /// The `}` is missing.
    Unclosed,
    /// What stands between the braces does not start with a name, or goes on with something else than a default.
    Name,
    /// The default has a variable in it.
    Nested,
    /// With the values the text is too long.
    TooLong,
}

/// Whether a text is one variable without a default, and nothing besides.
pub(crate) fn is_one_variable(text: &str) -> bool {
    text.strip_prefix("${").and_then(|rest| rest.strip_suffix('}')).is_some_and(is_name)
}

fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables() -> Variables {
        Variables::from_iter([("A", "one"), ("_b2", "two"), ("EMPTY", ""), ("TRICKY", "${A} $${ }")])
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let replaced = variables().replace(text, 100, |place, problem| panic!("{place:?}: {problem:?}"));
        assert_eq!(replaced.as_deref(), Some(expected), "{text}");
    }

    #[track_caller]
    fn check_problems(text: &str, expected: &[(&str, Problem<'_>)]) {
        let mut problems = Vec::new();
        let replaced = variables().replace(text, 100, |place, problem| problems.push((&text[place], problem)));
        assert_eq!(replaced, None, "{text}");
        assert_eq!(problems, expected, "{text}");
    }

    #[test]
    fn values_and_defaults_stand_in_place_of_variables() {
        check("${A}", "one");
        check("x-${A}-${_b2}${A}", "x-one-twoone");
        check("${A:-default}", "one");
        check("${NONE:-default}", "default");
        check("${NONE:-}", "");
        check("${NONE:-a:-b $c {d}", "a:-b $c {d");
        check("${EMPTY}", "");
        check("${EMPTY:-default}", "default");
        check("${TRICKY}", "${A} $${ }");
        check("ü${A}ü", "üoneü");
    }

    #[test]
    fn everything_else_is_literal() {
        check("$${A}", "${A}");
        check("$${", "${");
        check("$$${A}", "$${A}");
        check("$${A}${A}$${", "${A}one${");
        check("$A {A} $ {A} }$", "$A {A} $ {A} }$");
        check("{function.name}", "{function.name}");
    }

    #[test]
    fn all_problems_are_found_and_distinguished() {
        check_problems("${NONE}", &[("${NONE}", Problem::NotSet("NONE"))]);
        check_problems("a${X}b${A}${Y}", &[("${X}", Problem::NotSet("X")), ("${Y}", Problem::NotSet("Y"))]);
        check_problems("a${A", &[("${A", Problem::Unclosed)]);
        check_problems("${}${1A}", &[("${}", Problem::Name), ("${1A}", Problem::Name)]);
        for text in ["${:-x}", "${ A}", "${A-x}", "${A:x}", "${A.B}", "${Ä}", "${${A}"] {
            check_problems(text, &[(text, Problem::Name)]);
        }
        check_problems("${A:-${B}}", &[("${A:-${B}", Problem::Nested)]);
        check_problems(&"${A}".repeat(34), &[("${A}", Problem::TooLong)]);
    }

    #[test]
    fn debug_output_hides_the_values() {
        let printed = format!("{:?}", Variables::from_iter([("PASSWORD", "hunter2")]));
        assert_eq!(printed, "{\"PASSWORD\"}");
    }
}
