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
    directory::{Directory, damaged, failed, is_full},
    engine::{Engine, Failure},
    high_water::HighWater,
};

/// How much memory a [`DiskStore`] may take.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DiskSettings {
    /// Bytes of the working set that are kept in memory. 64 MiB unless set.
    pub cache_bytes: u64,
    /// Bytes of a table's changes after which they are moved from the journal to the table; per table up to three
    /// times as much, and a commit, is in memory for a while. 16 MiB unless set. More than the store was made with has
    /// no effect.
    pub write_buffer_bytes: u64,
}

impl Default for DiskSettings {
    fn default() -> Self {
        Self { cache_bytes: 64 * 1024 * 1024, write_buffer_bytes: 16 * 1024 * 1024 }
    }
}

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
    /// Last, so that the lock is released after all else is closed.
    directory: Directory,
}

enum State {
    Open(Engine),
    /// It was closed to be opened anew, which has not succeeded yet.
    Down,
    Closed,
}

#[derive(Debug)]
struct Writer {
    /// The last commit that was acknowledged, or found at the start.
    last: CommitNumber,
    /// Whether a commit broke off, by an error or a panic. The library takes no more then until it is opened anew.
    broken: bool,
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
        blocking(move || Self::open_blocking(&directory, settings, true)).await
    }

    /// Opens the store in a directory that has one, as [`open`](Self::open) does.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open), and [`ErrorKind::Missing`] when there is none.
    pub async fn open_existing(directory: impl Into<PathBuf>, settings: DiskSettings) -> Result<Self> {
        let directory = directory.into();
        blocking(move || Self::open_blocking(&directory, settings, false)).await
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

    /// Waits for the commit that is under way, and gives the directory free. Dropping the store does so too, but lets
    /// the thread wait meanwhile.
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

    fn open_blocking(root: &Path, settings: DiskSettings, create: bool) -> Result<Self> {
        let directory = Directory::lock(root, create)?;
        if !directory.has_store()? {
            if !create {
                return Err(Error::new(ErrorKind::Missing, format!("there is no store in {}", root.display())));
            }
            directory.make_store(|store| Engine::create(store, &settings))?;
        }
        let store = directory.store();
        let (mut high_water, acknowledged) = HighWater::open(&store)?;
        let (engine, last) = Engine::open(&store, &settings)?;
        complete(root, acknowledged, last)?;
        // After a crash it may lag behind; the disk may be full, and then it goes on doing so.
        let _ = high_water.write(last);
        let shared = Shared { engine: RwLock::new(State::Open(engine)), settings, directory };
        let writer = Writer { last, broken: false, high_water };
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
        if writer.broken {
            self.reopen(writer)?;
        }
        let result = match self.attempt(writer, &changes) {
            // The background work has failed since the last commit; nothing of this one is written yet.
            Err(Failure::Poisoned) => {
                self.reopen(writer)?;
                self.attempt(writer, &changes)
            }
            result => result,
        };
        result.map_err(|failure| match failure {
            Failure::Poisoned => self.background_failure(),
            Failure::Other(error) => error,
        })?;
        if let Err(error) = writer.high_water.write(writer.last) {
            tracing::debug!(%error, "cannot note the last commit beside the store");
        }
        Ok(writer.last)
    }

    fn attempt(&self, writer: &mut Writer, changes: &Changes) -> Result<(), Failure> {
        let state = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        let engine = self.opened(&state)?;
        writer.broken = true;
        engine.catch_up()?;
        let number = CommitNumber(writer.last.0 + 1);
        engine.commit(&self.directory.store(), changes, number)?;
        writer.last = number;
        writer.broken = false;
        Ok(())
    }

    /// Opens the data anew, after a commit or the background work has failed.
    fn reopen(&self, writer: &mut Writer) -> Result<()> {
        let mut state = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Closed) {
            return self.opened(&state).map(|_| ());
        }
        // The old one has to be closed first: it holds the directory.
        *state = State::Down;
        let (engine, last) = Engine::open(&self.directory.store(), &self.settings)?;
        complete(self.directory.root(), writer.last, last)?;
        tracing::debug!(directory = %self.directory.root().display(), commit = last.0, "the store was opened anew");
        *state = State::Open(engine);
        // The commit that failed may be there.
        writer.last = last;
        writer.broken = false;
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

/// Checks that no acknowledged commit is missing.
fn complete(root: &Path, acknowledged: CommitNumber, last: CommitNumber) -> Result<()> {
    if last < acknowledged {
        let why = format!("commit {} was acknowledged, but commit {} is the last one in it", acknowledged.0, last.0);
        return Err(damaged(root, &why));
    }
    Ok(())
}

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
