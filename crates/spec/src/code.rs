use std::{error::Error, fmt, str::FromStr};

/// Declares the codes once: variant, number, title and page belong together and cannot drift.
macro_rules! codes {
    ($($variant:ident = $text:literal, $title:literal;)*) => {
        /// What kind of problem a [`Diagnostic`](crate::Diagnostic) reports.
        ///
        /// A code keeps its number and its meaning for ever; new ones are added at the end.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code {
            $(#[doc = concat!("`", $text, "`: ", $title, ".")] $variant,)*
        }

        impl Code {
            /// Every code, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The code as it is printed, such as `SFK0001`.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// What the code stands for, in one line without a full stop.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$variant => $title,)* }
            }

            /// What the code means, with an example of what is wrong and of what is right: a page of Markdown that
            /// starts with the heading `# <code>: <title>`, and ends with a line break.
            pub const fn explanation(self) -> &'static str {
                match self {
                    $(Self::$variant => {
                        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/diagnostics/", $text, ".md"))
                    })*
                }
            }
        }
    };
}

codes! {
    Syntax = "SFK0001", "the text is not YAML";
    NotText = "SFK0002", "the file has characters that are not allowed in YAML";
    TooLarge = "SFK0003", "the file is larger, deeper or more repetitive than a module file can be";
    NoDocuments = "SFK0004", "the file has no documents";
    NotADocument = "SFK0005", "a document is not a mapping with `kind` and `spec`";
    MissingKind = "SFK0006", "a document has no `kind`";
    UnknownKind = "SFK0007", "a document has an unknown `kind`";
    KindNotServed = "SFK0008", "a document has a `kind` that is not supported";
    LegacyFormat = "SFK0009", "the file is in a format of Stateful Functions that is not supported";
    MissingField = "SFK0010", "a required field is missing";
    UnknownField = "SFK0011", "a field has an unknown name";
    DuplicateField = "SFK0012", "a mapping has the same field twice";
    WrongType = "SFK0013", "a value has the wrong type";
    UnknownType = "SFK0014", "a `type` names none of the variants";
    EmptyList = "SFK0015", "a list that needs at least one entry is empty";
    InvalidNumber = "SFK0016", "a number is out of range";
    InvalidName = "SFK0017", "a name is not of the form `<namespace>/<name>`";
    MissingStreamArn = "SFK0018", "a stream of an ingress has neither `streamArn` nor `stream`";
    InvalidStreamArn = "SFK0019", "a text is not the ARN of a Kinesis stream";
    InvalidStreamName = "SFK0020", "a text is not the short name of a Kinesis stream";
    InvalidRegion = "SFK0021", "a text is not the id of an AWS region";
    InvalidEndpoint = "SFK0022", "a text is not a valid address";
    InvalidTimestamp = "SFK0023", "a timestamp is not an ISO-8601 string";
    InvalidDuration = "SFK0024", "a text is not a duration";
    DuplicateId = "SFK0025", "two documents of a module declare the same thing";
    DuplicateStream = "SFK0026", "two entries of an ingress route the same stream";
    DuplicateTarget = "SFK0027", "an entry names the same target twice";
    UnservedTarget = "SFK0028", "no endpoint of the module serves a target";
    RegionMismatch = "SFK0029", "the region of an ARN differs from `awsRegion`";
    StreamNameMismatch = "SFK0030", "a short name differs from the name in the ARN";
    StaticKeys = "SFK0031", "a module file has AWS keys in it";
    PropertyWithoutEffect = "SFK0032", "a client property has no effect here";
    OtherDialect = "SFK0033", "a file uses the syntax of another runtime";
    VariableNotSet = "SFK0034", "a value has a variable that is not set";
    TooManyProblems = "SFK0035", "there are more problems than are listed";
    UnsupportedTag = "SFK0036", "a value has an unsupported YAML tag";
    InvalidVariable = "SFK0037", "a value has a `${` that does not start a variable";
    PlainHttp = "SFK0038", "requests to functions go over the network unencrypted";
    UnreachedEndpoint = "SFK0039", "no ingress of the module sends to an endpoint";
    LatestWithoutPosition = "SFK0040", "an ingress starts at `latest`, and no position is stored";
    ConflictingSettings = "SFK0041", "two settings contradict each other";
    UnknownWord = "SFK0042", "a value is not one of the words that the field takes";
    InvalidRoleArn = "SFK0043", "a text is not the ARN of an IAM role";
    UnknownRegion = "SFK0044", "a region is unknown";
    AmbiguousText = "SFK0045", "an unquoted text is a boolean in YAML 1.1";
    IncompleteSettings = "SFK0046", "a client property needs another one that is missing";
    Unreadable = "SFK0047", "a module file cannot be read";
    TypographicQuotes = "SFK0048", "a text is in quotes that YAML does not know";
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Reads the code as it is printed, in any case, and also its number alone: `SFK0007`, `sfk7` and `7` are the same code.
impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, UnknownCode> {
        const PREFIX: &str = "SFK";
        const MAX_DIGITS: usize = 4;
        let digits = match text.split_at_checked(PREFIX.len()) {
            Some((prefix, digits)) if prefix.eq_ignore_ascii_case(PREFIX) => digits,
            Some(_) | None => text,
        };
        let is_number = (1..=MAX_DIGITS).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        let number = digits.parse::<usize>().ok().filter(|_| is_number);
        // The codes are numbered from 1 without a gap.
        let code = number.and_then(|number| Self::ALL.get(number.checked_sub(1)?));
        code.copied().ok_or_else(|| UnknownCode { shown: text.chars().take(UnknownCode::SHOWN_MAX_CHARS).collect() })
    }
}

