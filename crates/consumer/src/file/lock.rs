//! One user of a directory at a time.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use crate::CheckpointError;

/// How long opening waits for the last save of an earlier user of this process. A save writes a small file; a disk that
/// takes longer than this is broken or overloaded.
const RELEASE_MAX: Duration = Duration::from_secs(10);

/// The directories that this process has locked. The lock of the file system alone does not tell this process from
/// another one, nor a user from a last save that still runs.
static LOCKED: LazyLock<Directories> = LazyLock::new(Directories::default);

#[derive(Debug, Default)]
struct Directories {
    /// The user of each directory, by canonical path. An entry without a user belongs to a save that still runs.
    users: Mutex<HashMap<PathBuf, Weak<User>>>,
    released: Condvar,
}

impl Directories {
    fn users(&self) -> MutexGuard<'_, HashMap<PathBuf, Weak<User>>> {
        self.users.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The user of a directory, for as long as it may start another save.
#[derive(Debug)]
pub(super) struct User;

/// The lock on a directory, against other processes and other users of this one.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    path: PathBuf,
    file: Option<File>,
}

impl DirectoryLock {
    /// Creates the directory if it does not exist, and locks it.
    ///
    /// # Errors
    ///
    /// When it cannot be used, or is used already.
    pub(super) fn take(directory: &Path) -> Result<(Self, Arc<User>), CheckpointError> {
        let unusable = |error: io::Error| {
            let message = format!("the checkpoint directory {} cannot be used", directory.display());
            CheckpointError::new(message).with_source(error)
        };
        let used_by = |user: &str| {
            CheckpointError::new(format!("the checkpoint directory {} is used by {user}", directory.display()))
        };
        fs::create_dir_all(directory).map_err(unusable)?;
        let path = directory.canonicalize().map_err(unusable)?;

        // Held to the end, so that no other thread opens the same directory in between.
        let users = LOCKED.users();
        let is_being_released =
            |users: &mut HashMap<PathBuf, Weak<User>>| users.get(&path).is_some_and(|user| user.strong_count() == 0);
        let (mut users, _) = LOCKED
            .released
            .wait_timeout_while(users, RELEASE_MAX, is_being_released)
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(user) = users.get(&path) {
            return Err(used_by(if user.strong_count() > 0 {
                "this process already: drop the other `FileCheckpoints` first, or clone it"
            } else {
                "a save of this process that does not end: check the disk, or name another directory"
            }));
        }

        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path.join("lock"));
        let file = file.map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(used_by("another process: stop that process, or name another directory"));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let user = Arc::new(User);
        users.insert(path.clone(), Arc::downgrade(&user));
        Ok((Self { path, file: Some(file) }, user))
    }
}

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // The file first: a thread that finds no user here must be able to lock the file.
        self.file = None;
        LOCKED.users().remove(&self.path);
        LOCKED.released.notify_all();
    }
}
