//! Positions in files of a directory.

use std::{
    collections::HashMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use statefun_kinesis_types::StreamArn;

use self::{
    disk::{Disk, Files},
    format::{parse, render},
    lock::{DirectoryLock, User},
};
use crate::{CheckpointChanges, CheckpointError, CheckpointStore, PositionStore, StreamCheckpoint};

mod disk;
mod format;
mod lock;

/// Positions in a directory of this machine: they outlive the process, and a crash at any instant.
///
/// Each stream has a file of its own, `<region>_<account>_<stream>.json`, which is replaced as a whole: the new content is
/// written beside the old file and flushed to the disk, renamed over the old file, and the directory is flushed. A crash
/// leaves the old file or the new one. When the disk is full nothing changes, and the consumer retries.
///
/// One `FileCheckpoints` and its clones at a time use a directory. A lock on the file `lock` in it keeps other processes
/// away and ends with the process, however it ends. When the last clone is dropped, as with the consumer that has it, the
/// directory can be opened again at once.
///
/// A file that is damaged or of a newer version is rejected with its name: positions are never guessed.
///
/// ```
/// use std::sync::Arc;
/// use statefun_kinesis_consumer::{Consumer, FileCheckpoints};
/// # use statefun_kinesis_client::KinesisAdmin;
/// # use statefun_kinesis_fake::FakeKinesis;
/// # use statefun_kinesis_types::{StreamName, StreamRef};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let kinesis = FakeKinesis::new();
/// # let orders: StreamName = "orders".parse()?;
/// # kinesis.create_stream(&orders, 1).await?;
/// # let directory = std::env::temp_dir().join(format!("file-checkpoints-{}", std::process::id()));
/// let checkpoints = Arc::new(FileCheckpoints::open(&directory)?);
/// let builder = Consumer::builder(Arc::new(kinesis)).stream(StreamRef::from(orders)).checkpoints(checkpoints);
/// let consumer = builder.build().await?;
/// # consumer.close().await?;
/// # std::fs::remove_dir_all(directory)?;
/// # Ok(())
/// # }
/// ```
///
/// The format, version 1, is one JSON object; a store of this version reads it for ever:
///
/// ```json
/// {
///   "version": 1,
///   "checksum": "d1c4e0b3a2f59876",
///   "stream": "arn:aws:kinesis:us-east-1:123456789012:stream/orders",
///   "created": "2026-11-01T08:00:00.000Z",
///   "start": { "atTimestamp": "2026-11-23T02:00:00.000Z" },
///   "shards": {
///     "shardId-000000000000": "finished",
///     "shardId-000000000001": { "at": { "sequenceNumber": "4959033827149025660855969253836157109592157" } },
///     "shardId-000000000002": { "at": { "sequenceNumber": "4959033827149025660855969253836157109592158",
///                                       "subSequenceNumber": 3 } },
///     "shardId-000000000003": "unread"
///   }
/// }
/// ```
#[derive(Clone, Debug)]
pub struct FileCheckpoints(Arc<Handle>);

/// What all clones share. A save that runs on a blocking thread keeps the store, and so the lock, but not the user.
#[derive(Debug)]
struct Handle {
    store: Arc<Store>,
    _user: Option<Arc<User>>,
}

#[derive(Debug)]
struct Store {
    directory: PathBuf,
    files: Box<dyn Files>,
    /// What the files hold.
    streams: Mutex<HashMap<StreamArn, StreamCheckpoint>>,
    /// The last field, so that everything else is dropped before the directory is free.
    _lock: Option<DirectoryLock>,
}

impl FileCheckpoints {
    /// Opens a directory, which is created if it does not exist. Blocks for as long as that takes.
    ///
    /// Waits up to ten seconds for a save of an earlier `FileCheckpoints` of this process that still runs, although the
    /// future that started it was dropped.
    ///
    /// # Errors
    ///
    /// When the directory cannot be used, or another process or another `FileCheckpoints` of this process uses it.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, CheckpointError> {
        let directory = directory.into();
        let (lock, user) = DirectoryLock::take(&directory)?;
        Ok(Self::new(directory, Box::new(Disk), Some((lock, user))))
    }

    fn new(directory: PathBuf, files: Box<dyn Files>, lock: Option<(DirectoryLock, Arc<User>)>) -> Self {
        let (lock, user) = lock.unzip();
        let store = Store { directory, files, streams: Mutex::default(), _lock: lock };
        Self(Arc::new(Handle { store: Arc::new(store), _user: user }))
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.0.store.directory
    }

    /// Does blocking work on a thread that may block. Dropping the future does not stop the work; later work waits for it
    /// at the lock of the streams.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, CheckpointError> + Send + 'static,
    ) -> Result<T, CheckpointError> {
        let store = Arc::clone(&self.0.store);
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.unwrap_or_else(|error| Err(CheckpointError::new("the checkpoint store panicked").with_source(error)))
    }
}

