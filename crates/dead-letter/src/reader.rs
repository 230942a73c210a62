use std::collections::{BTreeMap, HashMap};

use bytes::{Bytes, BytesMut};
use serde::Deserialize;

use crate::{
    DeadLetter, DecodeError,
    envelope::{self, Part, hexadecimal},
    letter::Head,
    version1,
};

/// Reads dead letters from the records of a dead-letter stream, and joins those that were cut into parts.
///
/// Parts may come in any order, more than once, and mixed with those of other letters. What has come of a letter is kept
/// in memory until all of its parts are there; [`incomplete`](Self::incomplete) says of how many letters.
#[derive(Debug, Default)]
pub struct DeadLetterReader {
    incomplete: HashMap<Key, BTreeMap<u64, Bytes>>,
}

/// What the parts of a letter have in common. Two letters of version 2 with the same key have the same payload, since its
/// MD5 is part of the key: it does no harm when their parts are exchanged. In version 1 a letter of an ingress has the
/// position of its record, and one of an egress has nothing that tells it from a letter about another record with the
/// same key, size and error.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Key {
    head: Head,
    check: Option<(u64, String)>,
    parts: u64,
}

impl DeadLetterReader {
    /// A reader that has read nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the payload of one record. Gives the letter when the record completes it, and none when other parts of it
    /// are still missing.
    ///
    /// # Errors
    ///
    /// When the payload is not a dead letter of a supported version, or the letter that it completes is damaged. The
    /// reader can go on with the next record.
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

    /// Letters of which some parts have come and others have not.
    pub fn incomplete(&self) -> usize {
        self.incomplete.len()
    }
}

/// The version of a dead letter. It comes first, since everything else depends on it.
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
