use std::{
    fs::{self, OpenOptions},
    io::{ErrorKind, Write},
    sync::mpsc,
};

use statefun_kinesis_types::{SequenceNumber, ShardId, StartPosition, Timestamp};

use super::{disk::NewFile, *};
use crate::{Position, ShardPosition};

fn stream() -> StreamArn {
    "arn:aws:kinesis:us-east-1:123456789012:stream/orders".parse().unwrap()
}

fn shard(number: u64) -> ShardId {
    format!("shardId-{number:012}").parse().unwrap()
}

fn at(number: u64) -> ShardPosition {
    ShardPosition::At(Position::behind(number.into()))
}

fn checkpoint() -> StreamCheckpoint {
    let mut checkpoint = StreamCheckpoint::new(Timestamp::from_millis(1), StartPosition::TrimHorizon);
    checkpoint.shards.insert(shard(0), ShardPosition::Unread);
    checkpoint
}

fn moved(shard: ShardId, position: ShardPosition) -> CheckpointChanges {
    CheckpointChanges { moved: [(shard, position)].into(), forgotten: Vec::new() }
}

/// A directory that is removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("statefun-kinesis-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn what_was_saved_is_there_after_a_restart() {
    let directory = Directory::new("restart");
    let number: SequenceNumber = "9".repeat(129).parse().unwrap();
    for start in [
        StartPosition::TrimHorizon,
        StartPosition::AtTimestamp(Timestamp::from_millis(1_234_567)),
        StartPosition::AtSequenceNumber(number),
        StartPosition::AfterSequenceNumber(number),
    ] {
        let store = FileCheckpoints::open(&directory.0).unwrap();
        let mut expected = StreamCheckpoint { start, ..checkpoint() };
        expected.shards.insert(shard(4), at(4));
        store.begin(&stream(), expected.clone()).await.unwrap();
        let mut changes = moved(shard(0), ShardPosition::Finished);
        changes.moved.insert(shard(1), ShardPosition::At(Position::behind(number)));
        changes.moved.insert(shard(2), ShardPosition::At(Position::inside(number, 0)));
        changes.forgotten.push(shard(4));
        store.save(&stream(), &changes).await.unwrap();
        drop(store);
        expected.shards.remove(&shard(4));
        expected.shards.extend(changes.moved);
        let store = FileCheckpoints::open(&directory.0).unwrap();
        assert_eq!(store.load(&stream()).await.unwrap(), Some(expected));
    }
    let other = "arn:aws:kinesis:us-east-1:123456789012:stream/other".parse().unwrap();
    let store = FileCheckpoints::open(&directory.0).unwrap();
    assert_eq!(store.load(&other).await.unwrap(), None);
    assert!(store.save(&other, &moved(shard(0), at(1))).await.is_err(), "reading was never begun");
}

#[tokio::test]
async fn a_directory_has_one_user_and_the_error_says_whether_it_is_this_process() {
    let directory = Directory::new("second");
    let first = FileCheckpoints::open(&directory.0).unwrap();
    let clone = first.clone();
    // By whatever path.
    for path in [directory.0.clone(), directory.0.join("..").join(directory.0.file_name().unwrap())] {
        let error = FileCheckpoints::open(&path).unwrap_err().to_string();
        assert!(error.contains("used by this process already"), "{error}");
        assert!(error.contains(&path.display().to_string()), "{error}");
        assert!(!error.contains("another process"), "{error}");
    }
    drop(first);
    assert!(FileCheckpoints::open(&directory.0).is_err(), "a clone uses it");
    drop(clone);
    drop(FileCheckpoints::open(&directory.0).unwrap());

    // A lock that this process knows nothing of is that of another one.
    let other = OpenOptions::new().write(true).open(directory.0.join("lock")).unwrap();
    other.lock().unwrap();
    let error = FileCheckpoints::open(&directory.0).unwrap_err().to_string();
    assert!(error.contains("used by another process"), "{error}");
    drop(other);
    FileCheckpoints::open(&directory.0).unwrap();
}

/// A file system whose writes wait for a word of the test.
#[derive(Debug)]
struct Slow {
    started: mpsc::Sender<()>,
    go_on: Mutex<mpsc::Receiver<()>>,
}

