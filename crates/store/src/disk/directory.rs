//! What lies in a store's directory beside the data, and how it comes to be there.
//!
//! ```text
//! DIR/LOCK               locked by the process that holds the store; says which one
//! DIR/store/FORMAT       what this is, and the version of its format
//! DIR/store/FORMAT.new   the same, while it is replaced
//! DIR/store/HIGH_WATER   the last acknowledged commit
//! DIR/store/CUT          what was cut off the journal last, see `journal`
//! DIR/store/data/        the data
//! DIR/store.new/         a store that is being made; becomes `store` by one rename
//! DIR/store.old/         a store that is being removed
//! ```

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use crate::{Error, ErrorKind, Result};

use super::files::{Files, SystemFiles};

/// The version of the format that this program writes, and the newest that it reads. A store of an older one has to be
/// upgraded.
pub const FORMAT_VERSION: u32 = 2;

const LOCK: &str = "LOCK";
const STORE: &str = "store";
const STORE_NEW: &str = "store.new";
const STORE_OLD: &str = "store.old";
const FORMAT: &str = "FORMAT";
const FORMAT_NEW: &str = "FORMAT.new";
const FORMAT_TITLE: &str = "statefun-kinesis-store";
/// A process id and a line feed.
const LOCK_MAX_BYTES: u64 = 32;

/// A directory, held by this process as long as the value lives.
#[derive(Debug)]
pub(super) struct Directory {
    layout: Layout<SystemFiles>,
    /// The lock goes when the file is closed, also by a crash.
    lock: File,
}

impl Directory {
    /// Locks a directory. With `create` it is made if it is not there.
    pub(super) fn lock(root: &Path, create: bool) -> Result<Self> {
        if create {
            fs::create_dir_all(root).map_err(|error| failed("make the directory", root, error))?;
        }
        refuse_strangers(root)?;
        let path = root.join(LOCK);
        let opened = File::options().read(true).write(true).create(create).truncate(false).open(&path);
        let mut file = opened.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => missing(root),
            _ => failed("open", &path, error),
        })?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Who holds it is a help and no more: it may be unreadable.
                let _ = file.take(LOCK_MAX_BYTES).read_to_string(&mut holder);
                let holder = holder.trim().parse::<u32>().map(|id| format!(" (process {id})")).unwrap_or_default();
                let message = format!("the store in {} is held by another process{holder}", root.display());
                return Err(Error::new(ErrorKind::Locked, message));
            }
            Err(TryLockError::Error(error)) => return Err(failed("lock", &path, error)),
        }
        // On a full disk the store opens all the same, only without the name of its holder.
        let noted = file
            .set_len(0)
            .and_then(|()| file.seek(SeekFrom::Start(0)))
            .and_then(|_| writeln!(file, "{}", std::process::id()));
        if let Err(error) = noted {
            tracing::debug!(%error, "cannot write who holds the store");
        }
        Ok(Self { layout: Layout { root: root.to_owned(), files: SystemFiles }, lock: file })
    }

    /// The directory as the user named it.
    pub(super) fn root(&self) -> &Path {
        &self.layout.root
    }

    /// Gives the directory free. Nothing may be done with it afterwards.
    pub(super) fn unlock(&self) -> Result<()> {
        self.lock.unlock().map_err(|error| failed("unlock", self.root(), error))
    }

    /// Where the store lies.
    pub(super) fn store(&self) -> PathBuf {
        self.layout.store()
    }

    /// Whether there is a store in a directory, which is not locked for that.
    pub(super) fn is_store(root: &Path) -> bool {
        root.join(STORE).is_dir()
    }

    /// The version of the store's format; none when there is no store.
    pub(super) fn format(&self) -> Result<Option<u32>> {
        self.layout.format()
    }

    /// Says that the store has the format of this program now, so that an older program does not touch it any more.
    pub(super) fn mark_format(&self) -> Result<()> {
        self.layout.mark_format()
    }

    /// Makes a store: `fill` puts the data into a directory, durably, and the directory becomes the store.
    pub(super) fn make_store(&self, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        self.layout.make_store(fill)
    }

    /// Removes the store, if there is one; whatever is wrong with it.
    pub(super) fn remove_store(&self) -> Result<()> {
        self.layout.remove_store()
    }
}

/// The names in the directory.
#[derive(Debug)]
struct Layout<F> {
    root: PathBuf,
    files: F,
}

impl<F: Files> Layout<F> {
    fn store(&self) -> PathBuf {
        self.root.join(STORE)
    }

