//! Positions in files.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Debug,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use statefun_kinesis_types::{StartPosition, StreamArn};

use crate::{
    CheckpointChanges, CheckpointError, CheckpointStore, Extent, Position, PositionStore, ShardPosition,
    StreamCheckpoint,
};

/// Positions in a directory of this machine: they outlive the process, and a crash at any instant.
///
/// Each stream has a file of its own, `<region>_<account>_<stream>.json`, which is replaced as a whole: written beside
/// the old one, flushed to the disk, renamed over it, and the directory flushed. A crash leaves the old file or the new
/// one. Where the disk is full nothing changes, and the consumer tries again.
///
/// One process at a time uses a directory, which a lock on the file `lock` sees to; the lock ends with the process,
/// however it ends. A file that is damaged, or of a newer version, is refused by its name: positions are never guessed.
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
pub struct FileCheckpoints(Arc<Store>);

#[derive(Debug)]
struct Store {
    directory: PathBuf,
    files: Box<dyn Files>,
    /// What the files hold.
    streams: Mutex<HashMap<StreamArn, StreamCheckpoint>>,
    /// Holds the lock on the directory.
    _lock: Option<File>,
}

impl FileCheckpoints {
    /// Opens a directory, and makes it if it is not there. Blocks for as long as that takes.
    ///
    /// # Errors
    ///
    /// When the directory cannot be used, or another process uses it.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, CheckpointError> {
        let directory = directory.into();
        let unusable = |error: io::Error| {
            let message = format!("the checkpoint directory {} cannot be used", directory.display());
            CheckpointError::new(message).with_source(error)
        };
        fs::create_dir_all(&directory).map_err(unusable)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(directory.join("lock"));
        let lock = lock.map_err(unusable)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(CheckpointError::new(format!(
                    "the checkpoint directory {} is used by another process: stop that one, or name another directory",
                    directory.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let store = Store { directory, files: Box::new(Disk), streams: Mutex::default(), _lock: Some(lock) };
        Ok(Self(Arc::new(store)))
    }

    /// The directory.
    pub fn directory(&self) -> &Path {
        &self.0.directory
    }

    /// Does it where blocking harms nobody. A future that is dropped does not stop it: what comes next waits for it.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, CheckpointError> + Send + 'static,
    ) -> Result<T, CheckpointError> {
        let store = Arc::clone(&self.0);
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
    /// Taken for as long as a file is read or written, so that files and what is known of them never differ.
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
        let written = self.files.write(&new, &text).and_then(|()| self.files.rename(&new, &path));
        let written = written.and_then(|()| self.files.sync_directory(&self.directory));
        written.map_err(|error| {
            // It may take the room that the next try needs.
            let _ = self.files.remove(&new);
            CheckpointError::new(format!("the checkpoint file {} cannot be written", path.display())).with_source(error)
        })?;
        streams.insert(stream.clone(), checkpoint);
        Ok(())
    }
}

/// What is asked of a file system; tests have one that fails and forgets.
trait Files: Debug + Send + Sync {
    /// The content of a file, if there is one.
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>>;
    /// Makes or replaces a file, and has its content on the disk before it returns.
    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Has all renaming in a directory on the disk before it returns.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The machine's file system.
#[derive(Debug)]
struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        match fs::read(path) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(content)?;
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        // Elsewhere a directory cannot be opened, and renaming is on the disk when it returns.
        if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

const VERSION: u32 = 1;

/// The version alone, which a file of any version has.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    /// Of the same content with an empty checksum, as it is written.
    checksum: String,
    stream: String,
    created: String,
    start: Start,
    shards: BTreeMap<String, Place>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Start {
    TrimHorizon,
    Latest,
    AtTimestamp(String),
    AtSequenceNumber(String),
    AfterSequenceNumber(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Place {
    Unread,
    At(At),
    Finished,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct At {
    sequence_number: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub_sequence_number: Option<u64>,
}

impl Content {
    fn to_json(&self) -> Vec<u8> {
        // Text and numbers in maps with text keys can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// FNV-1a: it guards against damage, not against an adversary.
    fn checksum(&self) -> String {
        let hash = self.to_json().iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("{hash:016x}")
    }
}

fn render(stream: &StreamArn, checkpoint: &StreamCheckpoint) -> Vec<u8> {
    let start = match checkpoint.start {
        StartPosition::TrimHorizon => Start::TrimHorizon,
        StartPosition::Latest => Start::Latest,
        StartPosition::AtTimestamp(time) => Start::AtTimestamp(time.to_string()),
        StartPosition::AtSequenceNumber(number) => Start::AtSequenceNumber(number.to_string()),
        StartPosition::AfterSequenceNumber(number) => Start::AfterSequenceNumber(number.to_string()),
    };
    let place = |position: &ShardPosition| match position {
        ShardPosition::Unread => Place::Unread,
        ShardPosition::Finished => Place::Finished,
        ShardPosition::At(position) => Place::At(At {
            sequence_number: position.sequence_number.to_string(),
            sub_sequence_number: match position.extent {
                Extent::All => None,
                Extent::UpTo(number) => Some(number),
            },
        }),
    };
    let mut content = Content {
        version: VERSION,
        checksum: String::new(),
        stream: stream.to_string(),
        created: checkpoint.created.to_string(),
        start,
        shards: checkpoint.shards.iter().map(|(shard, position)| (shard.to_string(), place(position))).collect(),
    };
    content.checksum = content.checksum();
    content.to_json()
}

/// What a file holds, or what is wrong with it, as a phrase that can follow its name.
fn parse(text: &[u8], stream: &StreamArn) -> Result<StreamCheckpoint, String> {
    let damaged = |error: &dyn std::fmt::Display| format!("is damaged ({error})");
    let Head { version } = serde_json::from_slice(text).map_err(|error| damaged(&error))?;
    if version > VERSION {
        return Err(format!("is of version {version}, and this program knows {VERSION}"));
    }
    let mut content: Content = serde_json::from_slice(text).map_err(|error| damaged(&error))?;
    let checksum = std::mem::take(&mut content.checksum);
    if content.checksum() != checksum {
        return Err(damaged(&"its checksum is wrong"));
    }
    if content.stream != stream.as_str() {
        return Err(format!("is that of {}", content.stream));
    }
    let invalid = |error: statefun_kinesis_types::InvalidValue| damaged(&error);
    let number = |text: &str| text.parse().map_err(invalid);
    let start = match &content.start {
        Start::TrimHorizon => StartPosition::TrimHorizon,
        Start::Latest => StartPosition::Latest,
        Start::AtTimestamp(time) => StartPosition::AtTimestamp(time.parse().map_err(invalid)?),
        Start::AtSequenceNumber(text) => StartPosition::AtSequenceNumber(number(text)?),
        Start::AfterSequenceNumber(text) => StartPosition::AfterSequenceNumber(number(text)?),
    };
    let mut checkpoint = StreamCheckpoint::new(content.created.parse().map_err(invalid)?, start);
    for (shard, place) in content.shards {
        let position = match place {
            Place::Unread => ShardPosition::Unread,
            Place::Finished => ShardPosition::Finished,
            Place::At(At { sequence_number, sub_sequence_number }) => ShardPosition::At(Position {
                sequence_number: number(&sequence_number)?,
                extent: sub_sequence_number.map_or(Extent::All, Extent::UpTo),
            }),
        };
        checkpoint.shards.insert(shard.parse().map_err(invalid)?, position);
    }
    Ok(checkpoint)
}

#[cfg(test)]
mod tests;
