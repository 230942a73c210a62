use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::{sync::Mutex, task};

use crate::{Changes, Commit, CommitNumber, Entry, Error, ErrorKind, KeyRange, Page, Result, Store, Table, Usage};

use super::{
    DiskSettings,
    directory::{Directory, FORMAT_VERSION, damaged, failed, is_full, older},
    engine::{Engine, Failure, LastCommit, Opening},
    high_water::HighWater,
    old_entries::OldEntries,
    upgrade::upgrade,
};

/// The embedded store: one directory on a local disk, held by one process.
///
/// State may be larger than memory. Commits are synced to the disk (`fdatasync`) before they return. All work is done
/// on blocking threads of the Tokio runtime. What a failed commit leaves behind is cleaned up by the next one: when
/// the disk was full and has room again, the same commit succeeds.
///
/// ```
/// use statefun_kinesis_store::{Commit, CommitNumber, DiskStore, Store, StoreExt, Table};
///
/// # let directory = tempfile::tempdir()?;
/// # let directory = directory.path();
/// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
/// let store = DiskStore::open(directory, Default::default()).await?;
/// let mut commit = Commit::new();
/// commit.put(Table::Meta, "answer", "42");
/// assert_eq!(store.commit(commit).await?, CommitNumber(1));
/// store.close().await?;
///
/// let store = DiskStore::open(directory, Default::default()).await?;
/// assert_eq!(store.get_one(Table::Meta, "answer".into()).await?, Some("42".into()));
/// # Ok::<(), statefun_kinesis_store::Error>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct DiskStore {
    shared: Arc<Shared>,
    writer: Arc<Mutex<Writer>>,
}

#[derive(Debug)]
struct Shared {
    engine: RwLock<State>,
    settings: DiskSettings,
    /// The version of the format in which the data were found.
    opened_format: u32,
    /// Last, so that the lock is released after all else is closed.
    directory: Directory,
}

enum State {
    Open(Engine),
    /// It was closed after an error, to be opened again by the next commit: until that succeeds, reads fail.
    Down,
    Closed,
}

#[derive(Debug)]
struct Writer {
    /// The last commit that was acknowledged, or found at the start.
    last: CommitNumber,
    /// What became of a commit that did not succeed, if that was the last one. The library takes no more then until it
    /// is opened again.
    broken: Option<LastCommit>,
    high_water: HighWater,
}

impl DiskStore {
    /// Opens the store in a directory. Directory and store are made if they are not there.
    ///
    /// # Errors
    ///
    /// When another process holds the store, when the directory holds something else, when a newer version of the
    /// program wrote it, when it is damaged, or when the disk is full or fails. [`Error::kind`] tells which.
    pub async fn open(directory: impl Into<PathBuf>, settings: DiskSettings) -> Result<Self> {
        let directory = directory.into();
        blocking(move || Self::open_blocking(&directory, settings, true, NO_UPGRADE)).await
    }

    /// Opens the store in a directory that has one, as [`open`](Self::open) does.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and [`ErrorKind::Missing`] when there is none.
    pub async fn open_existing(directory: impl Into<PathBuf>, settings: DiskSettings) -> Result<Self> {
        let directory = directory.into();
        blocking(move || Self::open_blocking(&directory, settings, false, NO_UPGRADE)).await
    }

