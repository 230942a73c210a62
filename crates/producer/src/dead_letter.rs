use base64::{Engine, engine::general_purpose::STANDARD};
use serde::Serialize;
use statefun_kinesis_types::{ErrorChain, PutRecord};

use crate::{Producer, Reason, SendError};

/// Characters of a message that an envelope shows before it is cut.
const MESSAGE_MAX_CHARS: usize = 1_000;

/// Payload that a part carries at least. A limit of the stream that leaves less room is refused by the service.
const PART_BYTES_MIN: usize = 512;

/// See [`OnFailure::DeadLetter`](crate::OnFailure::DeadLetter).
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Envelope<'a> {
    version: u32,
    reason: &'a str,
    message: &'a str,
    stream: &'a str,
    partition_key: &'a str,
    explicit_hash_key: Option<&'a str>,
    size: usize,
    attempts: u32,
    may_be_stored: bool,
    part: usize,
    parts: usize,
    data: &'a str,
}

/// The records that carry a record that was given up: one, or as many as the limit asks for.
pub(crate) fn letters(record: &PutRecord, error: &SendError, max_record_bytes: usize) -> Vec<PutRecord> {
    let reason = match error.reason() {
        Reason::TooLarge { .. } => "too-large",
        Reason::GaveUp { .. } => "gave-up",
        Reason::NotAllowed => "not-allowed",
        Reason::NoProducer(_) => "no-stream",
        Reason::Rejected { .. } | Reason::PredecessorFailed | Reason::Closed => "rejected",
    };
    let message: String = ErrorChain(error).to_string().chars().take(MESSAGE_MAX_CHARS).collect();
    let stream = error.stream().to_string();
    let hash = record.explicit_hash_key.map(|key| key.to_string());
    let envelope = |part: usize, parts: usize, data: &[u8]| {
        let envelope = Envelope {
            version: 1,
            reason,
            message: &message,
            stream: &stream,
            partition_key: record.partition_key.as_str(),
            explicit_hash_key: hash.as_deref(),
            size: record.size(),
            attempts: error.attempts(),
            may_be_stored: error.may_be_stored(),
            part,
            parts,
            data: &STANDARD.encode(data),
        };
        // Strings and numbers can always be written.
        serde_json::to_vec(&envelope).unwrap_or_default()
    };
    let data = &record.data;
    // The largest numbers of parts that there can be, so that the real ones are no longer.
    let around = envelope(data.len(), data.len(), &[]).len() + record.partition_key.size();
    // Base64 makes four bytes of three.
    let room = max_record_bytes.saturating_sub(around) / 4 * 3;
    let room = room.max(PART_BYTES_MIN);
    let parts = data.len().div_ceil(room).max(1);
    let part = |index: usize| {
        let data = &data[index * room..((index + 1) * room).min(data.len())];
        PutRecord::new(record.partition_key.clone(), envelope(index + 1, parts, data))
    };
    (0..parts).map(part).collect()
}

/// Stores a record that was given up in the dead-letter stream.
pub(crate) async fn store(to: Producer, record: PutRecord, error: SendError) -> Result<(), SendError> {
    let letters = letters(&record, &error, to.max_record_bytes());
    let delivered = to.send_all(letters).await?.await?;
    match delivered.into_handled().into_iter().next() {
        // The dead-letter stream's own producer leaves records out: then they are not there.
        Some((_, error)) => Err(error),
        None => Ok(()),
    }
}

/// Says that a record is in no stream at all. Its receipt says that it failed.
pub(crate) fn lament(cause: &SendError) {
    tracing::error!(error = %ErrorChain(cause), "a record that was given up is not in the dead-letter stream either");
}

#[cfg(test)]
mod tests {
    use statefun_kinesis_types::HashKey;

    use super::*;

    #[test]
    fn an_envelope_says_what_the_record_was() {
        let record = PutRecord::new("customer-17".parse().unwrap(), "one cup").with_explicit_hash_key(HashKey::new(7));
        let reason = Reason::TooLarge { limit: 10 };
        let error = SendError::new(&"orders".parse().unwrap(), &record, reason).tried(2, true);
        let letters = letters(&record, &error, 1 << 20);
        assert_eq!(letters.len(), 1);
        assert_eq!(letters[0].partition_key, record.partition_key);
        assert_eq!(letters[0].explicit_hash_key, None);
        assert_eq!(
            letters[0].data,
            concat!(
                r#"{"version":1,"reason":"too-large","message":"the record of key \"customer-17\" has 18 bytes with "#,
                r#"its key; stream orders takes 10 bytes at most","stream":"orders","partitionKey":"customer-17","#,
                r#""explicitHashKey":"7","size":18,"attempts":2,"mayBeStored":true,"part":1,"parts":1,"#,
                r#""data":"b25lIGN1cA=="}"#
            )
        );
    }

    #[test]
    fn a_record_that_does_not_fit_is_cut_and_no_byte_is_lost() {
        for (size, limit) in [(0, 2_000), (1_000_000, 2_000), (3 << 20, 1 << 20), (1_023, 2_000)] {
            let bytes: Vec<u8> = (0..size).map(|byte| (byte % 251) as u8).collect();
            let record = PutRecord::new("k".parse().unwrap(), bytes.clone());
            let error = SendError::new(&"orders".parse().unwrap(), &record, Reason::TooLarge { limit });
            let letters = letters(&record, &error, limit);
            let mut found = Vec::new();
            for (index, letter) in letters.iter().enumerate() {
                assert!(letter.size() <= limit, "{} bytes", letter.size());
                let envelope: serde_json::Value = serde_json::from_slice(&letter.data).unwrap();
                assert_eq!(envelope["part"], index + 1);
                assert_eq!(envelope["parts"], letters.len());
                found.extend(STANDARD.decode(envelope["data"].as_str().unwrap()).unwrap());
            }
            assert!(found == bytes, "{size} bytes in parts of {limit}");
        }
    }
}