/// A text that is no [`Code`].
///
/// `Display` shows the beginning of the text, and the range of the codes that there are.
///
/// ```
/// use statefun_kinesis_spec::Code;
///
/// assert_eq!("sfk0007".parse(), Ok(Code::UnknownKind));
/// let error = "SFK9999".parse::<Code>().unwrap_err().to_string();
/// assert!(error.starts_with("`SFK9999` is not a code: there are SFK0001 to "));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownCode {
    shown: String,
}

impl UnknownCode {
    /// Characters of the text that a message shows; a code has seven.
    const SHOWN_MAX_CHARS: usize = 20;
}

impl fmt::Display for UnknownCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, .., last] = Code::ALL else { unreachable!("there are several codes") };
        write!(f, "`{}` is not a code: there are {first} to {last}", self.shown.escape_debug())
    }
}

impl Error for UnknownCode {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_numbered_without_a_gap_and_listed_in_the_reference() {
        for (index, code) in Code::ALL.iter().enumerate() {
            assert_eq!(code.as_str(), format!("SFK{:04}", index + 1));
            let row = format!("| [`{code}`](diagnostics/{code}.md) | {} |", code.title());
            assert!(include_str!("../../../docs/module-files.md").contains(&row), "the reference lists {row}");
            assert!(!code.title().ends_with('.'), "{code}: a title is not a sentence");
        }
    }

    #[test]
    fn a_code_is_read_as_it_is_printed_and_by_its_number() {
        for (index, &code) in Code::ALL.iter().enumerate() {
            assert_eq!(code.as_str().parse(), Ok(code));
            assert_eq!(code.as_str().to_lowercase().parse(), Ok(code));
            let number = index + 1;
            for text in [format!("{number}"), format!("{number:04}"), format!("SFK{number}"), format!("sfk{number}")] {
                assert_eq!(text.parse(), Ok(code), "{text}");
            }
        }
        let beyond = (Code::ALL.len() + 1).to_string();
        let long = "S".repeat(1 << 20);
        for text in [
            "",
            "0",
            &beyond,
            "+7",
            "-7",
            "7.0",
            "SFK",
            "SFK0000",
            "SFK00001",
            " SFK0001",
            "SFK0001 ",
            "SF\u{fc}7",
            &long,
        ] {
            let error = text.parse::<Code>().unwrap_err().to_string();
            assert!(error.contains("SFK0001 to SFK") && error.len() < 100, "{error}");
        }
    }
}