impl Files for Slow {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        Disk.read(path)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        self.started.send(()).unwrap();
        self.go_on.lock().unwrap().recv().unwrap();
        Disk.create(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Disk.rename(from, to)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        Disk.sync_directory(directory)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Disk.remove(path)
    }
}

#[tokio::test]
async fn opening_waits_for_the_last_save_of_an_earlier_user() {
    let directory = Directory::new("slow");
    let (started, is_started) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let lock = DirectoryLock::take(&directory.0).unwrap();
    let slow = Slow { started, go_on: Mutex::new(may_go_on) };
    let first = FileCheckpoints::new(directory.0.clone(), Box::new(slow), Some(lock));
    go_on.send(()).unwrap();
    first.begin(&stream(), checkpoint()).await.unwrap();
    is_started.recv().unwrap();

    let (arn, changes) = (stream(), moved(shard(0), at(7)));
    let mut save = first.save(&arn, &changes);
    assert!(futures::poll!(&mut save).is_pending());
    is_started.recv().unwrap();
    drop(save);
    drop(first);
    let path = directory.0.clone();
    let second = std::thread::spawn(move || FileCheckpoints::open(path).unwrap());
    go_on.send(()).unwrap();
    let second = second.join().unwrap();
    let stored = second.load(&stream()).await.unwrap().unwrap();
    assert_eq!(stored.shards[&shard(0)], at(7), "the save was over before the directory was opened");
}

#[tokio::test]
async fn a_file_that_is_damaged_in_any_byte_is_refused_by_name() {
    let directory = Directory::new("damage");
    let store = FileCheckpoints::open(&directory.0).unwrap();
    store.begin(&stream(), checkpoint()).await.unwrap();
    store.save(&stream(), &moved(shard(1), at(77))).await.unwrap();
    let path = store.0.store.path(&stream());
    let good = fs::read(&path).unwrap();
    let mut damages: Vec<Vec<u8>> = (0..good.len()).map(|length| good[..length].to_vec()).collect();
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        damages.push(bytes);
    }
    for bad in damages {
        fs::write(&path, &bad).unwrap();
        let error = store.load(&stream()).await.unwrap_err().to_string();
        assert!(error.contains("us-east-1_123456789012_orders.json"), "{error}");
        assert!(error.contains("put a good copy in its place, or remove it"), "{error}");
    }
    let newer = String::from_utf8(good).unwrap().replacen("\"version\":1", "\"version\":2", 1);
    fs::write(&path, newer).unwrap();
    let error = store.load(&stream()).await.unwrap_err().to_string();
    assert!(error.contains("is of version 2"), "{error}");
}

#[tokio::test]
async fn version_1_is_read_for_ever() {
    let text = r#"{"version":1,"checksum":"CHECKSUM","stream":"arn:aws:kinesis:us-east-1:123456789012:stream/orders","created":"1970-01-01T00:00:00.001Z","start":{"atTimestamp":"2026-11-23T02:00:00.000Z"},"shards":{"shardId-000000000000":"finished","shardId-000000000001":{"at":{"sequenceNumber":"7"}},"shardId-000000000002":{"at":{"sequenceNumber":"8","subSequenceNumber":3}},"shardId-000000000003":"unread"}}"#;
    let text = text.replace("CHECKSUM", "625b4cc2fcac76e7");
    let start = StartPosition::AtTimestamp("2026-11-23T02:00:00.000Z".parse().unwrap());
    let mut expected = StreamCheckpoint { start, ..checkpoint() };
    expected.shards = [
        (shard(0), ShardPosition::Finished),
        (shard(1), at(7)),
        (shard(2), ShardPosition::At(Position::inside(8_u64.into(), 3))),
        (shard(3), ShardPosition::Unread),
    ]
    .into();
    assert_eq!(String::from_utf8(render(&stream(), &expected)).unwrap(), text);
    assert_eq!(parse(text.as_bytes(), &stream()), Ok(expected));
}

/// A file system that can be full, and that loses in a crash what was not flushed: as much as a real one may.
#[derive(Debug, Default)]
struct Forgetful(Mutex<Memory>);

