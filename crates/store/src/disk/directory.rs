//! What lies in a store's directory beside the data, and how it comes to be there.
//!
//! ```text
//! DIR/LOCK               locked by the process that holds the store; says which one
//! DIR/store/FORMAT       what this is, and the version of its format
//! DIR/store/HIGH_WATER   the last acknowledged commit
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

/// The version of the format that this program writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 2;

const LOCK: &str = "LOCK";
const STORE: &str = "store";
const STORE_NEW: &str = "store.new";
const STORE_OLD: &str = "store.old";
const FORMAT: &str = "FORMAT";
const FORMAT_TITLE: &str = "statefun-kinesis-store";
/// A process id and a line feed.
const LOCK_MAX_BYTES: u64 = 32;

/// A directory, held by this process as long as the value lives.
#[derive(Debug)]
pub(super) struct Directory {
    root: PathBuf,
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
        Ok(Self { root: root.to_owned(), lock: file })
    }

    /// The directory as the user named it.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Gives the directory free. Nothing may be done with it afterwards.
    pub(super) fn unlock(&self) -> Result<()> {
        self.lock.unlock().map_err(|error| failed("unlock", &self.root, error))
    }

    /// Where the store lies.
    pub(super) fn store(&self) -> PathBuf {
        self.root.join(STORE)
    }

    /// Whether there is a store in a directory, which is not locked for that.
    pub(super) fn is_store(root: &Path) -> bool {
        root.join(STORE).is_dir()
    }

    /// Whether there is a store, of a version that can be read.
    pub(super) fn has_store(&self) -> Result<bool> {
        let store = self.store();
        let path = store.join(FORMAT);
        match fs::read_to_string(&path) {
            Ok(text) => check_format(&text, &self.root).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                if exists(&store)? {
                    return Err(damaged(&self.root, "its file FORMAT is missing"));
                }
                Ok(false)
            }
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(damaged(&self.root, "its file FORMAT is not text"))
            }
            Err(error) => Err(failed("read", &path, error)),
        }
    }

    /// Makes a store: `fill` puts the data into a directory, which becomes the store when all is safely on the disk.
    pub(super) fn make_store(&self, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let new = self.root.join(STORE_NEW);
        remove(&new)?;
        let made = self.fill_store(&new, fill);
        if made.is_err() {
            // What is left is removed by the next attempt if it cannot be removed now.
            let _ = remove(&new);
        }
        made
    }

    fn fill_store(&self, new: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        fs::create_dir(new).map_err(|error| failed("make the directory", new, error))?;
        fill(new)?;
        let path = new.join(FORMAT);
        let written = File::create_new(&path).and_then(|mut file| {
            write!(file, "{FORMAT_TITLE}\nformat: {FORMAT_VERSION}\n")?;
            file.sync_all()
        });
        written.map_err(|error| failed("write", &path, error))?;
        sync(new)?;
        let store = self.store();
        fs::rename(new, &store).map_err(|error| failed("move a new store to", &store, error))?;
        sync(&self.root)
    }

    /// Removes the store, if there is one; whatever is wrong with it.
    pub(super) fn remove_store(&self) -> Result<()> {
        let (store, old) = (self.store(), self.root.join(STORE_OLD));
        remove(&old)?;
        if exists(&store)? {
            // Renamed first, so that a crash never leaves half of a store.
            fs::rename(&store, &old).map_err(|error| failed("move away", &store, error))?;
            sync(&self.root)?;
            remove(&old)?;
        }
        Ok(())
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

fn check_format(text: &str, root: &Path) -> Result<()> {
    let version = text
        .strip_prefix(FORMAT_TITLE)
        .and_then(|rest| rest.strip_prefix("\nformat: "))
        .and_then(|rest| rest.lines().next())
        .and_then(|version| version.parse::<u32>().ok());
    match version {
        Some(FORMAT_VERSION) => Ok(()),
        Some(version) if version > FORMAT_VERSION => {
            let root = root.display();
            let message = format!(
                "the store in {root} has the format {version}; this program reads formats up to {FORMAT_VERSION}"
            );
            Err(Error::new(ErrorKind::Newer, message))
        }
        Some(version @ 1..FORMAT_VERSION) => {
            let root = root.display();
            let message = format!(
                "the store in {root} has the format {version}, which has to be upgraded to format {FORMAT_VERSION} first"
            );
            Err(Error::new(ErrorKind::Older, message))
        }
        _ => Err(damaged(root, "its file FORMAT does not tell a version")),
    }
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", path, error)),
        _ => Ok(()),
    }
}

fn exists(path: &Path) -> Result<bool> {
    path.try_exists().map_err(|error| failed("look for", path, error))
}

/// Makes the names in a directory durable.
fn sync(path: &Path) -> Result<()> {
    // Windows opens no directories, and needs no such thing.
    if cfg!(unix) {
        let synced = File::open(path).and_then(|directory| directory.sync_all());
        synced.map_err(|error| failed("sync", path, error))?;
    }
    Ok(())
}

fn missing(root: &Path) -> Error {
    Error::new(ErrorKind::Missing, format!("there is no store in {}", root.display()))
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

    #[track_caller]
    fn check(text: &str, expect: Option<ErrorKind>) {
        let found = check_format(text, Path::new("dir")).err().map(|error| error.kind());
        assert_eq!(found, expect, "{text:?}");
    }

    #[test]
    fn our_format_is_read_and_others_are_told_apart() {
        check("statefun-kinesis-store\nformat: 2\n", None);
        check("statefun-kinesis-store\nformat: 2\nmore: facts\n", None);
        check("statefun-kinesis-store\nformat: 1\n", Some(ErrorKind::Older));
        check("statefun-kinesis-store\nformat: 3\n", Some(ErrorKind::Newer));
        check("statefun-kinesis-store\nformat: 0\n", Some(ErrorKind::Damaged));
        for text in ["", "statefun-kinesis-store\n", "statefun-kinesis-store\nformat: x\n", "format: 1\n", "\0\0\0"] {
            check(text, Some(ErrorKind::Damaged));
        }
    }
}
