//! The library's journal, after a crash and after an error.
//!
//! The library appends each commit to its newest journal. At its start it reads the journal up to what it cannot make
//! sense of. That is not enough, so the journal is looked at before the library opens it:
//!
//! * A machine that loses power leaves any part of its last write on the disk. The library takes some of what a torn
//!   commit can look like for damage, and damage in the middle of the journal for its end. Here a torn last commit,
//!   which was never acknowledged, is cut off; whole commits behind something broken are damage.
//! * After a sync that failed, the operating system may show bytes that are not on the disk, and never try to write
//!   them again. What is appended behind such bytes is behind a hole once power is lost. So nothing is appended to a
//!   file with bytes that may be missing: they are cut off when their commit has failed, and written to another file
//!   when it may have been acknowledged.
//!
//! Nothing is cut off before it is clear that no acknowledged commit is in it. Where only the library can tell, what is
//! cut off is kept in a file beside the data, and [put back](put_back) if it should not have been cut.
//!
//! A journal is a row of batches: `01`, number of entries (4 bytes), sequence number (8); the entries; `03`, XXH3 of
//! the entries' bytes (8), `FJL\x03`. An entry is `02`, two bytes of type and compression, keyspace (8), length of key
//! (2), of the value (4), of the value as stored (4), both; or `04`, keyspace (8). Numbers are little-endian. A new
//! journal is followed by zeros that reserve its room. The last entry of each batch of ours is the number of its commit.

use std::{
    io,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_64;

use crate::CommitNumber;

use super::{directory::is_full, files::Files};

/// The key of the last entry of each batch: its value is the number of the commit, big-endian.
pub(super) const NUMBER: &[u8] = b"commit";

/// Beside the data: what was cut off the journal last, behind a line that says from where.
const CUT: &str = "CUT";

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
    /// So many bytes of a torn commit, which were cut off.
    Torn(usize),
    /// Something broken, with whole commits behind it. Nothing was changed.
    Broken,
    /// Something broken, where an acknowledged commit should be: the last whole one is this. Nothing was changed.
    Missing(CommitNumber),
}

/// Prepares the newest journal for being opened. `acknowledged` is the last commit that is known to be acknowledged;
/// more of them may have been. `store` is the directory in which the data lie.
pub(super) fn repair(files: &impl Files, store: &Path, data: &Path, acknowledged: CommitNumber) -> io::Result<Tail> {
    let journals = journals(files, data)?;
    let Some((_, path)) = journals.last() else { return Ok(Tail::Clean) };
    let bytes = files.read(path)?;
    let (end, last) = whole_batches(&bytes);
    let tail = &bytes[end..];
    let is_torn = !is_zero(tail);
    if is_torn {
        if has_batch_behind(tail) {
            return Ok(Tail::Broken);
        }
        let known = last.map_or_else(|| last_of(files, &journals), |last| Ok(Some(last)))?;
        if let Some(last) = known.filter(|last| *last < acknowledged) {
            return Ok(Tail::Missing(last));
        }
        match keep_cut(files, store, path, end, tail) {
            Ok(()) => {}
            // All acknowledged commits are in front of it, so that it is of use only to somebody who looks for a fault.
            Err(error) if is_full(&error) && known.is_some() => {
                tracing::debug!(%error, "cannot keep what is cut off the journal");
            }
            Err(error) => return Err(error),
        }
    }
    if last.is_some_and(|last| last > acknowledged) {
        // The process that wrote the last commits may have ended because a sync failed. What is there is taken for
        // durable from here on, and has to be.
        replace(files, path, &bytes[..end])?;
    } else if is_torn {
        cut(files, path, end)?;
    }
    Ok(if is_torn { Tail::Torn(tail.len()) } else { Tail::Clean })
}