#[derive(Clone, Debug, Default)]
struct Memory {
    /// The file behind each name, as programs see it.
    names: HashMap<PathBuf, usize>,
    /// The same as a crash leaves it: as it was when the directory was last flushed.
    durable_names: HashMap<PathBuf, usize>,
    files: Vec<Content>,
    /// Steps from now until one fails.
    steps: Option<usize>,
}

#[derive(Clone, Debug, Default)]
struct Content {
    written: Vec<u8>,
    /// What a crash leaves of it.
    durable: Vec<u8>,
}

impl Memory {
    fn step(&mut self) -> io::Result<()> {
        match &mut self.steps {
            Some(0) => Err(io::Error::from(ErrorKind::StorageFull)),
            Some(steps) => {
                *steps -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// What is there after the power came back.
    fn crashed(&self) -> Self {
        let file = |content: &Content| Content { written: content.durable.clone(), durable: content.durable.clone() };
        Self {
            names: self.durable_names.clone(),
            durable_names: self.durable_names.clone(),
            files: self.files.iter().map(file).collect(),
            steps: None,
        }
    }
}

impl Forgetful {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.0.lock().unwrap()
    }
}

/// A file that is being written.
struct Writing {
    files: Arc<Forgetful>,
    file: usize,
}

impl Write for Writing {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        let mut memory = self.files.memory();
        let fits = memory.step().map(|()| content.len());
        let length = *fits.as_ref().unwrap_or(&(content.len() / 2));
        memory.files[self.file].written.extend(&content[..length]);
        fits
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl NewFile for Writing {
    fn sync(&mut self) -> io::Result<()> {
        let mut memory = self.files.memory();
        memory.step()?;
        let content = &mut memory.files[self.file];
        content.durable = content.written.clone();
        Ok(())
    }
}

impl Files for Arc<Forgetful> {
    fn read(&self, path: &Path) -> io::Result<Option<Vec<u8>>> {
        let memory = self.memory();
        Ok(memory.names.get(path).map(|file| memory.files[*file].written.clone()))
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn NewFile>> {
        let mut memory = self.memory();
        let file = memory.files.len();
        memory.files.push(Content::default());
        memory.names.insert(path.into(), file);
        Ok(Box::new(Writing { files: Arc::clone(self), file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut memory = self.memory();
        memory.step()?;
        let file = memory.names.remove(from).ok_or(ErrorKind::NotFound)?;
        memory.names.insert(to.into(), file);
        // The name may reach the disk at once, before the content and without a flush of the directory.
        if memory.files[file].durable.len() < memory.files[file].written.len() {
            memory.durable_names.insert(to.into(), file);
        }
        Ok(())
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        let mut memory = self.memory();
        memory.step()?;
        memory.durable_names = memory.names.clone();
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.memory().names.remove(path);
        Ok(())
    }
}

#[tokio::test]
async fn a_full_disk_or_a_crash_at_any_step_loses_nothing() {
    let open =
        |files: &Arc<Forgetful>| FileCheckpoints::new(PathBuf::from("checkpoints"), Box::new(Arc::clone(files)), None);
    const STEPS: usize = 4;
    for step in 0..=STEPS {
        let files = Arc::<Forgetful>::default();
        let store = open(&files);
        store.begin(&stream(), checkpoint()).await.unwrap();
        store.save(&stream(), &moved(shard(0), at(1))).await.unwrap();
        files.memory().steps = Some(step);
        let second = store.save(&stream(), &moved(shard(0), at(2))).await;
        assert_eq!(second.is_err(), step < STEPS, "writing, flushing, renaming and flushing the directory are {STEPS}");

        // A crash: whatever was flushed is there, and it is whole.
        let crashed = Arc::new(Forgetful(Mutex::new(files.memory().crashed())));
        let position = open(&crashed).load(&stream()).await.unwrap().unwrap().shards[&shard(0)];
        assert_eq!(position, if second.is_ok() { at(2) } else { at(1) }, "{step}");

        // No crash: there is room again, and the same is saved.
        files.memory().steps = None;
        store.save(&stream(), &moved(shard(0), at(2))).await.unwrap();
        assert_eq!(open(&files).load(&stream()).await.unwrap().unwrap().shards[&shard(0)], at(2));
        assert_eq!(files.memory().names.len(), 1, "nothing is left over");
    }
}
