use std::error::Error as StdError;

use statefun_kinesis_types::{ErrorChain, LogLevel};

/// An [`OnFailure`](crate::OnFailure) without the stream of its dead letters. Whoever has the records needs no more, and
/// the driver writes the dead letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Fail,
    Skip { log: LogLevel },
    DeadLetter { log: LogLevel },
}

impl Policy {
    /// Logs a record that was skipped or dead-lettered.
    pub(crate) fn log(self, error: &(dyn StdError + 'static)) {
        let (level, what) = match self {
            Self::Fail => return,
            Self::Skip { log } => (log, "a record failed permanently and was skipped"),
            Self::DeadLetter { log } => (log, "a record failed permanently and is in the dead-letter stream"),
        };
        let error = ErrorChain(error);
        match level {
            LogLevel::Error => tracing::error!(%error, "{what}"),
            LogLevel::Warn => tracing::warn!(%error, "{what}"),
            LogLevel::Info => tracing::info!(%error, "{what}"),
            LogLevel::Debug => tracing::debug!(%error, "{what}"),
            LogLevel::Trace => tracing::trace!(%error, "{what}"),
        }
    }
}