    /// Opens the store in a directory as [`open`](Self::open) does, and brings it to the format of this program first
    /// when an older one wrote it: [`FORMAT_VERSION`].
    ///
    /// `convert` is called when there is something to convert. It is given all entries whose keys have changed, and
    /// returns a commit that puts them again under their new keys, with what else has to be in the store from now on.
    /// The old entries are removed by the same commit. All of it is in memory meanwhile.
    ///
    /// The upgrade is one atomic step. The store is marked first, so that from then on older programs refuse it as
    /// [`ErrorKind::Newer`]; after a crash the data are still as they were, or upgraded, and the next call goes on from
    /// there. When `convert` fails nothing was changed.
    ///
    /// ```
    /// use statefun_kinesis_store::{Commit, DiskStore, key};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let directory = directory.path();
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let store = DiskStore::open_upgrading(directory, Default::default(), |entries| {
    ///     let mut commit = Commit::new();
    ///     for entry in entries {
    ///         let entry = entry?;
    ///         let id = std::str::from_utf8(&entry.value).unwrap_or_default(); // Whatever the values have of it.
    ///         commit.put(entry.table, key::numbered(id, entry.number), entry.value.clone());
    ///     }
    ///     Ok(commit)
    /// });
    /// store.await?;
    /// # Ok::<(), statefun_kinesis_store::Error>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and those of `convert`.
    pub async fn open_upgrading(
        directory: impl Into<PathBuf>,
        settings: DiskSettings,
        convert: impl FnOnce(OldEntries) -> Result<Commit> + Send + 'static,
    ) -> Result<Self> {
        let directory = directory.into();
        blocking(move || Self::open_blocking(&directory, settings, true, Some(convert))).await
    }

    /// Brings the store in a directory to the format of this program, as [`open_upgrading`](Self::open_upgrading) does,
    /// and closes it. Tells the version that it had before, which is [`FORMAT_VERSION`] when there was nothing to do.
    ///
    /// # Errors
    ///
    /// Those of [`open_upgrading`](Self::open_upgrading), and [`ErrorKind::Missing`] when there is no store.
    pub async fn upgrade(
        directory: impl Into<PathBuf>,
        settings: DiskSettings,
        convert: impl FnOnce(OldEntries) -> Result<Commit> + Send + 'static,
    ) -> Result<u32> {
        let directory = directory.into();
        let store = blocking(move || Self::open_blocking(&directory, settings, false, Some(convert))).await?;
        let format = store.shared.opened_format;
        store.close().await?;
        Ok(format)
    }

    /// Whether there is a store in a directory. It may be one that is held, damaged or of a newer version: only opening
    /// it tells.
    pub fn is_in(directory: impl AsRef<Path>) -> bool {
        Directory::is_store(directory.as_ref())
    }

    /// Removes the store of a directory, also one that is damaged or of a newer version. Without a store nothing is
    /// done.
    ///
    /// # Errors
    ///
    /// When a process holds the store, when the directory holds something else, or when the disk fails.
    pub async fn remove(directory: impl Into<PathBuf>) -> Result<()> {
        let directory = directory.into();
        blocking(move || match Directory::lock(&directory, false) {
            Ok(directory) => directory.remove_store(),
            Err(error) if error.kind() == ErrorKind::Missing => Ok(()),
            Err(error) => Err(error),
        })
        .await
    }

    /// Waits for the commit that is under way, and releases the directory. Dropping the store does so too, but blocks the
    /// thread meanwhile.
    ///
    /// # Errors
    ///
    /// When closing failed. Nothing that was committed is lost by it.
    pub async fn close(self) -> Result<()> {
        let writer = Arc::clone(&self.writer).lock_owned().await;
        blocking(move || {
            *self.shared.engine.write().unwrap_or_else(PoisonError::into_inner) = State::Closed;
            drop(writer);
            // A read that has just ended may keep the value alive for a moment longer.
            self.shared.directory.unlock()
        })
        .await
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        self.shared.directory.root()
    }

    fn open_blocking(
        root: &Path,
        settings: DiskSettings,
        create: bool,
        convert: Option<impl FnOnce(OldEntries) -> Result<Commit>>,
    ) -> Result<Self> {
        let directory = Directory::lock(root, create)?;
        let marked = match directory.format()? {
            Some(format) => format,
            None if create => {
                directory.make_store(|store| Engine::create(store, &settings))?;
                FORMAT_VERSION
            }
            None => return Err(Error::new(ErrorKind::Missing, format!("there is no store in {}", root.display()))),
        };
        if marked != FORMAT_VERSION && convert.is_none() {
            return Err(older(root, marked));
        }
        let store = directory.store();
        let (mut high_water, acknowledged) = HighWater::open(&store)?;
        let opening = Opening::open(&store, &settings, acknowledged, LastCommit::Unknown)?;
        let opened_format = opening.format();
        let (engine, last) = match convert {
            _ if opened_format == FORMAT_VERSION => {
                if marked != FORMAT_VERSION {
                    return Err(damaged(root, "its file FORMAT is older than its data"));
                }
                opening.into_engine(&store, &settings)?
            }
            Some(convert) if opened_format < FORMAT_VERSION => upgrade(&directory, &settings, opening, convert)?,
            _ => return Err(older(root, opened_format)),
        };
        // After a crash it may lag behind; the disk may be full, and then it goes on doing so.
        let _ = high_water.write(last);
        let shared = Shared { engine: RwLock::new(State::Open(engine)), settings, opened_format, directory };
        let writer = Writer { last, broken: None, high_water };
        Ok(Self { shared: Arc::new(shared), writer: Arc::new(Mutex::new(writer)) })
    }

    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Engine, &Path) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let shared = Arc::clone(&self.shared);
        blocking(move || {
            let engine = shared.engine.read().unwrap_or_else(PoisonError::into_inner);
            read(shared.opened(&engine)?, &shared.directory.store())
        })
        .await
    }
}