    fn format(&self) -> Result<Option<u32>> {
        let store = self.store();
        let path = store.join(FORMAT);
        match self.files.read(&path) {
            Ok(text) => check_format(&text, &self.root).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if self.files.exists(&store).map_err(|error| failed("look for", &store, error))? {
                    return Err(damaged(&self.root, "its file FORMAT is missing"));
                }
                Ok(None)
            }
            Err(error) => Err(failed("read", &path, error)),
        }
    }

    fn mark_format(&self) -> Result<()> {
        let store = self.store();
        let (new, path) = (store.join(FORMAT_NEW), store.join(FORMAT));
        self.write_format(&new)?;
        // Renamed, so that there never is a file with half a version.
        self.files.rename(&new, &path).map_err(|error| failed("replace", &path, error))?;
        self.sync(&store)
    }

    fn make_store(&self, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let new = self.root.join(STORE_NEW);
        self.remove(&new)?;
        let made = self.fill_store(&new, fill);
        if made.is_err() {
            // What is left is removed by the next attempt if it cannot be removed now.
            let _ = self.remove(&new);
        }
        made
    }

    fn fill_store(&self, new: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        self.files.create_directory(new).map_err(|error| failed("make the directory", new, error))?;
        fill(new)?;
        self.write_format(&new.join(FORMAT))?;
        // What has the name of a store is a whole one: its names are durable before it gets that name.
        self.sync(new)?;
        let store = self.store();
        self.files.rename(new, &store).map_err(|error| failed("move a new store to", &store, error))?;
        // Without it the store, and with it every commit, could be gone after a crash.
        self.sync(&self.root)
    }

    fn write_format(&self, path: &Path) -> Result<()> {
        let text = format!("{FORMAT_TITLE}\nformat: {FORMAT_VERSION}\n");
        let written = self.files.write(path, text.as_bytes()).and_then(|()| self.files.sync_file(path));
        written.map_err(|error| failed("write", path, error))
    }

    fn remove_store(&self) -> Result<()> {
        let (store, old) = (self.store(), self.root.join(STORE_OLD));
        self.remove(&old)?;
        if self.files.exists(&store).map_err(|error| failed("look for", &store, error))? {
            self.files.rename(&store, &old).map_err(|error| failed("move away", &store, error))?;
            // The new name is durable before anything in it is removed, so that a crash never leaves half a store.
            self.sync(&self.root)?;
            self.remove(&old)?;
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<()> {
        self.files.remove_directory(path).map_err(|error| failed("remove", path, error))
    }

    fn sync(&self, path: &Path) -> Result<()> {
        self.files.sync_directory(path).map_err(|error| failed("sync", path, error))
    }
}

/// Refuses a directory that is used for something else already.
fn refuse_strangers(root: &Path) -> Result<()> {
    let entries = fs::read_dir(root).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => missing(root),
        io::ErrorKind::NotADirectory => Error::new(ErrorKind::NotAStore, format!("{} is a file", root.display())),
        _ => failed("read", root, error),
    })?;
    let mut stranger = None;
    for entry in entries {
        let name = entry.map_err(|error| failed("read", root, error))?.file_name();
        if name == LOCK || name == STORE {
            return Ok(());
        }
        // File systems put this into their root.
        if name != STORE_NEW && name != STORE_OLD && name != "lost+found" {
            stranger = Some(name);
        }
    }
    match stranger {
        None => Ok(()),
        Some(name) => {
            let (root, name) = (root.display(), name.to_string_lossy());
            let message = format!("{root} is not a store: it holds `{name}`, which a store does not have");
            Err(Error::new(ErrorKind::NotAStore, message))
        }
    }
}

/// The version that a file FORMAT tells, when this program knows it.
fn check_format(text: &[u8], root: &Path) -> Result<u32> {
    let version = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.strip_prefix(FORMAT_TITLE)?.strip_prefix("\nformat: ")?.lines().next())
        .and_then(|version| version.parse::<u32>().ok());
    match version {
        Some(version @ 1..=FORMAT_VERSION) => Ok(version),
        Some(version) if version > FORMAT_VERSION => {
            let root = root.display();
            let message = format!(
                "the store in {root} has the format {version}; this program reads formats up to {FORMAT_VERSION}"
            );
            Err(Error::new(ErrorKind::Newer, message))
        }
        _ => Err(damaged(root, "its file FORMAT does not tell a version")),
    }
}

fn missing(root: &Path) -> Error {
    Error::new(ErrorKind::Missing, format!("there is no store in {}", root.display()))
}

/// The error of a store that has to be upgraded before it can be used.
pub(super) fn older(root: &Path, version: u32) -> Error {
    let root = root.display();
    let message = format!(
        "the store in {root} has the format {version}, which has to be upgraded to format {FORMAT_VERSION} first"
    );
    Error::new(ErrorKind::Older, message)
}

