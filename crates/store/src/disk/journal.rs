//! The end of the journal after a crash.
//!
//! A machine that loses power leaves any part of its last write on the disk. The library below reads its journal up to
//! what it cannot make sense of, but takes some of what a torn commit can look like for damage, and damage in the
//! middle of the journal for its end. So the journal is looked at before it is opened: a torn last commit, which never
//! was acknowledged, is cut off; whole commits behind something broken are no torn commit.
//!
//! A journal is a row of batches: `01`, number of entries (4 bytes), sequence number (8); the entries; `03`, XXH3 of
//! the entries' bytes (8), `FJL\x03`. An entry is `02`, two bytes of type and compression, keyspace (8), length of key
//! (2), of the value (4), of the value as stored (4), both; or `04`, keyspace (8). Numbers are little-endian. A new
//! journal is followed by zeros that reserve its room.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_64;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: [u8; 4] = *b"FJL\x03";

/// What was found at the end of a journal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing but the reserve.
    Clean,
    /// A torn commit, which was cut off.
    Torn(Vec<u8>),
    /// Something broken, with whole commits behind it. Nothing was changed.
    Broken,
}

/// Looks at the end of the newest journal in a directory, and cuts a torn commit off.
pub(super) fn mend(data: &Path) -> io::Result<Tail> {
    let Some(path) = newest(data)? else { return Ok(Tail::Clean) };
    let bytes = fs::read(&path)?;
    let end = whole_batches(&bytes);
    let tail = &bytes[end..];
    if is_zero(tail) {
        return Ok(Tail::Clean);
    }
    let behind_a_batch = tail.windows(TRAILER.len()).enumerate().filter(|(_, bytes)| *bytes == TRAILER);
    for (at, _) in behind_a_batch {
        if batch(&tail[at + TRAILER.len()..]).is_some() {
            return Ok(Tail::Broken);
        }
    }
    let file = File::options().write(true).open(&path)?;
    file.set_len(end as u64)?;
    file.sync_all()?;
    Ok(Tail::Torn(tail.to_vec()))
}

/// The journal that is written to; the others were complete when it was begun.
fn newest(data: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest = None;
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        let number = path.extension().filter(|extension| *extension == "jnl").and_then(|_| path.file_stem());
        let number = number.and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        newest = newest.max(number.map(|number| (number, path)));
    }
    Ok(newest.map(|(_, path)| path))
}

/// Where the first byte lies that is not of a whole batch.
fn whole_batches(bytes: &[u8]) -> usize {
    let mut end = 0;
    while let Some(length) = batch(&bytes[end..]) {
        end += length;
    }
    end
}

/// The length of the whole batch at the beginning of `bytes`; none when there is no such.
fn batch(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    if take(&mut rest, 1)? != [START] {
        return None;
    }
    let entries = number(&mut rest, 4)?;
    number(&mut rest, 8)?;
    let first = rest;
    for _ in 0..entries {
        match take(&mut rest, 1)? {
            [ITEM] => {
                take(&mut rest, 2 + 8)?;
                let key = number(&mut rest, 2)?;
                number(&mut rest, 4)?;
                let stored = number(&mut rest, 4)?;
                take(&mut rest, usize::try_from(key + stored).ok()?)?;
            }
            [CLEAR] => {
                take(&mut rest, 8)?;
            }
            _ => return None,
        }
    }
    let hashed = &first[..first.len() - rest.len()];
    let whole = take(&mut rest, 1)? == [END]
        && number(&mut rest, 8)? == xxh3_64(hashed)
        && take(&mut rest, TRAILER.len())? == TRAILER;
    whole.then(|| bytes.len() - rest.len())
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(taken)
}

fn number(rest: &mut &[u8], length: usize) -> Option<u64> {
    let bytes = take(rest, length)?;
    Some(bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

fn is_zero(bytes: &[u8]) -> bool {
    const ZEROS: [u8; 4096] = [0; 4096];
    bytes.chunks(ZEROS.len()).all(|chunk| *chunk == ZEROS[..chunk.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(keys: &[&str]) -> Vec<u8> {
        let mut entries = Vec::new();
        for key in keys {
            entries.extend([ITEM, 0, 0]);
            entries.extend(7_u64.to_le_bytes());
            entries.extend((key.len() as u16).to_le_bytes());
            entries.extend([5, 0, 0, 0, 5, 0, 0, 0]);
            entries.extend(key.bytes());
            entries.extend(*b"value");
        }
        entries.push(CLEAR);
        entries.extend(7_u64.to_le_bytes());
        let mut batch = vec![START];
        batch.extend((keys.len() as u32 + 1).to_le_bytes());
        batch.extend(9_u64.to_le_bytes());
        batch.extend(&entries);
        batch.push(END);
        batch.extend(xxh3_64(&entries).to_le_bytes());
        batch.extend(TRAILER);
        batch
    }

    /// The bytes of a batch that its hash and its marks cover: all but the sequence number. No torn write changes that
    /// one alone.
    fn covered(batch: &[u8]) -> impl Iterator<Item = usize> + use<> {
        (0..batch.len()).filter(|at| !(5..13).contains(at))
    }

    /// Mends a journal and tells what was found and what is left.
    fn mended(bytes: &[u8]) -> (Tail, Vec<u8>) {
        let data = tempfile::tempdir().unwrap();
        let path = data.path().join("10.jnl");
        fs::write(data.path().join("9.jnl"), "an older one is not looked at").unwrap();
        fs::write(data.path().join("lock"), "").unwrap();
        fs::write(&path, bytes).unwrap();
        let tail = mend(data.path()).unwrap();
        (tail, fs::read(path).unwrap())
    }

    #[test]
    fn a_journal_that_is_whole_stays_as_it_is() {
        for reserve in [0, 1, 10_000] {
            let journal = [written(&["a", "b"]), written(&[]), vec![0; reserve]].concat();
            assert_eq!(mended(&journal), (Tail::Clean, journal));
        }
        assert_eq!(mended(&[]), (Tail::Clean, Vec::new()));
    }

    #[test]
    fn a_torn_commit_is_cut_off_wherever_it_is_torn() {
        let (whole, last) = (written(&["a", "b"]), written(&["c", "TRAILER FJL\x03 in a key", "d"]));
        for cut in 1..last.len() {
            for reserve in [0, 100] {
                let torn = [&last[..cut], &vec![0; reserve]].concat();
                let expect = (Tail::Torn(torn.clone()), whole.clone());
                assert_eq!(mended(&[&whole[..], &torn].concat()), expect, "cut at {cut}");
            }
        }
        for wrong in covered(&last) {
            let mut hole = last.clone();
            hole[wrong] ^= 1;
            assert_eq!(mended(&[&whole[..], &hole].concat()), (Tail::Torn(hole), whole.clone()), "wrong at {wrong}");
        }
    }

    #[test]
    fn damage_before_a_whole_commit_is_told_and_left() {
        let (first, second) = (written(&["a"]), written(&["b"]));
        for wrong in covered(&first).filter(|at| *at < first.len() - TRAILER.len()) {
            let mut journal = [&first[..], &second, &[0; 50]].concat();
            journal[wrong] ^= 1;
            assert_eq!(mended(&journal), (Tail::Broken, journal), "wrong at {wrong}");
        }
    }
}