impl Shared {
    fn opened<'a>(&self, state: &'a State) -> Result<&'a Engine> {
        let root = self.directory.root().display();
        match state {
            State::Open(engine) => Ok(engine),
            State::Down => {
                let message = format!("the store in {root} cannot be read until a commit has succeeded again");
                Err(Error::new(ErrorKind::Io, message))
            }
            State::Closed => Err(Error::new(ErrorKind::Closed, format!("the store in {root} was closed"))),
        }
    }

    fn commit(&self, writer: &mut Writer, commit: Commit) -> Result<CommitNumber> {
        let changes = commit.into_changes()?;
        if let Some(last) = writer.broken {
            self.reopen(writer, last)?;
        }
        let result = match self.attempt(writer, &changes) {
            // The background work has failed since the last commit; nothing of this one is written yet.
            Err(Failure::Poisoned) => {
                self.reopen(writer, LastCommit::Unknown)?;
                self.attempt(writer, &changes)
            }
            result => result,
        };
        result.map_err(|failure| match failure {
            Failure::Poisoned => self.background_failure(),
            Failure::Other(error) => error,
        })?;
        // Before anybody hears of the commit: what has been acknowledged is never more than one ahead of it.
        if let Err(error) = writer.high_water.write(writer.last) {
            tracing::debug!(%error, "cannot note the last commit beside the store");
        }
        Ok(writer.last)
    }

    fn attempt(&self, writer: &mut Writer, changes: &Changes) -> Result<(), Failure> {
        let state = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        let engine = self.opened(&state)?;
        // Should the library panic, it is unknown how far the commit has come.
        writer.broken = Some(LastCommit::Unknown);
        engine.catch_up()?;
        let number = CommitNumber(writer.last.0 + 1);
        engine.commit(&self.directory.store(), changes, number).inspect_err(|failure| {
            writer.broken = Some(LastCommit::of(failure));
        })?;
        writer.last = number;
        writer.broken = None;
        Ok(())
    }

    /// Opens the data again, after a commit or the background work has failed.
    fn reopen(&self, writer: &mut Writer, last: LastCommit) -> Result<()> {
        let mut state = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Closed) {
            return self.opened(&state).map(|_| ());
        }
        // The old one has to be closed first: it holds the directory.
        *state = State::Down;
        // Not even an attempt that fails may forget how the last commit ended.
        writer.broken = Some(last);
        let (engine, found) = Engine::open(&self.directory.store(), &self.settings, writer.last, last)?;
        tracing::debug!(directory = %self.directory.root().display(), commit = found.0, "the store was opened again");
        *state = State::Open(engine);
        writer.last = found;
        writer.broken = None;
        Ok(())
    }

    /// The error of background work that fails again and again. The library does not tell why; a full disk is the
    /// usual reason, and can be seen by trying.
    fn background_failure(&self) -> Error {
        let probe = self.directory.store().join("PROBE");
        let written = std::fs::write(&probe, vec![1; 1024 * 1024]);
        // If it cannot be removed, the next probe replaces it.
        let _ = std::fs::remove_file(&probe);
        match written {
            Err(error) if is_full(&error) => failed("write to", self.directory.root(), error),
            _ => {
                let root = self.directory.root().display();
                let message = format!("the store in {root} cannot move its journal to its tables");
                Error::new(ErrorKind::Io, message)
            }
        }
    }
}

/// No upgrade: a store of an older format is refused.
const NO_UPGRADE: Option<fn(OldEntries) -> Result<Commit>> = None;

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Open(_) => "Open",
            Self::Down => "Down",
            Self::Closed => "Closed",
        })
    }
}

