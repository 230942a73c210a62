//! The LSM tree below the store: one keyspace per table, and one of our own for the number of the last commit.

use std::{
    io,
    path::Path,
    sync::{PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use fjall::{
    AbstractTree, Database, Keyspace, KeyspaceCreateOptions, PersistMode, Readable, Snapshot,
    config::PartitioningPolicy,
};

use crate::{Change, Changes, CommitNumber, Entry, Error, ErrorKind, KeyRange, Page, Result, Table, Usage};

use super::{
    DiskSettings,
    directory::{FORMAT_VERSION, damaged, failed, is_full, older},
    files::SystemFiles,
    journal::{self, NUMBER, Tail},
    old_entries::OldEntries,
};

const DATA: &str = "data";
/// By this file the library knows its directory.
const MARKER: &str = "version";
/// The keyspace of what no table has: the number of the last commit, and the format of the data.
const INTERNAL: &str = "internal";
/// The version of the data's format, big-endian in four bytes. Data of the first version have none.
const FORMAT: &[u8] = b"format";
const FIRST_FORMAT: u32 = 1;
/// How a commit is made durable. `fdatasync` is enough: it takes along what of the metadata is needed to read the data
/// again.
const COMMIT: PersistMode = PersistMode::SyncData;

/// Most bytes of the journals together, after which tables that are written rarely are flushed too. It bounds what is
/// replayed at a start. The library takes no less than 64 MiB, at which a journal ends.
const JOURNALS_MAX_BYTES: u64 = 64 * 1024 * 1024;

/// Files that are kept open; the rest is opened when it is read.
const OPEN_FILES_MAX: usize = 256;

/// The library keeps one of its threads for flushing: while another compacts and more of that is asked for, it asks
/// for work again and again without a pause. A third takes that off it, and so half of the processor's time.
const WORKERS: usize = 3;

/// Memory for writes to the table of the commit's number, and to those of ours that are small.
const SMALL_BUFFER_BYTES: u64 = 1024 * 1024;

/// The library lets a commit wait at four full buffers that are not flushed yet, for ever if flushing has failed. A
/// commit adds one at most, and one may be on its way: up to here it cannot come to that.
const FULL_BUFFERS_MAX: usize = 1;

/// The same for runs of the first level, at which the library stops at thirty.
const RUNS_MAX: usize = 16;

/// Bytes of a block of data in a file, after which the library begins another one.
const BLOCK_BYTES: usize = 4 * 1024;

/// How long to wait before looking again whether the background work has caught up.
const CATCH_UP_PAUSE: Duration = Duration::from_millis(2);

pub(super) struct Engine {
    database: Database,
    tables: [Keyspace; Table::ALL.len()],
    internal: Keyspace,
    write_buffer_bytes: u64,
    /// What is read: everything up to the last commit, and nothing of the one that is being applied. The library's
    /// background work moves its own snapshots forward, also to the middle of a commit.
    committed: RwLock<Snapshot>,
}

/// Data that are open, whatever their format.
pub(super) struct Opening {
    database: Database,
    internal: Keyspace,
    format: u32,
    last: CommitNumber,
}

/// What became of the last commit, before data are opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastCommit {
    /// It is there or not, as a whole: at a start, or after the background work has failed.
    Unknown,
    /// It has failed, and is not there: the library applies a commit only once it is in the journal.
    Failed {
        /// Whether there was no room for it, and nothing else was wrong.
        for_want_of_room: bool,
    },
}

impl LastCommit {
    /// What became of a commit that [`Engine::commit`] has refused.
    pub(super) fn of(failure: &Failure) -> Self {
        match failure {
            Failure::Poisoned => Self::Unknown,
            Failure::Other(error) => Self::Failed { for_want_of_room: error.kind() == ErrorKind::Full },
        }
    }
}

/// Why an engine could not do what was asked.
pub(super) enum Failure {
    /// The background work or an earlier commit failed; it takes nothing any more and has to be opened again.
    Poisoned,
    /// Anything else.
    Other(Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl Engine {
    /// Makes the data of a new store.
    pub(super) fn create(store: &Path, settings: &DiskSettings) -> Result<()> {
        let made = open_database(store, settings).and_then(|database| {
            for table in Table::ALL {
                database.keyspace(table.name(), || options(table, settings))?;
            }
            let internal = database.keyspace(INTERNAL, || bounded(SMALL_BUFFER_BYTES))?;
            let mut batch = database.batch().durability(Some(PersistMode::SyncAll));
            batch.insert(&internal, FORMAT, Bytes::copy_from_slice(&FORMAT_VERSION.to_be_bytes()));
            batch.insert(&internal, NUMBER, number_bytes(CommitNumber(0)));
            batch.commit()
        });
        made.map_err(|error| translate("make", store, error))
    }

    /// Opens the data of a store, and tells its last commit. `acknowledged` is the last one that has to be there.
    pub(super) fn open(
        store: &Path,
        settings: &DiskSettings,
        acknowledged: CommitNumber,
        last: LastCommit,
    ) -> Result<(Self, CommitNumber)> {
        let opening = Opening::open(store, settings, acknowledged, last)?;
        if opening.format != FORMAT_VERSION {
            return Err(older(store.parent().unwrap_or(store), opening.format));
        }
        opening.into_engine(store, settings)
    }

    /// Writes changes, and returns when they are on the disk.
    pub(super) fn commit(&self, store: &Path, changes: &Changes, number: CommitNumber) -> Result<(), Failure> {
        self.write(store, changes, number, None)
    }

    /// The same for the changes that bring the data to the format of this program.
    pub(super) fn upgrade(&self, store: &Path, changes: &Changes, number: CommitNumber) -> Result<(), Failure> {
        self.write(store, changes, number, Some(FORMAT_VERSION))
    }

    fn write(&self, store: &Path, changes: &Changes, number: CommitNumber, format: Option<u32>) -> Result<(), Failure> {
        let fail = |error| match error {
            fjall::Error::Poisoned => Failure::Poisoned,
            error => Failure::Other(translate("write to", store, error)),
        };
        let mut batch = self.database.batch().durability(Some(COMMIT));
        for (table, range) in changes.ranges() {
            let keyspace = self.keyspace(*table);
            for stored in keyspace.range(range.bounds()) {
                let key = stored.key().map_err(fail)?;
                if !changes.has_entry(*table, &key) {
                    batch.remove(keyspace, key);
                }
            }
        }
        for Change { table, key, value } in changes.entries() {
            match value {
                Some(value) => batch.insert(self.keyspace(*table), key.clone(), value.clone()),
                None => batch.remove(self.keyspace(*table), key.clone()),
            }
        }
        if let Some(format) = format {
            batch.insert(&self.internal, FORMAT, Bytes::copy_from_slice(&format.to_be_bytes()));
        }
        // The last entry: by it the number of a commit is found in the journal.
        batch.insert(&self.internal, NUMBER, number_bytes(number));
        batch.commit().map_err(fail)?;
        *self.committed.write().unwrap_or_else(PoisonError::into_inner) = self.database.snapshot();
        Ok(())
    }

    /// Hands full buffers to the background work, and waits until that is not far behind.
    pub(super) fn catch_up(&self) -> Result<(), Failure> {
        // The library does so itself, but as the last of what its threads have to do: while one of them compacts, a
        // buffer would grow without bound.
        let full = |keyspace: &&Keyspace| keyspace.tree.active_memtable().size() > self.write_buffer_bytes;
        for keyspace in self.keyspaces().filter(full) {
            keyspace.rotate_memtable().map_err(|_| Failure::Poisoned)?;
        }
        let behind = |keyspace: &Keyspace| {
            keyspace.sealed_memtable_count() > FULL_BUFFERS_MAX || keyspace.l0_table_count() > RUNS_MAX
        };
        loop {
            // With this mode it writes nothing of ours and tells whether writing has failed.
            match self.database.persist(PersistMode::Buffer) {
                Ok(()) => {}
                Err(_) => return Err(Failure::Poisoned),
            }
            if !self.keyspaces().any(behind) {
                return Ok(());
            }
            std::thread::sleep(CATCH_UP_PAUSE);
        }
    }

    pub(super) fn get(&self, store: &Path, table: Table, keys: &[Bytes]) -> Result<Vec<Option<Bytes>>> {
        let (snapshot, keyspace) = (self.committed(), self.keyspace(table));
        let get = |key: &Bytes| snapshot.get(keyspace, key).map(|value| value.map(owned));
        keys.iter().map(get).collect::<fjall::Result<_>>().map_err(|error| translate("read", store, error))
    }

    pub(super) fn load(&self, store: &Path, table: Table, prefixes: Vec<Bytes>) -> Result<Vec<Vec<Entry>>> {
        let snapshot = self.committed();
        let load = |prefix| self.entries(&snapshot, store, table, &KeyRange::prefix(prefix)).collect();
        prefixes.into_iter().map(load).collect()
    }

    pub(super) fn scan(&self, store: &Path, table: Table, range: KeyRange, max_bytes: usize) -> Result<Page> {
        let snapshot = self.committed();
        let entries = self.entries(&snapshot, store, table, &range);
        Page::fill(range, max_bytes, entries)
    }

    pub(super) fn usage(&self, table: Table) -> Usage {
        Usage { bytes: self.keyspace(table).disk_space() }
    }

    fn entries<'a>(
        &self,
        snapshot: &Snapshot,
        store: &'a Path,
        table: Table,
        range: &KeyRange,
    ) -> impl Iterator<Item = Result<Entry>> + use<'a> {
        let found = (!range.is_empty()).then(|| snapshot.range(self.keyspace(table), range.bounds()));
        found.into_iter().flatten().map(move |guard| {
            let (key, value) = guard.into_inner().map_err(|error| translate("read", store, error))?;
            Ok(Entry { key: owned(key), value: owned(value) })
        })
    }

    /// The moment of the last commit.
    fn committed(&self) -> Snapshot {
        self.committed.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keyspace(&self, table: Table) -> &Keyspace {
        &self.tables[table.index()]
    }

    fn keyspaces(&self) -> impl Iterator<Item = &Keyspace> {
        self.tables.iter().chain([&self.internal])
    }
}

impl Opening {
    /// Opens the data of a store. `acknowledged` is the last commit that has to be there.
    pub(super) fn open(
        store: &Path,
        settings: &DiskSettings,
        acknowledged: CommitNumber,
        last: LastCommit,
    ) -> Result<Self> {
        let root = store.parent().unwrap_or(store);
        // Without this file the library would make new data, on top of what is there.
        let data = store.join(DATA);
        if !data.join(MARKER).exists() {
            return Err(damaged(root, "its data is missing"));
        }
        repair(root, store, &data, acknowledged, last)?;
        let opened = Self::open_repaired(store, settings, acknowledged);
        if opened.as_ref().is_err_and(|error| error.kind() == ErrorKind::Damaged)
            // The data are closed again. If the journal should not have been cut, it is again what it was, for a person or
            // a newer version.
            && let Err(error) = journal::put_back(&SystemFiles, store, &data)
        {
            tracing::debug!(%error, "cannot put back what was cut off the journal");
        }
        opened
    }

    fn open_repaired(store: &Path, settings: &DiskSettings, acknowledged: CommitNumber) -> Result<Self> {
        let open = |error| translate("open", store, error);
        let root = store.parent().unwrap_or(store);
        let database = open_database(store, settings).map_err(open)?;
        let internal = keyspace(&database, store, INTERNAL)?;
        let found = internal.get(NUMBER).map_err(open)?;
        let last = found.as_deref().and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
        let last = last.map(CommitNumber).ok_or_else(|| damaged(root, "the number of its last commit is missing"))?;
        if last < acknowledged {
            return Err(incomplete(root, acknowledged, last));
        }
        let format = match internal.get(FORMAT).map_err(open)? {
            None => FIRST_FORMAT,
            Some(format) => {
                let format = (*format).try_into().map(u32::from_be_bytes);
                format.map_err(|_| damaged(root, "the format of its data is not a number"))?
            }
        };
        Ok(Self { database, internal, format, last })
    }

    /// The version of the data's format.
    pub(super) fn format(&self) -> u32 {
        self.format
    }

    /// The entries of an older format that have to be brought to the one of this program.
    pub(super) fn old_entries(&self, store: &Path) -> Result<OldEntries> {
        let mut entries = Vec::with_capacity(OldEntries::TABLES.len());
        for table in OldEntries::TABLES {
            let keyspace = keyspace(&self.database, store, table.name())?;
            let store = store.to_owned();
            let all = keyspace.iter().map(move |guard| {
                let (key, value) = guard.into_inner().map_err(|error| translate("read", &store, error))?;
                Ok((table, Entry { key: key.into(), value: value.into() }))
            });
            entries.push(all);
        }
        Ok(OldEntries::new(entries.into_iter().flatten()))
    }

    /// Makes the tables that an older format does not have.
    pub(super) fn add_tables(&self, store: &Path, settings: &DiskSettings) -> Result<()> {
        for table in Table::ALL {
            let made = self.database.keyspace(table.name(), || options(table, settings));
            made.map_err(|error| translate("add a table to", store, error))?;
        }
        Ok(())
    }

    /// Opens all tables, and tells the last commit.
    pub(super) fn into_engine(self, store: &Path, settings: &DiskSettings) -> Result<(Engine, CommitNumber)> {
        let Self { database, internal, last, .. } = self;
        let mut tables = Vec::with_capacity(Table::ALL.len());
        for table in Table::ALL {
            tables.push(keyspace(&database, store, table.name())?);
        }
        let Ok(tables) = tables.try_into() else { unreachable!("one keyspace was opened per table") };
        let write_buffer_bytes = settings.write_buffer_bytes;
        let committed = RwLock::new(database.snapshot());
        Ok((Engine { database, tables, internal, write_buffer_bytes, committed }, last))
    }
}

/// Opens a keyspace that has to be there.
fn keyspace(database: &Database, store: &Path, name: &str) -> Result<Keyspace> {
    // The library forgets a keyspace whose directory is damaged, and would make an empty one here.
    if !database.keyspace_exists(name) {
        return Err(damaged(store.parent().unwrap_or(store), &format!("its table `{name}` is missing")));
    }
    database.keyspace(name, KeyspaceCreateOptions::default).map_err(|error| translate("open", store, error))
}

/// Prepares the journal for the library, after the last commit has succeeded, failed, or was interrupted.
fn repair(root: &Path, store: &Path, data: &Path, acknowledged: CommitNumber, last: LastCommit) -> Result<()> {
    let tail = match last {
        LastCommit::Unknown => journal::repair(&SystemFiles, store, data, acknowledged),
        // A full disk drops nothing that it took before. Another journal would let the library move this one to the
        // tables, for which there is no room either.
        LastCommit::Failed { for_want_of_room } => {
            journal::take_back(&SystemFiles, store, data, acknowledged, !for_want_of_room)
        }
    };
    match tail.map_err(|error| failed("repair the journal in", data, error))? {
        Tail::Clean => Ok(()),
        Tail::Torn(bytes) => {
            tracing::debug!(directory = %root.display(), bytes, "an unfinished commit was cut off the journal");
            Ok(())
        }
        Tail::Broken => Err(damaged(root, "a part of its journal is broken, and there are commits behind it")),
        Tail::Missing(last) => Err(incomplete(root, acknowledged, last)),
    }
}

fn incomplete(root: &Path, acknowledged: CommitNumber, last: CommitNumber) -> Error {
    let why = format!("commit {} was acknowledged, but commit {} is the last one in it", acknowledged.0, last.0);
    damaged(root, &why)
}

fn open_database(store: &Path, settings: &DiskSettings) -> fjall::Result<Database> {
    Database::builder(store.join(DATA))
        .cache_size(settings.cache_bytes)
        .max_journaling_size(JOURNALS_MAX_BYTES)
        .max_cached_files(Some(OPEN_FILES_MAX))
        .worker_threads(WORKERS)
        .manual_journal_persist(true)
        .open()
}

fn options(table: Table, settings: &DiskSettings) -> KeyspaceCreateOptions {
    let buffer = match table {
        Table::Meta | Table::Positions | Table::Cancellations => SMALL_BUFFER_BYTES,
        Table::State | Table::Mailboxes | Table::Timers | Table::Egress | Table::Due => settings.write_buffer_bytes,
    };
    bounded(buffer)
}

/// A keyspace whose compaction takes little memory.
///
/// The library keeps the last key of each block of a file that it writes until the block's entry in the index is
/// written, and a key keeps the whole uncompressed block in memory. An index in one part is written with the end of a
/// file: that would be all values of up to 64 MiB of compressed ones. In parts of 4 KiB it is some forty blocks at a time.
fn bounded(buffer_bytes: u64) -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default()
        .max_memtable_size(buffer_bytes)
        .index_block_partitioning_policy(PartitioningPolicy::all(true))
}

/// The bytes of a slice, for callers that may keep them for long.
///
/// A slice of the library keeps the whole uncompressed block in memory that it was read from, with all its entries. So
/// it is copied, unless it is longer than a block: then it is alone in its block, or nearly so.
fn owned(slice: fjall::Slice) -> Bytes {
    if slice.len() <= BLOCK_BYTES { Bytes::copy_from_slice(&slice) } else { slice.into() }
}

fn number_bytes(number: CommitNumber) -> Bytes {
    Bytes::copy_from_slice(&number.0.to_be_bytes())
}

/// Our error of what the library says.
fn translate(what: &str, store: &Path, error: fjall::Error) -> Error {
    use fjall::LsmError;
    let io = match &error {
        fjall::Error::Io(io) | fjall::Error::Storage(LsmError::Io(io)) => Some(io),
        _ => None,
    };
    let kind = match (&error, io) {
        (_, Some(io)) if is_full(io) => ErrorKind::Full,
        (_, Some(io)) => match io.kind() {
            // A file that is missing, too short, of other contents, or where none should be.
            io::ErrorKind::NotFound
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidData
            | io::ErrorKind::AlreadyExists => ErrorKind::Damaged,
            _ => ErrorKind::Io,
        },
        (fjall::Error::Poisoned, None) => ErrorKind::Io,
        (fjall::Error::Locked, None) => ErrorKind::Locked,
        _ => ErrorKind::Damaged,
    };
    let store = store.parent().unwrap_or(store).display();
    let message = match kind {
        ErrorKind::Full => format!("cannot {what} the store in {store}: there is no room"),
        ErrorKind::Damaged => format!("the store in {store} is damaged"),
        ErrorKind::Locked
        | ErrorKind::Missing
        | ErrorKind::NotAStore
        | ErrorKind::Newer
        | ErrorKind::Older
        | ErrorKind::Fenced
        | ErrorKind::Io
        | ErrorKind::Closed
        | ErrorKind::Invalid => format!("cannot {what} the store in {store}"),
    };
    Error::new(kind, message).with_source(error)
}