/// Takes a commit that has failed out of the newest journal; the last acknowledged one before it is `acknowledged`.
///
/// The failed commit must not have been applied by the library: it is not there afterwards. With `starts_another`,
/// nothing is appended to the same journal any more.
pub(super) fn take_back(
    files: &impl Files,
    store: &Path,
    data: &Path,
    acknowledged: CommitNumber,
    starts_another: bool,
) -> io::Result<Tail> {
    let journals = journals(files, data)?;
    let Some((number, path)) = journals.last() else { return Ok(Tail::Clean) };
    let bytes = files.read(path)?;
    let failed = |(_, commit): &(usize, Option<CommitNumber>)| commit.is_some_and(|commit| commit > acknowledged);
    let end = Batches(&bytes, 0).take_while(|batch| !failed(batch)).last().map_or(0, |(end, _)| end);
    let tail = &bytes[end..];
    // What has failed is the last of all: the batch that begins here, whole or torn, and nothing behind it.
    let behind = Batches(tail, 0).next().map_or(tail, |(end, _)| &tail[end..]);
    if !is_zero(behind) && (behind.len() < tail.len() || has_batch_behind(tail)) {
        return Ok(Tail::Broken);
    }
    let is_clean = is_zero(tail);
    if !is_clean {
        let last = whole_batches(&bytes[..end]).1;
        let known = last.map_or_else(|| last_of(files, &journals), |last| Ok(Some(last)))?;
        if let Some(last) = known.filter(|last| *last < acknowledged) {
            return Ok(Tail::Missing(last));
        }
        // Who made the commit still has it, so that this is of use only to somebody who looks for a fault.
        if let Err(error) = keep_cut(files, store, path, end, tail) {
            tracing::debug!(%error, "cannot keep what is cut off the journal");
        }
        cut(files, path, end)?;
    }
    if starts_another {
        if end == 0 {
            replace(files, path, &[])?;
        } else {
            // The library appends to the journal with the highest number, and takes the others as complete.
            let next = data.join(format!("{}.jnl", number + 1));
            files.write(&next, &[])?;
            files.sync_file(&next)?;
            files.sync_directory(data)?;
        }
    }
    Ok(if is_clean { Tail::Clean } else { Tail::Torn(tail.len()) })
}

/// Puts back what was cut off the newest journal last, if nothing was appended since.
pub(super) fn put_back(files: &impl Files, store: &Path, data: &Path) -> io::Result<()> {
    let journals = journals(files, data)?;
    let Some((_, path)) = journals.last() else { return Ok(()) };
    let Ok(kept) = files.read(&store.join(CUT)) else { return Ok(()) };
    let mut journal = files.read(path)?;
    if let Some(rest) = kept.strip_prefix(cut_title(path, journal.len()).as_bytes()) {
        journal.extend_from_slice(rest);
        replace(files, path, &journal)?;
    }
    Ok(())
}

fn keep_cut(files: &impl Files, store: &Path, journal: &Path, end: usize, tail: &[u8]) -> io::Result<()> {
    let path = store.join(CUT);
    files.write(&path, &[cut_title(journal, end).as_bytes(), tail].concat())?;
    files.sync_file(&path)?;
    files.sync_directory(store)
}

fn cut_title(journal: &Path, end: usize) -> String {
    let name = journal.file_name().unwrap_or_default().to_string_lossy();
    format!("cut off the journal {name} at byte {end}:\n")
}

fn cut(files: &impl Files, path: &Path, end: usize) -> io::Result<()> {
    files.truncate(path, end as u64)?;
    files.sync_file(path)
}

/// Puts another file in the place of a journal: its bytes are durable, whatever became of those of the old one.
fn replace(files: &impl Files, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    files.write(&new, bytes)?;
    files.sync_file(&new)?;
    files.rename(&new, path)?;
    files.sync_directory(path.parent().unwrap_or(path))
}

/// The journals by their numbers. The one with the highest is written to; the others were complete when it was begun.
fn journals(files: &impl Files, data: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut journals = Vec::new();
    for path in files.list(data)? {
        let stem = path.extension().filter(|extension| *extension == "jnl").and_then(|_| path.file_stem());
        if let Some(number) = stem.and_then(|stem| stem.to_str()?.parse::<u64>().ok()) {
            journals.push((number, path));
        }
    }
    journals.sort();
    Ok(journals)
}