#[async_trait]
impl Store for DiskStore {
    async fn commit(&self, commit: Commit) -> Result<CommitNumber> {
        // The lock goes along to the other thread: when this future is dropped, the next commit waits for this one.
        let mut writer = Arc::clone(&self.writer).lock_owned().await;
        let shared = Arc::clone(&self.shared);
        blocking(move || shared.commit(&mut writer, commit)).await
    }

    async fn get(&self, table: Table, keys: Vec<Bytes>) -> Result<Vec<Option<Bytes>>> {
        self.read(move |engine, store| engine.get(store, table, &keys)).await
    }

    async fn load(&self, table: Table, prefixes: Vec<Bytes>) -> Result<Vec<Vec<Entry>>> {
        self.read(move |engine, store| engine.load(store, table, prefixes)).await
    }

    async fn scan(&self, table: Table, range: KeyRange, max_bytes: usize) -> Result<Page> {
        self.read(move |engine, store| engine.scan(store, table, range, max_bytes)).await
    }

    async fn last_commit(&self) -> Result<CommitNumber> {
        Ok(self.writer.lock().await.last)
    }

    async fn usage(&self, table: Table) -> Result<Usage> {
        self.read(move |engine, _| Ok(engine.usage(table))).await
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => {
            let message = "the library below the store panicked, which it does on damaged files";
            Err(Error::new(ErrorKind::Damaged, message).with_source(error))
        }
        Err(_) => Err(Error::new(ErrorKind::Closed, "the runtime has ended")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StoreExt;

    fn put(key: &'static str) -> Commit {
        let mut commit = Commit::new();
        commit.put(Table::State, key, "value");
        commit
    }

    /// Writes a commit whole, and lets it fail all the same, as one does whose journal cannot be synced.
    async fn fail_to_sync(store: &DiskStore, key: &'static str, kind: ErrorKind) {
        let mut writer = store.writer.lock().await;
        let state = store.shared.engine.read().unwrap();
        let number = CommitNumber(writer.last.0 + 1);
        let changes = put(key).into_changes().unwrap();
        let written = store.shared.opened(&state).unwrap().commit(&store.shared.directory.store(), &changes, number);
        assert!(written.is_ok());
        writer.broken = Some(LastCommit::of(&Failure::Other(Error::new(kind, "it cannot be synced"))));
    }

    /// The journal that the library appends to. Older ones go once they are in the tables.
    fn newest_journal(store: &DiskStore) -> String {
        let data = store.directory().join("store/data");
        let names = std::fs::read_dir(data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".jnl")).max().unwrap()
    }

    /// The operating system may have dropped what could not be synced, and show it all the same.
    #[tokio::test]
    async fn after_an_error_nothing_is_appended_to_the_same_journal() {
        for (kind, expected) in [(ErrorKind::Io, "1.jnl"), (ErrorKind::Full, "0.jnl")] {
            let directory = tempfile::tempdir().unwrap();
            let store = DiskStore::open(directory.path(), DiskSettings::default()).await.unwrap();
            store.commit(put("first")).await.unwrap();
            for key in ["failed", "failed too"] {
                fail_to_sync(&store, key, kind).await;
                let mut writer = store.writer.lock().await;
                let last = writer.broken.unwrap();
                store.shared.reopen(&mut writer, last).unwrap();
                assert_eq!(newest_journal(&store), expected, "{kind:?}");
            }
            assert_eq!(store.commit(put("second")).await.unwrap(), CommitNumber(2));
            store.close().await.unwrap();

            let store = DiskStore::open(directory.path(), DiskSettings::default()).await.unwrap();
            for (key, there) in [("first", true), ("failed", false), ("failed too", false), ("second", true)] {
                let found = store.get_one(Table::State, key.into()).await.unwrap();
                assert_eq!(found.is_some(), there, "{key}");
            }
        }
    }

    #[tokio::test]
    async fn a_failed_commit_is_repeated_under_its_number() {
        let directory = tempfile::tempdir().unwrap();
        let store = DiskStore::open(directory.path(), DiskSettings::default()).await.unwrap();
        store.commit(put("first")).await.unwrap();
        fail_to_sync(&store, "failed", ErrorKind::Io).await;
        assert_eq!(store.commit(put("again")).await.unwrap(), CommitNumber(2));
        assert_eq!(store.get_one(Table::State, "failed".into()).await.unwrap(), None);
        assert_eq!(store.get_one(Table::State, "again".into()).await.unwrap(), Some("value".into()));
    }
}
