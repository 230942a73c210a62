use statefun_kinesis_types::LogLevel;

use crate::{Producer, policy::Policy};

/// What is done about a record that failed permanently: it is too large, the service rejects it, or it was retried for too
/// long or too often because of its own outcomes, such as throttling.
///
/// It is for what is wrong with a record. Records whose whole calls failed until the time was over always fail, because
/// credentials, a clock, the network or an endpoint that is not Kinesis say nothing about a record; see
/// [`Treatment`](statefun_kinesis_client::Treatment). Records that were not stored because the producer was closed or dropped always fail.
#[derive(Clone, Debug, Default)]
pub enum OnFailure {
    /// Its receipt resolves to the error, and the records of its key that wait behind it fail as well
    /// ([`Reason::PredecessorFailed`](crate::Reason::PredecessorFailed)).
    #[default]
    Fail,
    /// It is logged and skipped, and the records behind it go on. Its receipt resolves to an error with
    /// [`Handling::Skipped`].
    ///
    /// [`Handling::Skipped`]: crate::Handling::Skipped
    Skip {
        /// The level at which each one is logged.
        log: LogLevel,
    },
    /// It is stored in another stream as a dead letter, under its own partition key, and the records behind it go on as soon
    /// as that is done. Its receipt resolves to an error with [`Handling::DeadLettered`]. When the dead letter cannot be
    /// stored, it is as with [`Fail`](Self::Fail).
    ///
    /// A dead letter is one line of JSON with the original bytes, the reason and the origin `egress`; the crate
    /// `statefun-kinesis-dead-letter` documents it and reads it. Its reasons are `too-large`, `gave-up` and `rejected`; of
    /// [`Producers`] also `not-allowed`, `no-stream` and `invalid-record`.
    ///
    /// [`Producers`]: crate::Producers
    /// [`Handling::DeadLettered`]: crate::Handling::DeadLettered
    DeadLetter {
        /// The producer of the dead-letter stream. It may have another client, for another region or other credentials. It
        /// should have [`OnFailure::Fail`] itself.
        to: Producer,
        /// The level at which each one is logged.
        log: LogLevel,
    },
}

impl OnFailure {
    pub(crate) fn policy(&self) -> Policy {
        match self {
            Self::Fail => Policy::Fail,
            Self::Skip { log } => Policy::Skip { log: *log },
            Self::DeadLetter { log, .. } => Policy::DeadLetter { log: *log },
        }
    }
}
