use std::{fmt, str::FromStr};

use crate::{InvalidValue, StreamRef};

/// What happens to a record that cannot be turned into messages: a module file's `invalidRecordHandling`.
///
/// Such are a record without a partition key, a corrupt aggregate, and a payload that a deserializer refuses. Whatever
/// is chosen, the record is named by stream, shard and sequence number, and counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum InvalidRecordHandling {
    /// Reading stops with an error.
    #[default]
    Fail,
    /// The record is left out.
    Skip {
        /// How loudly each one is logged.
        log: LogLevel,
    },
    /// A dead letter with the record is put into another stream, and the record is left out then.
    DeadLetter {
        /// That stream. A short name means the one of the client that reads.
        stream: StreamRef,
        /// How loudly each one is logged.
        log: LogLevel,
    },
}

/// How loudly something is logged: a module file's `logLevel`.
///
/// Its text is in small letters; read, it takes any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogLevel {
    /// As an error.
    Error,
    /// As a warning.
    #[default]
    Warn,
    /// As information.
    Info,
    /// Detailed logs for troubleshooting.
    Debug,
    /// The most detailed logs.
    Trace,
}

impl LogLevel {
    /// Every level, the loudest first.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// The level as it is printed.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl FromStr for LogLevel {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        let level = Self::ALL.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(text));
        level.ok_or_else(|| InvalidValue::new("log level", text, "`error`, `warn`, `info`, `debug` or `trace`"))
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_read_in_any_case() {
        for level in LogLevel::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
            assert_eq!(level.to_string().to_uppercase().parse(), Ok(level));
        }
        assert!("loud".parse::<LogLevel>().is_err());
    }
}