/// The number of the last commit in all journals but the newest one; none when the library has moved it to its tables.
fn last_of(files: &impl Files, journals: &[(u64, PathBuf)]) -> io::Result<Option<CommitNumber>> {
    for (_, path) in journals.iter().rev().skip(1) {
        if let (_, Some(last)) = whole_batches(&files.read(path)?) {
            return Ok(Some(last));
        }
    }
    Ok(None)
}

/// Where the first byte lies that is not of a whole batch, and the number of the last commit before it.
fn whole_batches(bytes: &[u8]) -> (usize, Option<CommitNumber>) {
    Batches(bytes, 0).fold((0, None), |(_, last), (end, commit)| (end, commit.or(last)))
}

/// Whether a whole batch begins behind the end of another one somewhere in `bytes`, whose beginning is none.
fn has_batch_behind(bytes: &[u8]) -> bool {
    let mut trailers = bytes.windows(TRAILER.len()).enumerate().filter(|(_, bytes)| *bytes == TRAILER);
    trailers.any(|(at, _)| batch(&bytes[at + TRAILER.len()..]).is_some())
}

/// The whole batches at the beginning of a journal: where each ends, and the number of its commit.
struct Batches<'a>(&'a [u8], usize);

impl Iterator for Batches<'_> {
    type Item = (usize, Option<CommitNumber>);

    fn next(&mut self) -> Option<Self::Item> {
        let (length, commit) = batch(&self.0[self.1..])?;
        self.1 += length;
        Some((self.1, commit))
    }
}