/// The error of a store that cannot be trusted.
pub(super) fn damaged(root: &Path, why: &str) -> Error {
    Error::new(ErrorKind::Damaged, format!("the store in {} is damaged: {why}", root.display()))
}

/// The error of something that could not be done with a file.
pub(super) fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    let kind = if is_full(&error) { ErrorKind::Full } else { ErrorKind::Io };
    let full = if kind == ErrorKind::Full { ": there is no room" } else { "" };
    Error::new(kind, format!("cannot {what} {}{full}", path.display())).with_source(error)
}

/// Whether there was no room: on the disk, in a quota, or below the largest size of a file.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::files::model::Model;

    #[track_caller]
    fn check(text: &str, expect: Result<u32, ErrorKind>) {
        let found = check_format(text.as_bytes(), Path::new("dir")).map_err(|error| error.kind());
        assert_eq!(found, expect, "{text:?}");
    }

    #[test]
    fn formats_up_to_ours_are_known() {
        check("statefun-kinesis-store\nformat: 1\n", Ok(1));
        check("statefun-kinesis-store\nformat: 2\n", Ok(2));
        check("statefun-kinesis-store\nformat: 2\nmore: facts\n", Ok(2));
        check("statefun-kinesis-store\nformat: 3\n", Err(ErrorKind::Newer));
        check("statefun-kinesis-store\nformat: 0\n", Err(ErrorKind::Damaged));
        for text in ["", "statefun-kinesis-store\n", "statefun-kinesis-store\nformat: x\n", "format: 1\n", "\0\0\0"] {
            check(text, Err(ErrorKind::Damaged));
        }
    }

    const DATA: &str = "data";

    fn layout(files: Model) -> Layout<Model> {
        Layout { root: PathBuf::new(), files }
    }

    fn make(layout: &Layout<Model>) -> Result<()> {
        layout.make_store(|store| {
            // The library makes what it writes durable by itself, up to the name of its own directory.
            let (data, files) = (store.join(DATA), &layout.files);
            let filled = files.write(&data, b"whole").and_then(|()| files.sync_file(&data));
            filled.map_err(|error| failed("fill", &data, error))
        })
    }

    /// The format of the store that is there; it is whole.
    #[track_caller]
    fn found(files: Model, when: &str) -> Option<u32> {
        let layout = layout(files);
        let format = layout.format().unwrap_or_else(|error| panic!("{when}: {error}"));
        if format.is_some() {
            let data = layout.files.read(&layout.store().join(DATA));
            assert_eq!(data.ok().as_deref(), Some(&b"whole"[..]), "{when}");
        }
        format
    }

    /// Does something on files, and loses power at each of its steps and after the last one: `expect` is told whether
    /// the last one was done, and what was found.
    #[track_caller]
    fn crash_anywhere(
        files: &Model,
        work: impl Fn(&Layout<Model>) -> Result<()>,
        expect: impl Fn(bool, Option<u32>) -> bool,
    ) {
        let whole = layout(files.ending_after(usize::MAX));
        work(&whole).unwrap();
        let steps = whole.files.operations();
        assert!(steps > 2, "{steps} steps");
        for step in 0..=steps {
            let broken = layout(files.ending_after(step));
            assert_eq!(work(&broken).is_ok(), step == steps);
            for crash in broken.files.crashes() {
                let when = format!("after {step} of {steps} steps");
                let found = found(crash, &when);
                assert!(expect(step == steps, found), "{when}: {found:?}");
            }
        }
    }

    fn with_store() -> Model {
        let layout = layout(Model::new());
        make(&layout).unwrap();
        layout.files
    }

    #[test]
    fn a_new_store_is_whole_or_not_there_and_there_once_it_is_made() {
        crash_anywhere(&Model::new(), make, |done, found| found == Some(FORMAT_VERSION) || !done && found.is_none());
    }

    #[test]
    fn a_store_that_is_removed_is_whole_or_not_there() {
        crash_anywhere(&with_store(), Layout::remove_store, |done, found| !done || found.is_none());
    }

    #[test]
    fn a_format_is_the_old_or_the_new_one() {
        let files = with_store();
        let path = Path::new(STORE).join(FORMAT);
        files.write(&path, b"statefun-kinesis-store\nformat: 1\n").and_then(|()| files.sync_file(&path)).unwrap();
        crash_anywhere(&files, Layout::mark_format, |done, found| {
            found == Some(FORMAT_VERSION) || !done && found == Some(1)
        });
    }
}
