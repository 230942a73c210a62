use std::collections::{BTreeMap, HashMap};

use bytes::{Bytes, BytesMut};
use serde::Deserialize;

use crate::{
    DeadLetter, DecodeError,
    envelope::{self, Part, hexadecimal},
    letter::Head,
    version1,
};

/// Reads dead letters from the records of a dead-letter stream, and joins letters that were cut into parts.
///
/// Parts may come in any order, more than once, and mixed with those of other letters. The parts of a letter are kept
/// in memory until it is complete; [`incomplete`](Self::incomplete) returns the number of such letters.
#[derive(Debug, Default)]
pub struct DeadLetterReader {
    incomplete: HashMap<Key, BTreeMap<u64, Bytes>>,
}

/// The key of a letter: what its parts have in common. Two letters of version 2 with the same key also have the same
/// payload, since the key has its MD5, so mixing up their parts does no harm. In version 1, letters of an ingress
/// differ by the position of the record. Letters of an egress cannot be told apart if their partition key, size and
/// error are equal.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    head: Head,
    check: Option<(u64, String)>,
    parts: u64,
}

impl DeadLetterReader {
    /// Creates a reader.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the payload of one record. Returns the letter that the record completes, or `None` while other parts are
    /// missing.
    ///
    /// # Errors
    ///
    /// When the payload is not a dead letter of a supported version, or the completed letter is damaged. The reader can
    /// continue with the next record.
    pub fn read(&mut self, record: &[u8]) -> Result<Option<DeadLetter>, DecodeError> {
        let Part { head, check, part, parts, data } = match version(record)? {
            1 => version1::decode(record)?,
            envelope::VERSION => envelope::decode(record)?,
            version => return Err(DecodeError::UnknownVersion(version)),
        };
        if !(1..=parts).contains(&part) {
            let source = format!("part {part} of {parts} parts").into();
            return Err(DecodeError::InvalidField { field: "part", source });
        }
        if parts == 1 {
            check_payload(check.as_ref(), data.as_deref().unwrap_or_default())?;
            return Ok(Some(DeadLetter { head, data }));
        }
        let key = Key { head, check, parts };
        let mut found = self.incomplete.remove(&key).unwrap_or_default();
        found.insert(part, data.unwrap_or_default());
        let bytes: u64 = found.values().map(|data| data.len() as u64).sum();
        if key.check.as_ref().is_some_and(|(size, _)| bytes > *size) {
            return Err(DecodeError::Damaged);
        }
        if (found.len() as u64) < parts {
            self.incomplete.insert(key, found);
            return Ok(None);
        }
        let mut whole = BytesMut::with_capacity(bytes as usize);
        found.values().for_each(|data| whole.extend_from_slice(data));
        check_payload(key.check.as_ref(), &whole)?;
        Ok(Some(DeadLetter { head: key.head, data: Some(whole.freeze()) }))
    }

    /// The number of letters with missing parts.
    pub fn incomplete(&self) -> usize {
        self.incomplete.len()
    }
}

/// Reads the version of a dead letter, on which all other fields depend.
fn version(json: &[u8]) -> Result<u64, DecodeError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }
    let versioned: Result<Versioned, _> = serde_json::from_slice(json);
    versioned.map(|versioned| versioned.version).map_err(|error| DecodeError::NotADeadLetter(error.into()))
}

fn check_payload(check: Option<&(u64, String)>, payload: &[u8]) -> Result<(), DecodeError> {
    match check {
        Some((size, md5)) if *size != payload.len() as u64 || *md5 != hexadecimal(payload) => Err(DecodeError::Damaged),
        Some(_) | None => Ok(()),
    }
}