#[async_trait]
impl PositionStore for FileCheckpoints {
    async fn load(&self, stream: &StreamArn) -> Result<Option<StreamCheckpoint>, CheckpointError> {
        let stream = stream.clone();
        self.blocking(move |store| store.load(&stream)).await
    }

    async fn begin(&self, stream: &StreamArn, checkpoint: StreamCheckpoint) -> Result<(), CheckpointError> {
        let stream = stream.clone();
        self.blocking(move |store| store.replace(&mut store.streams(), &stream, checkpoint)).await
    }
}

#[async_trait]
impl CheckpointStore for FileCheckpoints {
    async fn save(&self, stream: &StreamArn, changes: &CheckpointChanges) -> Result<(), CheckpointError> {
        let (stream, changes) = (stream.clone(), changes.clone());
        self.blocking(move |store| store.save(&stream, changes)).await
    }
}

impl Store {
    /// Locked for as long as a file is read or written, so that `streams` is always what the files hold.
    fn streams(&self) -> MutexGuard<'_, HashMap<StreamArn, StreamCheckpoint>> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, stream: &StreamArn) -> PathBuf {
        self.directory.join(format!("{}_{}_{}.json", stream.region(), stream.account(), stream.name()))
    }

    fn load(&self, stream: &StreamArn) -> Result<Option<StreamCheckpoint>, CheckpointError> {
        let mut streams = self.streams();
        let path = self.path(stream);
        let text = self.files.read(&path).map_err(|error| {
            CheckpointError::new(format!("the checkpoint file {} cannot be read", path.display())).with_source(error)
        })?;
        let Some(text) = text else { return Ok(None) };
        let checkpoint = parse(&text, stream).map_err(|damage| {
            CheckpointError::new(format!(
                "the checkpoint file {} {damage}: put a good copy in its place, or remove it to read the stream from \
                 its startup position again",
                path.display()
            ))
        })?;
        streams.insert(stream.clone(), checkpoint.clone());
        Ok(Some(checkpoint))
    }

    fn save(&self, stream: &StreamArn, changes: CheckpointChanges) -> Result<(), CheckpointError> {
        let mut streams = self.streams();
        let Some(known) = streams.get(stream) else {
            return Err(CheckpointError::new(format!("reading of {stream} was never begun")));
        };
        let mut checkpoint = known.clone();
        checkpoint.shards.extend(changes.moved);
        for shard in &changes.forgotten {
            checkpoint.shards.remove(shard);
        }
        self.replace(&mut streams, stream, checkpoint)
    }

    fn replace(
        &self,
        streams: &mut HashMap<StreamArn, StreamCheckpoint>,
        stream: &StreamArn,
        checkpoint: StreamCheckpoint,
    ) -> Result<(), CheckpointError> {
        let path = self.path(stream);
        let new = path.with_extension("json.new");
        let text = render(stream, &checkpoint);
        let written = self.write_synced(&new, &text).and_then(|()| {
            self.files.rename(&new, &path)?;
            // Without this a crash could bring back the old name, after the save was confirmed.
            self.files.sync_directory(&self.directory)
        });
        written.map_err(|error| {
            // It may take the disk space that the next try needs.
            let _ = self.files.remove(&new);
            CheckpointError::new(format!("the checkpoint file {} cannot be written", path.display())).with_source(error)
        })?;
        streams.insert(stream.clone(), checkpoint);
        Ok(())
    }

    /// Writes a file, and returns when its content is on the disk. Only then may it be renamed: a crash could otherwise
    /// leave the new name with nothing, or half, behind it.
    fn write_synced(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = self.files.create(path)?;
        file.write_all(content)?;
        file.sync()
    }
}

#[cfg(test)]
mod tests;
