use std::error::Error as StdError;

use statefun_kinesis_dead_letter::{DeadLetter, EgressOrigin, reason};
use statefun_kinesis_types::{ErrorChain, PutRecord, TypeName};

use crate::{OnFailure, Producer, Reason, SendError, Unsendable};

/// Why a dead letter was not written.
pub(crate) type NotWritten = Box<dyn StdError + Send + Sync>;

/// Writes the dead letters of a producer.
#[derive(Clone, Debug)]
pub(crate) struct DeadLetters {
    /// The producer of the dead-letter stream.
    to: Producer,
    /// The egress that the dead letters name.
    egress: Option<TypeName>,
}

impl DeadLetters {
    /// None unless records that fail permanently are to be dead-lettered.
    pub(crate) fn new(on_failure: &OnFailure, egress: Option<TypeName>) -> Option<Self> {
        match on_failure {
            OnFailure::DeadLetter { to, .. } => Some(Self { to: to.clone(), egress }),
            OnFailure::Fail | OnFailure::Skip { .. } => None,
        }
    }

    /// Stores the dead letter of a record. It returns when all parts of it are stored.
    ///
    /// # Errors
    ///
    /// When the dead-letter stream does not take it.
    pub(crate) async fn write(&self, record: PutRecord, error: SendError) -> Result<(), NotWritten> {
        self.send(letter(self.egress.clone(), &record, &error)).await
    }

    /// Stores the dead letter of a record that cannot be sent to any stream.
    ///
    /// # Errors
    ///
    /// When the dead-letter stream does not take it.
    pub(crate) async fn write_unsendable(&self, record: Unsendable) -> Result<(), NotWritten> {
        self.send(letter_of_unsendable(self.egress.clone(), record)).await
    }

    async fn send(&self, letter: DeadLetter) -> Result<(), NotWritten> {
        let records = letter.to_records(self.to.max_record_bytes())?;
        let delivered = self.to.send_all(records).await?.await?;
        match delivered.into_handled().into_iter().next() {
            // The dead-letter stream's own producer skips records that fail: then the letter is not there.
            Some((_, error)) => Err(error.into()),
            None => Ok(()),
        }
    }
}

/// The dead letter of a record that failed permanently.
fn letter(egress: Option<TypeName>, record: &PutRecord, error: &SendError) -> DeadLetter {
    let code = match error.reason() {
        Reason::TooLarge { .. } => reason::TOO_LARGE,
        Reason::GaveUp { .. } => reason::GAVE_UP,
        Reason::NotAllowed => reason::NOT_ALLOWED,
        Reason::NoProducer(_) => reason::NO_STREAM,
        // The last three are the producer's and not the record's, and have no dead letters.
        Reason::Rejected { .. } | Reason::PredecessorFailed | Reason::Closed | Reason::TaskFailed(_) => {
            reason::REJECTED
        }
    };
    let origin = EgressOrigin {
        egress,
        stream: Some(error.stream().clone()),
        explicit_hash_key: record.explicit_hash_key,
        attempts: error.attempts(),
        may_be_stored: error.may_be_stored(),
    };
    let message = ErrorChain(error).to_string();
    DeadLetter::from_egress(origin, record.partition_key.clone(), record.data.clone(), code, &message)
}

/// The dead letter of a record that cannot be sent to any stream.
fn letter_of_unsendable(egress: Option<TypeName>, record: Unsendable) -> DeadLetter {
    let origin =
        |explicit_hash_key| EgressOrigin { egress, stream: None, explicit_hash_key, attempts: 0, may_be_stored: false };
    let message = record.to_string();
    match record {
        Unsendable::NoStream(PutRecord { partition_key, explicit_hash_key, data, .. }) => {
            DeadLetter::from_egress(origin(explicit_hash_key), partition_key, data, reason::NO_STREAM, &message)
        }
        Unsendable::Invalid { value_type, value, error: _ } => {
            DeadLetter::from_invalid_record(origin(None), value_type, value, &message)
        }
    }
}

/// Logs that the dead letter of a record could not be written. The receipt of the record says that it failed.
pub(crate) fn report_lost(cause: &(dyn StdError + 'static)) {
    tracing::error!(error = %ErrorChain(cause), "cannot write the dead letter of a record; the record is in no stream");
}

#[cfg(test)]
mod tests {
    use statefun_kinesis_dead_letter::{DeadLetterReader, Origin};
    use statefun_kinesis_types::HashKey;

    use super::*;
    use crate::Failure;

    #[test]
    fn a_dead_letter_says_what_the_record_was() {
        let record = PutRecord::new("customer-17".parse().unwrap(), "one cup").with_explicit_hash_key(HashKey::new(7));
        let error = SendError::new(&"orders".parse().unwrap(), &record, Reason::TooLarge { limit: 10 }).tried(2, true);
        let letter = letter(Some("example/orders".parse().unwrap()), &record, &error);
        let records = letter.to_records(1 << 20).unwrap();
        assert_eq!((records.len(), &records[0].partition_key), (1, &record.partition_key));
        assert_eq!(records[0].explicit_hash_key, None);

        let letter = DeadLetterReader::new().read(&records[0].data).unwrap().unwrap();
        assert_eq!((letter.reason(), letter.data()), ("too-large", Some(&record.data)));
        assert_eq!(
            letter.message(),
            "the record of key \"customer-17\" has 18 bytes with its key; stream orders takes 10 bytes at most"
        );
        let origin = EgressOrigin {
            egress: Some("example/orders".parse().unwrap()),
            stream: Some("orders".parse().unwrap()),
            explicit_hash_key: Some(HashKey::new(7)),
            attempts: 2,
            may_be_stored: true,
        };
        assert_eq!(letter.origin(), &Origin::Egress(origin));
    }

    #[test]
    fn each_reason_has_its_code() {
        let record = PutRecord::new("k".parse().unwrap(), "");
        let last = || Failure::WrongShard { shard: "shardId-000000000000".parse().unwrap() };
        for (reason, code) in [
            (Reason::TooLarge { limit: 1 }, "too-large"),
            (Reason::GaveUp { elapsed: std::time::Duration::ZERO, last: last() }, "gave-up"),
            (Reason::Rejected { last: last() }, "rejected"),
            (Reason::NotAllowed, "not-allowed"),
        ] {
            let error = SendError::new(&"orders".parse().unwrap(), &record, reason);
            assert_eq!(letter(None, &record, &error).reason(), code);
        }
    }
}
