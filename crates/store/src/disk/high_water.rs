//! The last acknowledged commit, beside the data.
//!
//! The data tells by itself which commits it has, but not which ones it should have: a journal that is damaged in its
//! middle reads like one that ends there. So each acknowledged number is written here too. It is written after its
//! commit is durable and is not waited for; a crash can only make it lag behind, and then it proves less.

use std::{
    fs::{self, File},
    io::{self, Seek, SeekFrom, Write},
    path::Path,
};

use crate::{CommitNumber, Result};

use super::directory::failed;

const NAME: &str = "HIGH_WATER";

#[derive(Debug)]
pub(super) struct HighWater {
    file: File,
}

impl HighWater {
    /// Opens the file, made if it is not there, and reads it. What cannot be read proves nothing and counts as 0.
    pub(super) fn open(store: &Path) -> Result<(Self, CommitNumber)> {
        let path = store.join(NAME);
        let stored = fs::read(&path).ok().and_then(|bytes| decode(&bytes)).unwrap_or_default();
        let file = File::options().write(true).create(true).truncate(false).open(&path);
        let file = file.map_err(|error| failed("open", &path, error))?;
        Ok((Self { file }, stored))
    }

    pub(super) fn write(&mut self, number: CommitNumber) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&encode(number))
    }
}

/// The number, and its complement to tell a torn write.
fn encode(number: CommitNumber) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.0.to_be_bytes());
    bytes[8..].copy_from_slice(&(!number.0).to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<CommitNumber> {
    let number = u64::from_be_bytes(bytes.get(..8)?.try_into().ok()?);
    (bytes == encode(CommitNumber(number))).then_some(CommitNumber(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_number_is_ignored() {
        let bytes = encode(CommitNumber(258));
        // Directories of earlier versions have these bytes.
        assert_eq!(bytes, [0, 0, 0, 0, 0, 0, 1, 2, 255, 255, 255, 255, 255, 255, 254, 253]);
        assert_eq!(decode(&bytes), Some(CommitNumber(258)));
        for cut in 0..bytes.len() {
            assert_eq!(decode(&bytes[..cut]), None);
            let mut torn = encode(CommitNumber(515));
            torn[..cut].copy_from_slice(&bytes[..cut]);
            assert!([None, Some(CommitNumber(515))].contains(&decode(&torn)), "{cut}");
        }
    }
}