/// The length of the whole batch at the beginning of `bytes`, and the number of its commit; none when there is no such.
fn batch(bytes: &[u8]) -> Option<(usize, Option<CommitNumber>)> {
    let mut rest = bytes;
    if take(&mut rest, 1)? != [START] {
        return None;
    }
    let entries = number(&mut rest, 4)?;
    number(&mut rest, 8)?;
    let first = rest;
    let mut commit = None;
    for _ in 0..entries {
        commit = None;
        match take(&mut rest, 1)? {
            [ITEM] => {
                take(&mut rest, 2 + 8)?;
                let key = usize::try_from(number(&mut rest, 2)?).ok()?;
                number(&mut rest, 4)?;
                let stored = usize::try_from(number(&mut rest, 4)?).ok()?;
                let (key, value) = (take(&mut rest, key)?, take(&mut rest, stored)?);
                if key == NUMBER {
                    commit = value.try_into().ok().map(|value| CommitNumber(u64::from_be_bytes(value)));
                }
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
    whole.then(|| (bytes.len() - rest.len(), commit))
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
    use crate::disk::files::model::Model;

    const STORE: &str = "store";
    const DATA: &str = "store/data";
    const NEWEST: &str = "store/data/10.jnl";

    /// A batch as the library writes it.
    fn written(commit: u64, keys: &[&str]) -> Vec<u8> {
        let mut entries = Vec::new();
        let mut put = |key: &[u8], value: &[u8]| {
            entries.extend([ITEM, 0, 0]);
            entries.extend(7_u64.to_le_bytes());
            entries.extend((key.len() as u16).to_le_bytes());
            entries.extend([(value.len() as u32).to_le_bytes(); 2].concat());
            entries.extend(key);
            entries.extend(value);
        };
        keys.iter().for_each(|key| put(key.as_bytes(), b"value"));
        put(NUMBER, &commit.to_be_bytes());
        let cleared = entries.len();
        entries.splice(0..0, [&[CLEAR][..], &7_u64.to_le_bytes()].concat());
        assert_eq!(entries.len(), cleared + 9);
        let mut batch = vec![START];
        batch.extend((keys.len() as u32 + 2).to_le_bytes());
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

    /// Journals on a disk, all of them durable.
    fn disk(journals: &[(&str, &[u8])]) -> Model {
        let files = Model::new();
        for directory in [STORE, DATA] {
            files.create_directory(Path::new(directory)).unwrap();
        }
        for (name, bytes) in journals {
            let path = Path::new(DATA).join(name);
            files.write(&path, bytes).and_then(|()| files.sync_file(&path)).unwrap();
        }
        ["", STORE, DATA].into_iter().for_each(|path| files.sync_directory(Path::new(path)).unwrap());
        files
    }

    fn newest(files: &Model) -> Vec<u8> {
        files.read(Path::new(NEWEST)).unwrap()
    }

    fn repair(files: &Model, acknowledged: u64) -> io::Result<Tail> {
        super::repair(files, Path::new(STORE), Path::new(DATA), CommitNumber(acknowledged))
    }

    fn take_back(files: &Model, acknowledged: u64, starts_another: bool) -> io::Result<Tail> {
        let acknowledged = CommitNumber(acknowledged);
        super::take_back(files, Path::new(STORE), Path::new(DATA), acknowledged, starts_another)
    }

    fn put_back(files: &Model) {
        super::put_back(files, Path::new(STORE), Path::new(DATA)).unwrap();
    }

    /// Repairs a journal and tells what was found and what is left.
    fn repaired(bytes: &[u8], acknowledged: u64) -> (Tail, Vec<u8>) {
        let files = disk(&[("9.jnl", &written(1, &["older"])), ("lock", b""), ("10.jnl", bytes)]);
        (repair(&files, acknowledged).unwrap(), newest(&files))
    }

    #[test]
    fn a_journal_that_is_whole_stays_as_it_is() {
        for reserve in [0, 1, 10_000] {
            let journal = [written(2, &["a", "b"]), written(3, &[]), vec![0; reserve]].concat();
            assert_eq!(repaired(&journal, 3), (Tail::Clean, journal));
        }
        assert_eq!(repaired(&[], 1), (Tail::Clean, Vec::new()));
    }

    #[test]
    fn a_torn_commit_is_cut_off_wherever_it_is_torn() {
        let (whole, last) = (written(2, &["a", "b"]), written(3, &["c", "TRAILER FJL\x03 in a key", "d"]));
        // The mark of the last acknowledged commit may be one that was before.
        for acknowledged in [0, 1, 2] {
            for cut in 1..last.len() {
                for reserve in [0, 100] {
                    let torn = [&last[..cut], &vec![0; reserve]].concat();
                    let expect = (Tail::Torn(torn.len()), whole.clone());
                    assert_eq!(repaired(&[&whole[..], &torn].concat(), acknowledged), expect, "cut at {cut}");
                }
            }
            for wrong in covered(&last) {
                let mut hole = last.clone();
                hole[wrong] ^= 1;
                let expect = (Tail::Torn(hole.len()), whole.clone());
                assert_eq!(repaired(&[&whole[..], &hole].concat(), acknowledged), expect, "wrong at {wrong}");
            }
        }
    }

    #[test]
    fn damage_before_a_whole_commit_is_reported_and_not_repaired() {
        let (first, second) = (written(2, &["a"]), written(3, &["b"]));
        for wrong in covered(&first).filter(|at| *at < first.len() - TRAILER.len()) {
            let mut journal = [&first[..], &second, &[0; 50]].concat();
            journal[wrong] ^= 1;
            assert_eq!(repaired(&journal, 3), (Tail::Broken, journal), "wrong at {wrong}");
        }
    }

    #[test]
    fn an_acknowledged_commit_is_never_cut_off() {
        // Such as one that a newer version of the library wrote in another way.
        for before in [written(2, &["a"]), Vec::new()] {
            let last = if before.is_empty() { 1 } else { 2 };
            let journal = [&before[..], b"what is this?"].concat();
            let expect = (Tail::Missing(CommitNumber(last)), journal.clone());
            assert_eq!(repaired(&journal, last + 1), expect);
            assert_eq!(repaired(&journal, last).1, before);
        }
    }

    #[test]
    fn what_only_the_library_can_judge_is_kept_and_put_back() {
        // All older commits are in the tables: nothing tells their numbers.
        let torn = b"what is this?";
        let work = |files: &Model| repair(files, 7);
        let files = disk(&[("10.jnl", torn)]);
        work(&files).unwrap();
        assert_eq!(newest(&files), b"");
        put_back(&files);
        assert_eq!(newest(&files), torn);
        let steps = files.operations();
        let files = disk(&[("10.jnl", torn)]);
        for step in 0..steps {
            let broken = files.ending_after(step);
            let _ = work(&broken);
            for crash in broken.crashes() {
                put_back(&crash);
                assert_eq!(newest(&crash), torn, "after {step} steps");
            }
        }
        // Once something was appended, nothing is put back.
        work(&files).unwrap();
        files.write(Path::new(NEWEST), &written(8, &["a"])).unwrap();
        put_back(&files);
        assert_eq!(newest(&files), written(8, &["a"]));
    }

    /// What a start has found is durable before anything is built on it, although the end of the process before may
    /// have been a sync that failed.
    #[test]
    fn commits_that_may_not_be_durable_are_written_again() {
        let (second, third) = (written(2, &["a"]), written(3, &["b"]));
        for torn in [&b""[..], b"torn"] {
            let whole = [&second[..], &third].concat();
            let files = disk(&[("10.jnl", &second)]);
            files.write(Path::new(NEWEST), &[&whole[..], torn].concat()).unwrap();
            for step in 0.. {
                let broken = files.ending_after(step);
                let done = repair(&broken, 2).is_ok();
                for crash in broken.crashes() {
                    let found = newest(&crash);
                    assert!(if done { found == whole } else { found.starts_with(&second) }, "after {step} steps");
                }
                if done {
                    break;
                }
            }
        }
    }

    #[test]
    fn a_failed_commit_is_taken_back_whole_or_torn() {
        let (second, third) = (written(2, &["a"]), written(3, &["b"]));
        for failed in [&third[..], &third[..10], &[&third[..], &[0; 50]].concat()] {
            for (starts_another, reached_the_disk) in [(false, false), (false, true), (true, false), (true, true)] {
                let files = disk(&[("9.jnl", &written(1, &["older"])), ("10.jnl", &second)]);
                files.write(Path::new(NEWEST), &[&second[..], failed].concat()).unwrap();
                if reached_the_disk {
                    files.sync_file(Path::new(NEWEST)).unwrap();
                }
                for step in 0.. {
                    let broken = files.ending_after(step);
                    let result = take_back(&broken, 2, starts_another);
                    for crash in broken.crashes() {
                        let found = newest(&crash);
                        let expected = if result.is_ok() { found == second } else { found.starts_with(&second) };
                        assert!(expected, "after {step} steps");
                        let next = crash.exists(&Path::new(DATA).join("11.jnl")).unwrap();
                        assert!(next == starts_another || result.is_err(), "after {step} steps");
                    }
                    if let Ok(tail) = result {
                        assert_eq!(tail, Tail::Torn(failed.len()));
                        break;
                    }
                }
            }
        }
    }

    #[test]
    fn a_failed_commit_that_is_first_in_its_journal_leaves_another_file() {
        let files = disk(&[("9.jnl", &written(1, &["older"])), ("10.jnl", &written(2, &["a"]))]);
        assert!(matches!(take_back(&files, 1, true), Ok(Tail::Torn(_))));
        assert_eq!(newest(&files), b"");
        assert!(!files.exists(&Path::new(DATA).join("11.jnl")).unwrap());
        assert!(files.crashes().iter().all(|crash| newest(crash).is_empty()));
    }

    #[test]
    fn nothing_acknowledged_is_taken_back() {
        let (second, third, fourth) = (written(2, &["a"]), written(3, &["b"]), written(4, &["c"]));
        let mut broken = second.clone();
        broken[20] ^= 1;
        for (journal, acknowledged, expect) in [
            ([&second[..], &third].concat(), 3, Tail::Clean),
            ([&second[..], &third[..20]].concat(), 3, Tail::Missing(CommitNumber(2))),
            ([&broken[..], &third].concat(), 3, Tail::Broken),
            ([&second[..], &third, &fourth].concat(), 2, Tail::Broken),
        ] {
            let files = disk(&[("10.jnl", &journal)]);
            assert_eq!(take_back(&files, acknowledged, false).unwrap(), expect);
            assert_eq!(newest(&files), journal);
        }
    }
}
