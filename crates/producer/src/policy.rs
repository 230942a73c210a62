use statefun_kinesis_types::{ErrorChain, LogLevel};

use crate::{Producer, SendError};

/// What becomes of a record that was given up: one that is too large, that the service refuses for good, or that was
/// tried too long or too often.
///
/// It never concerns records that were not stored because the producer was closed or dropped: their receipts say so,
/// whatever is chosen.
#[derive(Clone, Debug, Default)]
pub enum OnFailure {
    /// Its receipt says so, and those of its key that wait behind it fail as well
    /// ([`Reason::PredecessorFailed`](crate::Reason::PredecessorFailed)).
    #[default]
    Fail,
    /// It is logged and left out, and those behind it go on. Its receipt says [`Handling::Skipped`].
    ///
    /// [`Handling::Skipped`]: crate::Handling::Skipped
    Skip {
        /// How loudly each one is logged.
        log: LogLevel,
    },
    /// It is stored in another stream, in an envelope that says what it is, and those behind it go on as soon as that
    /// is done. Its receipt says [`Handling::DeadLettered`]. Should the other stream not take it either, it is as with
    /// [`Fail`](Self::Fail).
    ///
    /// # The envelope
    ///
    /// One line of JSON under the record's own partition key:
    ///
    /// | field | value |
    /// |---|---|
    /// | `version` | 1 |
    /// | `reason` | `too-large`, `gave-up`, `rejected`; of [`Producers`] also `not-allowed` and `no-stream` |
    /// | `message` | what happened, for people; cut after 1 000 characters |
    /// | `stream` | the stream that the record was meant for, as its sender named it |
    /// | `partitionKey` | the record's partition key |
    /// | `explicitHashKey` | its explicit hash key in decimal, or `null` |
    /// | `size` | bytes of data and partition key |
    /// | `attempts` | how many requests carried it |
    /// | `mayBeStored` | whether one of them may have stored it all the same |
    /// | `part`, `parts` | 1 and 1, unless the record had to be cut to fit |
    /// | `data` | the payload, or this part of it, in base64 |
    ///
    /// The data of all parts of a record, in their order, is that of the record.
    ///
    /// [`Producers`]: crate::Producers
    /// [`Handling::DeadLettered`]: crate::Handling::DeadLettered
    DeadLetter {
        /// Writes to the dead-letter stream. It may have another client, for another region or other credentials. What
        /// it does with records that it cannot store is its own matter; [`OnFailure::Fail`] is the sensible choice.
        to: Producer,
        /// How loudly each one is logged.
        log: LogLevel,
    },
}

/// The part of the policy that the machine has to know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Policy {
    #[default]
    Fail,
    Skip,
    DeadLetter,
}

impl OnFailure {
    pub(crate) fn policy(&self) -> Policy {
        match self {
            Self::Fail => Policy::Fail,
            Self::Skip { .. } => Policy::Skip,
            Self::DeadLetter { .. } => Policy::DeadLetter,
        }
    }

    /// Logs a record that was given up and about which something was done.
    pub(crate) fn log(&self, error: &SendError) {
        let (level, what) = match self {
            Self::Fail => return,
            Self::Skip { log } => (*log, "a record was given up and is left out"),
            Self::DeadLetter { log, .. } => (*log, "a record was given up and is in the dead-letter stream"),
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
